package engine

import (
	"cmp"
	"crypto/tls"
	"log/slog"
	"net/netip"
	"time"

	"yodel/trace"
)

// Config is what an engine's user may set. The zero value, and nil, mean the
// documented defaults; a negative time or rate means off.
type Config struct {
	// Service is the service's name in events, logs and statistics.
	Service string

	// Idle ends a connection on which nothing moves in either direction for this
	// long. If zero, 10 minutes; if negative, never.
	Idle time.Duration

	// HeaderTimeout is how long one message (a line, a command) may take from its
	// first byte to its last. If zero, 10 s; if negative, for ever.
	HeaderTimeout time.Duration

	// MinRate is the least number of bytes a second that a peer must take while
	// our output is pending, and must send of a message that the session takes in
	// pieces (Out.Receiving), measured over each MinRateAfter. If zero, 500; if
	// negative, there is none.
	MinRate int

	// MinRateAfter is over how long MinRate is measured. If zero, 5 s; if negative,
	// MinRate is off.
	MinRateAfter time.Duration

	// Linger is how long input is read and thrown away after our half-close,
	// while the peer has not ended its direction. If zero, 2 s; if negative, the
	// connection is closed at once.
	Linger time.Duration

	// Quiet is how long a connection must be at rest to be ended during Shutdown.
	// If zero, 250 ms; if negative, Shutdown waits for the peer.
	Quiet time.Duration

	// HandshakeTimeout bounds a TLS handshake. If zero, 10 s; if negative, nothing
	// does.
	HandshakeTimeout time.Duration

	// TLS, if set, is served on every connection. It must hold a certificate.
	TLS *tls.Config

	// Mark is the high-water mark of a session's output, in bytes. If zero,
	// yodel.DefaultMark.
	Mark int

	// MaxInput is how many bytes that its session does not use a connection may
	// hold; more ends it. If zero, 64 KiB.
	MaxInput int

	// ProxyFrom, if not nil, says that connections come by a proxy which tells, in
	// front of all else, who the client is (PROXY protocol, versions 1 and 2), and
	// from which networks such proxies are believed. Others, and those who send no
	// header, are refused; Unix sockets are believed. Limits, events and the service
	// are then about the client.
	ProxyFrom []netip.Prefix

	// ProxyTimeout bounds how long that header may take. If zero, 3 s.
	ProxyTimeout time.Duration

	// RefuseFrom lists source ports that are not served: the small services refuse
	// 20, from which an FTP server can be made to call anyone (RFC 2577).
	RefuseFrom []uint16

	// Gate admits connections. Engines that share a process share a Gate. If nil,
	// the engine has a Gate of its own with the defaults.
	Gate *Gate

	// Sink takes the events of every connection; nil: none.
	Sink trace.Sink

	// Log takes what an operator must know: panics, accept failures. If nil,
	// slog.Default().
	Log *slog.Logger

	// PoisonLent overwrites lent memory after each Step. For tests: a session
	// that kept a piece of its input then holds junk.
	PoisonLent bool
}

func orOff(d, byDefault time.Duration) time.Duration { return max(cmp.Or(d, byDefault), 0) }

func (c *Config) idle() time.Duration             { return orOff(c.Idle, 10*time.Minute) }
func (c *Config) headerTimeout() time.Duration    { return orOff(c.HeaderTimeout, 10*time.Second) }
func (c *Config) minRateAfter() time.Duration     { return orOff(c.MinRateAfter, 5*time.Second) }
func (c *Config) linger() time.Duration           { return orOff(c.Linger, 2*time.Second) }
func (c *Config) quiet() time.Duration            { return orOff(c.Quiet, 250*time.Millisecond) }
func (c *Config) handshakeTimeout() time.Duration { return orOff(c.HandshakeTimeout, 10*time.Second) }
func (c *Config) proxyTimeout() time.Duration     { return orOff(c.ProxyTimeout, 3*time.Second) }
func (c *Config) maxInput() int                   { return cmp.Or(c.MaxInput, 64<<10) }

// minRate returns 0 if there is none, be it off itself or without a time.
func (c *Config) minRate() int {
	if c.minRateAfter() == 0 {
		return 0
	}
	return max(cmp.Or(c.MinRate, 500), 0)
}

func (c *Config) log() *slog.Logger {
	if c.Log == nil {
		return slog.Default()
	}
	return c.Log
}
