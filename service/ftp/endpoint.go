package ftp

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"time"

	"yodel/sock"
	"yodel/trace"
)

// An endpoint is where the next data connection comes from or goes to.
type endpoint interface {
	// connect returns the connection. It returns at once when ctx ends.
	connect(ctx context.Context) (net.Conn, error)

	// close gives back what is not needed if connect is not called.
	close()
}

// Why there is no data connection.
var (
	errStolen = errors.New("ftp: somebody else has come to the data port")
	errAbsent = errors.New("ftp: nobody has come to the data port")
)

func (s *session) dropEndpoint() {
	if s.endpoint != nil {
		s.endpoint.close()
		s.endpoint = nil
	}
}

// A passive is a listening socket for one data connection.
type passive struct {
	l     net.Listener
	peer  netip.Addr
	limit time.Duration
	timer *time.Timer // closes l; nil: nothing does
}

func newPassive(l net.Listener, peer netip.Addr, limit time.Duration) *passive {
	p := &passive{l: l, peer: peer, limit: limit}
	if limit > 0 {
		p.timer = time.AfterFunc(limit, func() { l.Close() })
	}
	return p
}

func (p *passive) close() {
	if p.timer != nil {
		p.timer.Stop()
	}
	p.l.Close()
}

// connect accepts one connection, and takes it if it is the client's.
func (p *passive) connect(ctx context.Context) (net.Conn, error) {
	defer p.close()
	if p.timer != nil {
		p.timer.Reset(p.limit)
	}
	stop := context.AfterFunc(ctx, func() { p.l.Close() })
	defer stop()
	nc, err := p.l.Accept()
	switch {
	case err != nil && ctx.Err() == nil && errors.Is(err, net.ErrClosed):
		return nil, errAbsent
	case err != nil:
		return nil, err
	case p.peer.IsValid() && !samePlace(trace.AddrPort(nc.RemoteAddr()).Addr(), p.peer):
		nc.Close()
		return nil, errStolen
	}
	return nc, nil
}

// An active is an address of the client that is called for one data connection.
type active struct {
	to    netip.AddrPort
	from  netip.AddrPort // our address and port; not valid: any
	limit time.Duration
	sink  trace.Sink
}

func (*active) close() {}

// connect calls from the control connection's port less one, which is 20 where that is 21
// (RFC 959 §3.2), if that may be bound, and else from any port.
func (a *active) connect(ctx context.Context) (net.Conn, error) {
	if a.limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, a.limit)
		defer cancel()
	}
	var last error
	for _, from := range []netip.AddrPort{a.from, netip.AddrPortFrom(a.from.Addr(), 0), {}} {
		nc, err := a.dial(ctx, from)
		if err == nil || !canNotBind(err) {
			return nc, err
		}
		last = err
	}
	return nil, last
}

func (a *active) dial(ctx context.Context, from netip.AddrPort) (net.Conn, error) {
	d := trace.Dialer{Sink: a.sink, Dialer: net.Dialer{
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 15 * time.Second, Count: 4},
	}}
	d.Dialer.SetMultipathTCP(false)
	if from.IsValid() {
		d.Dialer.LocalAddr = net.TCPAddrFromAddrPort(from)
		d.Dialer.Control = func(_, _ string, rc syscall.RawConn) error {
			// Transfers to several clients, or after another, share the port.
			return rc.Control(func(fd uintptr) { setReuseAddr(fd) })
		}
	}
	return d.DialContext(ctx, "tcp", a.to.String())
}

// canNotBind reports whether it is our own address or port that is in the way: it is not
// ours to use, or the same two ends had a connection a moment ago.
func canNotBind(err error) bool {
	for _, e := range []error{syscall.EACCES, syscall.EPERM, syscall.EADDRINUSE, syscall.EADDRNOTAVAIL} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// useActive is what PORT and EPRT do.
func (s *session) useActive(to netip.AddrPort, err error) reply {
	switch {
	case s.epsvOnly:
		return say(501, "You have said EPSV ALL.")
	case err == errProtocol:
		return sayf(522, "That version of IP is not known: use (%s).", s.protocol())
	case err != nil:
		return say(501, "That is not an address and a port.")
	}
	if r := checkActive(to, s.peer); r.failed() {
		return r
	}
	s.dropEndpoint()
	a := &active{to: netip.AddrPortFrom(s.peer.Addr(), to.Port()), limit: s.cfg.dataTimeout(), sink: s.cfg.dataSink()}
	if p := s.local.Port(); p > 1 {
		a.from = netip.AddrPortFrom(s.local.Addr(), p-1)
	}
	s.endpoint = a
	return say(200, "OK.")
}

// dataSink is where data connections leave their traces, under IANA's name for them.
func (c *Config) dataSink() trace.Sink { return trace.For("ftp-data", c.Sink) }

func (s *session) portVerb(arg string) reply { return s.useActive(parsePort(arg)) }

func (s *session) eprtVerb(arg string) reply { return s.useActive(parseEPRT(arg)) }

// protocol is the number of the control connection's version of IP (RFC 2428 §2).
func (s *session) protocol() string {
	if s.local.Addr().Is4() {
		return "1"
	}
	return "2"
}

func (s *session) pasvVerb(string) reply {
	switch {
	case s.epsvOnly:
		return say(501, "You have said EPSV ALL.")
	case !s.local.Addr().Is4():
		return say(425, "PASV has no room for this address: say EPSV.")
	}
	at, r := s.listen()
	if r.failed() {
		return r
	}
	if s.cfg.PassiveAddress.IsValid() && !s.isLocal() {
		at = netip.AddrPortFrom(s.cfg.PassiveAddress, at.Port())
	}
	return sayf(227, "Entering passive mode (%s).", formatPASV(at))
}

func (s *session) epsvVerb(arg string) reply {
	switch {
	case strings.EqualFold(arg, "ALL"):
		s.epsvOnly = true
		return say(200, "EPSV it is, from now on.")
	case !s.local.IsValid():
		return say(425, "There are no ports on this connection.")
	case arg != "" && arg != s.protocol():
		return sayf(522, "This connection has another version of IP: use (%s).", s.protocol())
	}
	at, r := s.listen()
	if r.failed() {
		return r
	}
	return sayf(229, "Entering extended passive mode (|||%d|).", at.Port())
}

// listen makes the socket to which the next data connection comes.
func (s *session) listen() (netip.AddrPort, reply) {
	s.dropEndpoint()
	l, err := s.listenAt(s.local.Addr())
	if errors.Is(err, syscall.EADDRNOTAVAIL) { // a proxy tells an address that is not ours
		any := netip.IPv6Unspecified()
		if s.local.Addr().Is4() {
			any = netip.IPv4Unspecified()
		}
		l, err = s.listenAt(any)
	}
	if err != nil {
		s.warn("no passive data connection", "", "error", err)
		return netip.AddrPort{}, say(425, "There is no port for it now; try again.")
	}
	s.endpoint = newPassive(l, s.peer.Addr(), s.cfg.dataTimeout())
	return netip.AddrPortFrom(s.local.Addr(), trace.AddrPort(l.Addr()).Port()), reply{}
}

// listenAt listens on a port of Config.PassivePorts: on all of them in turn, from a
// random one on, until one is free.
func (s *session) listenAt(addr netip.Addr) (l net.Listener, err error) {
	ports := s.cfg.PassivePorts
	if ports.Last == 0 {
		return s.cfg.listen(s.ctx, netip.AddrPortFrom(addr, 0))
	}
	n := int(ports.Last) - int(ports.First) + 1
	from := rand.IntN(n)
	for i := range n {
		port := int(ports.First) + (from+i)%n
		l, err = s.cfg.listen(s.ctx, netip.AddrPortFrom(addr, uint16(port)))
		if !errors.Is(err, syscall.EADDRINUSE) {
			break
		}
	}
	return l, err
}

func (c *Config) listen(ctx context.Context, at netip.AddrPort) (net.Listener, error) {
	if c.Listen != nil {
		return c.Listen(ctx, at)
	}
	return sock.Listen(ctx, sock.Address{Network: "tcp", Host: at.Addr().String(), Port: at.Port()},
		&sock.Options{Backlog: 1, Sink: c.dataSink()})
}
