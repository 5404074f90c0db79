package ftp

import "time"

// A pace is how slow a peer may be: over each span it must move rate bytes a second. The
// zero pace, with any times, is no bound. It reads no clock.
type pace struct {
	rate int
	span time.Duration

	begin time.Time // of the span that is running; zero: none is
	moved int64     // since then
}

// deadline returns when the span that is running ends, and whether it has just begun.
func (p *pace) deadline(now time.Time) (end time.Time, begun bool) {
	if p.span == 0 {
		return time.Time{}, false
	}
	if begun = p.begin.IsZero(); begun {
		p.begin, p.moved = now, 0
	}
	return p.begin.Add(p.span), begun
}

// keeps counts n bytes, and reports whether the peer keeps its pace.
func (p *pace) keeps(n int64, now time.Time) bool {
	p.moved += n
	passed := now.Sub(p.begin)
	if p.span == 0 || passed < p.span {
		return true
	}
	p.begin = time.Time{}
	return p.moved >= max(int64(passed.Seconds()*float64(p.rate)), 1)
}

// patience returns how long a peer may take for n bytes that can't be given to it in
// parts; 0 for any time.
func (p *pace) patience(n int) time.Duration {
	if p.span == 0 {
		return 0
	}
	return p.span + time.Duration(n)*time.Second/time.Duration(p.rate)
}
