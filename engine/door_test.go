package engine

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"runtime"
	"sync"
	"syscall"
	"testing"

	"yodel/trace"
)

// The connection that a service is given tells its descriptor, where there is one.
func TestDoorDescriptor(t *testing.T) {
	t.Parallel()
	fd := make(chan int, 1)
	svc := connFunc(func(nc net.Conn) { fd <- trace.Descriptor(nc) })
	l := listenTCP(t)
	startOn(t, l, svc, Config{})
	dialTCP(t, l)
	if n := <-fd; n <= 0 {
		t.Errorf("descriptor %d", n)
	}
	_, dial := serveOne(t, 0, svc, Config{})
	dial()
	if n := <-fd; n != 0 {
		t.Errorf("a connection in memory has descriptor %d", n)
	}
}

// What several goroutines of a service write at once is not mixed, as it is not on any
// net.Conn, however long it is.
func TestDoorWritesAreNotMixed(t *testing.T) {
	t.Parallel()
	const size, writers = 100_000, 4
	l := listenTCP(t)
	startOn(t, listenerOf{l, func(c net.Conn) net.Conn { return yielding{c} }}, connFunc(func(nc net.Conn) {
		var all sync.WaitGroup
		for i := range writers {
			all.Go(func() { nc.Write(bytes.Repeat([]byte{byte('a' + i)}, size)) })
		}
		all.Wait()
	}), Config{})
	got, err := io.ReadAll(dialTCP(t, l))
	if err != nil || len(got) != size*writers {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	for piece := got; len(piece) > 0; piece = piece[size:] {
		if n := bytes.Count(piece[:size], piece[:1]); n != size {
			t.Fatalf("only %d of %d bytes in a row are one writer's", n, size)
		}
	}
}

// yielding lets others go first after each Write.
type yielding struct{ net.Conn }

func (y yielding) Write(p []byte) (int, error) {
	n, err := y.Conn.Write(p)
	for range 100 {
		runtime.Gosched()
	}
	return n, err
}

// A panic counts as one also where the peer had ended before.
func TestDoorPanicAfterEOF(t *testing.T) {
	t.Parallel()
	b, dial := serveOne(t, 0, connFunc(func(nc net.Conn) {
		io.Copy(io.Discard, nc)
		panic("after the end")
	}), Config{Log: quiet})
	c := dial()
	c.CloseWrite()
	io.ReadAll(c)
	b.Shutdown(t.Context())
	if s := b.Stats(); s.Ended[Panic] != 1 {
		t.Errorf("%v", s.Ended)
	}
}

// A half-close that is not there is no event.
func TestDoorWithoutHalfClose(t *testing.T) {
	t.Parallel()
	ops := make(chan trace.Op, 20)
	l := listenTCP(t)
	startOn(t, listenerOf{l, func(c net.Conn) net.Conn { return noHalf{c} }}, connFunc(func(nc net.Conn) {
		if err := nc.(interface{ CloseWrite() error }).CloseWrite(); err == nil {
			t.Error("CloseWrite has ended what has no half-close")
		}
	}), Config{Sink: trace.Func(func(e *trace.Event) { ops <- e.Op })})
	io.ReadAll(dialTCP(t, l))
	for op := range ops {
		if op == trace.Shutdown {
			t.Error("there is an event")
		}
		if op == trace.Close {
			break
		}
	}
}

// listenerFunc is a ListenerServer from a function.
type listenerFunc func(net.Listener) error

func (f listenerFunc) Serve(l net.Listener) error { return f(l) }

func serving(svc any, l net.Listener, cfg Config) (*Blocking, <-chan error) {
	b, err := NewBlocking(svc, &cfg, func(serve func()) { go serve() })
	if err != nil {
		panic(err)
	}
	served := make(chan error, 1)
	go func() { served <- b.Serve(l) }()
	return b, served
}

// A service that ends by itself is asked why.
func TestListenerServiceEndsItself(t *testing.T) {
	t.Parallel()
	full := errors.New("disk full")
	l := listenTCP(t)
	b, served := serving(listenerFunc(func(net.Listener) error { return full }), l, Config{})
	if err := <-served; err != full {
		t.Errorf("Serve returned %v", err)
	}
	if _, err := net.Dial("tcp", l.Addr().String()); err == nil {
		t.Error("the listener is still there")
	}
	b.Close()
}

// Package net/http's own Shutdown ends its Serve as it always does; connections that it
// has not taken are closed.
func TestHTTPShutsItselfDown(t *testing.T) {
	t.Parallel()
	web := &http.Server{Handler: http.NotFoundHandler()}
	l := listenTCP(t)
	b, served := serving(web, l, Config{})
	c := dialTCP(t, l)
	io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	wantRead(t, "it serves", c, "HTTP/1.1 404")
	if err := web.Shutdown(context.Background()); err != nil {
		t.Errorf("Shutdown: %v", err)
	}
	if err := <-served; err != http.ErrServerClosed {
		t.Errorf("Serve returned %v", err)
	}
	if err := b.Shutdown(t.Context()); err != nil {
		t.Errorf("the engine's Shutdown: %v", err)
	}
}

// A listener that fails is why Serve ends, and not what the service makes of it.
func TestListenerServiceWithoutListener(t *testing.T) {
	t.Parallel()
	l := listenTCP(t)
	b, served := serving(&http.Server{}, brokenListener{l}, Config{})
	if err := <-served; !errors.Is(err, syscall.EINVAL) {
		t.Errorf("Serve returned %v", err)
	}
	b.Close()
}

type brokenListener struct{ net.Listener }

func (brokenListener) Accept() (net.Conn, error) { return nil, syscall.EINVAL }

// Who closes the listener second, the service or the engine, has not failed.
func TestListenerServiceClosesItsListener(t *testing.T) {
	t.Parallel()
	begun, closed := make(chan bool, 1), make(chan error, 1)
	b, served := serving(listenerFunc(func(d net.Listener) error {
		begun <- true
		_, err := d.Accept()
		closed <- d.Close()
		return err
	}), listenTCP(t), Config{})
	<-begun
	if err := b.Shutdown(t.Context()); err != nil {
		t.Errorf("Shutdown: %v", err)
	}
	if err := <-closed; err != nil {
		t.Errorf("closing what the engine has closed: %v", err)
	}
	if err := <-served; err != ErrClosed {
		t.Errorf("Serve returned %v", err)
	}
}

// A connection that the service does not take any more is cut, and the address that it
// listens on is the real one.
func TestListenerServiceThatTakesNone(t *testing.T) {
	t.Parallel()
	l := listenTCP(t)
	admitted := make(chan bool, 1)
	b, served := serving(listenerFunc(func(d net.Listener) error {
		if d.Addr() != l.Addr() {
			t.Errorf("it listens on %v", d.Addr())
		}
		<-admitted
		return errors.New("enough")
	}), l, Config{Sink: trace.Func(func(e *trace.Event) {
		if e.Op == trace.Accept {
			admitted <- true
		}
	})})
	c := dialTCP(t, l)
	<-served
	if _, err := io.ReadAll(c); isTimeout(err) {
		t.Error("it waits for ever")
	}
	b.Shutdown(t.Context())
	if s := b.Stats(); s.Ended[Cut] != 1 {
		t.Errorf("%v", s.Ended)
	}
}
