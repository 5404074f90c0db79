package trace

import "time"

// A clock turns the times of events into readings of the monotonic clock that all
// processes of a host share, or of the process where there is none.
type clock struct {
	base time.Time
	mono int64 // of that clock at base, in nanoseconds
}

// newClock reads both clocks at one moment.
func newClock() clock {
	before := hostMono()
	now := time.Now()
	return clock{base: now, mono: before + (hostMono()-before)/2}
}

// Mono returns, in nanoseconds, the clock that [FileHeader].Clock names at a time that
// [time.Now] of this process has returned, whose own monotonic reading is lost where it is
// encoded for another process: see [Event].Mono.
func Mono(t time.Time) int64 { return hostMono() - int64(time.Since(t)) }

// at returns the monotonic clock at t, in nanoseconds.
func (c *clock) at(t time.Time) int64 { return c.mono + int64(t.Sub(c.base)) }

// processClock names a clock that no other process can be compared with.
func processClock() string { return "process " + ConnID{Run: run}.String()[:8] }
