package engine

import (
	"errors"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// sendMost is how many bytes one call of sendfile(2) is asked for. It sends what fits
// into the socket's buffer.
const sendMost = 4 << 20

// sendSome waits until the socket takes something, and has the kernel copy at most limit
// bytes from where the file stands; 0 is its end.
func sendSome(socket, file syscall.RawConn, limit int64) (n int, err error) {
	var failed error
	send := func(in, out uintptr) (done bool) {
		failed = unix.EINTR
		for failed == unix.EINTR {
			n, failed = unix.Sendfile(int(out), int(in), nil, int(min(limit, sendMost)))
		}
		return failed != unix.EAGAIN
	}
	var waited error
	err = file.Control(func(in uintptr) {
		waited = socket.Write(func(out uintptr) bool { return send(in, out) })
	})
	switch {
	case err != nil:
		return 0, err
	case waited != nil: // a deadline, or the socket was closed
		return 0, waited
	case failed == unix.EINVAL, failed == unix.ENOSYS, failed == unix.EOPNOTSUPP:
		return 0, errors.ErrUnsupported // a pipe, a terminal, a file of an odd file system
	}
	return max(n, 0), os.NewSyscallError("sendfile", failed)
}
