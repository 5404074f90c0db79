//go:build !linux

package sock

// The options that only Linux has, or that package net sets for us here.
const (
	soReusePort         = absent // elsewhere it does not spread connections
	tcpUserTimeout      = absent
	tcpNotSentLowat     = absent
	tcpKeepIdle         = absent
	tcpKeepInterval     = absent
	tcpKeepCount        = absent
	ipBindAddressNoPort = absent
)

// inherits is false: package net sets the options on each connected socket.
const inherits = false

func bindToDevice(uintptr, string) error {
	return unsupported("SO_BINDTODEVICE", "listen on, or dial from, that interface's address")
}

func isMPTCP(uintptr) bool { return false }
