package uring_test

import (
	"testing"

	"yodel/engine"
	"yodel/engine/enginetest"
	"yodel/engine/uring"
)

func TestConformance(t *testing.T) {
	enginetest.Run(t, func(svc any, cfg *engine.Config) (engine.Engine, error) {
		return uring.New(svc, cfg, nil)
	}, enginetest.Traits{SocketsOnly: true, NoTLS: true, NoDoor: true})
}

func TestLoops(t *testing.T) {
	enginetest.RunEvented(t, func(svc any, cfg *engine.Config, loops int) (enginetest.Evented, error) {
		return uring.New(svc, cfg, &uring.Options{Loops: loops})
	})
}

func TestProbe(t *testing.T) {
	t.Parallel()
	if err := uring.Probe(); err != nil {
		t.Error(err)
	}
}
