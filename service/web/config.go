package web

import (
	"cmp"
	"io"
	"log/slog"
	"time"

	"yodel/internal/child"
	"yodel/sock"
)

// Config is what a Server's user may set. The zero value, and nil, mean the documented
// defaults; a negative time, rate or size means off.
type Config struct {
	// Root is the folder whose files are sent. If empty, and CGI too, every caller is
	// shown what is known of him.
	Root string

	// CGI is the folder whose programs are run, below the path /cgi-bin/. If empty, none
	// is.
	CGI string

	// Writable says that a client of some service may change files below Root. Then CGI
	// may not be inside of it, as that would let him bring his own programs.
	Writable bool

	// NoListing answers 404 for a folder without an index.html, and not with a list.
	NoListing bool

	// Hidden sends files and lists folders whose names begin with a dot, too.
	Hidden bool

	// AccessLog, if not nil, takes a line for each request in the common log format. Each
	// is one call of Write, one at a time.
	AccessLog io.Writer

	// Names, if not nil, finds the caller's name for the page that shows him.
	Names *sock.Resolver

	// Idle is how long a connection may wait for its next request. If zero, 60 s.
	Idle time.Duration

	// HeaderTimeout is how long the head of a request may take from its first byte to its
	// last. If zero, 10 s.
	HeaderTimeout time.Duration

	// MinRate is the least number of bytes a second at which a request's body must come,
	// and a stream of HTTP/2 be taken, measured over MinRateAfter. If zero, 500 and 5 s.
	MinRate      int
	MinRateAfter time.Duration

	// HeadMax is how long the head of a request may be, in bytes. If not positive, 32 KiB.
	HeadMax int

	// BodyMax is how long a request's body may be, in bytes. If zero, 64 MiB.
	BodyMax int64

	// CacheMax is how many bytes of small files are kept. If zero, 32 MiB. CacheFileMax is
	// how long a small file may be. If zero, 64 KiB. A file that is kept is looked at
	// again when the last look was CacheFor ago. If zero, 1 s; if negative, each time.
	CacheMax     int64
	CacheFileMax int64
	CacheFor     time.Duration

	// CGITimeout is how long a program may be silent before it is ended. If zero, 60 s.
	CGITimeout time.Duration

	// CGIMax is how many programs run at once; for more the answer is 503. If zero, 64.
	CGIMax int

	// CGIOutputMax is how many bytes a program may send. If zero, 1 GiB.
	CGIOutputMax int64

	// CGIUser is as whom programs run; nil: as this process does. They do not run as root.
	CGIUser *child.User

	// Log takes what an operator must know. If nil, slog.Default().
	Log *slog.Logger
}

// orOff returns n, the default for 0, and 0 for what is off.
func orOff[T ~int | ~int64](n, byDefault T) T { return max(cmp.Or(n, byDefault), 0) }

func (c *Config) idle() time.Duration          { return orOff(c.Idle, time.Minute) }
func (c *Config) headerTimeout() time.Duration { return orOff(c.HeaderTimeout, 10*time.Second) }
func (c *Config) minRateAfter() time.Duration  { return orOff(c.MinRateAfter, 5*time.Second) }
func (c *Config) cacheFor() time.Duration      { return orOff(c.CacheFor, time.Second) }
func (c *Config) cgiTimeout() time.Duration    { return orOff(c.CGITimeout, time.Minute) }
func (c *Config) bodyMax() int64               { return orOff(c.BodyMax, 64<<20) }
func (c *Config) cacheMax() int64              { return orOff(c.CacheMax, 32<<20) }
func (c *Config) cacheFileMax() int64          { return orOff(c.CacheFileMax, 64<<10) }
func (c *Config) cgiOutputMax() int64          { return orOff(c.CGIOutputMax, 1<<30) }
func (c *Config) cgiMax() int                  { return orOff(c.CGIMax, 64) }

func (c *Config) headMax() int {
	if c.HeadMax <= 0 {
		return 32 << 10
	}
	return c.HeadMax
}

// minRate returns 0 if there is none, be it off itself or without a time.
func (c *Config) minRate() int {
	if c.minRateAfter() == 0 {
		return 0
	}
	return orOff(c.MinRate, 500)
}

func (c *Config) log() *slog.Logger {
	if c.Log == nil {
		return slog.Default()
	}
	return c.Log
}
