package telnet

import (
	"cmp"
	"errors"
	"log/slog"
	"time"

	"yodel/internal/child"
	"yodel/internal/users"
)

// Config says who may log in, and what such a person gets. Users must be set; for the
// others zero is the documented default, and a negative time or number means off.
type Config struct {
	// Users says who may log in with a password.
	Users *users.File

	// Shell is the program that a person gets, with its arguments. If empty, /bin/sh.
	Shell []string

	// Root is the folder in which, below which by a user's home, the program starts. If
	// empty, "/". It is a beginning and no prison.
	Root string

	// LineMode asks clients to edit lines themselves while the program wants lines
	// (LINEMODE, RFC 1184). Without it they send each key as it is pressed.
	LineMode bool

	// LoginTimeout is how long a person may take to log in. If zero, 2 minutes.
	LoginTimeout time.Duration

	// HeaderTimeout is how long a command of TELNET's may take from its first byte to its
	// last. If zero, 10 s.
	HeaderTimeout time.Duration

	// MaxFailures is how many times a connection may fail to log in. If zero, 3.
	MaxFailures int

	// MaxSessions is how many people may be there at once; one more is told so. If zero,
	// 64.
	MaxSessions int

	// Grace is how long a program that was hung up on has. If zero, 2 s; if negative, it
	// is killed at once.
	Grace time.Duration

	// User is as whom programs run; nil: as this process does. They do not run as root.
	User *child.User

	// Log is told of logins and their failures. If nil, slog.Default().
	Log *slog.Logger
}

func orOff[T ~int | ~int64](n, byDefault T) T { return max(cmp.Or(n, byDefault), 0) }

func (c *Config) loginTimeout() time.Duration  { return orOff(c.LoginTimeout, 2*time.Minute) }
func (c *Config) headerTimeout() time.Duration { return orOff(c.HeaderTimeout, 10*time.Second) }
func (c *Config) maxFailures() int             { return orOff(c.MaxFailures, 3) }
func (c *Config) maxSessions() int             { return orOff(c.MaxSessions, 64) }

func (c *Config) log() *slog.Logger {
	if c.Log == nil {
		return slog.Default()
	}
	return c.Log
}

// check returns why c can't be served.
func (c *Config) check() error {
	if c.Users == nil {
		return errors.New("telnet: nobody may log in: give a users file, which yodel passwd makes")
	}
	t, err := child.OpenTerminal()
	if err != nil {
		return err
	}
	defer t.Close()
	return (&child.Login{Shell: c.Shell, User: c.User}).Config().Check()
}
