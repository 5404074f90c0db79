package trace

import (
	"errors"
	"net"
	"syscall"
	"time"
)

// Listener returns l with a trace: each connection that it accepts gets a name, an
// [Accept] event, and goes on as a [*Conn] on the server's side. With a nil sink it
// returns l itself.
//
// The Accept event's Took is how long the program waited in Accept, and its Queued how
// long the connection had waited for that (see [Queued]). An Accept that
// fails is an event with Err and without a connection, unless l was closed.
func Listener(l net.Listener, sink Sink) net.Listener {
	if sink == nil {
		return l
	}
	return &listener{l, sink}
}

type listener struct {
	net.Listener
	sink Sink
}

func (l *listener) Accept() (net.Conn, error) {
	began := time.Now()
	nc, err := l.Listener.Accept()
	if err != nil {
		l.failed(began, err)
		return nil, err
	}
	c := NewConn(nc, NewID(), Server, l.sink)
	c.emit(Event{Op: Accept, Took: c.born.Sub(began), Queued: queued(nc)})
	return c, nil
}

func (l *listener) failed(began time.Time, err error) {
	if errors.Is(err, net.ErrClosed) {
		return
	}
	now := time.Now()
	e := Event{Op: Accept, Side: Server, Time: now, Took: now.Sub(began), Err: err}
	if a := l.Addr(); a != nil {
		e.Network, e.Local = a.Network(), AddrPort(a)
		e.Path = unixPath(a)
	}
	l.sink.Emit(&e)
}

// SyscallConn implements [syscall.Conn], where the listener below does.
func (l *listener) SyscallConn() (syscall.RawConn, error) {
	if sc, ok := l.Listener.(syscall.Conn); ok {
		return sc.SyscallConn()
	}
	return nil, errors.ErrUnsupported
}
