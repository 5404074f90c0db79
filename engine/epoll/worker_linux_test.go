package epoll

import (
	"testing"
	"unsafe"
)

// A connection at rest is this, its entry in the table, and a share of the Go heap's
// own: make bench-idle measures it.
func TestConnIsSmall(t *testing.T) {
	t.Parallel()
	if n := unsafe.Sizeof(conn{}); n > 176 {
		t.Errorf("a conn has %d bytes", n)
	}
}
