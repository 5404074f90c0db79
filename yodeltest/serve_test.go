package yodeltest

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
)

var errGone = errors.New("gone")

// accepting accepts until its listener fails, and then ends with err.
type accepting struct {
	l   chan net.Listener
	err error
}

func (a accepting) Serve(l net.Listener) error {
	a.l <- l
	l.Accept()
	return a.err
}

func (a accepting) Close() error { return (<-a.l).Close() }

// ending is a test whose end can be brought about, and whose failure is noted.
type ending struct {
	testing.TB
	last   func()
	failed string
}

func (e *ending) Helper()                           {}
func (e *ending) Cleanup(f func())                  { e.last = f }
func (e *ending) Errorf(format string, args ...any) { e.failed += fmt.Sprintf(format, args...) }

func TestServe(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		err  error
		want string
	}{
		{"as it should", fmt.Errorf("serve: %w", errGone), ""},
		{"with another error", net.ErrClosed, net.ErrClosed.Error()},
		{"without an error", nil, "nil"},
	} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		e := &ending{TB: t}
		Serve(e, accepting{make(chan net.Listener, 1), tt.err}, l, errGone)
		if e.last(); (e.failed == "") != (tt.want == "") || !strings.Contains(e.failed, tt.want) {
			t.Errorf("a server that ends %s: the test has failed with %q, want %q", tt.name, e.failed, tt.want)
		}
		if _, err := net.Dial("tcp", l.Addr().String()); err == nil {
			t.Errorf("a server that ends %s still listens", tt.name)
		}
	}
}
