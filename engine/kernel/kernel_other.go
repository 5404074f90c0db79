//go:build !linux

package kernel

import (
	"errors"
	"fmt"
	"runtime"

	"yodel/engine"
)

type programs struct{}

// New returns an error that wraps errors.ErrUnsupported.
func New(any, *engine.Config, *Options) (Engine, error) { return Engine{}, Probe() }

// Probe returns nil if this engine can run here, and else why not.
func Probe() error {
	return fmt.Errorf("the engine kernel is a BPF program of Linux: %w on %s", errors.ErrUnsupported, runtime.GOOS)
}

// Relayed returns 0.
func (e Engine) Relayed() int64 { return 0 }
