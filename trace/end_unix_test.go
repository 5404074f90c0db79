//go:build unix

package trace

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
)

// What the system says of a peer that has reset the connection, or is no longer there:
// by itself, or in the name of the last router that knew.
func TestEndOf(t *testing.T) {
	t.Parallel()
	for want, errs := range map[string][]error{
		EndReset: {syscall.ECONNRESET, syscall.EPIPE, syscall.ECONNABORTED, syscall.ENOTCONN},
		EndVanished: {
			syscall.ETIMEDOUT, syscall.EHOSTUNREACH, syscall.ENETUNREACH,
			syscall.EHOSTDOWN, syscall.ENETDOWN, errnoNoNet, syscall.EPROTO,
			syscall.ECONNREFUSED, syscall.ENOPROTOOPT, syscall.EACCES, syscall.EOPNOTSUPP,
		},
		EndFault: {syscall.EIO, syscall.ENOMEM, syscall.EBADF, io.ErrUnexpectedEOF, os.ErrDeadlineExceeded},
	} {
		for _, err := range errs {
			wrapped := &net.OpError{Op: "read", Err: os.NewSyscallError("read", err)}
			if got := EndOf(wrapped); got != want {
				t.Errorf("%v: %q, want %q", err, got, want)
			}
		}
	}
	if got := EndOf(&os.PathError{Op: "open", Path: "/x", Err: syscall.EACCES}); got != EndFault {
		t.Errorf("a file's error: %q", got)
	}
	if got := EndOf(errors.New("another")); got != EndFault {
		t.Errorf("another error: %q", got)
	}
}
