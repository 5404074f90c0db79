//go:build !linux

package loop

import (
	"errors"
	"fmt"
	"runtime"
)

// Probe returns nil if event loops can be made here, and else why not.
func Probe() error { return fmt.Errorf("epoll on %s: %w", runtime.GOOS, errors.ErrUnsupported) }

// ProbeRing returns nil if loops over io_uring can be made here, and else why not.
func ProbeRing() error { return fmt.Errorf("io_uring on %s: %w", runtime.GOOS, errors.ErrUnsupported) }
