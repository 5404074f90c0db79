package engine

import (
	"net"
	"sync/atomic"
)

// Single returns a listener that has one connection, nc: for a program that was
// started to serve just that. Each further Accept returns net.ErrClosed at once, so
// Serve of an engine whose run returns when its connection has ended returns then, with
// an error that wraps that one. Close does nothing to nc.
func Single(nc net.Conn) net.Listener { return &single{conn: nc} }

type single struct {
	conn  net.Conn
	taken atomic.Bool
}

// Accept implements net.Listener.
func (l *single) Accept() (net.Conn, error) {
	if l.taken.Swap(true) {
		return nil, net.ErrClosed
	}
	return l.conn, nil
}

// Close implements net.Listener.
func (l *single) Close() error {
	l.taken.Store(true)
	return nil
}

// Addr returns the connection's local address.
func (l *single) Addr() net.Addr { return l.conn.LocalAddr() }
