//go:build unix

package telnet

import (
	"net"
	"syscall"
)

const sigtstp = syscall.SIGTSTP

// inlineUrgent leaves urgent data where it stands in the stream: of a Synch (RFC 854) its
// last byte would be missing.
func inlineUrgent(nc net.Conn) {
	sc, ok := nc.(syscall.Conn)
	if !ok {
		return
	}
	if raw, err := sc.SyscallConn(); err == nil {
		raw.Control(func(fd uintptr) { syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_OOBINLINE, 1) })
	}
}
