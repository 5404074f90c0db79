//go:build unix

package sock

import (
	"os"

	"golang.org/x/sys/unix"
)

// The failures that an error text or an exit status depends on.
const (
	errnoAgain       = unix.EAGAIN
	errnoAccess      = unix.EACCES
	errnoPerm        = unix.EPERM
	errnoInUse       = unix.EADDRINUSE
	errnoNotAvail    = unix.EADDRNOTAVAIL
	errnoFamily      = unix.EAFNOSUPPORT
	errnoNoDevice    = unix.ENODEV
	errnoRefused     = unix.ECONNREFUSED
	errnoTimedOut    = unix.ETIMEDOUT
	errnoNetUnreach  = unix.ENETUNREACH
	errnoHostUnreach = unix.EHOSTUNREACH
)

func setsockoptInt(fd uintptr, level, opt, value int) error {
	return unix.SetsockoptInt(int(fd), level, opt, value)
}

// relisten sets the backlog of a socket that listens already: listen(2) may be
// called again.
func relisten(fd uintptr, backlog int) error {
	return os.NewSyscallError("listen", unix.Listen(int(fd), backlog))
}
