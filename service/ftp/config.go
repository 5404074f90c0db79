package ftp

import (
	"cmp"
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"yodel/internal/users"
	"yodel/rio"
	"yodel/trace"
)

// Config is what is served, and to whom. Root, and Users or Anonymous, must be set; for
// the others zero is the documented default, and a negative time or number means off.
type Config struct {
	// Root is the folder that is served.
	Root string

	// AllowWrite lets users store, delete, rename and make folders. Those who come
	// as anonymous may too only where there are no Users.
	AllowWrite bool

	// Users says who may log in with a password; a user's home, inside Root, is all
	// that the user sees. If nil, nobody may.
	Users *users.File

	// Anonymous lets everybody in who says "anonymous" or "ftp", with any password.
	Anonymous bool

	// PlainTextIsFine takes passwords over connections that others can read. Without
	// it they are taken over TLS, and on this host (loopback, Unix sockets) only.
	PlainTextIsFine bool

	// TLS is for AUTH TLS and for data connections. It must hold a certificate. If nil
	// there is neither, not even data connections with TLS for a control connection
	// that the engine has made one of TLS.
	TLS *tls.Config

	// RequireReuse refuses a data connection with TLS that does not resume the TLS
	// session of its own control connection. Nobody else can then use it, but some
	// clients can't resume. It needs AUTH TLS: a session that the engine has begun is
	// not known here.
	RequireReuse bool

	// Sync makes a stored file durable (fsync) before its 226.
	Sync bool

	// PassivePorts are the ports for passive data connections. If zero, the system
	// chooses.
	PassivePorts PortRange

	// PassiveAddress is the IPv4 address that PASV tells to clients that are not on
	// this host, for a server behind a router that translates addresses. If not valid
	// (zero), it is the one that the client has called.
	PassiveAddress netip.Addr

	// MaxSessions is how many clients are served at once; one more is told 421. If
	// zero or negative, only the engine bounds them.
	MaxSessions int

	// MaxHandshakes is how many TLS handshakes may be under way at once. If zero, 64.
	MaxHandshakes int

	// MaxFailures is how many times a connection may fail to log in. If zero, 3.
	MaxFailures int

	// LineMax is the longest command in bytes, its end included. If zero, rio.MaxLine.
	LineMax int

	// Idle is how long a client may say nothing, transfers apart. If zero, 300 s.
	Idle time.Duration

	// HeaderTimeout is how long a command may take from its first byte to its last. If
	// zero, 10 s.
	HeaderTimeout time.Duration

	// DataTimeout is how long a data connection may take to be there. If zero, 60 s.
	DataTimeout time.Duration

	// HandshakeTimeout bounds a TLS handshake. If zero, 10 s.
	HandshakeTimeout time.Duration

	// MinRate is the least number of bytes a second that a data connection must move,
	// measured over each MinRateAfter. If zero, 500 over 5 s.
	MinRate      int
	MinRateAfter time.Duration

	// Linger is how long the server waits for a client to close a data connection on
	// which all was sent, before it says 226 all the same. If zero, 1 s.
	Linger time.Duration

	// Listen makes the listening socket of a passive data connection. If nil,
	// sock.Listen does, with Sink.
	Listen func(ctx context.Context, local netip.AddrPort) (net.Listener, error)

	// Admit is asked before a data connection with peer is made or accepted; release
	// is called when that connection has ended. If nil, all are admitted.
	Admit func(peer netip.AddrPort) (release func(), err error)

	// Moved is told the bytes that have gone over data connections, in pieces, from
	// many goroutines. It may be nil.
	Moved func(in, out int64)

	// Sink takes the trace events of data connections; nil: none.
	Sink trace.Sink

	// Log is told of logins, failures and transfers. If nil, slog.Default().
	Log *slog.Logger
}

// A PortRange is the ports from First to Last, both included.
type PortRange struct{ First, Last uint16 }

func orOff(d, byDefault time.Duration) time.Duration { return max(cmp.Or(d, byDefault), 0) }

func (c *Config) idle() time.Duration             { return orOff(c.Idle, 300*time.Second) }
func (c *Config) headerTimeout() time.Duration    { return orOff(c.HeaderTimeout, 10*time.Second) }
func (c *Config) dataTimeout() time.Duration      { return orOff(c.DataTimeout, 60*time.Second) }
func (c *Config) handshakeTimeout() time.Duration { return orOff(c.HandshakeTimeout, 10*time.Second) }
func (c *Config) minRateAfter() time.Duration     { return orOff(c.MinRateAfter, 5*time.Second) }
func (c *Config) linger() time.Duration           { return orOff(c.Linger, time.Second) }
func (c *Config) minRate() int                    { return max(cmp.Or(c.MinRate, 500), 0) }
func (c *Config) maxFailures() int                { return cmp.Or(c.MaxFailures, 3) }
func (c *Config) maxHandshakes() int              { return cmp.Or(c.MaxHandshakes, 64) }
func (c *Config) lineMax() int                    { return cmp.Or(c.LineMax, rio.MaxLine) }

// pace returns the pace that a data connection must keep.
func (c *Config) pace() pace {
	p := pace{span: c.minRateAfter(), rate: c.minRate()}
	if p.rate == 0 || p.span == 0 {
		return pace{}
	}
	return p
}

func (c *Config) log() *slog.Logger {
	if c.Log == nil {
		return slog.Default()
	}
	return c.Log
}
