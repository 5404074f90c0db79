package command

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// countPast tells nc, if it wants to know, how many bytes a program reads and writes on its
// socket: the kernel counts them (tcp(7), TCP_INFO). What is returned is to be called at the
// end, before nc is closed.
func countPast(nc net.Conn) (end func()) {
	counter, ok := nc.(interface{ Past(in, out int64) })
	if !ok {
		return func() {}
	}
	before, ok := sumsOf(nc)
	if !ok {
		return func() {}
	}
	return func() {
		if now, ok := sumsOf(nc); ok {
			counter.Past(now.in-before.in, now.out-before.out)
		}
	}
}

// sums are bytes of a connection: read, and written.
type sums struct{ in, out int64 }

// sumsOf returns what has been read from a TCP connection and written to it so far, by any
// process.
func sumsOf(nc net.Conn) (s sums, ok bool) {
	with, ok := nc.(syscall.Conn)
	if !ok {
		return s, false
	}
	raw, err := with.SyscallConn()
	if err != nil {
		return s, false
	}
	var errInfo, errQueue error
	err = raw.Control(func(fd uintptr) {
		var unread int
		var info *unix.TCPInfo
		info, errInfo = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		unread, errQueue = unix.IoctlGetInt(int(fd), unix.SIOCINQ)
		if errInfo == nil && errQueue == nil {
			s.in = int64(info.Bytes_received) - ofEnd(info.State) - int64(unread)
			s.out = int64(info.Bytes_sent-info.Bytes_retrans) + int64(info.Notsent_bytes)
		}
	})
	return s, err == nil && errInfo == nil && errQueue == nil
}

// The states of a TCP connection whose peer has ended its direction, or that has ended
// (enum in linux/tcp.h).
const (
	timeWait  = 6
	closed    = 7
	closeWait = 8
	lastACK   = 9
	closing   = 11
)

// ofEnd returns how many of the bytes that the kernel says it has received are the peer's
// FIN.
func ofEnd(state uint8) int64 {
	switch state {
	case timeWait, closed, closeWait, lastACK, closing:
		return 1
	}
	return 0
}
