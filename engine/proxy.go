package engine

import (
	"net"
	"time"

	"yodel/sock"
)

// introduce lets a connection's proxy say who the client is, if there is one, and asks
// the gate about the client. It returns false, and has closed c, if c is not served.
func (b *Blocking) introduce(c *conn) bool {
	if b.cfg.ProxyFrom == nil {
		return true
	}
	why := b.readProxy(c)
	if why == None {
		b.emitAccept(c)
		return true
	}
	b.refuse(c, why)
	b.removeConn(c)
	return false
}

func (b *Blocking) readProxy(c *conn) Reason {
	c.raw.SetReadDeadline(time.Now().Add(b.cfg.proxyTimeout()))
	pair, err := sock.ReadProxyHeader(c.raw)
	c.raw.SetReadDeadline(time.Time{})
	switch {
	case b.stopping.Load():
		return Drained
	case err != nil:
		return NoProxyHeader
	case !pair.IsValid(): // the proxy speaks for itself
		return None
	}
	if why := b.enter(c, pair.Client); why != None {
		c.peer.Remote = pair.Client
		return why
	}
	c.via = "by way of " + c.peer.Remote.String()
	c.peer.Remote, c.peer.Local = pair.Client, pair.Server
	return None
}

// RemoteAddr returns the client's address, also if it came by a proxy.
func (d *doorConn) RemoteAddr() net.Addr {
	if d.c.via == "" {
		return d.Conn.RemoteAddr()
	}
	return net.TCPAddrFromAddrPort(d.c.peer.Remote)
}

// LocalAddr returns the address that the client called.
func (d *doorConn) LocalAddr() net.Addr {
	if d.c.via == "" {
		return d.Conn.LocalAddr()
	}
	return net.TCPAddrFromAddrPort(d.c.peer.Local)
}
