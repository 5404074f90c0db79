package enginetest

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"yodel/engine"
	"yodel/sock"
	"yodel/trace"
	"yodel/yodeltest"
)

// A place is where a server listens and how one gets there.
type place struct {
	net.Listener
	dial func() (net.Conn, error)
}

// places returns a maker for each kind of place that the engine serves.
func (k *kit) places() map[string]func(testing.TB) place {
	m := map[string]func(testing.TB) place{"tcp": onTCP}
	if !k.traits.NoUnix {
		m["unix"] = onUnix
	}
	if !k.traits.SocketsOnly {
		m["memory"] = inMemory
	}
	return m
}

func onTCP(t testing.TB) place { return onAddress(t, "127.0.0.1:0") }

func onAddress(t testing.TB, address string) place {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	return reached(l, &net.Dialer{Timeout: patience})
}

// reached returns the place of a listening socket.
func reached(l net.Listener, d *net.Dialer) place {
	a := l.Addr()
	return place{l, func() (net.Conn, error) { return d.Dial(a.Network(), a.String()) }}
}

func onUnix(t testing.TB) place {
	t.Helper()
	dir, err := os.MkdirTemp("", "yodel") // a test's own folder may be too long a path
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	l, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	return reached(l, &net.Dialer{Timeout: patience})
}

func inMemory(t testing.TB) place { return inMemoryOf(t, 0) }

// inMemoryOf is a network in memory that holds so many bytes for each direction of a
// connection; 0: 65,536.
func inMemoryOf(t testing.TB, size int) place {
	t.Helper()
	n := yodeltest.Net{Buffer: size}
	l, err := n.Listen("server")
	if err != nil {
		t.Fatal(err)
	}
	return place{l, func() (net.Conn, error) { return n.Dial(context.Background(), "server") }}
}

// A server is an engine under test that serves, and its books.
type server struct {
	engine.Engine
	t      testing.TB
	at     place // the first one
	events *events
	logs   *logs
	served chan error // what each Serve returned
	serves int

	cert     *tls.Certificate // nil: no TLS
	timeless bool             // clients have no deadline
	nobooks  bool             // events go elsewhere
}

// serve starts a service on TCP.
func (k *kit) serve(t testing.TB, service string, cfg engine.Config) *server {
	t.Helper()
	return k.serveAt(t, onTCP(t), service, cfg)
}

// serveAt starts a service; when the test is over it is closed and its books are
// checked. In cfg the service's name and the log are set, and the sink too if it has
// none; with one of the row's own the books are not checked.
func (k *kit) serveAt(t testing.TB, at place, service string, cfg engine.Config) *server {
	t.Helper()
	s := &server{t: t, at: at, events: new(events), logs: new(logs), served: make(chan error, 9)}
	cfg.Service, cfg.PoisonLent, cfg.Log = service, true, s.logs.logger()
	if s.nobooks = cfg.Sink != nil; !s.nobooks {
		cfg.Sink = s.events
	}
	var err error
	if s.Engine, err = k.mk(Services()[service], &cfg); err != nil {
		t.Fatal(err)
	}
	s.alsoAt(at)
	t.Cleanup(s.finish)
	return s
}

// alsoAt makes the engine serve one more place.
func (s *server) alsoAt(at place) {
	s.serves++
	go func() { s.served <- s.Serve(at.Listener) }()
}

func (s *server) finish() {
	s.Close()
	for s.serves > 0 {
		s.wantServed(engine.ErrClosed)
	}
	if list, _ := s.events.look(); !s.t.Failed() && !s.nobooks {
		audit(s.t, list, s.Stats())
	}
	if s.t.Failed() {
		list, _ := s.events.look()
		s.t.Logf("%s\nthe engine's log:\n%s", describe(list), s.logs.text())
	}
}

// wantServed waits until a Serve returns and checks its error. It is called once for
// each.
func (s *server) wantServed(want error) {
	s.t.Helper()
	s.serves--
	select {
	case err := <-s.served:
		if !errors.Is(err, want) {
			s.t.Errorf("Serve returned %v, want %v", err, want)
		}
	case <-time.After(cmp.Or(s.events.patience, patience)):
		s.t.Errorf("Serve does not return")
	}
}

// awaitEnds waits until so many connections have ended for that reason.
func (s *server) awaitEnds(why string, n int, reason engine.Reason) {
	s.t.Helper()
	s.events.await(s.t, why, func(list []trace.Event) bool {
		return count(list, trace.Close, reason.String())+count(list, trace.Refuse, reason.String()) >= n
	})
}

// awaitAccepts waits until so many connections have been accepted.
func (s *server) awaitAccepts(n int) {
	s.t.Helper()
	s.events.await(s.t, "accept", func(list []trace.Event) bool { return count(list, trace.Accept, "") >= n })
}

// wantNoLog checks that nothing was logged.
func (s *server) wantNoLog(why string) {
	s.t.Helper()
	if text := s.logs.text(); text != "" {
		s.t.Errorf("%s: it was logged:\n%s", why, text)
	}
}

// until polls cond, for conditions that no event tells.
func until(t testing.TB, why string, cond func() bool) {
	t.Helper()
	look := time.NewTicker(2 * time.Millisecond)
	defer look.Stop()
	late := time.NewTimer(patience)
	defer late.Stop()
	for !cond() {
		select {
		case <-look.C:
		case <-late.C:
			t.Fatalf("%s: that has not happened", why)
		}
	}
}

// onSmallBuffers is a TCP socket with small buffers at both ends. With the least that
// Linux has, TCP's probes of a closed window can take seconds.
func onSmallBuffers(t testing.TB) place {
	t.Helper()
	opts := &sock.Options{ReadBuffer: 2048, WriteBuffer: 2048}
	l, err := sock.Listen(t.Context(), sock.Address{Network: "tcp", Host: "127.0.0.1"}, opts)
	if err != nil {
		t.Fatal(err)
	}
	at := l.Address()
	return place{l.Plain(), func() (net.Conn, error) { return sock.Dial(context.Background(), at, opts) }}
}
