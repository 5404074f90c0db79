package telnet

import (
	"testing"

	"yodel/internal/child"
)

// Each key of a terminal has its place there, and no other has.
func TestKeysOfTerminals(t *testing.T) {
	t.Parallel()
	var all special
	for k, c := range terminalKey(new(child.Keys)) {
		if (c != nil) != key(k).isOurs() {
			t.Errorf("key %d: a place %v, ours %v", k, c != nil, key(k).isOurs())
		}
		if c != nil {
			all[k] = byte(100 + k)
		}
	}
	if got := specialOf(terminalKeys(all)); got != all {
		t.Errorf("%v have become %v", all, got)
	}
}
