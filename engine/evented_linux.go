package engine

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"yodel/internal/loop"
)

// OpenSocket returns a descriptor of its own for the socket of l. The error wraps
// ErrUnfit if l is none; name is the engine's.
func OpenSocket(name string, l net.Listener) (fd int, err error) {
	raw, err := rawOf(l)
	if err != nil {
		return -1, fmt.Errorf("%w: a %T is no socket of the kernel, and %s waits for nothing else: %w", ErrUnfit, l, name, err)
	}
	controlErr := raw.Control(func(listener uintptr) {
		fd, err = unix.FcntlInt(listener, unix.F_DUPFD_CLOEXEC, 0)
		err = os.NewSyscallError("fcntl F_DUPFD_CLOEXEC", err)
	})
	if controlErr != nil {
		return -1, controlErr
	}
	return fd, err
}

func rawOf(l net.Listener) (syscall.RawConn, error) {
	c, ok := l.(syscall.Conn)
	if !ok {
		return nil, errors.ErrUnsupported
	}
	return c.SyscallConn()
}

// AcceptSome accepts up to most of the connections that wait in the queue; clock reads the
// time. The Worker goes on, at once if there may be more, unless the queue is to be held:
// then Accept is called again, or never.
func (q *Queue) AcceptSome(most int, clock func() time.Time) (more, hold bool) {
	for range most {
		if !q.Room() {
			return false, true
		}
		fd, remote, errno := loop.Accept(q.FD)
		if errno == 0 {
			q.accepted(fd, remote, clock)
			continue
		}
		q.Vacate()
		switch {
		case errno == syscall.EAGAIN:
			return false, false
		case errno == syscall.EINTR:
		case !q.Failed(os.NewSyscallError("accept4", errno)):
			return false, true
		}
	}
	return true, false
}

func (q *Queue) accepted(fd int, remote netip.AddrPort, clock func() time.Time) {
	var local netip.AddrPort
	if q.Any {
		local = loop.Local(fd)
	}
	q.Accepted(fd, local, remote, clock())
}
