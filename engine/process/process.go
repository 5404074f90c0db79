// Package process is the engine that serves each connection in a process of its own:
// the lecture's fork for each client. What one client does to its process, another
// does not notice, be it a crash, a leak or kill -9.
//
// Go can't fork, so the program runs itself again. The child has the connected socket
// as descriptor 3 and nothing else of the parent's, but for a control pipe as 4: on
// it the parent sends what is to be served and, later, that the server is shutting
// down; the child sends what happened, and its sums. The end of that pipe means that
// the other one is gone. The parent closes its copy of the connected socket, accepts
// the next client, and reaps the children.
//
// A program that uses this engine calls [Main] first thing in main, and its tests in
// TestMain: in a child Main serves, and does not return.
//
// Processes exist on Unix only; elsewhere New returns an error that wraps
// errors.ErrUnsupported. A process takes some milliseconds to start and some
// megabytes to run: the goroutine engine does without.
package process

import (
	"crypto/tls"
	"fmt"

	"yodel/engine"
)

// DefaultMaxChildren is how many children there are at most if Options say nothing, and
// the limit on descriptors allows it.
const DefaultMaxChildren = 256

// Options are what only this engine knows.
type Options struct {
	// MaxChildren is how many children there are at once; further clients wait in
	// the accept queue. If zero, DefaultMaxChildren, or as many as the limit on
	// descriptors allows.
	MaxChildren int

	// Settings are handed to the Make of the child, to make the service as it was
	// made here. They may be nil.
	Settings []byte
}

// Engine serves each connection in a process of its own.
type Engine struct{ *engine.Blocking }

var _ engine.Engine = Engine{}

// New returns an Engine for svc: a yodel.Service, an engine.ConnServer or an
// engine.ListenerServer. It is not svc itself that serves but what the child's Make
// returns for cfg.Service and the Settings. cfg and opts may be nil.
//
// Of cfg.TLS the child gets the certificates, NextProtos and MinVersion; instead of
// Certificates it may have GetCertificate, which is asked once for each connection,
// with an empty ClientHelloInfo. If anything else of it is set that decides who is let
// in, the error wraps engine.ErrUnfit, as it does for what is no service.
func New(svc any, cfg *engine.Config, opts *Options) (Engine, error) {
	if err := supported(); err != nil {
		return Engine{}, err
	}
	own := engine.Config{}
	if cfg != nil {
		own = *cfg
	}
	if opts == nil {
		opts = &Options{}
	}
	if own.Gate == nil {
		own.Gate = engine.NewGate(nil)
	}
	if err := checkTLS(own.TLS); err != nil {
		return Engine{}, err
	}
	p := &parent{cfg: &own, settings: opts.Settings, places: newTokens(opts.maxChildren()), turn: newTokens(1)}
	b, err := engine.NewHandover(svc, &own, p.run, p.serve)
	if err != nil {
		return Engine{}, err
	}
	p.stopped = b.Stopped()
	return Engine{b}, nil
}

// maxChildren returns how many children there may be. While it lives, each takes some
// of the parent's descriptors.
func (o *Options) maxChildren() int {
	if o.MaxChildren > 0 {
		return o.MaxChildren
	}
	if most := engine.NewGate(nil).MaxConns() / descriptorsOfChild; most > 0 {
		return min(most, DefaultMaxChildren)
	}
	return DefaultMaxChildren
}

// descriptorsOfChild is how many descriptors of the parent's one child takes: the
// control pipe, its standard error, and what the runtime waits for it with; and
// the connected socket while it starts.
const descriptorsOfChild = 4

// checkTLS refuses a configuration of which the child would get less than was meant.
func checkTLS(cfg *tls.Config) error {
	switch {
	case cfg == nil:
	case len(cfg.Certificates) == 0 && cfg.GetCertificate == nil, cfg.GetConfigForClient != nil,
		cfg.ClientAuth != tls.NoClientCert, cfg.VerifyConnection != nil, cfg.VerifyPeerCertificate != nil:
		return fmt.Errorf("%w: a process takes certificates, NextProtos and MinVersion of a TLS configuration, and no client certificates or functions that choose by client", engine.ErrUnfit)
	}
	return nil
}
