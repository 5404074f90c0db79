package load

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
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

// Neither a run nor one that is given up before it begins leaves a descriptor behind.
func TestNothingIsLeftOpen(t *testing.T) { // not beside others, which open and close
	target := serve(t, echo)
	mustRun(t, Plan{Target: target, Conns: 3, Count: 10, Pace: Constant(1000)}) // what opens once for all
	before := descriptors(t)
	for range 5 {
		r := &run{plan: Plan{Target: target, Conns: 64, Threads: 2, Count: 1, Pace: Constant(10)}, base: time.Now()}
		if err := r.plan.complete(); err != nil {
			t.Fatal(err)
		}
		if err := r.resolve(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := r.makeDrivers(); err != nil {
			t.Fatal(err)
		}
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
