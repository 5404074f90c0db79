//go:build !linux

package main

import (
	"errors"
	"fmt"
	"runtime"
	"time"
)

// cpuTime is known on Linux only.
func cpuTime(int) (time.Duration, error) {
	return 0, fmt.Errorf("the CPU clock of another process on %s: %w", runtime.GOOS, errors.ErrUnsupported)
}
