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
		first.add(c.until, 1)
	case talking:
		if c.out.Len() == 0 {
			first.add(c.asked, c.sh.header)
		}
		if c.stopping && c.atRest() {
			first.add(c.moved, c.sh.quiet)
		}
		if w := c.out.Wake(); !w.IsZero() && !c.full {
			first.add(max(c.sh.since(w), 1), 1)
		}
	}
	return c.sh.at(first)
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

func (c *Core) atRest() bool { return c.out.Len() == 0 && len(c.in) == 0 }

// Tick applies the limits whose time has come, and wakes the session if it asked
// for that. It may be called at any time.
func (c *Core) Tick(now time.Time) {
	t := c.sh.since(now)
	past := func(from, after time.Duration) bool { return from != 0 && after != 0 && t >= from+after }
	if !c.CheckPending(now) {
		return
	}
	switch c.state {
	case lingering:
		if t >= c.until {
			c.state = over
		}
	case talking:
		c.tickTalking(now, past)
	}
}

func (c *Core) tickTalking(now time.Time, past func(from, after time.Duration) bool) {
	switch {
	case c.out.Len() == 0 && past(c.asked, c.sh.header):
		c.end(SlowMessage, nil)
		c.state = over
	case c.stopping && c.atRest() && past(c.moved, c.sh.quiet):
		c.end(Drained, nil)
		c.flushed()
	case !c.full:
		c.wake(now)
	}
}

// wake gives the session its tick, if it asked for one and the time has come.
func (c *Core) wake(now time.Time) {
	if w := c.out.Wake(); w.IsZero() || now.Before(w) {
		return
	}
	c.out.WakeAt(time.Time{})
	c.pump(yodel.Tick, c.in, now)
}

// PendingDeadline returns when CheckPending is to be called; the zero time means
// never.
func (c *Core) PendingDeadline() time.Time { return c.sh.at(c.pendingDeadline()) }

func (c *Core) pendingDeadline() (first earliest) {
	if c.state > flushing {
		return 0
	}
	first.add(c.moved, c.sh.idle)
	if c.sh.minRate > 0 && c.out.Len() > 0 {
		first.add(c.rated, c.sh.rateAfter)
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
	case c.out.Len() > 0: // the kernel, too, holds output that nobody takes
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
	if c.sh.minRate == 0 || c.out.Len() == 0 || t < c.rated+c.sh.rateAfter {
		return false
	}
	if float64(c.rateBytes) < float64(c.sh.minRate)*c.sh.rateAfter.Seconds() {
		return true
	}
	c.rated, c.rateBytes = t, 0
	return false
}
