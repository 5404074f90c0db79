package loop

import (
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// fired advances w and returns the keys of the timers that came, in order.
func fired(w *Wheel, now time.Duration) (keys []int32) {
	w.Advance(now, func(t *Timer) { keys = append(keys, t.Key) })
	return keys
}

// A timer comes at its time or, between two ticks, at the next one; never before.
func TestTimerComesInTime(t *testing.T) {
	t.Parallel()
	for _, d := range []time.Duration{
		1, time.Millisecond, time.Millisecond + 1, 63 * time.Millisecond, 64 * time.Millisecond, 65 * time.Millisecond,
		time.Second, 4095 * time.Millisecond, 4096 * time.Millisecond, time.Minute, 10 * time.Minute, time.Hour, Horizon,
	} {
		for _, began := range []time.Duration{0, 17 * time.Millisecond, 63 * time.Millisecond, 3 * time.Hour, 20 * time.Hour, 60 * 24 * time.Hour} {
			w := NewWheel()
			w.Advance(began, nil)
			timer := Timer{Key: 7}
			w.Start(&timer, began+d)
			if got := fired(w, began+d-1); got != nil && d > 1 {
				t.Errorf("%v after %v: too early: %v", d, began, got)
			}
			if got := fired(w, began+d+tick); !slices.Equal(got, []int32{7}) || timer.Set() {
				t.Errorf("%v after %v: it has not come: %v", d, began, got)
			}
		}
	}
}

// What is set for a time that has passed comes at the next tick; what is set for after
// the horizon comes at the horizon.
func TestTimerOutOfRange(t *testing.T) {
	t.Parallel()
	w := NewWheel()
	w.Advance(time.Hour, nil)
	past, far := Timer{Key: 1}, Timer{Key: 2}
	w.Start(&past, -time.Second)
	w.Start(&far, 1000*time.Hour)
	if got := fired(w, time.Hour+tick); !slices.Equal(got, []int32{1}) {
		t.Errorf("at the next tick came %v", got)
	}
	if got := fired(w, time.Hour+Horizon-tick); got != nil {
		t.Errorf("before the horizon came %v", got)
	}
	if got := fired(w, time.Hour+Horizon); !slices.Equal(got, []int32{2}) {
		t.Errorf("at the horizon came %v", got)
	}
}

// Timers come in the order of their times, whatever their levels.
func TestTimersComeInOrder(t *testing.T) {
	t.Parallel()
	w := NewWheel()
	timers := make([]Timer, 8)
	for i, d := range []time.Duration{time.Hour, 5 * time.Second, 2 * time.Millisecond, 70 * time.Millisecond, 2 * time.Millisecond} {
		timers[i].Key = int32(i)
		w.Start(&timers[i], d)
	}
	if got := fired(w, 2*time.Hour); !slices.Equal(got, []int32{2, 4, 3, 1, 0}) {
		t.Errorf("they came as %v", got)
	}
}

// When a timer comes, it may be set again, and others may be stopped, also one that
// would come at the same tick.
func TestDueChangesTimers(t *testing.T) {
	t.Parallel()
	w := NewWheel()
	var a, b, c Timer
	w.Start(&a, 5*tick)
	w.Start(&b, 5*tick)
	w.Start(&c, 9*tick)
	n := 0
	w.Advance(20*tick, func(timer *Timer) {
		if timer != &a {
			t.Errorf("a timer came that was stopped")
		}
		w.Stop(&b)
		w.Stop(&c)
		if n++; n < 3 {
			w.Start(&a, 0)
		}
	})
	if n != 3 || a.Set() || b.Set() || c.Set() {
		t.Errorf("it came %d times; set are %v %v %v", n, a.Set(), b.Set(), c.Set())
	}
	if _, ok := w.Next(); ok {
		t.Error("an empty wheel has a next time")
	}
}

func TestStartBy(t *testing.T) {
	t.Parallel()
	w := NewWheel()
	var timer Timer
	for _, step := range []struct{ at, want time.Duration }{
		{20 * tick, 20 * tick}, {30 * tick, 20 * tick}, {10 * tick, 10 * tick}, {10*tick + 1, 10 * tick},
	} {
		w.StartBy(&timer, step.at)
		if at, ok := w.Next(); !ok || at != step.want {
			t.Errorf("started for %v: next is %v, want %v", step.at, at, step.want)
		}
	}
	w.Stop(&timer)
	w.Stop(&timer)
	if timer.Set() {
		t.Error("a timer that was stopped is set")
	}
}

// A model of the wheel: times by key.
type model map[int32]time.Duration

func (m model) due(now time.Duration) (keys []int32) {
	for key, at := range m {
		if (at+tick-1)/tick <= now/tick {
			keys = append(keys, key)
			delete(m, key)
		}
	}
	slices.Sort(keys)
	return keys
}

// FuzzWheel plays a course of starts, stops and advances on a wheel and on a model. Each
// step is three bytes: what to do, on which timer, and how far.
func FuzzWheel(f *testing.F) {
	f.Add([]byte("\x00\x01\x05\x00\x02\x40\x02\x00\x10\x01\x01\x00\x02\x00\xff"))
	f.Add([]byte("\x30\x01\xff\x20\x02\xff\x10\x03\xff\x32\x00\xff\x22\x00\xff\x12\x00\xff"))
	f.Fuzz(func(t *testing.T, course []byte) {
		w, m := NewWheel(), make(model)
		timers := make([]Timer, 256)
		now := time.Duration(0)
		for ; len(course) >= 3; course = course[3:] {
			what, key, far := course[0]&3, course[1], time.Duration(course[2])<<(course[0]>>4)*300*time.Microsecond
			timer := &timers[key]
			timer.Key = int32(key)
			switch what {
			case 0:
				w.Start(timer, now+far)
				m[timer.Key] = max(now+far, now/tick*tick+tick)
			case 1:
				w.Stop(timer)
				delete(m, timer.Key)
			case 2:
				now += far
				checkAdvance(t, w, m, now)
			}
			checkNext(t, w, m)
		}
	})
}

func checkAdvance(t *testing.T, w *Wheel, m model, now time.Duration) {
	t.Helper()
	got, want := fired(w, now), m.due(now)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Fatalf("at %v came %v, want %v", now, got, want)
	}
}

// checkNext checks that Next is never after the first timer.
func checkNext(t *testing.T, w *Wheel, m model) {
	t.Helper()
	at, ok := w.Next()
	if ok != (len(m) > 0) {
		t.Fatalf("Next is %v with %d timers", ok, len(m))
	}
	if first := slices.MinFunc(append(slices.Collect(maps.Values(m)), 1<<62), func(a, b time.Duration) int { return int(a - b) }); ok && at > first+tick {
		t.Fatalf("Next is %v, the first timer is for %v", at, first)
	}
}

// TestWheelAtRandom is the fuzz target on a long course.
func TestWheelAtRandom(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(1, 2))
	w, m := NewWheel(), make(model)
	timers := make([]Timer, 1000)
	now := time.Duration(0)
	for range 20_000 {
		key := rng.IntN(len(timers))
		timer := &timers[key]
		timer.Key = int32(key)
		far := time.Duration(rng.Int64N(1 << (10 + rng.IntN(34))))
		switch rng.IntN(8) {
		case 0:
			now += far / 100
			checkAdvance(t, w, m, now)
		case 1:
			w.Stop(timer)
			delete(m, timer.Key)
		default:
			far = min(far, Horizon-tick)
			w.Start(timer, now+far)
			m[timer.Key] = max(now+far, now/tick*tick+tick)
		}
		checkNext(t, w, m)
	}
}

// BenchmarkTimer is what it costs to put a timer off.
func BenchmarkTimer(b *testing.B) {
	w := NewWheel()
	timers := make([]Timer, 1000)
	i := 0
	for b.Loop() {
		i = (i + 1) % len(timers)
		w.Start(&timers[i], time.Duration(i)*time.Millisecond+10*time.Minute)
	}
}
