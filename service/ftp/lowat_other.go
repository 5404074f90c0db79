//go:build !linux

package ftp

import "errors"

func setReadLowat(uintptr, int) error { return errors.ErrUnsupported }
