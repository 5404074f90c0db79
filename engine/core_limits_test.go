package engine

import (
	"io"
	"strings"
	"testing"
	"time"

	"yodel"
)

// While output is pending an engine may not be reading, so the time of a message that
// is half there does not run; it goes on from where it stood.
func TestMessageClockStandsStillWhileOutputIsPending(t *testing.T) {
	p := start(t, stepFunc(line), Config{MinRate: -1})
	p.receive("on").after(4 * time.Second)
	p.receive("e\ntw").after(time.Hour/10).want("the answer is not taken yet", Read|Write)
	p.flush()
	p.after(9*time.Second).want("nine of ten seconds", Read)
	if d := p.toDeadline(); d != time.Second {
		t.Errorf("the message has %v left", d)
	}
	p.want("ten", Close).wantReason("", SlowMessage)
}

// Output that comes later takes nothing from the time that has passed, and gives none.
func TestMessageClockIsGivenBackOnlyWhatItLost(t *testing.T) {
	p := start(t, stepFunc(func(in yodel.Input, out *yodel.Out) (int, error) {
		switch in.Kind {
		case yodel.Open:
			out.WakeAt(in.Now.Add(4 * time.Second))
		case yodel.Tick:
			out.WriteString("tick")
		}
		return 0, nil
	}), Config{MinRate: -1})
	p.receive("x").after(5 * time.Second) // a tick is pending, since 5 s after x
	p.after(3 * time.Second)
	p.flush()
	if d := p.toDeadline(); d != 5*time.Second {
		t.Errorf("the message has %v left", d)
	}
	p.want("ten seconds, and the three", Close).wantReason("", SlowMessage)
}

// Without a least rate it is idleness that ends a peer who takes nothing, also when the
// session has ended; and the kernel is told to keep nothing for it.
func TestIdleWhileOutputIsPending(t *testing.T) {
	for name, end := range map[string]error{"talking": nil, "flushing": io.EOF} {
		p := start(t, stepFunc(func(_ yodel.Input, out *yodel.Out) (int, error) {
			out.WriteString("hello")
			return 0, end
		}), Config{MinRate: -1, Idle: time.Minute})
		p.after(50 * time.Second)
		p.send(1)
		if d := p.toDeadline(); d != time.Minute {
			t.Errorf("%s: idle after %v", name, d)
		}
		p.want(name, Close|Abort)
	}
}

// A layer below that has moved nothing has not moved the connection.
func TestMovedNothing(t *testing.T) {
	p := start(t, stepFunc(echo), Config{Idle: time.Minute})
	p.core.CountWire()
	p.now = p.now.Add(50 * time.Second)
	p.core.Moved(0, p.now)
	if d := p.toDeadline(); d != 10*time.Second {
		t.Errorf("idle after %v more", d)
	}
	p.want("idle", Close).wantReason("", Idle)
}

// What TLS had taken when the connection was cut is counted as sent.
func TestSentAfterCut(t *testing.T) {
	p := start(t, stepFunc(echo), Config{})
	p.receive(strings.Repeat("x", 100))
	p.core.Cut(SlowReader)
	p.core.Sent(40, p.now)
	p.core.Finish(p.now)
	if s := p.count.Read(); s.BytesOut != 40 || s.Unsent != 60 {
		t.Errorf("%d sent, %d unsent", s.BytesOut, s.Unsent)
	}
}

func TestNoHalfClose(t *testing.T) {
	p := start(t, stepFunc(func(yodel.Input, *yodel.Out) (int, error) { return 0, io.EOF }), Config{})
	p.core.NoHalfClose()
	p.want("closing is all that can be done", Close).wantReason("", Done)
	if ops := p.ops(); ops != "" {
		t.Errorf("events of what has not happened: %s", ops)
	}
}

// A least rate that is measured over no time is none.
func TestMinRateWithoutTime(t *testing.T) {
	p := start(t, stepFunc(echo), Config{MinRateAfter: -1, Idle: -1})
	p.receive("x").after(time.Hour).want("nobody is cut", Read|Write)
	if dl := p.core.Deadline(); !dl.IsZero() {
		t.Errorf("a deadline in %v", dl.Sub(p.now))
	}
}
