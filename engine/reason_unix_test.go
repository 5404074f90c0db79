//go:build unix

package engine

import (
	"os"
	"syscall"
	"testing"
)

// How a connection ends is what package trace says of the system's errors, in the
// words of a server.
func TestReasonOfSystemErrors(t *testing.T) {
	for errno, want := range map[syscall.Errno]Reason{
		syscall.ECONNRESET: Reset, syscall.EPIPE: Reset, syscall.ENOTCONN: Reset,
		syscall.ETIMEDOUT: Vanished, syscall.EHOSTUNREACH: Vanished, syscall.ENETUNREACH: Vanished,
		syscall.EHOSTDOWN: Vanished, syscall.ENETDOWN: Vanished, syscall.EPROTO: Vanished,
		syscall.EIO: Fault, syscall.ENOBUFS: Fault,
	} {
		if got := ReasonOf(os.NewSyscallError("read", errno)); got != want {
			t.Errorf("%v: %q, want %q", errno, got, want)
		}
	}
}
