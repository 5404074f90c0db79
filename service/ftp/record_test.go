package ftp

import (
	"sync"
	"testing"

	"yodel/trace"
)

// A recorder keeps events.
type recorder struct {
	mu     sync.Mutex
	events []trace.Event
}

func (r *recorder) Emit(e *trace.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, *e)
}

func (r *recorder) all() []trace.Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.events
}

// want fails the test if the connections that were closed have not these sums, in any
// order, or another service's name.
func (r *recorder) want(t *testing.T, service string, sums map[string][2]int64) {
	t.Helper()
	closed := make(map[[2]int64]bool)
	for _, e := range r.all() {
		if e.Service != service {
			t.Errorf("an event of %q: %+v", e.Service, e)
		}
		if e.Op == trace.Close {
			closed[[2]int64{e.In, e.Out}] = true
		}
	}
	for name, sum := range sums {
		if !closed[sum] {
			t.Errorf("no connection was closed with the sums of what was %s: %v", name, closed)
		}
	}
}
