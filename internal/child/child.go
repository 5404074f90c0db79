// Package child runs programs on behalf of clients: CGI programs, a program for each
// connection, a shell on a pseudo-terminal. A client decides when such a program is
// started and what it is sent, so nothing that it does may stay behind or hold the
// server up:
//
//   - It leads a session and a process group of its own (setsid(2)), and all signals go
//     to the group. When it has ended, what is left of its group is killed, and on Linux
//     what is left of the session too, if it had a terminal.
//   - It has the descriptors 0, 1 and 2 and no others, and the environment that it is
//     given and nothing of the server's.
//   - It is asked to end by SIGTERM (SIGHUP where it has a terminal), and killed when it
//     has not within Grace. A pipe that one of its descendants keeps open delays the end
//     by Linger, no longer.
//   - It is always waited for, so it leaves no zombie; and on Linux waiting costs no
//     thread. Its descendants are waited for by process 1, as always. Where that is the
//     server itself, as in a container without an init, those of the group are too.
//   - It does not run as root unless that is asked for.
//
// A program that wants to live on, as a daemon does, starts a session of its own; no one
// here knows of it then.
package child

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// Config says what is run, with what, and how it is brought to its end.
type Config struct {
	// Path is the program: an absolute path. Args are its arguments, without its name.
	Path string
	Args []string

	// Env is the whole environment, each entry NAME=VALUE. Environ is a beginning.
	Env []string

	// Dir is the folder it is started in; if empty, "/".
	Dir string

	// In, Out and Err are the descriptors 0, 1 and 2; /dev/null where they are nil. They
	// stay the caller's, who may close them when Start has returned.
	In, Out, Err *os.File

	// PipeIn and PipeOut put a pipe in the place of In and Out; the other ends are
	// Process.In and Process.Out.
	PipeIn, PipeOut bool

	// Errors, if not nil, takes what the program writes to descriptor 2, line by line,
	// instead of Err: escaped, at most ErrorLineMax bytes a line and ErrorLines lines,
	// then one which says how many bytes were left out. It is called on one goroutine.
	Errors func(line string)

	// Terminal, if not nil, is what In, Out and Err are, and the controlling terminal.
	// Its slave end is closed in this process by Start, also when that fails.
	Terminal *Terminal

	// User is as whom it runs; nil: as this process does. Another user takes root.
	User *User

	// AllowRoot lets it run as root. It is for who logs in as root and has proved it.
	AllowRoot bool

	// Umask, if not zero, is its file mode creation mask, 0o077 for example. With it, or
	// with any of Limits, the program is started by way of /bin/sh.
	Umask  os.FileMode
	Limits Limits

	// Grace is how long it has from the request to end until it is killed. If zero,
	// 2 s; if negative, it is killed at once.
	Grace time.Duration

	// Linger is how long after its end the end of its output is waited for, which a
	// descendant may hold up. If zero, 1 s; if negative, it is not waited for.
	Linger time.Duration
}

// A User is as whom a program runs. Groups are its supplementary groups.
type User struct {
	UID, GID uint32
	Groups   []uint32
}

// ErrRoot is what Start returns for a program that would run as root.
var ErrRoot = errors.New("it would run as root, with all of a client's wishes: start the server as another user, or name one")

func (c *Config) grace() time.Duration  { return max(cmp.Or(c.Grace, 2*time.Second), 0) }
func (c *Config) linger() time.Duration { return max(cmp.Or(c.Linger, time.Second), 0) }

// Check returns an error if Start would certainly refuse c: a path that is not absolute,
// an entry of Env that is none, a program that would run as root.
func (c *Config) Check() error {
	switch {
	case !filepath.IsAbs(c.Path):
		return fmt.Errorf("run %q: not an absolute path", c.Path)
	case c.runsAsRoot() && !c.AllowRoot:
		return fmt.Errorf("run %s: %w", c.Path, ErrRoot)
	}
	return checkEnv(c.Env)
}

func (c *Config) runsAsRoot() bool {
	if c.User != nil {
		return c.User.UID == 0
	}
	return os.Geteuid() == 0
}

// Start runs the program. When ctx ends it is stopped, as by Stop. The error says what
// was tried: a program that is not there or may not be run, or a lack of descriptors,
// memory or processes. On systems without process groups it is errors.ErrUnsupported.
func Start(ctx context.Context, cfg *Config) (*Process, error) {
	if cfg.Terminal != nil {
		defer cfg.Terminal.closeSlave()
	}
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	p := &Process{cfg: *cfg, stop: make(chan struct{}), done: make(chan struct{}), heard: make(chan struct{})}
	files, err := p.open()
	if err == nil {
		err = p.start(files)
	}
	files.closeTheirs()
	if err != nil {
		files.closeOurs()
		return nil, err
	}
	p.listen(files.errors)
	go p.run(context.AfterFunc(ctx, p.Stop))
	return p, nil
}

func (p *Process) start(files *files) (err error) {
	path, args := p.cfg.command()
	p.process, p.exit, err = startProcess(path, args, &os.ProcAttr{
		Dir: cmp.Or(p.cfg.Dir, "/"), Env: append([]string{}, p.cfg.Env...), // not nil, which would be the server's
		Files: files.theirs[:],
	}, &p.cfg)
	if err != nil {
		return fmt.Errorf("run %s: %w", p.cfg.Path, err)
	}
	return nil
}
