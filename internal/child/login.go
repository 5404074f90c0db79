package child

import (
	"os"
	"path/filepath"
	"strings"
)

// A Login is a person who has proved who it is, and gets a program: on a terminal, if
// that is set in the Config that comes of it.
type Login struct {
	Name string // of the user; it is an entry of the environment and nothing else

	// Shell is the program, with its arguments. If empty, /bin/sh. Nothing that the peer
	// has said is ever among them.
	Shell []string

	// Root and Home name the folder in which it starts, Home being below Root. If there
	// is no such folder, or Root is empty, it is "/". It is a beginning and no prison.
	Root, Home string

	// Term is the type of the person's terminal, as the peer calls it.
	Term string

	// User is as whom it runs; nil: as this process does. It does not run as root.
	User *User
}

// shellFiles is how many descriptors a Login's program may have.
const shellFiles = 1024

// Config returns how the program is run: with an environment of its own, umask 077 and
// bounded descriptors.
func (l *Login) Config() *Config {
	argv := l.Shell
	if len(argv) == 0 {
		argv = []string{shell}
	}
	home := l.home()
	return &Config{
		Path: argv[0], Args: argv[1:], Dir: home,
		Env: Environ("TERM="+CleanTerm(l.Term), "HOME="+home, "SHELL="+argv[0],
			"USER="+clean(l.Name, 64), "LOGNAME="+clean(l.Name, 64)),
		User: l.User, Umask: 0o077, Limits: Limits{Files: shellFiles},
	}
}

// home returns the folder in which the program starts.
func (l *Login) home() string {
	if l.Root == "" {
		return "/"
	}
	root, err := filepath.Abs(l.Root)
	if err != nil {
		return "/"
	}
	home := filepath.Join(root, filepath.Clean("/"+l.Home))
	if info, err := os.Stat(home); err != nil || !info.IsDir() {
		return "/"
	}
	return home
}

// CleanTerm returns the name of a terminal's type as programs may be told it: at most 40
// letters, digits and "+-._", in small letters; "dumb" for anything else.
func CleanTerm(name string) string {
	if clean(name, 40) != name || name == "" {
		return "dumb"
	}
	return strings.ToLower(name)
}

// clean leaves out what is not a letter, a digit or one of "+-._@", and cuts at max.
func clean(s string, max int) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', strings.ContainsRune("+-._@", r):
			return r
		}
		return -1
	}, s)
	return s[:min(len(s), max)]
}
