// Package goroutine is the engine that serves each connection on a goroutine of its
// own: Go's form of the concurrent server. It runs every service over every kind of
// connection, and is the default where no event engine serves.
package goroutine

import "yodel/engine"

// Engine serves each connection on a goroutine of its own.
type Engine struct{ *engine.Blocking }

var _ engine.Engine = Engine{}

// New returns an Engine for svc: a yodel.Service, an engine.ConnServer or an
// engine.ListenerServer. cfg may be nil. The error wraps engine.ErrUnfit if svc is
// none of these.
func New(svc any, cfg *engine.Config) (Engine, error) {
	b, err := engine.NewBlocking(svc, cfg, func(serve func()) { go serve() })
	return Engine{b}, err
}
