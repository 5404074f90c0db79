package loop

import (
	"math/bits"
	"time"
)

// A Timer is one entry of a Wheel. It is a part of what it is for, so that setting it
// allocates nothing. The zero Timer is not set.
type Timer struct {
	next, prev *Timer // in the list of its slot; nil: not set
	when       uint32 // the tick, its low bits

	// Key says what the Timer is for. The Wheel does not look at it.
	Key int32
}

// Set reports whether the timer is waiting for its time.
func (t *Timer) Set() bool { return t.next != nil }

const (
	tick     = time.Millisecond
	slotBits = 6
	slots    = 1 << slotBits
	levels   = 4
	span     = uint64(1) << (slotBits * levels) // ticks after which the last level begins anew
	farthest = span - span/16                   // ticks; less than a whole turn, so that no slot means two times
)

// Horizon is how far ahead a Timer can be set: about four hours. One that is set for
// later comes then.
const Horizon = time.Duration(farthest) * tick

// A Wheel holds timers, to the millisecond: hierarchical timing wheels, in which
// setting and stopping cost the same however many there are (Varghese and Lauck,
// 1987). A slot of a level is as long as all slots of the one below; when its time
// comes its timers move down.
//
// Times are durations since a moment that the owner of the Wheel chooses, and never
// go back. A Wheel is not safe for concurrent use. Make one with NewWheel.
type Wheel struct {
	now  uint64 // the tick up to which timers have come
	used [levels]uint64
	list [levels][slots]Timer // heads of circular lists
}

// NewWheel returns a Wheel without timers, at time 0.
func NewWheel() *Wheel {
	w := new(Wheel)
	for l := range w.list {
		for s := range w.list[l] {
			w.list[l][s].init()
		}
	}
	return w
}

func (t *Timer) init() { t.next, t.prev = t, t }

func (t *Timer) insertBefore(u *Timer) {
	t.prev, t.next = u.prev, u
	u.prev.next, u.prev = t, t
}

// Start sets t to come at a time, or at the next tick if that has passed; a Timer
// that is set already is set anew. It never comes early, unless it is set for later
// than Horizon.
func (w *Wheel) Start(t *Timer, at time.Duration) {
	w.Stop(t)
	w.put(t, w.clip((at+tick-1)/tick))
}

// StartBy sets t to come at a time as Start does, unless it is set for an earlier one.
func (w *Wheel) StartBy(t *Timer, at time.Duration) {
	if when := w.clip((at + tick - 1) / tick); t.next == nil || when < w.whenOf(t) {
		w.Stop(t)
		w.put(t, when)
	}
}

// clip returns the tick in the range that the wheel has.
func (w *Wheel) clip(ticks time.Duration) uint64 {
	return min(max(uint64(max(ticks, 0)), w.now+1), w.now+farthest)
}

// Stop takes t out; it does nothing if t is not set.
func (w *Wheel) Stop(t *Timer) {
	if t.next == nil {
		return
	}
	level, slot := w.place(w.whenOf(t))
	t.prev.next, t.next.prev = t.next, t.prev
	t.next, t.prev = nil, nil
	if head := &w.list[level][slot]; head.next == head {
		w.used[level] &^= 1 << slot
	}
}

// whenOf returns the tick of a timer that is set, which is never before now.
func (w *Wheel) whenOf(t *Timer) uint64 { return w.now + uint64(t.when-uint32(w.now)) }

// place returns where a timer for that tick belongs: on the level of the highest digit
// in which it differs from now.
func (w *Wheel) place(when uint64) (level int, slot uint64) {
	level = min((bits.Len64(when^w.now|1)-1)/slotBits, levels-1)
	return level, when >> (slotBits * level) % slots
}

func (w *Wheel) put(t *Timer, when uint64) {
	t.when = uint32(when)
	level, slot := w.place(when)
	t.insertBefore(&w.list[level][slot])
	w.used[level] |= 1 << slot
}

// Next returns when Advance should be called, which may be before the next timer
// comes, and never after; false if there is none.
func (w *Wheel) Next() (at time.Duration, ok bool) {
	_, _, when, ok := w.nextSlot()
	return time.Duration(when) * tick, ok
}

// nextSlot returns the first slot that is used, and the tick at which it begins. All
// timers of a level come before those of the next.
func (w *Wheel) nextSlot() (level int, slot, when uint64, ok bool) {
	for level = range levels {
		if w.used[level] == 0 {
			continue
		}
		shift := slotBits * level
		here := w.now >> shift % slots
		ahead := uint64(bits.TrailingZeros64(bits.RotateLeft64(w.used[level], -int(here))))
		return level, (here + ahead) % slots, (w.now>>shift + ahead) << shift, true
	}
	return 0, 0, 0, false
}

// Advance calls due for each timer whose time has come by now, in the order of their
// times. The timer is not set any more; due may set it and others, and stop others.
func (w *Wheel) Advance(now time.Duration, due func(*Timer)) {
	to := uint64(max(now, 0) / tick)
	for {
		level, slot, when, ok := w.nextSlot()
		if !ok || when > to {
			break
		}
		w.now = when
		w.empty(level, slot, due)
	}
	w.now = max(w.now, to)
}

// empty takes the timers out of a slot that has begun: they are due, or move down.
func (w *Wheel) empty(level int, slot uint64, due func(*Timer)) {
	head := &w.list[level][slot]
	w.used[level] &^= 1 << slot
	for t := head.next; t != head; t = head.next {
		when := w.whenOf(t)
		t.prev.next, t.next.prev = t.next, t.prev
		t.next, t.prev = nil, nil
		if when > w.now {
			w.put(t, when)
			continue
		}
		due(t)
	}
}
