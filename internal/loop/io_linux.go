package loop

import (
	"encoding/binary"
	"net/netip"
	"strconv"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// poll waits for events for at most d, without the Go scheduler's knowledge. A signal of
// the Go runtime's ends the wait, but never leaves unsaid what is there already: it may be
// told of only once.
func (l *Loop) poll(d time.Duration) int {
	for {
		n, _, errno := syscall.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(l.epoll),
			uintptr(unsafe.Pointer(&l.events)), uintptr(len(l.events)), milliseconds(d), 0, 0)
		switch {
		case errno == 0:
			return int(n)
		case errno != unix.EINTR:
			return 0
		}
		d = 0
	}
}

// milliseconds returns d as epoll_wait(2) has it, rounded up.
func milliseconds(d time.Duration) uintptr {
	return uintptr(min((d+time.Millisecond-1)/time.Millisecond, 1<<30))
}

// Receive reads from a socket: recv(2). errno is 0, or why nothing was read; 0 bytes
// without an errno is the end.
func Receive(fd int, p []byte) (n int, errno syscall.Errno) {
	r, _, errno := syscall.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd),
		uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), 0, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(r), 0
}

// HasInput reports whether a read from a socket would find bytes: ppoll(2), which leaves
// an error of the socket's to who reads.
func HasInput(fd int) bool {
	p := unix.PollFd{Fd: int32(fd), Events: unix.POLLIN}
	var now unix.Timespec
	n, _, errno := syscall.RawSyscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&p)), 1, uintptr(unsafe.Pointer(&now)), 0, 0, 0)
	return errno == 0 && n == 1 && p.Revents == unix.POLLIN
}

// Send writes to a socket what fits its buffer: send(2). A peer that has gone is EPIPE
// and no signal.
func Send(fd int, p []byte) (n int, errno syscall.Errno) {
	r, _, errno := syscall.RawSyscall6(unix.SYS_SENDTO, uintptr(fd),
		uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), unix.MSG_NOSIGNAL, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(r), 0
}

// Accept takes a connection from a listening socket's queue: accept4(2). The connected
// socket is non-blocking and closed on exec. remote is not valid for Unix sockets.
func Accept(listener int) (fd int, remote netip.AddrPort, errno syscall.Errno) {
	var sa unix.RawSockaddrAny
	size := uint32(unix.SizeofSockaddrAny)
	r, _, errno := syscall.RawSyscall6(unix.SYS_ACCEPT4, uintptr(listener),
		uintptr(unsafe.Pointer(&sa)), uintptr(unsafe.Pointer(&size)), unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0, 0)
	if errno != 0 {
		return -1, netip.AddrPort{}, errno
	}
	return int(r), addrPort(&sa), 0
}

// Local returns the address of a socket: getsockname(2). It is not valid for Unix
// sockets.
func Local(fd int) netip.AddrPort {
	var sa unix.RawSockaddrAny
	size := uint32(unix.SizeofSockaddrAny)
	syscall.RawSyscall(unix.SYS_GETSOCKNAME, uintptr(fd), uintptr(unsafe.Pointer(&sa)), uintptr(unsafe.Pointer(&size)))
	return addrPort(&sa)
}

// addrPort returns the IP address and port in sa; it is not valid if sa has none.
func addrPort(sa *unix.RawSockaddrAny) netip.AddrPort {
	switch sa.Addr.Family {
	case unix.AF_INET:
		in := (*unix.RawSockaddrInet4)(unsafe.Pointer(sa))
		return netip.AddrPortFrom(netip.AddrFrom4(in.Addr), hostOrder(in.Port))
	case unix.AF_INET6:
		in := (*unix.RawSockaddrInet6)(unsafe.Pointer(sa))
		addr := netip.AddrFrom16(in.Addr).Unmap()
		if in.Scope_id != 0 && addr.Is6() {
			addr = addr.WithZone(strconv.FormatUint(uint64(in.Scope_id), 10))
		}
		return netip.AddrPortFrom(addr, hostOrder(in.Port))
	}
	return netip.AddrPort{}
}

// hostOrder returns a port that is in the order of the network.
func hostOrder(port uint16) uint16 {
	return binary.BigEndian.Uint16((*[2]byte)(unsafe.Pointer(&port))[:])
}

// EndWrites ends our direction: shutdown(2) with SHUT_WR.
func EndWrites(fd int) syscall.Errno {
	_, _, errno := syscall.RawSyscall(unix.SYS_SHUTDOWN, uintptr(fd), unix.SHUT_WR, 0)
	return errno
}

// Close closes a descriptor. The socket's unsent bytes are still sent.
func Close(fd int) { syscall.RawSyscall(unix.SYS_CLOSE, uintptr(fd), 0, 0) }

// Abort closes a socket by a reset, so that the kernel keeps nothing of it (SO_LINGER
// with a time of 0, socket(7)).
func Abort(fd int) {
	unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	Close(fd)
}
