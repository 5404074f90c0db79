package epoll_test

import (
	"testing"

	"yodel/engine"
	"yodel/engine/enginetest"
	"yodel/engine/epoll"
)

func TestConformance(t *testing.T) {
	enginetest.Run(t, func(svc any, cfg *engine.Config) (engine.Engine, error) {
		return epoll.New(svc, cfg, nil)
	}, enginetest.Traits{SocketsOnly: true, NoTLS: true, NoDoor: true})
}

func TestLoops(t *testing.T) {
	enginetest.RunEvented(t, func(svc any, cfg *engine.Config, loops int) (enginetest.Evented, error) {
		return epoll.New(svc, cfg, &epoll.Options{Loops: loops})
	})
}

func TestProbe(t *testing.T) {
	t.Parallel()
	if err := epoll.Probe(); err != nil {
		t.Error(err)
	}
}
