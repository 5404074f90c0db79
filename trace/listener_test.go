package trace_test

import (
	"errors"
	"io"
	"net"
	"testing"

	"yodel/trace"
)

func TestListener(t *testing.T) {
	t.Parallel()
	rec := newRecorder()
	l := trace.Listener(listen(t, "tcp", "127.0.0.1:0"), rec)
	var names []trace.ConnID
	for range 2 {
		client, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		s, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		all := rec.all()
		e := all[len(all)-1]
		check(t, "kind", e.Op, trace.Accept)
		check(t, "conn", e.Conn, s.(*trace.Conn).ID())
		check(t, "side", e.Side, trace.Server)
		check(t, "descriptor", e.FD, trace.Descriptor(s))
		check(t, "remote", e.Remote.String(), client.LocalAddr().String())
		check(t, "local", e.Local.String(), l.Addr().String())
		if e.Took <= 0 {
			t.Errorf("accept took %v", e.Took)
		}
		names = append(names, e.Conn)
		s.Close()
	}
	if names[0] == names[1] {
		t.Errorf("two connections are named %v", names[0])
	}
	l.Close()
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("accept after close: %v", err)
	}
	rec.wantOps(t, "accept close accept close")
}

func TestListenerWithoutSink(t *testing.T) {
	t.Parallel()
	l := listen(t, "tcp", "127.0.0.1:0")
	check(t, "a listener with a nil sink", trace.Listener(l, nil), l)
}

// exhausted is a listener without descriptors.
type exhausted struct{ net.Listener }

var errNoDescriptors = errors.New("too many open files")

func (exhausted) Accept() (net.Conn, error) { return nil, errNoDescriptors }

type nowhere struct{ exhausted }

func (nowhere) Addr() net.Addr { return nil }

func TestAcceptThatFails(t *testing.T) {
	t.Parallel()
	below := listen(t, "tcp", "127.0.0.1:0")
	for _, l := range []net.Listener{exhausted{below}, nowhere{}} {
		rec := newRecorder()
		traced := trace.Listener(l, rec)
		if _, err := traced.Accept(); err != errNoDescriptors {
			t.Errorf("accept: %v", err)
		}
		e := rec.wait(t, trace.Accept)
		check(t, "error", e.Err, errNoDescriptors)
		check(t, "conn", e.Conn, trace.ConnID{})
		if _, ok := l.(exhausted); ok {
			check(t, "local", e.Local.String(), below.Addr().String())
		}
		check(t, "descriptor", trace.Descriptor(traced), 0)
	}
}

// echo serves l, one connection at a time, until it is closed.
func echo(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		io.Copy(c, c)
		c.Close()
	}
}
