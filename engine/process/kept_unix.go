//go:build unix && !linux

package process

import "golang.org/x/sys/unix"

// kept are the options of a socket that package net sets when it is given one, as far
// as all systems have them.
var kept = []option{
	{unix.SOL_SOCKET, unix.SO_KEEPALIVE},
	{unix.IPPROTO_TCP, unix.TCP_NODELAY},
}
