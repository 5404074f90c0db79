package flow

import (
	"slices"
	"time"
)

// maxSendings is how many segments of a side are known that were not acknowledged.
const maxSendings = 4096

// sending is a segment that takes part of the stream's numbers.
type sending struct {
	span
	at     time.Time
	number int64
	again  bool // part of it was sent more than once
}

// sendings is what a side has sent and the other one has not acknowledged, the oldest
// first.
type sendings struct {
	list  []sending
	mixed bool // not in the order of the stream
}

// add writes a segment down. What was sent before of the same bytes, and the segment
// itself, are then no measure of time.
func (s *sendings) add(n sending) {
	if last := len(s.list) - 1; last >= 0 && n.from < s.list[last].to || s.mixed {
		s.mixed = true
		for i := range s.list {
			if o := &s.list[i]; o.from < n.to && n.from < o.to {
				o.again, n.again = true, true
			}
		}
	}
	if len(s.list) < maxSendings {
		s.list = append(s.list, n)
	}
}

// last returns the last sending of the byte, and whether it is known.
func (s *sendings) last(of int64) (sending, bool) {
	for _, n := range slices.Backward(s.list) {
		if n.from <= of && of < n.to {
			return n, true
		}
	}
	return sending{}, false
}

// acknowledge forgets what is acknowledged, and returns the oldest sending that ends
// there.
func (s *sendings) acknowledge(ack int64) (exact sending, found bool) {
	done := 0
	for done < len(s.list) && s.list[done].to <= ack {
		if n := s.list[done]; n.to == ack && !found {
			exact, found = n, true
		}
		done++
	}
	s.drop(done)
	if s.mixed {
		s.list = slices.DeleteFunc(s.list, func(n sending) bool {
			if n.to == ack && !found {
				exact, found = n, true
			}
			return n.to <= ack
		})
		s.mixed = len(s.list) > 0
	}
	return exact, found
}

// drop forgets the oldest ones. A long list is not moved for that: what is added later
// moves it, once for many.
func (s *sendings) drop(n int) {
	const long = 64
	if len(s.list)-n > long {
		s.list = s.list[n:]
		return
	}
	s.list = slices.Delete(s.list, 0, n)
}
