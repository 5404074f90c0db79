package sock

import (
	"os"

	"golang.org/x/sys/unix"
)

// The options by their numbers here.
const (
	soReuseAddr         = unix.SO_REUSEADDR
	soReusePort         = unix.SO_REUSEPORT
	tcpUserTimeout      = unix.TCP_USER_TIMEOUT
	tcpNotSentLowat     = unix.TCP_NOTSENT_LOWAT
	tcpKeepIdle         = unix.TCP_KEEPIDLE
	tcpKeepInterval     = unix.TCP_KEEPINTVL
	tcpKeepCount        = unix.TCP_KEEPCNT
	ipBindAddressNoPort = unix.IP_BIND_ADDRESS_NO_PORT
)

// inherits says that a connected socket has the options of its listening socket.
const inherits = true

func bindToDevice(fd uintptr, name string) error {
	return os.NewSyscallError("setsockopt SO_BINDTODEVICE", unix.BindToDevice(int(fd), name))
}

func isMPTCP(fd uintptr) bool {
	proto, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PROTOCOL)
	return err == nil && proto == unix.IPPROTO_MPTCP
}
