package sock

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"yodel/trace"
)

// A PacketConn is a bound datagram socket: one socket for all peers, without
// connections. Its methods are those of [net.UDPConn]; ReadFromUDPAddrPort and
// WriteToUDPAddrPort do not allocate.
type PacketConn struct {
	*net.UDPConn
	addr  Address
	id    trace.ConnID
	fd    int
	began time.Time
	sink  trace.Sink

	closing sync.Once
}

// ListenPacket makes a datagram socket and binds it: socket(2), bind(2). The network
// is "udp". Host, port and errors are as for [Listen]; of the options Device,
// ReadBuffer, WriteBuffer, Family, Resolver and Sink apply.
func ListenPacket(ctx context.Context, a Address, opts *Options) (*PacketConn, error) {
	o := &opening{addr: a, opts: opts.clone(), id: trace.NewID(), side: trace.Server}
	if a.Network != "udp" {
		return nil, &ListenError{Address: a, Err: errors.New("not a network of datagrams"), Advice: "use udp, or Listen"}
	}
	host, err := o.bindHost(ctx)
	if err != nil {
		return nil, err
	}
	o.sets = o.opts.bufferOptions()
	lc := net.ListenConfig{Control: o.control}
	inner, err := lc.ListenPacket(ctx, "udp"+o.opts.Family.suffix(), Address{Host: host, Port: a.Port}.HostPort())
	if err != nil {
		o.traceBind(nil, err)
		return nil, o.failed(err)
	}
	o.traceBind(inner.LocalAddr(), nil)
	o.addr.Host, o.addr.Port = host, trace.AddrPort(inner.LocalAddr()).Port()
	return &PacketConn{
		UDPConn: inner.(*net.UDPConn), addr: o.addr, id: o.id, fd: o.fd, began: o.ready, sink: o.opts.Sink,
	}, nil
}

// Address returns what is really bound, see [Listener.Address].
func (c *PacketConn) Address() Address { return c.addr }

// Network returns "udp".
func (c *PacketConn) Network() string { return c.addr.Network }

// ID names the socket in trace events.
func (c *PacketConn) ID() trace.ConnID { return c.id }

// Close closes the socket.
func (c *PacketConn) Close() error {
	err := c.UDPConn.Close()
	c.closing.Do(func() {
		if c.sink == nil {
			return
		}
		now := time.Now()
		c.sink.Emit(&trace.Event{
			Conn: c.id, Op: trace.Close, Side: trace.Server, Time: now, Took: now.Sub(c.began), FD: c.fd,
			Network: "udp", Local: trace.AddrPort(c.LocalAddr()), Err: err,
		})
	})
	return err
}
