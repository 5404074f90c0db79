package command

import (
	"cmp"
	"context"
	"log/slog"
	"net/netip"
	"time"

	"yodel/internal/child"
)

// Config says what is run. Path must be set; for the others zero is the documented
// default, and a negative number means off.
type Config struct {
	// Path is the program: an absolute path. Args are its arguments, without its name.
	// Nothing of a peer's is ever among them.
	Path string
	Args []string

	// Dir is the folder in which it is started. If empty, "/".
	Dir string

	// Stderr makes the connection the program's descriptor 2, too. Otherwise what it
	// writes there goes to Log.
	Stderr bool

	// MaxPrograms is how many run at once; further clients wait. If zero, 256.
	MaxPrograms int

	// Limits are what a program may use: setrlimit(2). If zero, 1,024 descriptors.
	Limits child.Limits

	// Grace is how long a program that was asked to end has. If zero, 2 s; if negative,
	// it is killed at once.
	Grace time.Duration

	// Lookup, if not nil, returns the name of an address, for TCPREMOTEHOST; "" if it has
	// none. It may take its time: the program starts when it has returned.
	Lookup func(context.Context, netip.Addr) string

	// User is as whom programs run; nil: as this process does. They do not run as root.
	User *child.User

	// Log takes what programs write to descriptor 2, and which could not be started. If
	// nil, slog.Default().
	Log *slog.Logger
}

func (c *Config) maxPrograms() int { return max(cmp.Or(c.MaxPrograms, 256), 0) }

func (c *Config) limits() child.Limits {
	if c.Limits == (child.Limits{}) {
		return child.Limits{Files: 1024}
	}
	return c.Limits
}

func (c *Config) log() *slog.Logger {
	if c.Log == nil {
		return slog.Default()
	}
	return c.Log
}

// child returns how a program is run. Its files are not set.
func (c *Config) child(env []string) *child.Config {
	return &child.Config{
		Path: c.Path, Args: c.Args, Dir: c.Dir, Env: env,
		Umask: 0o077, Limits: c.limits(), User: c.User, Grace: c.Grace,
	}
}
