//go:build unix && !linux

package spool

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

const setLock = unix.F_SETLK

func freeBytes(*os.File) (int64, error) { return 0, errors.ErrUnsupported }

func syncData(f *os.File) error { return f.Sync() }
