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

// takes is a session that takes what it is sent piece by piece: messages end with a dot.
func takes(in yodel.Input, out *yodel.Out) (int, error) {
	if len(in.Data) > 0 {
		out.Receiving(in.Data[len(in.Data)-1] != '.')
	}
	if in.Kind == yodel.EOF {
		return len(in.Data), io.EOF
	}
	return len(in.Data), nil
}

// A message that the session takes in pieces has no time as a whole, but must come at
// the least rate; what is left unused has its time again.
func TestReceivedMessageMustComeAtTheLeastRate(t *testing.T) {
	p := start(t, stepFunc(takes), Config{MinRate: 100, MinRateAfter: 5 * time.Second})
	p.receive("begin").after(4 * time.Second)
	p.receive(strings.Repeat("x", 500)).after(time.Second).want("enough for this window", Read)
	if d := p.toDeadline(); d != 5*time.Second {
		t.Errorf("the next window has %v", d)
	}
	p.want("nothing came in it", Close).wantReason("", SlowMessage)

	p = start(t, stepFunc(takes), Config{MinRate: 100, MinRateAfter: 5 * time.Second})
	p.receive("all.").after(time.Minute).want("between messages a person may think", Read)
	p.receive("more").after(4 * time.Second)
	p.receive(strings.Repeat("x", 499)).after(time.Second).want("one byte less is too few", Close).wantReason("", SlowMessage)
}

func TestReceivedMessageWithoutALeastRate(t *testing.T) {
	p := start(t, stepFunc(takes), Config{MinRate: -1, Idle: time.Minute})
	p.receive("begin").after(50*time.Second).want("only idleness ends it", Read)
	p.after(10*time.Second).want("", Close).wantReason("", Idle)
}

// While output is pending an engine may not be reading: then the window stands still.
func TestReceivedMessageWaitsForItsReader(t *testing.T) {
	p := start(t, stepFunc(func(in yodel.Input, out *yodel.Out) (int, error) {
		out.Write(in.Data)
		return takes(in, out)
	}), Config{MinRate: 100, MinRateAfter: 5 * time.Second})
	p.receive(strings.Repeat("x", 600)).after(4 * time.Second)
	p.send(600)
	p.after(4*time.Second).want("4 of 5 seconds in which it was read", Read)
	if d := p.toDeadline(); d != time.Second {
		t.Errorf("%v are left", d)
	}
}

func TestDrainWaitsForAReceivedMessage(t *testing.T) {
	p := start(t, stepFunc(takes), Config{MinRate: -1, Quiet: time.Second})
	p.receive("begin")
	p.core.Drain(p.now)
	p.after(2*time.Second).want("the message is not whole", Read)
	p.receive(" and end.").after(time.Second).want("now it is", Shut).wantReason("", Drained)
}

// closes is a session that is told of its end.
type closes struct {
	stepFunc
	closed func()
}

func (c closes) Closed() { c.closed() }

func (c closes) Open(yodel.Peer) yodel.Session { return c }

func TestSessionIsToldOfItsEnd(t *testing.T) {
	for name, end := range map[string]func(*play){
		"ended": func(p *play) { p.core.Ended(p.now) },
		"cut":   func(p *play) { p.core.Cut(Cut) },
		"reset": func(p *play) { p.core.Failed(io.ErrClosedPipe, p.now) },
	} {
		times := 0
		p := start(t, closes{takes, func() { times++ }}, Config{})
		end(p)
		if times != 0 {
			t.Errorf("%s: told before the connection was closed", name)
		}
		if p.core.Finish(p.now); times != 1 {
			t.Errorf("%s: told %d times", name, times)
		}
	}
	p := start(t, closes{takes, func() { panic("ouch") }}, Config{})
	p.core.Ended(p.now)
	if e := p.core.Finish(p.now); e.Text != Panic.String() || p.count.Read().Ended[Panic] != 1 {
		t.Errorf("after a panic: %+v", e)
	}
}
