package loop

import (
	"syscall"
	"testing"
	"time"
)

// An apartment is a loop apart, over readiness or over completion, and what its turns tell.
type apartment struct {
	*keeper
	run  func()
	told func()       // on the loop's goroutine, in each turn
	hear func(fd int) // has came told what a socket receives
	came chan string  // by then
}

func apartments(t *testing.T) map[string]*apartment {
	t.Helper()
	readiness, err := NewApart()
	if err != nil {
		t.Fatal(err)
	}
	completion := newRingLoop(t)
	e := &apartment{keeper: &readiness.keeper, came: make(chan string, 1)}
	e.run = func() {
		readiness.RunApart(&recorder{told: func() { e.told() }, ready: func(fd int32, _ Events) {
			p := make([]byte, 10)
			n, _ := Receive(int(fd), p)
			e.came <- string(p[:n])
		}})
	}
	e.hear = func(fd int) { readiness.Add(fd, int32(fd), Readable|Edge) }
	c := &apartment{keeper: &completion.keeper, came: make(chan string, 1)}
	c.run = func() {
		completion.RunApart(&ringRecorder{told: func() { c.told() }, received: func(_ int32, p []byte, _ syscall.Errno, _ bool) {
			c.came <- string(p)
		}})
	}
	c.hear = func(fd int) { completion.Receive(fd, int32(fd)) }
	return map[string]*apartment{"readiness": e, "completion": c}
}

// start runs the loop, with f called on its goroutine in each turn; the returned function ends it.
func (a *apartment) start(t *testing.T, f func()) (end func()) {
	t.Helper()
	a.told = f
	over := make(chan bool)
	go func() {
		a.run()
		close(over)
	}()
	return func() {
		a.Post(a.Stop)
		within(t, "the loop stops", over)
	}
}

// A turn begins at the time that was asked for, not before it and not again and again until
// then, for short waits and for those of which the scheduler knows.
func TestWakeAt(t *testing.T) {
	t.Parallel()
	for _, ahead := range []time.Duration{0, 100 * time.Microsecond, time.Minute} {
		for name, a := range apartments(t) {
			var at time.Time
			turns, woke := 0, make(chan int, 1)
			end := a.start(t, func() {
				if at.IsZero() {
					return
				}
				turns++
				if !time.Now().Before(at) {
					at = time.Time{}
					woke <- turns
				}
			})
			spun := make(chan time.Duration, 1)
			wait := func(after time.Duration) (awake time.Duration) {
				a.Post(func() {
					turns, at = 0, time.Now().Add(after)
					a.WakeAt(at, ahead)
				})
				if n := within(t, name+", a turn", woke); n > 100 { // the runtime's signals end some waits, and awake it lets others run
					t.Errorf("%s, %v ahead, %v: %d turns", name, ahead, after, n)
				}
				a.Post(func() { spun <- a.Spun() })
				return within(t, name+", how long it was awake", spun)
			}
			wait(0)
			wait(50 * time.Microsecond)
			wait(1300 * time.Microsecond)
			awake := wait(20300 * time.Microsecond)
			if ahead == 0 && awake > 0 {
				t.Errorf("%s: it has waited awake for %v", name, awake)
			}
			for ahead > time.Second && awake < 10*time.Millisecond { // others have had the processor
				awake = wait(20300 * time.Microsecond)
			}
			end()
		}
	}
}

// Awake, it sees what comes before the time, and tells how long it has looked.
func TestAwake(t *testing.T) {
	t.Parallel()
	for name, a := range apartments(t) {
		x, y := pair(t)
		t.Cleanup(func() { Close(x); Close(y) })
		looks := make(chan bool, 1)
		asked := false
		end := a.start(t, func() {
			if asked && a.exact.at.IsZero() {
				a.WakeAt(time.Now().Add(time.Hour), 2*time.Hour)
				looks <- true
			}
		})
		a.Post(func() {
			a.hear(x)
			a.Again(int32(x)) // one more turn
			asked = true
		})
		if name == "readiness" {
			if p := within(t, "what is told again", a.came); p != "" {
				t.Errorf("%q before anything was sent", p)
			}
		}
		within(t, name+", that it looks", looks)
		spun := make(chan time.Duration, 1)
		for d := time.Duration(0); d <= 0; { // 0: it came before the first look
			Send(y, []byte("now"))
			if p := within(t, name+", what was sent", a.came); p != "now" {
				t.Fatalf("%s: %q came", name, p)
			}
			a.Post(func() { spun <- a.Spun() })
			d = within(t, "how long it has looked", spun)
		}
		a.Post(func() {
			a.WakeAt(time.Time{}, 0)
			asked = false
		})
		end()
	}
}
