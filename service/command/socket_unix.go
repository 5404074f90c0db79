//go:build unix

package command

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

func supported() error { return nil }

// socketOf returns a descriptor of nc's own socket, as a program wants it: reading and
// writing wait. The server no longer reads or writes there.
func socketOf(nc net.Conn) (*os.File, error) {
	with, ok := nc.(syscall.Conn)
	if !ok {
		return nil, errors.ErrUnsupported
	}
	raw, err := with.SyscallConn()
	if err != nil {
		return nil, err
	}
	var file *os.File
	if e := raw.Control(func(fd uintptr) { file, err = duplicate(int(fd)) }); e != nil {
		return nil, e
	}
	return file, err
}

func duplicate(fd int) (*os.File, error) {
	if _, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE); err != nil {
		return nil, os.NewSyscallError("getsockopt SO_TYPE", err)
	}
	dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return nil, os.NewSyscallError("fcntl F_DUPFD_CLOEXEC", err)
	}
	if err := unix.SetNonblock(dup, false); err != nil { // of the socket, so of both
		unix.Close(dup)
		return nil, os.NewSyscallError("fcntl O_NONBLOCK", err)
	}
	return os.NewFile(uintptr(dup), "connection"), nil
}

// awaitGone waits until the peer has gone, and returns true; or until nc is closed. It
// does not read.
func awaitGone(nc net.Conn) (gone bool) {
	raw, err := nc.(syscall.Conn).SyscallConn()
	if err != nil {
		return false
	}
	err = raw.Read(func(fd uintptr) bool { return isGone(int(fd)) })
	return err == nil
}

// isGone reports whether a socket is closed in both directions, or was reset.
func isGone(fd int) bool {
	poll := []unix.PollFd{{Fd: int32(fd)}} // POLLHUP and POLLERR are always told
	n, err := unix.Poll(poll, 0)
	return err == nil && n > 0 && poll[0].Revents&(unix.POLLHUP|unix.POLLERR) != 0
}

// pair returns two connected sockets: one for a program, and ours.
func pair() (theirs *os.File, ours *net.UnixConn, err error) {
	syscall.ForkLock.RLock()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err == nil {
		unix.CloseOnExec(fds[0])
		unix.CloseOnExec(fds[1])
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	theirs = os.NewFile(uintptr(fds[0]), "connection")
	file := os.NewFile(uintptr(fds[1]), "pair")
	defer file.Close()
	nc, err := net.FileConn(file)
	if err != nil {
		theirs.Close()
		return nil, nil, err
	}
	return theirs, nc.(*net.UnixConn), nil
}

// copyTo copies until the end of from, and ends that direction of to. An error means that
// one of them is broken.
func copyTo(to, from net.Conn) error {
	if _, err := io.Copy(to, struct{ io.Reader }{from}); err != nil && !errors.Is(err, net.ErrClosed) {
		return err
	}
	if half, ok := to.(interface{ CloseWrite() error }); ok {
		half.CloseWrite()
	}
	return nil
}
