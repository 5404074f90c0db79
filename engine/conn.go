package engine

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"syscall"
	"time"

	"yodel"
	"yodel/internal/escape"
	"yodel/trace"
)

// fatalErrnos are the errors of accept that mean the listener itself is unusable.
var fatalErrnos = []error{syscall.EBADF, syscall.EINVAL, syscall.ENOTSOCK, syscall.EFAULT}

// conn is an accepted connection of a Blocking engine.
type conn struct {
	raw     net.Conn // as accepted
	id      trace.ConnID
	peer    yodel.Peer
	via     string // the proxy it came by; empty for none
	fd      int    // 0: not known
	began   time.Time
	pass    Pass
	drained chan struct{} // not nil; closed by nudge
	door    bool          // the read deadline is the service's
}

// nudge wakes the connection's goroutine so that it sees that the engine is
// stopping. It is called once.
func (c *conn) nudge() {
	close(c.drained)
	if !c.door {
		c.raw.SetReadDeadline(time.Unix(1, 0))
	}
}

// abort closes the socket by a reset, so that the kernel keeps nothing of it.
func (c *conn) abort() {
	setNoLinger(c.raw)
	c.raw.Close()
}

// setNoLinger makes Close a reset, where nc or a connection that it wraps is one of
// TCP.
func setNoLinger(nc net.Conn) {
	for {
		if l, ok := nc.(interface{ SetLinger(int) error }); ok {
			l.SetLinger(0)
			return
		}
		w, ok := nc.(interface{ NetConn() net.Conn })
		if !ok {
			return
		}
		nc = w.NetConn()
	}
}

// PeerOf returns who is at the other end of nc, as far as its addresses tell.
func PeerOf(nc net.Conn) yodel.Peer {
	p := yodel.Peer{Local: trace.AddrPort(nc.LocalAddr()), Remote: trace.AddrPort(nc.RemoteAddr())}
	if a := nc.LocalAddr(); a != nil {
		p.Network = networkName(a.Network())
		if u, ok := a.(*net.UnixAddr); ok && u.Name != "@" { // what package net calls one without a name
			p.Path = u.Name
		}
	}
	return p
}

func networkName(s string) string {
	switch s {
	case "tcp4", "tcp6":
		return "tcp"
	case "udp4", "udp6":
		return "udp"
	}
	return s
}

// serve runs one admitted connection to its end and closes it.
func (b *Blocking) serve(c *conn) {
	if b.introduce(c) {
		b.finish(c, b.toItsEnd(c))
	}
}

func (b *Blocking) toItsEnd(c *conn) trace.Event {
	if b.take != nil {
		return b.hand(c)
	}
	if s, ok := b.svc.(ConnServer); ok && b.form == ConnForm {
		return b.serveConn(s, c)
	}
	return b.converse(c)
}

// idOf returns the name that nc already has, or a new one.
func idOf(nc net.Conn) trace.ConnID {
	if named, ok := nc.(interface{ ID() trace.ConnID }); ok && !named.ID().IsZero() {
		return named.ID()
	}
	return trace.NewID()
}

// finish is the end of every admitted connection, whose socket is closed.
func (b *Blocking) finish(c *conn, e trace.Event) {
	if b.cfg.Sink != nil {
		b.emit(c, e) // before somebody else has the place
	}
	c.pass.Leave()
	b.removeConn(c)
}

// logFault logs what an operator should know of how c ended.
func (b *Blocking) logFault(c *conn, reason Reason, err error) {
	var p *PanicError
	switch {
	case errors.As(err, &p):
		b.cfg.log().Error("handler panicked", "conn", c.id, "service", b.cfg.Service,
			"panic", escape.String(fmt.Sprint(p.Value)), "stack", string(p.Stack))
	case reason == Fault:
		b.cfg.log().Warn("connection failed", "conn", c.id, "service", b.cfg.Service,
			"error", escape.String(err.Error()))
	}
}

var errBusy = errors.New("too many TLS handshakes at once")

// secure does the TLS handshake on top of below, if TLS is asked for, in its own
// time and number.
func (b *Blocking) secure(c *conn, below net.Conn) (net.Conn, error) {
	if b.cfg.TLS == nil {
		return below, nil
	}
	if !b.gate.Handshake() {
		return nil, errBusy
	}
	defer b.gate.HandshakeDone()
	ctx := b.open
	if d := b.cfg.handshakeTimeout(); d > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, d)
		defer cancel()
	}
	from := time.Now()
	t := tls.Server(below, b.cfg.TLS)
	err := t.HandshakeContext(ctx)
	if b.cfg.Sink != nil {
		e := trace.Event{Op: trace.Handshake, Took: time.Since(from), Err: err}
		if err == nil {
			s := t.ConnectionState()
			e.Text = tls.VersionName(s.Version) + " " + tls.CipherSuiteName(s.CipherSuite)
		}
		b.emit(c, e)
	}
	return t, err
}

// handshakeReason returns how a connection ended whose handshake failed with err.
func (b *Blocking) handshakeReason(err error) Reason {
	switch {
	case errors.Is(err, errBusy):
		return Busy
	case b.cutting.Load():
		return Cut
	case b.stopping.Load():
		return Drained
	}
	return BadHandshake
}
