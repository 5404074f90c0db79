package child

import (
	"fmt"
	"strings"
	"time"
)

// Limits are what a program, and each program that it starts, may use: setrlimit(2). A
// limit that is zero is the server's own. With any of them there are no core files.
type Limits struct {
	CPU    time.Duration // processor time, in whole seconds, rounded up
	File   int64         // the largest file that it may write, in bytes, rounded up to 512
	Files  int           // open descriptors
	Memory int64         // address space, in bytes, rounded up to 1,024
}

const shell = "/bin/sh"

// command returns what is run. Umask and limits are set between fork and exec, where Go
// can do nothing; a shell can.
func (c *Config) command() (path string, argv []string) {
	script := c.script()
	if script == "" {
		return c.Path, append([]string{c.Path}, c.Args...)
	}
	return shell, append([]string{shell, "-c", script, c.Path}, c.Args...)
}

// script returns what the shell does; nothing of it comes from the outside but numbers.
func (c *Config) script() string {
	var do []string
	if c.Umask != 0 {
		do = append(do, fmt.Sprintf("umask %03o", c.Umask.Perm()))
	}
	l := c.Limits
	limit := func(flag byte, n int64) {
		if n > 0 {
			do = append(do, fmt.Sprintf("ulimit -%c %d", flag, n))
		}
	}
	limit('t', ceil(int64(l.CPU), int64(time.Second)))
	limit('f', ceil(l.File, 512))
	limit('n', int64(l.Files))
	limit('v', ceil(l.Memory, 1024))
	if l != (Limits{}) {
		do = append(do, "ulimit -c 0")
	}
	if do == nil {
		return ""
	}
	return strings.Join(append(do, `exec "$0" "$@"`), " && ")
}

func ceil(n, unit int64) int64 { return (n + unit - 1) / unit }
