//go:build !linux

package load

import (
	"errors"
	"time"
)

const haveLoops = false

func newLooper(*worker) (driver, error) { return nil, errors.ErrUnsupported }

// starved is not known here.
func starved() time.Duration { return -1 }
