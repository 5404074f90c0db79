package ftp

import (
	"net"
	"syscall"
)

// inlineUrgent leaves urgent data where it stands in the stream: the TELNET Synch that
// clients send with ABOR (RFC 959 §4.1.3) is urgent, and its last byte would be missing.
// Where that can't be, parseCommand makes do with what is left.
func inlineUrgent(nc net.Conn) {
	sc, ok := nc.(syscall.Conn)
	if !ok {
		return
	}
	if raw, err := sc.SyscallConn(); err == nil {
		raw.Control(func(fd uintptr) { setInlineUrgent(fd) })
	}
}
