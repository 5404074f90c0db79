//go:build !linux

package load

import "errors"

const haveLoops = false

func newLooper(*worker) (driver, error) { return nil, errors.ErrUnsupported }
