package sock

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"syscall"
	"time"

	"yodel/trace"
)

// A Conn is a connected socket, from Dial or from a Listener, with what this
// package knows about it. It is a [net.Conn] that leaves a trace, see
// [trace.Conn] for Read, Write, CloseWrite, Close, ID and Sums.
type Conn struct {
	*trace.Conn
	raw    net.Conn // the socket: *net.TCPConn, *net.UnixConn or *net.UDPConn
	tls    *tlsConn // nil: no TLS
	side   trace.Side
	phases Phases
}

var _ net.Conn = (*Conn)(nil)

// newConn wraps a connected socket. cfg is nil for no TLS.
func newConn(raw net.Conn, id trace.ConnID, side trace.Side, sink trace.Sink, cfg *tls.Config) *Conn {
	c := &Conn{raw: raw, side: side}
	if cfg == nil {
		c.Conn = trace.NewConn(raw, id, side, sink)
		return c
	}
	if side == trace.Client {
		c.tls = &tlsConn{Conn: tls.Client(raw, cfg)}
	} else {
		c.tls = &tlsConn{Conn: tls.Server(raw, cfg)}
	}
	c.Conn = trace.NewConn(c.tls, id, side, sink)
	if sink != nil {
		c.tls.done = func(took time.Duration, err error) {
			e := c.event(trace.Handshake)
			e.Took, e.Err = took, err
			if err == nil {
				e.Text = describeTLS(c.tls.Conn.ConnectionState())
			}
			sink.Emit(&e)
		}
	}
	return c
}

// event returns an event of c as it is now.
func (c *Conn) event(op trace.Op) trace.Event {
	e := trace.Event{
		Conn: c.ID(), Op: op, Side: c.side, Time: time.Now(), FD: trace.Descriptor(c.raw),
		Network: c.Network(), Local: trace.AddrPort(c.LocalAddr()), Remote: trace.AddrPort(c.RemoteAddr()),
	}
	if e.Network == "unix" {
		e.Path = c.path()
	}
	e.In, e.Out = c.Sums()
	return e
}

// path returns the path of the server's Unix socket; clients' have none.
func (c *Conn) path() string {
	if c.side == trace.Client {
		return c.RemoteAddr().String()
	}
	return c.LocalAddr().String()
}

// Network returns "tcp", "tls", "unix" or "udp".
func (c *Conn) Network() string {
	if c.tls != nil {
		return "tls"
	}
	return c.raw.LocalAddr().Network()
}

// Side says which end of the connection this is.
func (c *Conn) Side() trace.Side { return c.side }

// Pair returns the socket pair; the zero Pair for Unix sockets.
func (c *Conn) Pair() Pair {
	if c.Network() == "unix" {
		return Pair{}
	}
	return PairOf(c.raw, c.side)
}

// Phases tells what Dial did and how long each part took; it is zero for accepted
// connections.
func (c *Conn) Phases() Phases { return c.phases }

// Handshake runs the TLS handshake if it has not been run, and does nothing for
// other connections. When ctx ends, so does the connection. Without it the first
// Read or Write runs the handshake, bounded by the connection's deadlines only.
func (c *Conn) Handshake(ctx context.Context) error {
	if c.tls == nil {
		return nil
	}
	return c.tls.handshake(ctx)
}

// ConnectionState returns the state of TLS; the zero ConnectionState, whose
// HandshakeComplete is false, for other connections.
func (c *Conn) ConnectionState() tls.ConnectionState {
	if c.tls == nil {
		return tls.ConnectionState{}
	}
	return c.tls.ConnectionState()
}

// SetLinger says what Close does with data that was not sent yet, see
// [net.TCPConn.SetLinger]; 0 throws it away and resets the connection. The error is
// [errors.ErrUnsupported] if this is not TCP, with or without TLS.
func (c *Conn) SetLinger(seconds int) error {
	tcp, ok := c.raw.(*net.TCPConn)
	if !ok {
		return errors.ErrUnsupported
	}
	return tcp.SetLinger(seconds)
}

// NetConn returns the socket below: a [*net.TCPConn], [*net.UnixConn] or
// [*net.UDPConn], also under TLS. What is read or written there is neither counted
// nor, under TLS, enciphered.
func (c *Conn) NetConn() net.Conn { return c.raw }

// SyscallConn gives access to the descriptor.
func (c *Conn) SyscallConn() (syscall.RawConn, error) {
	return c.raw.(syscall.Conn).SyscallConn()
}

// A tlsConn tells once when its handshake has ended, whoever began it.
type tlsConn struct {
	*tls.Conn
	once sync.Once
	err  error                      // of the handshake
	done func(time.Duration, error) // may be nil
}

func (c *tlsConn) handshake(ctx context.Context) error {
	c.once.Do(func() {
		began := time.Now()
		c.err = c.HandshakeContext(ctx)
		if c.done != nil {
			c.done(time.Since(began), c.err)
		}
	})
	return c.err
}

func (c *tlsConn) Read(p []byte) (int, error) {
	if err := c.handshake(context.Background()); err != nil {
		return 0, err
	}
	return c.Conn.Read(p)
}

func (c *tlsConn) Write(p []byte) (int, error) {
	if err := c.handshake(context.Background()); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}

// CloseWrite sends the alert that ends our direction (RFC 8446 §6.1). The peer may
// go on sending.
func (c *tlsConn) CloseWrite() error {
	if err := c.handshake(context.Background()); err != nil {
		return err
	}
	return c.Conn.CloseWrite()
}
