package engine

import (
	"errors"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// sendMost is how many bytes one call of sendfile(2) is asked for.
const sendMost = 512 << 10

// sender has the kernel copy from a file to a socket.
type sender struct {
	at, left int64       // where the file stands, and how many bytes are to be sent at most
	took     func(n int) // is told what the socket has taken
	probe    byte        // what inMemory reads
}

// lowatFrom is from how many bytes on it pays to change TCP_NOTSENT_LOWAT.
const lowatFrom = 1 << 20

// send returns when all is sent, or the file has ended. What the socket holds unsent is
// not bounded meanwhile: these are pages of the file and not copies, and a small bound
// would wake us for each few of them.
func (s *sender) send(socket, file syscall.RawConn) error {
	if s.left >= lowatFrom {
		was := setLowat(socket, 0) // the system's own, which is no bound
		defer setLowat(socket, was)
	}
	var failed, waited error
	err := file.Control(func(in uintptr) {
		waited = socket.Write(func(out uintptr) (done bool) {
			failed = s.some(int(out), int(in))
			return failed != unix.EAGAIN
		})
	})
	switch {
	case err != nil:
		return err
	case waited != nil: // a deadline, or the socket was closed
		return waited
	case failed == unix.EINVAL, failed == unix.ENOSYS, failed == unix.EOPNOTSUPP:
		return errors.ErrUnsupported // a pipe, a terminal, a file of an odd file system
	}
	return os.NewSyscallError("sendfile", failed)
}

// setLowat sets TCP_NOTSENT_LOWAT and returns what it was.
func setLowat(socket syscall.RawConn, n int) (was int) {
	socket.Control(func(fd uintptr) {
		was, _ = unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT)
		if was != n {
			unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, n)
		}
	})
	return was
}

// some sends for as long as the socket takes it. EAGAIN says that it is to be waited for.
func (s *sender) some(out, in int) error {
	for s.left > 0 {
		n, err := s.call(out, in, int(min(s.left, sendMost)))
		if err != nil || n == 0 {
			return err
		}
		s.at += int64(n)
		s.left -= int64(n)
		s.took(n)
	}
	return nil
}

// call is one sendfile(2). The scheduler looks after each system call that it is told of,
// which costs more than one of these takes. So it is told only of those that may wait for
// a disk; the others are bounded by sendMost.
func (s *sender) call(out, in, size int) (n int, err error) {
	call := unix.Syscall6
	if s.inMemory(in, s.at+int64(size)-1) {
		call = unix.RawSyscall6
	}
	for {
		r, _, errno := call(unix.SYS_SENDFILE, uintptr(out), uintptr(in), 0, uintptr(size), 0, 0)
		switch errno {
		case 0:
			return int(r), nil
		case unix.EINTR:
		default:
			return 0, errno
		}
	}
}

// inMemory reports whether the byte at that place of a file can be read without waiting
// for a disk. What is before it can be too, as files are read ahead in order.
func (s *sender) inMemory(fd int, at int64) bool {
	iov := unix.Iovec{Base: &s.probe}
	iov.SetLen(1)
	const bits = 32 << (^uintptr(0) >> 63) // the kernel takes a place in two words
	n, _, errno := unix.RawSyscall6(unix.SYS_PREADV2, uintptr(fd), uintptr(unsafe.Pointer(&iov)), 1,
		uintptr(at), uintptr(at>>(bits/2)>>(bits/2)), unix.RWF_NOWAIT)
	return n == 1 && errno == 0
}
