package load

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"yodel/internal/loop"
	"yodel/sock"
)

// descriptors counts what is open, but for pipes: package net keeps some for splice(2), which
// the servers of these tests use.
func descriptors(t *testing.T) (n int) {
	t.Helper()
	all, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range all {
		if to, err := os.Readlink(name); err == nil && !strings.HasPrefix(to, "pipe:") {
			n++
		}
	}
	return n
}

// newRun returns a run that has its drivers and has not begun.
func newRun(t *testing.T, plan Plan) *run {
	t.Helper()
	r := &run{plan: plan, base: time.Now()}
	if err := errors.Join(r.plan.complete(), r.resolve(t.Context())); err != nil {
		t.Fatal(err)
	}
	r.sums.init(len(r.plan.Targets))
	if err := r.makeDrivers(); err != nil {
		t.Fatal(err)
	}
	return r
}

// Neither a run nor one that is given up before it begins leaves a descriptor behind.
func TestNothingIsLeftOpen(t *testing.T) { // not beside others, which open and close
	target := serve(t, echo)
	mustRun(t, Plan{Target: target, Conns: 3, Count: 10, Pace: Constant(1000)}) // what opens once for all
	before := descriptors(t)
	for range 5 {
		r := newRun(t, Plan{Target: target, Conns: 64, Threads: 2, Count: 1, Pace: Constant(10)})
		for _, d := range r.drivers {
			d.discard()
		}
		mustRun(t, Plan{Target: target, Conns: 3, Count: 10, Pace: Constant(1000)})
	}
	for range 1000 { // the server's ends are closed when it notices
		if descriptors(t) <= before {
			return
		}
		<-time.After(10 * time.Millisecond)
	}
	t.Errorf("%d descriptors, before there were %d", descriptors(t), before)
}

func TestInterfaceNumbers(t *testing.T) {
	t.Parallel()
	if zone("") != 0 || zone("17") != 17 || zone("lo") == 0 || zone("nosuch0") != 0 || zone("../x") != 0 {
		t.Error(zone("17"), zone("lo"))
	}
	if text, err := os.ReadFile("/proc/thread-self/schedstat"); err == nil && len(strings.Fields(string(text))) != 3 {
		t.Errorf("schedstat is %q", text)
	}
}

// The report says what has moved the bytes, and why it was not the first choice.
func TestDriverIsSaid(t *testing.T) {
	t.Parallel()
	plain, tls := serve(t, echo), serveAt(t, sock.Address{Network: "tls", Host: "127.0.0.1"}, echo)
	first, refusal := Uring, loop.ProbeRing()
	if refusal != nil {
		first = Epoll
	}
	for _, tt := range []struct {
		plan Plan
		want string
	}{
		{Plan{Target: plain}, first},
		{Plan{Target: plain, Driver: Epoll}, Epoll},
		{Plan{Target: plain, NewConns: true}, Epoll},
		{Plan{Target: tls}, Goroutines},
		{Plan{Targets: []Target{{Address: plain}, {Address: tls}}, Conns: 2}, strings.Join(slices.Sorted(slices.Values([]string{first, Goroutines})), ",")},
	} {
		tt.plan.Count, tt.plan.TLS = 4, insecure
		r := mustRun(t, tt.plan)
		if d := r.Document().Tool; d.Driver != tt.want || (d.Refusal != "") != (strings.Contains(tt.want, Epoll) && first == Epoll && tt.plan.Driver == "" && !tt.plan.NewConns) {
			t.Errorf("it says %q, refusal %q; want %q", d.Driver, d.Refusal, tt.want)
		}
	}
	if _, err := Run(t.Context(), Plan{Target: plain, Driver: Uring, Count: 1}); (err != nil) != (refusal != nil) {
		t.Errorf("asked for %s: %v, want %v", Uring, err, refusal)
	}
}

// Loops stay awake if they are told to, over every kind of socket and loop, and it is said for
// how long; else they do only in an open loop.
func TestAwake(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		plan Plan
		want bool
	}{
		{"asleep", Plan{Target: serve(t, echo)}, false},
		{"first choice", Plan{Target: serve(t, echo), Awake: true}, true},
		{"epoll", Plan{Target: serve(t, echo), Awake: true, Driver: Epoll}, true},
		{"new connections", Plan{Target: serve(t, echo), Awake: true, NewConns: true}, true},
		{"open loop", Plan{Target: serve(t, echo), Awake: true, Pace: Constant(1000)}, true},
		{"with TLS beside", Plan{Awake: true, Conns: 2, TLS: insecure, Targets: []Target{
			{Address: serve(t, echo)}, {Address: serveAt(t, sock.Address{Network: "tls", Host: "127.0.0.1"}, echo)},
		}}, true},
	} {
		tt.plan.Count = 50
		for awake := !tt.want; awake != tt.want; { // on a busy machine all answers may be there before it looks
			r := mustRun(t, tt.plan)
			got := r.Document().Tool.Awake
			if awake = got > 0; r.Verified != 50 || awake && !tt.want {
				t.Errorf("%s: %d verified, awake for %v µs", tt.name, r.Verified, got)
			}
			if t.Failed() {
				return
			}
		}
	}
}

// A ring that is refused when it is to be used is replaced, and that is said.
func TestDriverIsReplaced(t *testing.T) {
	t.Parallel()
	r := newRun(t, Plan{Target: serve(t, echo), Conns: 3, Count: 50, Pace: Constant(1000), Driver: Epoll})
	d := r.drivers[0].(*looper)
	old := d.loop
	d.loop = refusing{old}
	r.push(t.Context())
	old.Stop()
	old.run()
	rep := r.report(t.Context(), witness())
	if rep.Verified != 50 || rep.Driver != Epoll || !errors.Is(rep.Refusal, errors.ErrUnsupported) {
		t.Errorf("%+v by %s, because %v", rep.Counts, rep.Driver, rep.Refusal)
	}
}

// refusing can't be begun.
type refusing struct{ mover }

func (refusing) begin() error { return errors.ErrUnsupported }
