package load

import (
	"runtime"
	"testing"

	"yodel/sock"
)

// How many loops there are, and whether they may stay awake: only if a processor is left to others.
func TestThreads(t *testing.T) {
	all := runtime.GOMAXPROCS(4)
	defer runtime.GOMAXPROCS(all)
	for name, c := range map[string]struct {
		plan  Plan
		loops int
		awake bool
	}{
		"closed":                   {Plan{Conns: 1000}, 4, false},
		"open":                     {Plan{Conns: 1000, Pace: Constant(1)}, 3, true},
		"as many as are asked for": {Plan{Conns: 1000, Pace: Constant(1), Threads: 4}, 4, false},
		"awake in any case":        {Plan{Conns: 1000, Awake: true}, 4, true},
		"few connections":          {Plan{Conns: 64, Pace: Constant(1)}, 2, true},
		"one connection":           {Plan{Pace: Constant(1)}, 1, true},
		"one of two processes":     {Plan{Conns: 1000, Pace: Constant(1), Part: Part{Of: 2}}, 1, true},
		"one of four processes":    {Plan{Conns: 1000, Pace: Constant(1), Part: Part{Of: 4}}, 1, false},
	} {
		c.plan.Count = 1000
		c.plan.Target = sock.Address{Network: "tcp", Host: "127.0.0.1", Port: 7}
		r := newRun(t, c.plan)
		for _, d := range r.drivers {
			d.discard()
		}
		if len(r.drivers) != c.loops || (r.ahead > 0) != c.awake {
			t.Errorf("%s: %d loops, awake %v; want %d, %v", name, len(r.drivers), r.ahead > 0, c.loops, c.awake)
		}
	}
}
