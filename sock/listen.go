package sock

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"yodel/trace"
)

// A Listener is a listening socket: connection requests queue there until Accept
// takes them. It is a [net.Listener]; its methods may be called from many
// goroutines.
type Listener struct {
	addr  Address
	opts  *Options
	id    trace.ConnID
	fd    int
	began time.Time
	inner net.Listener
	tls   *tls.Config // nil: the payload is plain
	path  *boundPath  // nil: there is no file to remove

	closing sync.Once
}

var _ net.Listener = (*Listener)(nil)

// Listen makes a socket, binds it to the address and listens: socket(2), bind(2),
// listen(2). The network is "tcp", "tls" or "unix"; "http" stands for tcp, "https"
// for tls. Nil opts are the defaults.
//
// An empty host takes every interface, IPv4 and IPv6 alike. One listener is one
// socket with one address, so of a name with several the first IPv4 address is
// bound, or the first of all where there is none: localhost is 127.0.0.1. Port 0
// takes a free port, which [Listener.Address] tells.
//
// A Unix path is made with Options.UnixMode. If something is there already, Listen
// fails, unless that is a socket of the same user on which nobody listens: the
// remains of a program that was killed, which it replaces.
//
// The error is a [*ResolveError] if the host has no address to bind, and a
// [*ListenError] for everything else. ctx bounds the look-up of the name.
func Listen(ctx context.Context, a Address, opts *Options) (*Listener, error) {
	o := &opening{addr: plain(a), opts: opts.clone(), id: trace.NewID(), side: trace.Server}
	switch o.addr.Network {
	case "tcp", "tls":
		o.sets = o.opts.listenOptions()
		return o.listenIP(ctx)
	case "unix":
		return o.listenUnix(ctx)
	case "udp":
		return nil, &ListenError{Address: a, Err: errors.New("datagrams have no connections to listen for"), Advice: "use ListenPacket"}
	}
	return nil, &ListenError{Address: a, Err: unknownNetwork(a.Network, "tcp, tls or unix")}
}

// plain returns the address below the protocols that run on top of one.
func plain(a Address) Address {
	switch a.Network {
	case "":
		a.Network = "tcp"
	case "http":
		a.Network, a.Path = "tcp", ""
	case "https":
		a.Network, a.Path = "tls", ""
	}
	return a
}

func unknownNetwork(name, known string) error {
	return fmt.Errorf("unknown network %s: use %s", quote(name), known)
}

func (o *opening) listenIP(ctx context.Context) (*Listener, error) {
	cfg, err := o.serverTLS()
	if err != nil {
		return nil, o.failed(err)
	}
	host, err := o.bindHost(ctx)
	if err != nil {
		return nil, err
	}
	inner, err := o.listen(ctx, "tcp"+o.opts.Family.suffix(), Address{Host: host, Port: o.addr.Port}.HostPort())
	if err != nil {
		return nil, err
	}
	l := o.listener(inner)
	l.tls = cfg
	l.addr.Host, l.addr.Port = host, trace.AddrPort(inner.Addr()).Port()
	if l.addr.Port == 0 { // package net does without it; who asked for port 0 can't
		inner.Close()
		return nil, o.failed(errNoAddress)
	}
	return l, nil
}

var errNoAddress = errors.New("getsockname: the kernel does not say what is bound")

func (o *opening) listener(inner net.Listener) *Listener {
	return &Listener{addr: o.addr, opts: o.opts, id: o.id, fd: o.fd, began: o.ready, inner: inner}
}

// bindHost returns the IP address to bind, "" for all.
func (o *opening) bindHost(ctx context.Context) (string, error) {
	if o.addr.Host == "" {
		return "", nil
	}
	addrs, _, err := o.resolve(ctx)
	if err != nil {
		return "", err
	}
	for _, a := range addrs {
		if a.Is4() {
			return a.String(), nil
		}
	}
	return addrs[0].String(), nil
}

// listen makes the three calls, and those that package net does not make.
func (o *opening) listen(ctx context.Context, network, address string) (net.Listener, error) {
	lc := net.ListenConfig{Control: o.control, KeepAlive: -1}
	if !inherits {
		lc.KeepAliveConfig = o.opts.keepAlive()
	}
	lc.SetMultipathTCP(o.opts.MPTCP)
	inner, err := lc.Listen(ctx, network, address)
	if err == nil {
		if err = o.finish(inner.(syscall.Conn)); err != nil {
			inner.Close()
		}
	}
	o.traceListen(inner, err)
	if err != nil {
		return nil, o.failed(err)
	}
	return inner, nil
}

// finish does what must wait until the socket listens.
func (o *opening) finish(s syscall.Conn) error {
	raw, err := s.SyscallConn()
	if err != nil {
		return err
	}
	return control(raw, func(fd uintptr) error {
		if o.opts.Backlog > 0 {
			if err := relisten(fd, o.opts.Backlog); err != nil {
				return err
			}
		}
		if !o.opts.ReusePort {
			return nil
		}
		// Only now: bind without the option has just proved that the port was
		// nobody's. The kernel takes the socket into a group when the second
		// one of Share arrives.
		return reusePort.set(fd)
	})
}

var reusePort = sockopt{
	"SO_REUSEPORT", syscall.SOL_SOCKET, soReusePort, 1, true,
	"use one listener and accept from it in several goroutines",
}

// traceListen emits what package net has called.
func (o *opening) traceListen(inner net.Listener, err error) {
	var local net.Addr
	if inner != nil {
		local = inner.Addr()
	}
	if o.traceBind(local, err) {
		o.emit(trace.Event{
			Op: trace.Listen, Local: trace.AddrPort(local), Bytes: backlogInForce(o.opts.Backlog), Err: err,
		})
	}
}

// traceBind emits the call of bind and reports whether it succeeded. err is what
// came of it or of a later call.
func (o *opening) traceBind(local net.Addr, err error) bool {
	if o.opts.Sink == nil || o.fd == 0 {
		return false
	}
	e := trace.Event{Op: trace.Bind, Time: o.ready, Local: trace.AddrPort(local)}
	switch failedCall(err) {
	case "bind":
		e.Err = err
		o.emit(e)
		return false
	case "", "listen":
		o.emit(e)
		return true
	}
	return false // it was not called
}

// Share opens another listening socket on the same address, for event loops that
// each accept from a queue of their own: the kernel spreads connections over them.
// The Listener must have been opened with Options.ReusePort. The new one has the
// same options and an ID of its own, and either may be closed first; what waits in
// the queue of one that is closed is reset (SO_REUSEPORT, socket(7)).
func (l *Listener) Share() (*Listener, error) {
	o := &opening{addr: l.addr, opts: l.opts.clone(), id: trace.NewID(), side: trace.Server}
	if !l.opts.ReusePort || l.path != nil || l.addr.Network == "unix" {
		return nil, o.failed(fmt.Errorf("share: %w: set ReusePort on a tcp or tls listener", errors.ErrUnsupported))
	}
	o.sets = append(o.opts.listenOptions(), reusePort)
	inner, err := o.listen(context.Background(), "tcp"+l.opts.Family.suffix(), l.addr.HostPort())
	if err != nil {
		return nil, err
	}
	shared := o.listener(inner)
	shared.tls = l.tls
	return shared, nil
}

// Accept waits for a connection and returns it: a [*Conn], see
// [Listener.AcceptConn].
func (l *Listener) Accept() (net.Conn, error) {
	c, err := l.AcceptConn()
	if err != nil {
		return nil, err
	}
	return c, nil
}

// AcceptConn waits for a connection request and returns the connected socket:
// accept(2). A TLS connection is returned before its handshake, which is done by
// [Conn.Handshake] or the first read or write. Errors are those of package net,
// [net.ErrClosed] among them.
func (l *Listener) AcceptConn() (*Conn, error) {
	began := time.Now()
	inner, err := l.accept()
	if err != nil {
		l.acceptFailed(began, err)
		return nil, err
	}
	return l.accepted(inner, began), nil
}

func (l *Listener) accept() (net.Conn, error) {
	inner, err := l.inner.Accept()
	if err != nil {
		return nil, err
	}
	if tcp, ok := inner.(*net.TCPConn); ok && l.opts.Delay {
		tcp.SetNoDelay(false) // best effort; package net has just set it
	}
	return inner, nil
}

// acceptFailed emits an Accept that came to nothing. A closed listener and an
// expired deadline are the program's own doing.
func (l *Listener) acceptFailed(began time.Time, err error) {
	if l.opts.Sink == nil || errors.Is(err, net.ErrClosed) || errors.Is(err, os.ErrDeadlineExceeded) {
		return
	}
	e := l.event(trace.Accept, began)
	e.Err = err
	l.opts.Sink.Emit(&e)
}

// event returns an event of l as it is now.
func (l *Listener) event(op trace.Op, began time.Time) trace.Event {
	now := time.Now()
	return trace.Event{
		Conn: l.id, Op: op, Side: trace.Server, Time: now, Took: now.Sub(began), FD: l.fd,
		Network: l.addr.Network, Local: trace.AddrPort(l.inner.Addr()), Path: l.addr.Path,
	}
}

func (l *Listener) accepted(inner net.Conn, began time.Time) *Conn {
	c := newConn(inner, trace.NewID(), trace.Server, l.opts.Sink, l.tls)
	if l.opts.Sink != nil {
		e := c.event(trace.Accept)
		e.Took = e.Time.Sub(began)
		e.Queued = trace.Queued(inner)
		l.opts.Sink.Emit(&e)
	}
	return c
}

// Close stops listening; requests that wait are reset. A Unix path is removed if
// it is still the one this Listener made.
func (l *Listener) Close() error {
	err := net.ErrClosed
	l.closing.Do(func() {
		l.path.remove() // first: the socket keeps its inode number from being used again
		err = l.inner.Close()
		l.traceClose(err)
	})
	return err
}

func (l *Listener) traceClose(err error) {
	if l.opts.Sink == nil {
		return
	}
	e := l.event(trace.Close, l.began)
	e.Err = err
	l.opts.Sink.Emit(&e)
}

// Addr returns the bound address in the form of package net.
func (l *Listener) Addr() net.Addr { return l.inner.Addr() }

// Address returns what is really bound: an IP address in place of a name, the port
// in place of 0. The host stays empty for all interfaces.
func (l *Listener) Address() Address { return l.addr }

// Network returns "tcp", "tls" or "unix".
func (l *Listener) Network() string { return l.addr.Network }

// ID names the listening socket in trace events. Connections have IDs of their own.
func (l *Listener) ID() trace.ConnID { return l.id }

// Fingerprint returns the fingerprint of the certificate a TLS listener shows, for
// PinConfig; empty for other networks and where the certificate is chosen for each
// client.
func (l *Listener) Fingerprint() string {
	if l.tls == nil || len(l.tls.Certificates) == 0 {
		return ""
	}
	return Fingerprint(l.tls.Certificates[0].Certificate[0])
}

// SetDeadline makes Accept fail with [os.ErrDeadlineExceeded] from t on; the zero
// time lifts it.
func (l *Listener) SetDeadline(t time.Time) error {
	return l.inner.(interface{ SetDeadline(time.Time) error }).SetDeadline(t)
}

// SyscallConn gives access to the descriptor.
func (l *Listener) SyscallConn() (syscall.RawConn, error) {
	return l.inner.(syscall.Conn).SyscallConn()
}

// failedCall returns the name of the system call that failed; "" if none did.
func failedCall(err error) string {
	if call, ok := errors.AsType[*os.SyscallError](err); ok {
		return call.Syscall
	}
	if err != nil {
		return "none"
	}
	return ""
}
