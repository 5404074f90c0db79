package trace

import (
	"context"
	"strings"
	"testing"
	"time"
)

// An attempt that loses the race goes on after the dial, and after the winner's last
// event. Nothing may follow that.
func TestDialTraceEndsWithTheDial(t *testing.T) {
	t.Parallel()
	var got []Op
	d := &dialTrace{id: NewID(), attempts: make(map[string]*attempt), sink: Func(func(e *Event) { got = append(got, e.Op) })}
	d.start("tcp", "127.0.0.1:7")
	d.failed("tcp", context.Canceled)
	d.done("tcp", "127.0.0.1:7", context.Canceled)
	if len(got) != 1 || got[0] != Connect {
		t.Errorf("events %v, want one connect", got)
	}
}

// A timer may have fired just before it was stopped.
func TestSamplerStops(t *testing.T) {
	t.Parallel()
	told := 0
	s := sampler{rest: func(n int) { told += n }}
	s.take()
	s.take()
	s.stop()
	s.next()
	if told != 1 {
		t.Errorf("told of %d, want 1", told)
	}
}

// The same for the patience of an outbox.
func TestPatienceMayEndLate(t *testing.T) {
	t.Parallel()
	var o outbox
	o.init(new(strings.Builder), time.Hour, nil)
	o.giveUp()
	if o.stuck {
		t.Error("an outbox without one who waits has lost patience")
	}
}

func TestProcessClock(t *testing.T) {
	t.Parallel()
	if got, want := processClock(), "process "+strings.Split(NewID().String(), "-")[0]; got != want {
		t.Errorf("clock %q, want %q", got, want)
	}
}

func TestHostMonoRuns(t *testing.T) {
	t.Parallel()
	a, began := hostMono(), time.Now()
	for time.Since(began) < time.Millisecond { // a busy millisecond
	}
	if d := time.Duration(hostMono() - a); d < time.Millisecond || d > time.Minute {
		t.Errorf("a millisecond took %v", d)
	}
}
