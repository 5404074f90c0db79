package iterative_test

import (
	"testing"

	"yodel/engine"
	"yodel/engine/enginetest"
	"yodel/engine/iterative"
)

func TestConformance(t *testing.T) {
	enginetest.Run(t, func(svc any, cfg *engine.Config) (engine.Engine, error) {
		return iterative.New(svc, cfg)
	}, enginetest.Traits{OneAtATime: true})
}
