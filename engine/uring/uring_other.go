//go:build !linux

package uring

import (
	"yodel/engine"
	"yodel/internal/loop"
)

// New returns an error that wraps errors.ErrUnsupported.
func New(any, *engine.Config, *Options) (Engine, error) { return Engine{}, Probe() }

// Probe returns nil if this engine can run here, and else why not.
func Probe() error { return loop.ProbeRing() }
