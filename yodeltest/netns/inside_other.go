//go:build !linux

package netns

import (
	"errors"
	"fmt"
	"runtime"
)

// Inside is there on Linux only. Elsewhere it returns errors.ErrUnsupported.
func (h *Host) Inside(func() error) error {
	return fmt.Errorf("netns: %w on %s", errors.ErrUnsupported, runtime.GOOS)
}
