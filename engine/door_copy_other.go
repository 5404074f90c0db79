//go:build !linux

package engine

import (
	"errors"
	"syscall"
)

type sender struct {
	at, left int64
	took     func(int)
}

func (*sender) send(syscall.RawConn, syscall.RawConn) error { return errors.ErrUnsupported }
