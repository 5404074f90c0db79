//go:build !unix

package telnet

import (
	"net"
	"syscall"
)

const sigtstp = syscall.Signal(0) // there is none, and no terminal to send it to

func inlineUrgent(net.Conn) {}
