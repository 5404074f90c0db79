package sock

import (
	"net"
	"syscall"
)

// Plain returns the listener as package net knows it: what it accepts leaves no trace
// and speaks no TLS, whatever the Options say. It is for an engine, which does both
// itself. Closing it closes l, and leaves what l's Close leaves.
func (l *Listener) Plain() net.Listener { return plainListener{l} }

type plainListener struct{ l *Listener }

// Accept implements net.Listener.
func (p plainListener) Accept() (net.Conn, error) { return p.l.accept() }

// Close implements net.Listener.
func (p plainListener) Close() error { return p.l.Close() }

// Addr implements net.Listener.
func (p plainListener) Addr() net.Addr { return p.l.Addr() }

// SyscallConn implements syscall.Conn.
func (p plainListener) SyscallConn() (syscall.RawConn, error) { return p.l.SyscallConn() }
