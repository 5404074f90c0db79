package load

import "time"

// A Point is what happened between two looks at a run.
type Point struct {
	At     time.Duration // when it ends, since the beginning
	For    time.Duration // how long it is
	Rate   float64       // messages answered a second
	P50    time.Duration // of their latencies; 0: none was answered
	P99    time.Duration
	Max    time.Duration
	Errors int64
}

// series is the course of a run. It has so many points at most; when it is full, pairs of
// them become one.
type series struct {
	points []Point
	from   int64 // when the last point ended
	zero   int64
	every  int // looks that make up a point; 0 is 1
	looks  int
	since  *tally // of those looks; nil: none
}

const (
	mostPoints = 600
	shortPoint = int64(100 * time.Millisecond) // what is shorter has no rate to speak of
)

func (s *series) began(zero int64) { s.zero, s.from = zero, zero }

// add adds what was counted until now.
func (s *series) add(now int64, t *tally) {
	if now <= s.from {
		return
	}
	if s.since == nil {
		s.since = newTally()
	}
	s.since.merge(t)
	if s.looks++; s.looks < s.every || now-s.from < shortPoint && len(s.points) > 0 {
		return
	}
	s.points = append(s.points, s.point(now))
	s.since.reset()
	s.from, s.looks = now, 0
	if len(s.points) == mostPoints {
		s.halve()
	}
}

func (s *series) point(now int64) Point {
	p := Point{At: time.Duration(now - s.zero), For: time.Duration(now - s.from)}
	p.Rate = float64(s.since.Answered()) / p.For.Seconds()
	for _, n := range s.since.errors {
		p.Errors += n
	}
	if s.since.latency.total > 0 {
		h := s.since.latency.export()
		p.P50, p.P99, p.Max = time.Duration(h.ValueAtQuantile(50)), time.Duration(h.ValueAtQuantile(99)), time.Duration(h.Max())
	}
	return p
}

// halve makes one point of two: of times it keeps the worse.
func (s *series) halve() {
	s.every = max(s.every, 1) * 2
	half := s.points[:0]
	for i := 0; i+1 < len(s.points); i += 2 {
		a, b := s.points[i], s.points[i+1]
		both := a.For + b.For
		half = append(half, Point{
			At: b.At, For: both, Rate: (a.Rate*a.For.Seconds() + b.Rate*b.For.Seconds()) / both.Seconds(),
			P50: max(a.P50, b.P50), P99: max(a.P99, b.P99), Max: max(a.Max, b.Max), Errors: a.Errors + b.Errors,
		})
	}
	s.points = half
}
