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
	var first time.Duration
	sooner := func(from, after time.Duration) {
		if from != 0 && after != 0 && (first == 0 || from+after < first) {
			first = from + after
		}
	}
	if c.out.Len() > 0 && c.sh.minRate > 0 {
		sooner(c.rated, c.sh.rateAfter)
	}
	switch c.state {
	case lingering:
		sooner(c.until, 1)
	case talking:
		sooner(c.moved, c.sh.idle)
		sooner(c.asked, c.sh.header)
		if c.stopping && c.atRest() {
			sooner(c.moved, c.sh.quiet)
		}
		if w := c.out.Wake(); !w.IsZero() && !c.full {
			sooner(max(c.sh.since(w), 1), 1)
		}
	}
	if first == 0 {
		return time.Time{}
	}
	return c.sh.base.Add(first)
}

func (c *Core) atRest() bool { return c.out.Len() == 0 && len(c.in) == 0 }

// Tick applies the limits whose time has come, and wakes the session if it asked
// for that. It may be called at any time.
func (c *Core) Tick(now time.Time) {
	t := c.sh.since(now)
	past := func(from, after time.Duration) bool { return from != 0 && after != 0 && t >= from+after }
	if !c.CheckRate(now) {
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
	case past(c.asked, c.sh.header):
		c.end(SlowMessage, nil)
		c.state = over
	case past(c.moved, c.sh.idle):
		c.end(Idle, nil)
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

// RateDeadline returns when CheckRate is to be called while output is pending; the
// zero time means never.
func (c *Core) RateDeadline() time.Time {
	if c.sh.minRate == 0 || c.rated == 0 {
		return time.Time{}
	}
	return c.sh.base.Add(c.rated + c.sh.rateAfter)
}

// CheckRate is the part of Tick that may be called while Pending is still lent to a
// layer below: it cuts a peer that reads too slowly and reports whether the
// connection goes on.
func (c *Core) CheckRate(now time.Time) bool {
	t := c.sh.since(now)
	if c.slowReader(t) {
		c.Cut(SlowReader)
	}
	return c.state != over
}

// slowReader reports whether the peer took less than MinRate in a whole window,
// and begins the next window if it took enough.
func (c *Core) slowReader(t time.Duration) bool {
	if c.sh.minRate == 0 || c.out.Len() == 0 || c.state > flushing || t < c.rated+c.sh.rateAfter {
		return false
	}
	if float64(c.rateBytes) < float64(c.sh.minRate)*c.sh.rateAfter.Seconds() {
		return true
	}
	c.rated, c.rateBytes = t, 0
	return false
}
