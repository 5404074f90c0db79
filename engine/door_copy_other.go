//go:build !linux

package engine

import (
	"errors"
	"syscall"
)

func sendSome(syscall.RawConn, syscall.RawConn, int64) (int, error) {
	return 0, errors.ErrUnsupported
}
