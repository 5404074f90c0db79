//go:build !linux

package load

import (
	"errors"
	"time"
)

const haveLoops = false

func newLooper(*worker) (driver, error) { return nil, errors.ErrUnsupported }

func stolenTime() time.Duration { return 0 }

// waitedTime is not known here.
func waitedTime() time.Duration { return 0 }
