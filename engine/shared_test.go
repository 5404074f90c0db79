package engine

import (
	"errors"
	"strings"
	"testing"
	"time"
	"unsafe"

	"yodel"
	"yodel/trace"
)

// ownedCores starts connections of one Shared that one goroutine owns.
func ownedCores(t *testing.T, svc yodel.Service, n int) (sh *Shared, cores []*Core, now time.Time) {
	t.Helper()
	sh, now = NewShared(svc, &Config{PoisonLent: true}, new(Counters)), time.Now()
	sh.Own()
	for range n {
		c := new(Core)
		c.Start(sh, yodel.Peer{}, trace.NewID(), now)
		cores = append(cores, c)
	}
	return sh, cores, now
}

// A connection at rest holds no buffer; one that has something in it has its own.
func TestPoolAtRest(t *testing.T) {
	t.Parallel()
	sh, c, now := ownedCores(t, stepFunc(echo), 3)
	for _, c := range c {
		if c.work != nil || !c.Resting() || c.Pending() != nil {
			t.Error("a new connection holds a buffer")
		}
	}
	c[0].Received([]byte("one"), now)
	c[1].Received([]byte("two"), now)
	if a, b := string(c[0].Pending()), string(c[1].Pending()); a != "one" || b != "two" {
		t.Errorf("pending are %q and %q", a, b)
	}
	c[0].Sent(2, now)
	if c[0].Resting() || c[0].work == nil {
		t.Error("a connection with output is at rest")
	}
	c[0].Sent(1, now)
	c[1].Sent(3, now)
	if !c[0].Resting() || !c[1].Resting() || len(sh.spare) != 2 {
		t.Errorf("at rest %d buffers are spare", len(sh.spare))
	}
}

// What is not whole, and a wish to be woken, are kept.
func TestPoolKeeps(t *testing.T) {
	t.Parallel()
	_, c, now := ownedCores(t, stepFunc(line), 2)
	c[0].Received([]byte("ha"), now)
	c[1].Received([]byte("lf\n"), now)
	c[0].Received([]byte("nd\n"), now)
	if a, b := string(c[0].Pending()), string(c[1].Pending()); a != "<hand>" || b != "<lf>" {
		t.Errorf("pending are %q and %q", a, b)
	}
	waker := stepFunc(func(in yodel.Input, out *yodel.Out) (int, error) {
		out.WakeAt(in.Now.Add(time.Second))
		return 0, nil
	})
	_, c, now = ownedCores(t, waker, 1)
	if d := c[0].Deadline().Sub(now); c[0].Resting() || d < time.Second || d > time.Second+2 {
		t.Errorf("its deadline comes after %v", d)
	}
}

// What a session leaves that panics does not reach the next connection.
func TestPoolAfterPanic(t *testing.T) {
	t.Parallel()
	bad := true
	svc := stepFunc(func(in yodel.Input, out *yodel.Out) (int, error) {
		if in.Kind == yodel.Data && bad {
			out.WriteString("secret")
			out.Heard(6)
			out.Receiving(true)
			out.WakeAt(in.Now.Add(1))
			bad = false
			panic("ouch")
		}
		return echo(in, out)
	})
	sh, c, now := ownedCores(t, svc, 2)
	c[0].Received([]byte("x"), now)
	if e := c[0].Finish(now); e.Text != Panic.String() || len(sh.spare) != 1 {
		t.Fatalf("ended as %q, spare %d", e.Text, len(sh.spare))
	}
	c[1].Received([]byte("hello"), now)
	if got := string(c[1].Pending()); got != "hello" {
		t.Errorf("pending is %q", got)
	}
	c[1].Sent(5, now)
	if s := sh.count.Read(); s.Messages != 0 || !c[1].Resting() {
		t.Errorf("%+v", s)
	}
}

// What many needed at once, and a buffer that was filled far beyond the usual, are not
// kept for the next time.
func TestPoolIsBounded(t *testing.T) {
	t.Parallel()
	sh, c, now := ownedCores(t, stepFunc(echo), 3*mostSpares)
	for _, c := range c {
		c.Received([]byte("x"), now)
	}
	for _, c := range c {
		c.Cut(Cut)
		c.Finish(now)
	}
	if len(sh.spare) != mostSpares {
		t.Errorf("%d are spare", len(sh.spare))
	}
	sh, c, now = ownedCores(t, stepFunc(echo), 2*mostSpare/mostKept)
	for _, c := range c {
		c.Received([]byte(strings.Repeat("x", mostKept)), now)
	}
	for _, c := range c {
		c.Sent(mostKept, now)
	}
	if n := len(sh.spare); n != mostSpare/mostKept || sh.spareSize > mostSpare {
		t.Errorf("%d large ones are spare, %d bytes", n, sh.spareSize)
	}
	for range len(sh.spare) {
		sh.lend()
	}
	if sh.spareSize != 0 {
		t.Errorf("none is spare, %d bytes", sh.spareSize)
	}
	sh, c, now = ownedCores(t, stepFunc(echo), 1)
	c[0].Received([]byte(strings.Repeat("x", mostKept+1)), now)
	c[0].Sent(mostKept+1, now)
	if !c[0].Resting() || len(sh.spare) != 0 {
		t.Error("a large buffer is kept")
	}
}

// A server may have a great many connections at rest: what one costs is seen here, and
// measured by make bench-idle.
func TestCoreIsSmall(t *testing.T) {
	t.Parallel()
	if n := unsafe.Sizeof(Core{}); n > 112 && unsafe.Sizeof(uintptr(0)) == 8 {
		t.Errorf("a Core has %d bytes", n)
	}
}

func TestErrorOfPanic(t *testing.T) {
	t.Parallel()
	var p *PanicError
	if err := error(&PanicError{Value: "ouch"}); !errors.As(err, &p) || err.Error() != "panic: ouch" {
		t.Error(err)
	}
}
