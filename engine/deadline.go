package engine

import (
	"time"

	"yodel"
)

// Deadline returns when Tick is to be called, if nothing else is told before; the
// zero time means never. It may be earlier than needed, never later.
func (c *Core) Deadline() time.Time {
	if c.state == over || c.state == unborn {
		return time.Time{}
	}
	first := c.pendingDeadline()
	switch c.state {
	case lingering:
		first.add(c.moved, c.sh.linger)
	case talking:
		c.talkingDeadline(&first)
	}
	return c.sh.at(first)
}

func (c *Core) talkingDeadline(first *earliest) {
	if c.stopping && c.atRest() {
		first.add(c.moved, c.sh.quiet)
	}
	w := c.work
	if w == nil {
		return
	}
	if w.out.Len() == 0 {
		first.add(w.asked, c.messageTime())
	}
	if wake := w.out.Wake(); !wake.IsZero() && !c.full {
		first.add(max(c.sh.since(wake), 1), 1)
	}
}

// earliest is the first of several times, since Shared.base; 0: there is none.
type earliest time.Duration

// add adds the time that comes after from; a from or after of 0 is none.
func (e *earliest) add(from, after time.Duration) {
	if from != 0 && after != 0 && (*e == 0 || from+after < time.Duration(*e)) {
		*e = earliest(from + after)
	}
}

func (sh *Shared) at(e earliest) time.Time {
	if e == 0 {
		return time.Time{}
	}
	return sh.base.Add(time.Duration(e))
}

func (c *Core) atRest() bool { return c.work == nil || c.work.atRest() }

// messageTime is how long after asked the unfinished message is looked at: 0 for
// never.
func (c *Core) messageTime() time.Duration {
	switch {
	case !c.work.body:
		return c.sh.header
	case c.sh.minRate == 0:
		return 0
	}
	return c.sh.rateAfter
}

// Tick applies the limits whose time has come, and wakes the session if it asked
// for that. It may be called at any time.
func (c *Core) Tick(now time.Time) {
	if !c.CheckPending(now) {
		return
	}
	switch c.state {
	case lingering:
		if c.sh.since(now) >= c.moved+c.sh.linger {
			c.state = over
		}
	case talking:
		c.tickTalking(now)
	}
}

func (c *Core) tickTalking(now time.Time) {
	t := c.sh.since(now)
	past := func(from, after time.Duration) bool { return from != 0 && after != 0 && t >= from+after }
	switch w := c.work; {
	case w != nil && w.out.Len() == 0 && past(w.asked, c.messageTime()) && !c.nextWindow(now):
		c.end(SlowMessage, nil)
		c.state = over
	case c.stopping && c.atRest() && past(c.moved, c.sh.quiet):
		c.end(Drained, nil)
		c.flushed()
	case w != nil && !c.full:
		c.wake(now)
	}
}

// nextWindow begins the next window of MinRate, if the unfinished message came fast
// enough in this one.
func (c *Core) nextWindow(now time.Time) bool {
	w := c.work
	if !w.body || !c.sh.fastEnough(w.bodyBytes) {
		return false
	}
	w.asked, w.bodyBytes = c.sh.since(now), 0
	return true
}

// fastEnough reports whether so many bytes in a window are at least MinRate.
func (sh *Shared) fastEnough(n int) bool {
	return float64(n) >= float64(sh.minRate)*sh.rateAfter.Seconds()
}

// wake gives the session its tick, if it asked for one and the time has come.
func (c *Core) wake(now time.Time) {
	w := c.work
	if at := w.out.Wake(); at.IsZero() || now.Before(at) {
		return
	}
	w.out.WakeAt(time.Time{})
	c.pump(yodel.Tick, w.in, c.sh.since(now), now)
}

// PendingDeadline returns when CheckPending is to be called; the zero time means
// never.
func (c *Core) PendingDeadline() time.Time { return c.sh.at(c.pendingDeadline()) }

func (c *Core) pendingDeadline() (first earliest) {
	if c.state > flushing {
		return 0
	}
	first.add(c.moved, c.sh.idle)
	if c.sh.minRate > 0 && c.pending() > 0 {
		first.add(c.work.rated, c.sh.rateAfter)
	}
	return first
}

// CheckPending is the part of Tick that may be called while Pending is still lent to
// a layer below: it ends a connection whose peer reads too slowly, or on which
// nothing moves, and reports whether the connection goes on.
func (c *Core) CheckPending(now time.Time) bool {
	t := c.sh.since(now)
	switch {
	case c.state > flushing:
	case c.slowReader(t):
		c.Cut(SlowReader)
	case c.sh.idle == 0 || t < c.moved+c.sh.idle:
	case c.pending() > 0: // the kernel, too, holds output that nobody takes
		c.Cut(Idle)
	default:
		c.end(Idle, nil)
		c.state = over
	}
	return c.state != over
}

// slowReader reports whether the peer took less than MinRate in a whole window,
// and begins the next window if it took enough.
func (c *Core) slowReader(t time.Duration) bool {
	w := c.work
	if c.sh.minRate == 0 || c.pending() == 0 || t < w.rated+c.sh.rateAfter {
		return false
	}
	if !c.sh.fastEnough(w.rateBytes) {
		return true
	}
	w.rated, w.rateBytes = t, 0
	return false
}
