package uring

import (
	"net"

	"yodel/engine"
	"yodel/internal/loop"
)

const name = "uring"

// New returns an Engine for svc, a yodel.Service. cfg and opts may be nil. The error
// wraps engine.ErrUnfit if svc has no sessions, or if cfg asks for TLS or PROXY
// headers.
func New(svc any, cfg *engine.Config, opts *Options) (Engine, error) {
	if opts == nil {
		opts = &Options{}
	}
	e, err := engine.NewEvented(svc, cfg, engine.EventedOptions{
		Name: name, Loops: opts.Loops, Close: loop.Close,
		Open: func(l net.Listener) (int, error) { return engine.OpenSocket(name, l) },
		Make: func(e *engine.Evented, sh *engine.Shared) (engine.Worker, error) { return newWorker(e, sh) },
	})
	return Engine{e}, err
}

// Probe returns nil if this engine can run here, and else why not.
func Probe() error { return loop.ProbeRing() }
