package enginetest

import (
	"context"
	"errors"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"yodel/engine"
)

// tryAcceptErrors: what accept may fail with now and then is waited out, and logged
// once a second. Peers that have left again are no failures.
func tryAcceptErrors(k *kit, t *testing.T) {
	for _, tt := range []struct {
		errno  syscall.Errno
		counts bool
	}{
		{syscall.EMFILE, true},
		{syscall.ENFILE, true},
		{syscall.ENOBUFS, true},
		{syscall.ENOMEM, true},
		{syscall.EPERM, true}, // a packet filter may say so: accept(2)
		{syscall.EINTR, true},
		{syscall.EOPNOTSUPP, true}, // the network's, on Linux: accept(2)
		{syscall.ECONNABORTED, false},
		{syscall.EPROTO, false},
	} {
		t.Run(tt.errno.Error(), func(t *testing.T) {
			t.Parallel()
			const times = 5
			at := onTCP(t)
			at.Listener = &failing{Listener: at.Listener, err: os.NewSyscallError("accept4", tt.errno), left: times}
			from := time.Now()
			s := k.serveAt(t, at, "echo", engine.Config{})
			s.dial().ask("it is served", "x", "x")
			want, lines := 0, 0
			if tt.counts {
				want, lines = times, 1+int(time.Since(from).Seconds())
			}
			if n := s.Stats().AcceptErrors; n != int64(want) {
				t.Errorf("%d accept errors are counted, want %d", n, want)
			}
			if n := strings.Count(s.logs.text(), "\n"); n > lines || tt.counts && n == 0 {
				t.Errorf("logged was:\n%s", s.logs.text())
			}
		})
	}
}

// failing is a listener whose Accept fails so often before it works.
type failing struct {
	net.Listener
	mu   sync.Mutex
	err  error
	left int
}

func (f *failing) Accept() (net.Conn, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.left > 0 {
		f.left--
		return nil, &net.OpError{Op: "accept", Net: "tcp", Addr: f.Addr(), Err: f.err}
	}
	return f.Listener.Accept()
}

// tryFatalAccept: a listener that is of no use any more is an error of Serve's. The
// engine can serve others.
func tryFatalAccept(k *kit, t *testing.T) {
	for _, fatal := range []error{syscall.EINVAL, syscall.EBADF, net.ErrClosed} {
		at := onTCP(t)
		at.Listener = &failing{Listener: at.Listener, err: fatal, left: 1}
		s := k.serveAt(t, at, "echo", engine.Config{})
		s.wantServed(fatal)
		if _, err := at.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("%v: the listener is still there: %v", fatal, err)
		}
		s.at = onTCP(t)
		s.alsoAt(s.at)
		s.dial().ask("another listener is served", "x", "x")
	}
}

// tryAcceptStuck: Shutdown and Close end also the wait for descriptors.
func tryAcceptStuck(k *kit, t *testing.T) {
	for name, stop := range map[string]func(*server) error{
		"Shutdown": func(s *server) error { return s.Shutdown(context.Background()) },
		"Close":    func(s *server) error { return s.Close() },
	} {
		at := onTCP(t)
		at.Listener = &failing{Listener: at.Listener, err: syscall.EMFILE, left: 1 << 30}
		s := k.serveAt(t, at, "echo", engine.Config{})
		until(t, "accept fails", func() bool { return s.Stats().AcceptErrors > 0 })
		from := time.Now()
		if err := stop(s); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		s.wantServed(engine.ErrClosed)
		if d := time.Since(from); d > patience/2 {
			t.Errorf("%s took %v", name, d)
		}
	}
}
