package goroutine_test

import (
	"testing"

	"yodel/engine"
	"yodel/engine/enginetest"
	"yodel/engine/goroutine"
)

func TestConformance(t *testing.T) {
	enginetest.Run(t, func(svc any, cfg *engine.Config) (engine.Engine, error) {
		return goroutine.New(svc, cfg)
	}, enginetest.Traits{})
}
