package engine

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"yodel"
	"yodel/trace"
	"yodel/yodeltest"
)

// serveOne starts an engine with a goroutine for each connection on a network in
// memory of so many bytes, and returns it and a way to dial it.
func serveOne(t *testing.T, size int, svc any, cfg Config) (*Blocking, func() *yodeltest.Conn) {
	t.Helper()
	n := &yodeltest.Net{Buffer: size}
	l, err := n.Listen("server")
	if err != nil {
		t.Fatal(err)
	}
	b := startOn(t, l, svc, cfg)
	return b, func() *yodeltest.Conn {
		c, err := n.Dial(context.Background(), "server")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
}

// startOn serves l until the test is over.
func startOn(t *testing.T, l net.Listener, svc any, cfg Config) *Blocking {
	t.Helper()
	b, err := NewBlocking(svc, &cfg, func(serve func()) { go serve() })
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- b.Serve(l) }()
	t.Cleanup(func() {
		b.Close()
		<-served
	})
	return b
}

func wantRead(t *testing.T, why string, c net.Conn, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if n, err := io.ReadFull(c, got); string(got) != want {
		t.Fatalf("%s: got %q, %v, want %q", why, got[:n], err, want)
	}
}

// A program that was late does not blame its peers: what they have sent meanwhile is
// read, and what it has for them is sent, before anyone is cut.
func TestLatenessIsNotThePeersFault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		svc := stepFunc(func(in yodel.Input, out *yodel.Out) (int, error) {
			if len(in.Data) > 0 && in.Data[0] == 's' { // "stall": the whole program stands still
				time.Sleep(time.Minute)
				out.WriteString("late")
				return len(in.Data), nil
			}
			return line(in, out)
		})
		_, dial := serveOne(t, 0, svc, Config{})
		c := dial()
		io.WriteString(c, "stall")
		wantRead(t, "a minute later than MinRate allows", c, "late")

		svc2 := stepFunc(func(in yodel.Input, out *yodel.Out) (int, error) {
			if string(in.Data) == "hal" {
				time.Sleep(time.Minute)
			}
			return line(in, out)
		})
		_, dial = serveOne(t, 0, svc2, Config{})
		c = dial()
		io.WriteString(c, "hal")
		synctest.Wait()
		io.WriteString(c, "f\n")
		wantRead(t, "the message was whole in time", c, "<half>")
	})
}

// A session gets its ticks also while a peer is slow to take what it has said.
func TestTicksWhileOutputIsStuck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ticks := make(chan time.Time, 10)
		svc := stepFunc(func(in yodel.Input, out *yodel.Out) (int, error) {
			switch in.Kind {
			case yodel.Open:
				out.Extend(1000)
			case yodel.Tick:
				ticks <- in.Now
			}
			out.WakeAt(in.Now.Add(time.Second))
			return len(in.Data), nil
		})
		_, dial := serveOne(t, 10, svc, Config{MinRate: -1})
		from := time.Now()
		dial()
		for i := range 3 {
			want := time.Duration(i+1) * time.Second
			if d := (<-ticks).Sub(from); d < want || d > want+100*time.Millisecond {
				t.Errorf("tick %d after %v", i+1, d)
			}
		}
	})
}

// counting counts the calls of Read.
type counting struct {
	net.Conn
	reads *atomic.Int64
}

func (c counting) Read(p []byte) (int, error) {
	c.reads.Add(1)
	return c.Conn.Read(p)
}

type listenerOf struct {
	net.Listener
	wrap func(net.Conn) net.Conn
}

func (l listenerOf) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return l.wrap(c), nil
}

func listenTCP(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func dialTCP(t *testing.T, l net.Listener) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(30 * time.Second))
	return c.(*net.TCPConn)
}

// Shutdown wakes a connection that has no timers once, and not over and over.
func TestShutdownWithoutTimersWaits(t *testing.T) {
	t.Parallel()
	var reads atomic.Int64
	l := listenTCP(t)
	b := startOn(t, listenerOf{l, func(c net.Conn) net.Conn { return counting{c, &reads} }}, stepFunc(line),
		Config{Idle: -1, HeaderTimeout: -1, Quiet: -1, MinRate: -1})
	c := dialTCP(t, l)
	io.WriteString(c, "one\n")
	wantRead(t, "it is served", c, "<one>")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := b.Shutdown(ctx); err != context.DeadlineExceeded {
		t.Errorf("Shutdown: %v", err)
	}
	if n := reads.Load(); n > 8 {
		t.Errorf("in 50 ms of waiting %d reads", n)
	}
	io.WriteString(c, "two\n")
	wantRead(t, "it is served on", c, "<two>")
}

// noHalf is a connection without half-close.
type noHalf struct{ net.Conn }

func TestConnectionWithoutHalfClose(t *testing.T) {
	t.Parallel()
	var events chan trace.Event = make(chan trace.Event, 20)
	l := listenTCP(t)
	startOn(t, listenerOf{l, func(c net.Conn) net.Conn { return noHalf{c} }},
		stepFunc(func(_ yodel.Input, out *yodel.Out) (int, error) {
			out.WriteString("bye")
			return 0, io.EOF
		}), Config{Sink: trace.Func(func(e *trace.Event) { events <- *e })})
	c := dialTCP(t, l)
	if got, err := io.ReadAll(c); string(got) != "bye" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	for e := range events {
		if e.Op == trace.Shutdown || e.Op == trace.EOF {
			t.Errorf("an event of what has not happened: %v", e.Op)
		}
		if e.Op == trace.Close {
			break
		}
	}
}

// wrapped is what a listener that wraps connections may return.
type wrapped struct{ net.Conn }

func (w wrapped) NetConn() net.Conn { return w.Conn }

// A connection that is cut is reset also below what wraps it.
func TestCutBelowAWrapper(t *testing.T) {
	t.Parallel()
	l := listenTCP(t)
	b := startOn(t, listenerOf{l, func(c net.Conn) net.Conn { return wrapped{c} }}, stepFunc(echo), Config{})
	c := dialTCP(t, l)
	io.WriteString(c, "x")
	wantRead(t, "it is served", c, "x")
	b.Close()
	if _, err := c.Read(make([]byte, 1)); ReasonOf(err) != Reset {
		t.Errorf("the peer sees %v", err)
	}
}

// Close ends a handshake that is under way, and says so.
func TestCloseDuringHandshake(t *testing.T) {
	t.Parallel()
	for name, svc := range map[string]any{"session": stepFunc(echo), "door": connFunc(func(net.Conn) {})} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			accepted := make(chan bool, 1)
			l := listenTCP(t)
			b := startOn(t, l, svc, Config{TLS: &tls.Config{}, Sink: trace.Func(func(e *trace.Event) {
				if e.Op == trace.Accept {
					accepted <- true
				}
			})})
			io.WriteString(dialTCP(t, l), "\x16")
			<-accepted
			b.Close()
			if s := b.Stats(); s.Ended[Cut] != 1 || s.Active != 0 {
				t.Errorf("%+v", s)
			}
		})
	}
}

// connFunc is a ConnServer from a function.
type connFunc func(net.Conn)

func (f connFunc) ServeConn(nc net.Conn) { f(nc) }
