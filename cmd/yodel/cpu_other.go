//go:build !linux

package main

import (
	"errors"
	"fmt"
	"runtime"
	"time"
)

// machineTime is known on Linux only.
func machineTime() (time.Duration, error) {
	return 0, fmt.Errorf("the time that processors were busy on %s: %w", runtime.GOOS, errors.ErrUnsupported)
}

// cpuTime is known on Linux only.
func cpuTime(int) (time.Duration, error) {
	return 0, fmt.Errorf("the CPU clock of another process on %s: %w", runtime.GOOS, errors.ErrUnsupported)
}
