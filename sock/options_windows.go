package sock

import (
	"syscall"

	"golang.org/x/sys/windows"
)

// SO_REUSEADDR would let another program take the port away here.
const soReuseAddr = absent

// The failures that an error text or an exit status depends on.
const (
	errnoAgain       = windows.WSAEWOULDBLOCK
	errnoAccess      = windows.WSAEACCES
	errnoPerm        = windows.WSAEACCES
	errnoInUse       = windows.WSAEADDRINUSE
	errnoNotAvail    = windows.WSAEADDRNOTAVAIL
	errnoFamily      = windows.WSAEAFNOSUPPORT
	errnoNoDevice    = windows.ERROR_DEV_NOT_EXIST
	errnoRefused     = windows.WSAECONNREFUSED
	errnoTimedOut    = windows.WSAETIMEDOUT
	errnoNetUnreach  = windows.WSAENETUNREACH
	errnoHostUnreach = windows.WSAEHOSTUNREACH
)

func setsockoptInt(fd uintptr, level, opt, value int) error {
	return syscall.SetsockoptInt(syscall.Handle(fd), level, opt, value)
}

func relisten(uintptr, int) error {
	return unsupported("listen with a backlog", "leave Backlog out")
}
