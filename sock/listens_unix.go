//go:build unix

package sock

import (
	"os"

	"golang.org/x/sys/unix"
)

// listens reports whether f is a stream socket on which somebody has called listen(2).
// Package net takes any socket for a listener.
func listens(f *os.File) bool {
	kind, err := unix.GetsockoptInt(int(f.Fd()), unix.SOL_SOCKET, unix.SO_TYPE)
	if err != nil || kind != unix.SOCK_STREAM {
		return false
	}
	on, err := unix.GetsockoptInt(int(f.Fd()), unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
	return err == nil && on != 0
}
