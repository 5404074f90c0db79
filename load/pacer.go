package load

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"time"
)

// A Pacer says when messages are due. It is a description, and may be shared.
type Pacer interface {
	// Schedule returns the times, counted from the beginning of a run: a pure function
	// of the seed, never decreasing.
	Schedule(seed uint64) Schedule

	// Rate is the messages a second that are asked for: the highest, if it changes.
	Rate() float64
}

// A Schedule is a sequence of times, each the time at which one message is due.
type Schedule interface {
	// Next returns the next time. It may go on for ever.
	Next() time.Duration
}

// end is later than any run lasts.
const end = time.Duration(math.MaxInt64)

// A Constant pacer has messages due at equal distances, the first at 0.
type Constant float64 // messages a second

// Rate returns c.
func (c Constant) Rate() float64 { return float64(c) }

// Schedule implements Pacer. The seed does not matter.
func (c Constant) Schedule(uint64) Schedule { return &constant{gap: 1e9 / float64(c)} }

type constant struct {
	gap float64 // ns
	n   float64
}

// Next implements Schedule. It is a product, not a sum: nothing adds up to a drift.
func (c *constant) Next() time.Duration {
	at := c.n * c.gap
	c.n++
	return duration(at)
}

// A Poisson pacer has messages due independently of each other, so many a second on
// average: as if from a great many people. The gaps are exponentially distributed.
type Poisson float64

// Rate returns p.
func (p Poisson) Rate() float64 { return float64(p) }

// Schedule implements Pacer.
func (p Poisson) Schedule(seed uint64) Schedule {
	return &poisson{gap: 1e9 / float64(p), rng: rand.New(rand.NewPCG(seed, 0x9e3779b97f4a7c15))}
}

type poisson struct {
	gap, at float64
	rng     *rand.Rand
}

// Next implements Schedule.
func (p *poisson) Next() time.Duration {
	p.at += p.rng.ExpFloat64() * p.gap
	return duration(p.at)
}

// duration returns so many nanoseconds, or end.
func duration(ns float64) time.Duration {
	if ns >= float64(math.MaxInt64) {
		return end
	}
	return time.Duration(ns)
}

// A Step is a rate that is kept for some time.
type Step struct {
	Rate float64 // messages a second; 0 is a pause
	For  time.Duration
}

// Steps is one rate after the other, each with what Arrivals makes of it. When the last
// has passed nothing is due any more.
type Steps struct {
	Steps []Step

	// Arrivals makes the pacer for a rate. If nil, a Constant.
	Arrivals func(rate float64) Pacer
}

// Rate returns the highest of the steps.
func (s Steps) Rate() float64 {
	highest := 0.0
	for _, step := range s.Steps {
		highest = max(highest, step.Rate)
	}
	return highest
}

// Length returns how long all steps take together.
func (s Steps) Length() time.Duration {
	var sum time.Duration
	for _, step := range s.Steps {
		sum += step.For
	}
	return sum
}

// Schedule implements Pacer.
func (s Steps) Schedule(seed uint64) Schedule {
	arrivals := s.Arrivals
	if arrivals == nil {
		arrivals = func(rate float64) Pacer { return Constant(rate) }
	}
	return &steps{left: s.Steps, arrivals: arrivals, seed: seed}
}

type steps struct {
	left     []Step
	arrivals func(float64) Pacer
	seed     uint64
	from     time.Duration // when the first of left begins
	now      Schedule      // of the first of left; nil: not begun
}

// Next implements Schedule.
func (s *steps) Next() time.Duration {
	for len(s.left) > 0 {
		step := s.left[0]
		if step.Rate > 0 {
			if s.now == nil {
				s.seed++
				s.now = s.arrivals(step.Rate).Schedule(s.seed)
			}
			if at := s.now.Next(); at < step.For {
				return s.from + at
			}
		}
		s.from += step.For
		s.left, s.now = s.left[1:], nil
	}
	return end
}

// A Ramp rises from nothing to the rate of Then, in equal steps of speed, and goes on
// as that does.
type Ramp struct {
	For  time.Duration
	Then Pacer
}

// Rate returns that of Then.
func (r Ramp) Rate() float64 { return r.Then.Rate() }

// Schedule implements Pacer.
func (r Ramp) Schedule(seed uint64) Schedule {
	return &ramp{length: float64(r.For), then: r.Then.Schedule(seed)}
}

type ramp struct {
	length float64
	then   Schedule
}

// Next implements Schedule. What Then does in the first half of the ramp's length is
// stretched over all of it: by time t it has done t²/2L, so the rate is that of Then
// times t/L.
func (r *ramp) Next() time.Duration {
	at := r.then.Next()
	switch t := float64(at); {
	case at == end:
		return end
	case t < r.length/2:
		return duration(math.Sqrt(2 * r.length * t))
	default:
		return duration(t + r.length/2)
	}
}

// maxRate is above what a clock of nanoseconds, and any machine, can do.
const maxRate = 1e8

// checkPace refuses a rate that makes no sense.
func checkPace(p Pacer) error {
	if p == nil {
		return nil
	}
	if r := p.Rate(); !(r > 0 && r <= maxRate) { // so that NaN is refused too
		return fmt.Errorf("the rate %v: it must be above 0 and at most %.0f a second", r, maxRate)
	}
	if s, ok := p.(Steps); ok {
		for _, step := range s.Steps {
			if !(step.Rate >= 0 && step.Rate <= maxRate) || step.For <= 0 {
				return errors.New("a step needs a rate that is not negative, and a time")
			}
		}
	}
	return nil
}

// A feed is a part of a schedule: every so-manieth message, for one worker and one
// target.
type feed struct {
	schedule Schedule
	turns    *turns
	target   int
	every    int           // workers that share the target's messages
	which    int           // of these
	seen     int           // of the target's messages, modulo every
	left     int64         // messages of the whole schedule until Plan.Count is reached
	until    time.Duration // Plan.Duration, or end

	next time.Duration // when the next is due; end: there is none
}

func newFeed(p *Plan, target, workers, worker int) *feed {
	f := &feed{schedule: p.Pace.Schedule(p.Seed), turns: newTurns(p.weights()), target: target, every: workers, which: worker}
	if p.Part.Of > 1 {
		f.schedule = &thin{Schedule: f.schedule, part: p.Part}
	}
	f.left, f.until = p.Count, p.Duration
	setDefault(&f.left, math.MaxInt64)
	setDefault(&f.until, end)
	f.advance()
	return f
}

// advance goes to the next message that is this feed's.
func (f *feed) advance() {
	for f.next != end {
		f.next = f.schedule.Next()
		if f.next >= f.until || f.left == 0 {
			f.next = end
			return
		}
		f.left--
		if f.turns.next() != f.target {
			continue
		}
		mine := f.seen == f.which
		if f.seen++; f.seen == f.every {
			f.seen = 0
		}
		if mine {
			return
		}
	}
}

// turns says whose turn it is among weighted targets, as evenly as can be: who is
// furthest behind his share.
type turns struct{ weights, credit []int }

func newTurns(weights []int) *turns {
	return &turns{weights: weights, credit: make([]int, len(weights))}
}

func (t *turns) next() int {
	if len(t.weights) == 1 {
		return 0
	}
	best, sum := 0, 0
	for i, w := range t.weights {
		t.credit[i] += w
		sum += w
		if t.credit[i] > t.credit[best] {
			best = i
		}
	}
	t.credit[best] -= sum
	return best
}

// share divides total by weights, without remainder: each gets one at least, if there
// are enough.
func share(total int, weights []int) []int {
	shares := make([]int, len(weights))
	for i := range min(total, len(shares)) {
		shares[i] = 1
	}
	t := newTurns(weights)
	for left := total - len(shares); left > 0; {
		i := t.next()
		shares[i]++
		left--
	}
	return shares
}
