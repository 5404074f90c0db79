// Package iterative is the engine that serves one client at a time: the lecture's
// echoserveri. While one client is served the others wait in the kernel's accept
// queue: their connect has returned, and nobody answers. That is its lesson.
//
// What it makes impossible, of the rows of hostile behaviour that all engines are
// held to:
//
//   - A1, A5: a slow or silent client is ended by the same clocks, but until then
//     everyone else waits for it.
//   - A2: waiting clients stay in the accept queue by design, also while
//     descriptors abound.
//   - A10: half a ClientHello holds up all others until the handshake's time is
//     over.
//
// One Engine serves one client at a time over all of its listeners.
package iterative

import (
	"sync"

	"yodel/engine"
)

// Engine serves one client at a time.
type Engine struct{ *engine.Blocking }

var _ engine.Engine = Engine{}

// New returns an Engine for svc: a yodel.Service, an engine.ConnServer or an
// engine.ListenerServer. cfg may be nil. The error wraps engine.ErrUnfit if svc is
// none of these.
func New(svc any, cfg *engine.Config) (Engine, error) {
	var one sync.Mutex
	b, err := engine.NewBlocking(svc, cfg, func(serve func()) {
		one.Lock()
		defer one.Unlock()
		serve()
	})
	return Engine{b}, err
}
