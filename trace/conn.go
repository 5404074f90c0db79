package trace

import (
	"errors"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// How a traced connection ended: the Text of its [Close] event. Engines say it with
// more words, for they know more: "idle", "drained at shutdown".
const (
	EndPeer     = "closed by peer" // the peer ended its direction before we ended ours
	EndHere     = "closed here"    // we ended our direction first, or closed without having seen the peer's end
	EndReset    = "reset by peer"  // also: the peer was gone when we wrote
	EndVanished = "peer vanished"  // it no longer answers: keepalive, TCP_USER_TIMEOUT, or what the network says of it
	EndFault    = "fault"          // another error, which is the event's Err
)

// A Conn is a connection that leaves a trace. It emits the first [Read] and the
// first [Write] that move bytes (each call, with its error, if the sink wants that:
// see [WantsEach]), [EOF], [Shutdown] and [Close].
//
// Close is the last event, emitted once, with what the kernel knows of a TCP connection: when Close has been called and the calls
// that were under way have returned, so that its sums are whole. It says how the
// connection ended, see [EndPeer], and in Took how long it lived.
//
// The sums count what the program read and wrote. With a nil sink they are all that
// is kept.
type Conn struct {
	net.Conn // the connection below

	sink Sink
	each bool      // the sink wants each call
	born time.Time // when NewConn was called
	base Event     // what all events have in common; set once

	in, out atomic.Int64
	calls   atomic.Int64 // calls under way, and one while open; once 0 it stays 0

	closing sync.Once // takes the one for "open" out of calls
	sum     *TCPSum   // set before that

	read, wrote, eof atomic.Bool // the event is out
	order            atomic.Int32

	mu     sync.Mutex // guards what follows
	reason string     // how it ended; "": not known yet
	fault  error
}

// Which direction was ended first: values of Conn.order.
const (
	neitherEnded = iota
	peerEnded
	weEnded
)

// NewConn returns c with a trace: its events go to sink, as those of connection id,
// seen from side. It emits nothing itself: the [Accept] or [Connect] that made c is
// for its caller to tell, and the [Listener] and [Dialer] here do.
func NewConn(c net.Conn, id ConnID, side Side, sink Sink) *Conn {
	t := &Conn{Conn: c, sink: sink, each: WantsEach(sink)}
	t.base.Conn, t.base.Side = id, side
	t.calls.Store(1)
	if sink == nil {
		return t
	}
	t.born = time.Now()
	t.base.FD = Descriptor(c)
	t.base.describe(c)
	return t
}

// describe sets what c's addresses tell.
func (e *Event) describe(c net.Conn) {
	local, remote := c.LocalAddr(), c.RemoteAddr()
	e.Network = networkOf(c, local)
	e.Local, e.Remote = AddrPort(local), AddrPort(remote)
	if e.Network == "unix" {
		e.Path = unixPath(local, remote)
	}
}

// networkOf returns "tls" for what has a TLS handshake, whatever is below it.
func networkOf(c net.Conn, local net.Addr) string {
	if _, ok := c.(interface{ OCSPResponse() []byte }); ok { // *tls.Conn, without importing it
		return "tls"
	}
	if local == nil {
		return ""
	}
	return local.Network()
}

// AddrPort returns the IP address and the port of a, an IPv4 address mapped into IPv6
// as IPv4. It is not valid (zero) if a has none: a Unix socket's, or nil.
func AddrPort(a net.Addr) netip.AddrPort {
	with, ok := a.(interface{ AddrPort() netip.AddrPort })
	if !ok {
		return netip.AddrPort{}
	}
	ap := with.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

// unixPath returns the path of whichever end has one: the server's.
func unixPath(addrs ...net.Addr) string {
	for _, a := range addrs {
		if u, ok := a.(*net.UnixAddr); ok && u != nil && u.Name != "" && u.Name != "@" {
			return u.Name
		}
	}
	return ""
}

// Descriptor returns the socket descriptor of c, a net.Conn or net.Listener, or of
// the connection that c wraps and its NetConn method returns; 0 if it is not known.
// On Windows it is the socket's handle.
func Descriptor(c any) int {
	for {
		if sc, ok := c.(syscall.Conn); ok {
			if fd := descriptor(sc); fd != 0 {
				return fd
			}
		}
		w, ok := c.(interface{ NetConn() net.Conn })
		if !ok {
			return 0
		}
		c = w.NetConn()
	}
}

func descriptor(sc syscall.Conn) (fd int) {
	raw, err := sc.SyscallConn()
	if err != nil {
		return 0
	}
	raw.Control(func(f uintptr) { fd = int(f) }) // fails if it is closed: then fd stays 0
	return fd
}

// ID returns the connection's name.
func (c *Conn) ID() ConnID { return c.base.Conn }

// Sums returns how many bytes have been read and written so far. It is safe at any
// time.
func (c *Conn) Sums() (in, out int64) { return c.in.Load(), c.out.Load() }

// NetConn returns the connection below. What is read or written there is not
// counted.
func (c *Conn) NetConn() net.Conn { return c.Conn }

// SyscallConn implements [syscall.Conn]. The error is [errors.ErrUnsupported] if the
// connection below has no descriptor.
func (c *Conn) SyscallConn() (syscall.RawConn, error) {
	sc, ok := c.Conn.(syscall.Conn)
	if !ok {
		return nil, errors.ErrUnsupported
	}
	rc, err := sc.SyscallConn()
	return rawConn{rc}, err
}

// rawConn hides the poll descriptor of package net, with which an *os.File's ReadFrom
// and WriteTo would copy behind our back, uncounted.
type rawConn struct{ syscall.RawConn }

// EndAs sets what the Close event will say about how the connection ended, for one
// who knows better: "idle". The first call counts, and goes before what c itself
// has seen.
func (c *Conn) EndAs(text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.reason == "" || c.fault != nil {
		c.reason, c.fault = text, nil
	}
}

// enter begins a call; false means that there is no sink, or that the last event is
// out. If true, leave must follow.
func (c *Conn) enter() bool {
	if c.sink == nil {
		return false
	}
	for {
		n := c.calls.Load()
		if n == 0 {
			return false
		}
		if c.calls.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// leave ends a call. The last one after Close emits the Close event.
func (c *Conn) leave() {
	if c.calls.Add(-1) == 0 {
		c.emitClose()
	}
}

// Read reads from the connection below.
func (c *Conn) Read(p []byte) (int, error) {
	if !c.enter() {
		n, err := c.Conn.Read(p)
		c.in.Add(int64(n))
		return n, err
	}
	defer c.leave()
	began := c.clock(&c.read)
	n, err := c.Conn.Read(p)
	c.in.Add(int64(n))
	c.moved(Read, &c.read, began, n, err)
	switch err {
	case nil:
	case io.EOF:
		c.ended()
	default:
		c.failed(err)
	}
	return n, err
}

// Write writes to the connection below.
func (c *Conn) Write(p []byte) (int, error) {
	if !c.enter() {
		n, err := c.Conn.Write(p)
		c.out.Add(int64(n))
		return n, err
	}
	defer c.leave()
	began := c.clock(&c.wrote)
	n, err := c.Conn.Write(p)
	c.out.Add(int64(n))
	c.moved(Write, &c.wrote, began, n, err)
	if err != nil {
		c.failed(err)
	}
	return n, err
}

// clock returns the time if an event will need it.
func (c *Conn) clock(seen *atomic.Bool) time.Time {
	if c.each || !seen.Load() {
		return time.Now()
	}
	return time.Time{}
}

// moved emits the event of a Read or Write, if one is due.
func (c *Conn) moved(op Op, seen *atomic.Bool, began time.Time, n int, err error) {
	switch {
	case c.each:
	case n <= 0, seen.Load(), seen.Swap(true):
		return
	}
	if err == io.EOF {
		err = nil // an event of its own
	}
	now := time.Now()
	c.emit(Event{Op: op, Time: now, Took: now.Sub(began), Bytes: n, Err: err})
}

// emit completes e and gives it to the sink.
func (c *Conn) emit(e Event) {
	b := &c.base
	e.Conn, e.Side, e.FD, e.Network = b.Conn, b.Side, b.FD, b.Network
	e.Local, e.Remote, e.Path = b.Local, b.Remote, b.Path
	e.In, e.Out = c.Sums()
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	c.sink.Emit(&e)
}

// ended notes that the peer has ended its direction.
func (c *Conn) ended() {
	c.order.CompareAndSwap(neitherEnded, peerEnded)
	if !c.eof.Swap(true) {
		c.emit(Event{Op: EOF})
	}
}

// failed notes an error of Read or Write, if it is how the connection ended. An
// expired deadline is not, since programs use them to wake themselves, nor is our
// own Close.
func (c *Conn) failed(err error) {
	var timeout net.Error
	reason := EndOf(err)
	switch {
	case errors.Is(err, net.ErrClosed), errors.Is(err, io.ErrClosedPipe), errors.Is(err, os.ErrDeadlineExceeded):
		return
	case reason == EndFault && errors.As(err, &timeout) && timeout.Timeout():
		return
	}
	c.endFor(reason, err)
}

// EndOf returns how a connection ended whose I/O the system failed with err: EndReset,
// EndVanished, or EndFault for what says nothing about the peer.
//
// A peer has vanished when keepalive or TCP_USER_TIMEOUT found that it no longer
// answers. Linux then reports what the network had last said about it, if it had said
// anything, in place of ETIMEDOUT (icmp(7)): no route to it, its host is down, a
// protocol error on the way, nobody there, filtered. On a UDP socket that was connected,
// nobody is there at once.
func EndOf(err error) string {
	switch {
	case isOneOf(err, resetErrnos):
		return EndReset
	case isOneOf(err, vanishedErrnos), isOneOf(err, sentBackErrnos) && !isOfFile(err):
		return EndVanished
	}
	return EndFault
}

// isOfFile reports whether err is about a file, and so about no peer.
func isOfFile(err error) bool {
	var path *fs.PathError
	return errors.As(err, &path)
}

// endFor notes how the connection ended: the first reason counts.
func (c *Conn) endFor(reason string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.reason == "" {
		c.reason, c.fault = reason, err
	}
}

func isOneOf(err error, list []syscall.Errno) bool {
	for _, e := range list {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// CloseWrite ends our direction and leaves the peer's open (half-close). The error
// is [errors.ErrUnsupported] if the connection below cannot do that.
func (c *Conn) CloseWrite() error {
	half, ok := c.Conn.(interface{ CloseWrite() error })
	if !ok {
		return errors.ErrUnsupported
	}
	if !c.enter() {
		return half.CloseWrite()
	}
	defer c.leave()
	c.order.CompareAndSwap(neitherEnded, weEnded) // before the peer can answer it
	began := time.Now()
	err := half.CloseWrite()
	c.emit(Event{Op: Shutdown, Took: time.Since(began), Err: err})
	return err
}

// Close closes the connection below.
func (c *Conn) Close() error {
	if !c.enter() {
		return c.Conn.Close()
	}
	defer c.leave()
	c.closing.Do(func() {
		c.sum = tcpSum(c.Conn) // after Close nobody knows
		c.calls.Add(-1)        // this call is still under way
	})
	return c.Conn.Close()
}

// emitClose emits the last event. It is called once.
func (c *Conn) emitClose() {
	reason, fault := c.howEnded()
	c.emit(Event{Op: Close, Took: time.Since(c.born), Text: reason, Err: fault, TCP: c.sum})
}

func (c *Conn) howEnded() (reason string, fault error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.reason != "":
		return c.reason, c.fault
	case c.order.Load() == peerEnded:
		return EndPeer, nil
	}
	return EndHere, nil
}

// WriteFrom writes all that src has, by the ReadFrom of the connection below where it
// has one, which for a [*net.TCPConn] and a file copies inside the kernel (sendfile(2)).
// To the sums and the sink it is one Write, so src should be a piece of what there is to
// send: an [io.LimitedReader].
//
// It is no io.ReaderFrom, so that io.Copy goes on to write what it copies piece by piece.
func (c *Conn) WriteFrom(src io.Reader) (int64, error) {
	if !c.enter() {
		n, err := io.Copy(c.Conn, src)
		c.out.Add(n)
		return n, err
	}
	defer c.leave()
	began := c.clock(&c.wrote)
	n, err := io.Copy(c.Conn, src)
	c.out.Add(n)
	c.moved(Write, &c.wrote, began, int(n), err)
	if err != nil {
		c.failed(err)
	}
	return n, err
}

// ReadTo lets dst read at most max bytes of the connection below, which for an [*os.File]
// and a [*net.TCPConn] copies inside the kernel (splice(2)). To the sums and the sink it
// is one Read. Where it returns less than max, and no error, the peer has ended its
// direction.
func (c *Conn) ReadTo(dst io.ReaderFrom, max int64) (int64, error) {
	src := io.LimitReader(c.Conn, max)
	if !c.enter() {
		n, err := dst.ReadFrom(src)
		c.in.Add(n)
		return n, err
	}
	defer c.leave()
	began := c.clock(&c.read)
	n, err := dst.ReadFrom(src)
	c.in.Add(n)
	c.moved(Read, &c.read, began, int(n), err)
	switch {
	case err != nil:
		c.failed(err)
	case n < max:
		c.ended()
	}
	return n, err
}
