package engine

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"yodel"
	"yodel/trace"
)

// stepFunc is a service and session from one function.
type stepFunc func(in yodel.Input, out *yodel.Out) (int, error)

func (f stepFunc) Open(yodel.Peer) yodel.Session { return f }

func (f stepFunc) Step(in yodel.Input, out *yodel.Out) (int, error) { return f(in, out) }

// echo answers what it hears.
func echo(in yodel.Input, out *yodel.Out) (int, error) {
	out.Write(in.Data)
	if in.Kind == yodel.EOF {
		return len(in.Data), io.EOF
	}
	return len(in.Data), nil
}

// line answers each whole line, one a step, and waits for the end of an unfinished
// one.
func line(in yodel.Input, out *yodel.Out) (int, error) {
	head, _, ok := strings.Cut(string(in.Data), "\n")
	if !ok {
		if in.Kind == yodel.EOF {
			return 0, io.EOF
		}
		return 0, nil
	}
	out.WriteString("<" + head + ">")
	out.Heard(len(head) + 1)
	return len(head) + 1, nil
}

// play is a Core with a clock that the test sets, and a list of its events.
type play struct {
	*testing.T
	core   Core
	count  Counters
	now    time.Time
	events []trace.Event
}

func start(t *testing.T, svc yodel.Service, cfg Config) *play {
	t.Helper()
	p := &play{T: t, now: time.Now()}
	cfg.Service, cfg.PoisonLent = "test", true
	cfg.Sink = trace.Func(func(e *trace.Event) { p.events = append(p.events, *e) })
	p.core.Start(NewShared(svc, &cfg, &p.count), yodel.Peer{Network: "tcp"}, trace.NewID(), p.now)
	return p
}

func (p *play) receive(s string) *play {
	p.core.Received([]byte(s), p.now)
	return p
}

// send takes at most n pending bytes as sent and returns them.
func (p *play) send(n int) string {
	n = min(n, len(p.core.Pending()))
	s := string(p.core.Pending()[:n])
	p.core.Sent(n, p.now)
	return s
}

func (p *play) flush() string { return p.send(1 << 30) }

// after lets d pass and ticks.
func (p *play) after(d time.Duration) *play {
	p.now = p.now.Add(d)
	p.core.Tick(p.now)
	return p
}

// toDeadline lets the time pass until the Core's own deadline and ticks. It returns
// how long that was.
func (p *play) toDeadline() time.Duration {
	p.Helper()
	dl := p.core.Deadline()
	if dl.IsZero() {
		p.Fatal("there is no deadline")
	}
	d := dl.Sub(p.now)
	p.after(d)
	return d
}

func (p *play) want(why string, do Do) *play {
	p.Helper()
	if got := p.core.Next(); got != do {
		p.Fatalf("%s: Next is %05b, want %05b (reason %q)", why, got, do, p.core.Reason())
	}
	return p
}

func (p *play) wantReason(why string, r Reason) *play {
	p.Helper()
	if got := p.core.Reason(); got != r {
		p.Fatalf("%s: ended as %q, want %q (%v)", why, got, r, p.core.Err())
	}
	return p
}

func (p *play) ops() string {
	var ops []string
	for _, e := range p.events {
		ops = append(ops, string(e.Op))
	}
	return strings.Join(ops, " ")
}

func TestEchoConversation(t *testing.T) {
	p := start(t, stepFunc(echo), Config{})
	p.want("a new connection is read", Read)
	p.receive("hi").want("an answer is sent, and reading goes on", Read|Write)
	if got := p.flush(); got != "hi" {
		t.Fatalf("answered %q", got)
	}
	p.core.Ended(p.now)
	p.want("the peer has ended and nothing is left to say", Close).wantReason("", Peer)
	e := p.core.Finish(p.now)
	if e.Text != "closed by peer" || e.In != 2 || e.Out != 2 || e.Conn != p.core.ID() {
		t.Errorf("last event: %+v", e)
	}
	if got := p.ops(); got != "read write eof" {
		t.Errorf("events: %s", got)
	}
	s := p.count.Read()
	if s.Active != 0 || s.BytesIn != 2 || s.BytesOut != 2 || s.Ended[Peer] != 1 || s.Unread+s.Unsent != 0 {
		t.Errorf("sums: %+v", s)
	}
}

// What a session has not used is offered again, with more behind it, and what it
// has used never is, however the input is cut.
func TestCutsDoNotShow(t *testing.T) {
	in, want := "one\ntwo\n\nthree\nno end", "<one><two><><three>"
	for a := range len(in) + 1 {
		for b := a; b <= len(in); b++ {
			p := start(t, stepFunc(line), Config{})
			p.receive(in[:a]).receive(in[a:b]).receive(in[b:])
			p.core.Ended(p.now)
			if got := p.flush(); got != want {
				t.Fatalf("cut after %d and %d: %q, want %q", a, b, got, want)
			}
			if p.core.Finish(p.now); p.count.Read().Unread != int64(len("no end")) {
				t.Fatalf("the unfinished line is not counted: %+v", p.count.Read())
			}
		}
	}
}

func TestMessagesAreHeard(t *testing.T) {
	p := start(t, stepFunc(line), Config{})
	p.receive("one\nthree\n")
	var lengths []int
	for _, e := range p.events {
		if e.Op == trace.Message {
			lengths = append(lengths, e.Bytes)
		}
	}
	if len(lengths) != 2 || lengths[0] != 4 || lengths[1] != 6 || p.count.Read().Messages != 2 {
		t.Errorf("heard %v, counted %d", lengths, p.count.Read().Messages)
	}
}

// A5, A7: behind a peer that does not read, input is no longer read, and nothing
// grows.
func TestBackPressure(t *testing.T) {
	p := start(t, stepFunc(echo), Config{Mark: 100})
	p.receive(strings.Repeat("x", 99)).want("below the mark both go on", Read|Write)
	p.receive("yy").want("at the mark nothing is read", Write)
	p.receive("late").want("bytes that were on their way wait", Write)
	if got := len(p.core.Pending()); got != 101 {
		t.Errorf("%d bytes pending: the session was asked above its mark", got)
	}
	p.send(50)
	p.want("still more than half of the mark is pending", Write)
	p.send(1)
	p.want("at half of the mark reading goes on", Read|Write)
	if got := p.flush(); !strings.HasSuffix(got, "yylate") {
		t.Errorf("the bytes that waited come last: %q", got)
	}
}

func TestGeneratorIsAskedForMoreOnlyWithRoom(t *testing.T) {
	kinds := ""
	p := start(t, stepFunc(func(in yodel.Input, out *yodel.Out) (int, error) {
		kinds += in.Kind.String() + " "
		for out.Room() > 0 {
			out.WriteString("abc")
		}
		return len(in.Data), nil
	}), Config{Mark: 10})
	if got := len(p.core.Pending()); got != 12 {
		t.Fatalf("%d bytes pending", got)
	}
	p.after(time.Second).send(6)
	p.send(1)
	p.core.Ended(p.now)
	p.send(8)
	if kinds != "open room eof " {
		t.Errorf("asked for: %s", kinds)
	}
}

// The end of the peer's direction reaches a session also when output is at the
// mark, and again with each later step.
func TestEndBehindFullOutput(t *testing.T) {
	p := start(t, stepFunc(func(in yodel.Input, out *yodel.Out) (int, error) {
		n := min(len(in.Data), out.Room())
		out.Write(in.Data[:n])
		if in.Kind == yodel.EOF && n == len(in.Data) {
			return n, io.EOF
		}
		return n, nil
	}), Config{Mark: 4})
	p.receive("0123456789")
	p.core.Ended(p.now)
	var got string
	for p.core.Next()&Write != 0 {
		got += p.send(3)
	}
	if got != "0123456789" {
		t.Errorf("got %q", got)
	}
	p.want("all is said", Close).wantReason("", Peer)
}

func TestServiceThatSpeaksAndEnds(t *testing.T) {
	p := start(t, stepFunc(func(yodel.Input, *yodel.Out) (int, error) { return 0, io.EOF }), Config{})
	p.want("nothing to flush: half-close", Shut)
	p.core.ShutDone(p.now)
	p.want("input is read and thrown away", Read)
	p.receive("ignored").want("", Read)
	p.core.Ended(p.now)
	p.want("the peer has ended too", Close).wantReason("", Done)
	if p.count.Read().Unread != 7 {
		t.Error("what was thrown away is counted")
	}
}

func TestLingerIsBrief(t *testing.T) {
	p := start(t, stepFunc(func(yodel.Input, *yodel.Out) (int, error) { return 0, io.EOF }), Config{Linger: time.Second})
	p.core.ShutDone(p.now)
	p.after(time.Second-1).want("not yet", Read)
	if d := p.toDeadline(); d > 2 {
		t.Errorf("the deadline is %v late", d)
	}
	p.want("the peer had its time", Close)

	p = start(t, stepFunc(func(yodel.Input, *yodel.Out) (int, error) { return 0, io.EOF }), Config{Linger: -1})
	p.core.ShutDone(p.now)
	p.want("no lingering", Close)
}

func TestPeerMistakeIsAnswered(t *testing.T) {
	p := start(t, stepFunc(func(in yodel.Input, out *yodel.Out) (int, error) {
		if in.Kind == yodel.Open {
			return 0, nil
		}
		out.WriteString("500 no\r\n")
		return len(in.Data), &yodel.PeerError{Code: 500, Msg: "no"}
	}), Config{})
	p.receive("x").want("the reply goes out first", Write)
	if p.flush() != "500 no\r\n" {
		t.Error("no reply")
	}
	p.want("then the end", Shut).wantReason("", PeerMistake)
	if err := p.core.Err(); err == nil || err.Error() != "500 no" {
		t.Errorf("error: %v", err)
	}
}

// A9: a panic ends its connection, and says where it was.
func TestPanic(t *testing.T) {
	for name, svc := range map[string]yodel.Service{
		"in Open": panicsInOpen{},
		"in Step": stepFunc(func(yodel.Input, *yodel.Out) (int, error) { panic("oh") }),
	} {
		p := start(t, svc, Config{})
		p.want(name, Close).wantReason(name, Panic)
		var pe *PanicError
		if !errors.As(p.core.Err(), &pe) || pe.Value != "oh" || !strings.Contains(string(pe.Stack), "core_test.go") {
			t.Errorf("%s: %v", name, p.core.Err())
		}
		if p.core.Finish(p.now); p.count.Read().Ended[Panic] != 1 {
			t.Errorf("%s: not counted", name)
		}
	}
}

type panicsInOpen struct{}

func (panicsInOpen) Open(yodel.Peer) yodel.Session { panic("oh") }

func TestFaultsOfTheSession(t *testing.T) {
	for name, step := range map[string]stepFunc{
		"an error":             func(yodel.Input, *yodel.Out) (int, error) { return 0, errors.New("broken") },
		"used more than given": func(in yodel.Input, _ *yodel.Out) (int, error) { return len(in.Data) + 1, nil },
		"used less than none":  func(yodel.Input, *yodel.Out) (int, error) { return -1, nil },
	} {
		start(t, step, Config{}).want(name, Close).wantReason(name, Fault)
	}
}

// A1: a message that is not finished in time ends the connection, one byte now and
// then does not help, and a person who thinks between messages is left alone.
func TestSlowMessage(t *testing.T) {
	p := start(t, stepFunc(line), Config{})
	p.after(9*time.Minute).want("a person may think", Read)
	p.receive("one\ntw")
	p.flush()
	for range 3 {
		p.after(3*time.Second).receive("o").want("within ten seconds", Read)
	}
	if d := p.toDeadline(); d != time.Second {
		t.Errorf("the clock runs from the first byte: %v left", d)
	}
	p.want("slow", Close).wantReason("", SlowMessage)

	p = start(t, stepFunc(line), Config{})
	p.receive("on")
	p.after(9 * time.Second)
	p.receive("e\ntw")
	p.flush()
	p.after(9*time.Second).want("the second message has its own clock", Read)
	p.receive("o\n")
	p.flush()
	p.after(9*time.Minute).want("no message is unfinished", Read)

	start(t, stepFunc(line), Config{HeaderTimeout: -1, Idle: -1}).receive("x").after(1000*time.Hour).want("no timers", Read)
}

func TestIdle(t *testing.T) {
	p := start(t, stepFunc(echo), Config{})
	p.after(9 * time.Minute).receive("x")
	p.flush()
	if d := p.toDeadline(); d != 10*time.Minute {
		t.Errorf("idle after %v", d)
	}
	p.want("idle", Close).wantReason("", Idle)
	if !start(t, stepFunc(echo), Config{Idle: -1}).core.Deadline().IsZero() {
		t.Error("without timers there is a deadline")
	}
}

// A5: a peer that takes less than the least rate is cut by a reset.
func TestSlowReader(t *testing.T) {
	p := start(t, stepFunc(echo), Config{})
	p.receive(strings.Repeat("x", 10000))
	p.send(10)
	if d := p.toDeadline(); d != 5*time.Second {
		t.Errorf("looked at after %v", d)
	}
	p.want("too slow", Close|Abort).wantReason("", SlowReader)
	if p.core.Finish(p.now); p.count.Read().Unsent != 9990 {
		t.Errorf("unsent: %d", p.count.Read().Unsent)
	}

	p = start(t, stepFunc(echo), Config{})
	p.receive(strings.Repeat("x", 10000))
	p.send(2500)
	p.after(5*time.Second).want("fast enough", Read|Write)
	p.after(4*time.Second).want("the next five seconds are not over", Read|Write)
	p.after(time.Second).want("a good start is no credit", Close|Abort)

	p = start(t, stepFunc(echo), Config{})
	p.receive("x")
	p.after(4 * time.Second)
	p.flush()
	p.after(time.Second).receive("y")
	p.after(4*time.Second).want("the window begins anew with new output", Read|Write)

	p = start(t, stepFunc(echo), Config{MinRate: -1, Idle: -1})
	p.receive("x").after(time.Hour).want("no least rate", Read|Write)
	if !p.core.PendingDeadline().IsZero() {
		t.Error("a deadline for a rate that is off")
	}
}

// A late look at the clock measures over the longer time, and does not cut for a
// window that nobody looked at.
func TestSlowReaderLateTick(t *testing.T) {
	p := start(t, stepFunc(echo), Config{})
	p.receive(strings.Repeat("x", 50000))
	p.send(10000)
	p.after(12*time.Second).want("10,000 bytes in 12 s", Read|Write)
	p.after(0).want("the next window has just begun", Read|Write)
}

// Below TLS the bytes of the wire count, and those above it do not count again.
func TestCountWire(t *testing.T) {
	p := start(t, stepFunc(echo), Config{})
	p.core.CountWire()
	p.receive(strings.Repeat("x", 10000))
	p.core.Moved(2500, p.now)
	p.now = p.now.Add(5 * time.Second)
	if !p.core.CheckPending(p.now) {
		t.Fatal("the wire took enough")
	}
	p.send(2500)
	p.now = p.now.Add(5 * time.Second)
	if p.core.CheckPending(p.now) {
		t.Fatal("the wire took nothing")
	}
}

func TestLongMessage(t *testing.T) {
	p := start(t, stepFunc(line), Config{MaxInput: 100})
	p.receive(strings.Repeat("x", 100)).want("at the bound", Read)
	p.receive("x").want("over it", Close).wantReason("", LongMessage)
	if p.core.Finish(p.now); p.count.Read().Unread != 101 {
		t.Errorf("unread: %d", p.count.Read().Unread)
	}
}

func TestTicks(t *testing.T) {
	ticks := 0
	p := start(t, stepFunc(func(in yodel.Input, out *yodel.Out) (int, error) {
		switch in.Kind {
		case yodel.Open:
			out.WakeAt(in.Now.Add(time.Second))
		case yodel.Tick:
			if ticks++; ticks < 3 {
				out.WakeAt(in.Now.Add(time.Minute))
			}
			out.WriteString("tick")
		}
		return len(in.Data), nil
	}), Config{Mark: 8, MinRate: -1})
	if d := p.toDeadline(); d < time.Second || d > time.Second+2 || ticks != 1 {
		t.Fatalf("first tick after %v: %d", d, ticks)
	}
	p.after(30 * time.Second)
	if ticks != 1 {
		t.Fatal("a tick too early")
	}
	p.core.Sent(2, p.now)
	p.core.Sent(2, p.now)
	p.after(31 * time.Second)
	if ticks != 2 {
		t.Fatal("no second tick")
	}
	p.flush()
	p.after(2 * time.Minute)
	if ticks != 3 || !p.core.work.out.Wake().IsZero() {
		t.Fatalf("%d ticks, next %v", ticks, p.core.work.out.Wake())
	}
}

func TestFailures(t *testing.T) {
	for err, want := range map[error]Reason{
		io.ErrUnexpectedEOF: Reset, os.ErrDeadlineExceeded: Vanished, syscall.EIO: Fault,
	} {
		p := start(t, stepFunc(echo), Config{})
		p.core.Failed(err, p.now)
		p.want("", Close).wantReason(err.Error(), want)
	}
	p := start(t, stepFunc(func(yodel.Input, *yodel.Out) (int, error) { return 0, io.EOF }), Config{})
	p.core.ShutDone(p.now)
	p.core.Failed(syscall.ECONNRESET, p.now)
	p.want("", Close).wantReason("a reset after all was said is no failure", Done)
}

func TestDrain(t *testing.T) {
	p := start(t, stepFunc(line), Config{})
	p.receive("unfin")
	p.core.Drain(p.now)
	p.after(time.Second).want("an unfinished message is waited for", Read)
	p.receive("ished\n").want("and answered", Read|Write)
	p.flush()
	p.after(200*time.Millisecond).want("not yet quiet", Read)
	p.after(50*time.Millisecond).want("at rest: half-close", Shut).wantReason("", Drained)
	p.core.ShutDone(p.now)
	p.core.Ended(p.now)
	p.want("", Close)

	p = start(t, stepFunc(line), Config{Quiet: -1})
	p.core.Drain(p.now)
	p.after(time.Minute).want("the peer is waited for", Read)
}

func TestCutIsAtOnce(t *testing.T) {
	p := start(t, stepFunc(echo), Config{})
	p.receive("x")
	p.core.Cut(Cut)
	p.want("", Close|Abort).wantReason("", Cut)
	p.core.Received([]byte("y"), p.now)
	p.core.Sent(0, p.now)
	p.core.Ended(p.now)
	p.after(time.Hour).want("nothing changes any more", Close|Abort)
	if !p.core.Deadline().IsZero() {
		t.Error("a deadline after the end")
	}
}

// With every read and write wanted, the sink sees each.
func TestEachCall(t *testing.T) {
	p := &play{T: t, now: time.Now()}
	cfg := Config{Sink: trace.EachCall(trace.Func(func(e *trace.Event) { p.events = append(p.events, *e) }))}
	p.core.Start(NewShared(stepFunc(echo), &cfg, &p.count), yodel.Peer{}, trace.NewID(), p.now)
	for range 3 {
		p.receive("x")
		p.flush()
	}
	if got := p.ops(); got != "read write read write read write" {
		t.Error(got)
	}
}

func TestEchoStepsWithoutAllocation(t *testing.T) {
	var count Counters
	var core Core
	now := time.Now()
	core.Start(NewShared(stepFunc(echo), nil, &count), yodel.Peer{}, trace.NewID(), now)
	msg := make([]byte, 64)
	n := testing.AllocsPerRun(1000, func() {
		core.Received(msg, now)
		core.Sent(len(core.Pending()), now)
		core.Deadline()
	})
	if n != 0 {
		t.Errorf("%v allocations an echo", n)
	}
}

// BenchmarkCoreEcho is what a Core costs for each message of 64 bytes, where it keeps
// its buffers and where it has them of the Shared.
func BenchmarkCoreEcho(b *testing.B) {
	for _, owned := range []bool{false, true} {
		b.Run(fmt.Sprintf("owned=%v", owned), func(b *testing.B) {
			sh := NewShared(stepFunc(echo), nil, new(Counters))
			if owned {
				sh.Own()
			}
			var core Core
			now := time.Now()
			core.Start(sh, yodel.Peer{}, trace.NewID(), now)
			msg := make([]byte, 64)
			for b.Loop() {
				core.Received(msg, now)
				core.Sent(len(core.Pending()), now)
				if core.Next() != Read {
					b.Fatal("it does not read on")
				}
				if !core.Resting() {
					core.Deadline()
				}
			}
		})
	}
}
