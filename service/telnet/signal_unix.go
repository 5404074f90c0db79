//go:build unix

package telnet

import "syscall"

const sigtstp = syscall.SIGTSTP
