//go:build unix

package web

import "syscall"

// nonblock keeps the opening of a pipe that has taken a file's place from waiting.
const nonblock = syscall.O_NONBLOCK
