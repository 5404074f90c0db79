package sock

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"time"

	"yodel/trace"
)

// Phases tells what Dial did.
type Phases struct {
	Resolve time.Duration // the look-up of the name; 0 for an IP address
	Connect time.Duration // from the first attempt to the one that succeeded
	TLS     time.Duration // the handshake; 0 without

	Addrs    []netip.Addr // what the name stands for, in the order of the attempts
	Attempts []Attempt    // in the order in which they began
}

// An Attempt is one connect(2).
type Attempt struct {
	Addr netip.AddrPort // not valid (zero) for Unix sockets
	Took time.Duration
	Err  error // nil: this is the connection; ErrOutrun: another one is
}

func (a Attempt) reason() string {
	if e, ok := errors.AsType[*introduceError](a.Err); ok {
		return e.Error()
	}
	return reason(cause(a.Err), "connect")
}

// Dial connects to an address: socket(2) and connect(2). The network is "tcp",
// "tls", "unix" or "udp"; "http" stands for tcp, "https" for tls. An empty host is
// localhost. A datagram socket "connects" by remembering its peer: no packet is
// sent. Nil opts are the defaults.
//
// A name with several addresses is tried as RFC 8305 says (Happy Eyeballs): IPv6
// and IPv4 by turns, the next one after 250 ms without an answer, or at once when
// one fails, at most 16 of them; the first to answer is taken and the others are
// closed before Dial returns. [Conn.Phases] has them all.
//
// ctx bounds all of it. The error is a [*ResolveError], a [*ConnectError] or a
// [*HandshakeError].
func Dial(ctx context.Context, a Address, opts *Options) (*Conn, error) {
	d := &dialing{opening: opening{addr: plain(a), opts: opts.clone(), id: trace.NewID(), side: trace.Client}}
	var raw net.Conn
	var err error
	switch d.addr.Network {
	case "tcp", "tls", "udp":
		raw, err = d.dialIP(ctx)
	case "unix":
		raw, err = d.dialUnix(ctx)
	default:
		err = &ConnectError{Address: a, Attempts: []Attempt{{Err: unknownNetwork(a.Network, "tcp, tls, udp or unix")}}}
	}
	if err != nil {
		return nil, err
	}
	return d.connected(ctx, raw)
}

// A dialing is one call of Dial.
type dialing struct {
	opening // for each attempt a copy, with its own descriptor
	phases  Phases
}

func (d *dialing) dialIP(ctx context.Context) (net.Conn, error) {
	if d.addr.Host == "" {
		d.addr.Host = "localhost"
	}
	if d.addr.Network == "udp" {
		d.sets = d.opts.bufferOptions()
	} else {
		d.sets = d.opts.dialOptions()
	}
	addrs, took, err := d.resolve(ctx)
	if err != nil {
		return nil, err
	}
	addrs = interleave(addrs)
	d.phases.Resolve, d.phases.Addrs = took, addrs[:min(len(addrs), maxTargets)]
	return d.race(ctx, d.phases.Addrs)
}

// race connects to whichever address answers first.
func (d *dialing) race(ctx context.Context, addrs []netip.Addr) (net.Conn, error) {
	targets := make([]netip.AddrPort, len(addrs))
	for i, a := range addrs {
		targets[i] = netip.AddrPortFrom(a, d.addr.Port)
	}
	began := time.Now()
	raw, attempts := race(ctx, targets, d.attempt)
	d.phases.Connect, d.phases.Attempts = time.Since(began), attempts
	if raw == nil {
		return nil, &ConnectError{Address: d.addr, Attempts: attempts}
	}
	won := raw.(*attempted)
	won.traceConnect(won.Conn, trace.AddrPort(won.RemoteAddr()), nil)
	return won.Conn, nil
}

// An attempted is a connection that may win the race. One that loses leaves no
// Connect event.
type attempted struct {
	net.Conn
	opening
}

// attempt makes a socket and connects it.
func (d *dialing) attempt(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	o := d.opening // its own descriptor
	o.to = to
	nd := net.Dialer{Control: o.control, KeepAlive: -1, KeepAliveConfig: d.opts.keepAlive()}
	nd.SetMultipathTCP(d.opts.MPTCP)
	network := "tcp"
	if d.addr.Network == "udp" {
		network = "udp"
	}
	if src := d.opts.Source; src.IsValid() {
		nd.LocalAddr = localAddr(network, src)
	}
	raw, err := nd.DialContext(ctx, network, to.String())
	if err == nil && d.opts.Delay && network == "tcp" {
		raw.(*net.TCPConn).SetNoDelay(false) // best effort; package net has just set it
	}
	o.ended = time.Now()
	if err != nil {
		o.traceConnect(nil, to, outrun(ctx, err))
		return nil, err
	}
	return &attempted{raw, o}, nil
}

func localAddr(network string, a netip.Addr) net.Addr {
	if network == "udp" {
		return net.UDPAddrFromAddrPort(netip.AddrPortFrom(a, 0))
	}
	return net.TCPAddrFromAddrPort(netip.AddrPortFrom(a, 0))
}

// traceConnect emits what package net has called after control. raw is nil if it
// failed.
func (o *opening) traceConnect(raw net.Conn, to netip.AddrPort, err error) {
	if o.opts.Sink == nil || o.fd == 0 {
		return
	}
	bindFailed := failedCall(err) == "bind"
	if src := o.opts.Source; src.IsValid() && !o.unix {
		e := trace.Event{Op: trace.Bind, Time: o.ready, Local: netip.AddrPortFrom(src, 0)}
		if bindFailed {
			e.Err = err
		}
		o.emit(e)
	}
	if bindFailed {
		return
	}
	e := trace.Event{Op: trace.Connect, Time: o.ended, Took: o.ended.Sub(o.ready), Remote: to, Err: err}
	if raw != nil {
		e.Local = trace.AddrPort(raw.LocalAddr())
	}
	o.emit(e)
}

// connected goes on with a connected socket.
func (d *dialing) connected(ctx context.Context, raw net.Conn) (*Conn, error) {
	var cfg *tls.Config
	if d.addr.Network == "tls" {
		cfg = d.clientTLS()
	}
	c := newConn(raw, d.id, d.side, d.opts.Sink, cfg)
	if err := d.introduce(c); err != nil {
		c.EndAs("PROXY header not sent")
		c.Close()
		return nil, d.notIntroduced(raw, err)
	}
	if cfg != nil {
		if err := d.handshake(ctx, c); err != nil {
			c.EndAs("TLS handshake failed")
			c.Close()
			return nil, &HandshakeError{Address: d.addr, Err: err}
		}
	}
	c.phases = d.phases
	return c, nil
}

func (d *dialing) handshake(ctx context.Context, c *Conn) error {
	if t := d.opts.handshakeTimeout(); t > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, t)
		defer cancel()
	}
	began := time.Now()
	err := c.Handshake(ctx)
	d.phases.TLS = time.Since(began)
	return err
}
