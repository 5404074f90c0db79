package ssh

import (
	"cmp"
	"errors"
	"log/slog"
	"time"

	"golang.org/x/crypto/ssh"

	"yodel/internal/child"
	"yodel/internal/users"
)

// Config says who may log in, and what such a person gets. HostKey, and Users or
// AuthorizedKeys, must be set; for the others zero is the documented default, and a
// negative time or number means off.
type Config struct {
	// HostKey is by which clients know this server. See HostKey.
	HostKey ssh.Signer

	// Users says who may log in with a password, and whose homes are where.
	Users *users.File

	// AuthorizedKeys is a file of public keys, as OpenSSH's authorized_keys. Who has one
	// of them may log in, as any of Users, or if that is nil under any name. The file is
	// read at each login; nobody but its owner may be able to write to it.
	AuthorizedKeys string

	// Shell is the program that a person gets, with its arguments; a command is run by it
	// with -c. If empty, /bin/sh.
	Shell []string

	// Root is the folder in which, below which by a user's home, programs start. If
	// empty, "/". It is a beginning and no prison.
	Root string

	// LoginTimeout is how long a connection may take until somebody has logged in. If
	// zero, 60 s.
	LoginTimeout time.Duration

	// MaxFailures is how many times a connection may fail to log in. If zero, 6; never
	// without a bound.
	MaxFailures int

	// MaxSessions is how many connections may be there at once; one more is closed. If
	// zero, 64.
	MaxSessions int

	// MaxPrograms is how many programs one connection may run at once. If zero, 10.
	MaxPrograms int

	// Grace is how long a program that was hung up on has. If zero, 2 s; if negative, it
	// is killed at once.
	Grace time.Duration

	// User is as whom programs run; nil: as this process does. They do not run as root.
	User *child.User

	// Log is told of logins and their failures. If nil, slog.Default().
	Log *slog.Logger
}

func orOff[T ~int | ~int64](n, byDefault T) T { return max(cmp.Or(n, byDefault), 0) }

func (c *Config) loginTimeout() time.Duration { return orOff(c.LoginTimeout, time.Minute) }
func (c *Config) maxSessions() int            { return orOff(c.MaxSessions, 64) }
func (c *Config) maxPrograms() int            { return orOff(c.MaxPrograms, 10) }

func (c *Config) maxFailures() int {
	if c.MaxFailures <= 0 {
		return 6
	}
	return c.MaxFailures
}

func (c *Config) log() *slog.Logger {
	if c.Log == nil {
		return slog.Default()
	}
	return c.Log
}

// check returns why c can't be served.
func (c *Config) check() error {
	switch {
	case c.HostKey == nil:
		return errors.New("ssh: there is no host key")
	case c.Users == nil && c.AuthorizedKeys == "":
		return errors.New("ssh: nobody may log in: give a file of authorized keys, or a users file, which yodel passwd makes")
	}
	if c.AuthorizedKeys != "" {
		if _, err := readKeys(c.AuthorizedKeys); err != nil {
			return err
		}
	}
	t, err := child.OpenTerminal()
	if err != nil {
		return err
	}
	defer t.Close()
	return (&child.Login{Shell: c.Shell, User: c.User}).Config().Check()
}
