package yodeltest

import (
	"errors"
	"net"
	"testing"
)

// A Server serves listeners until it is closed, as engines do.
type Server interface {
	Serve(net.Listener) error
	Close() error
}

// Serve has s serve l until the test is over. Then s is closed, and the test fails if what
// Serve returns is not closed, the error by which s tells that.
func Serve(t testing.TB, s Server, l net.Listener, closed error) {
	t.Helper()
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Close()
		if err := <-ended; !errors.Is(err, closed) {
			t.Errorf("Serve: %v", err)
		}
	})
}
