//go:build !linux

package trace

import "time"

var processStart = time.Now()

// hostMono returns the time since this process began, in nanoseconds.
func hostMono() int64 { return int64(time.Since(processStart)) }

func hostClock() string { return processClock() }
