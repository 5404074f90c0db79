package flow

import (
	"bytes"
	"slices"
)

// DefaultWindow is how many bytes a [Stream] holds ahead of a gap if it is not told.
const DefaultWindow = 1 << 20

// A Piece is what comes next in a stream: bytes, or a gap. A gap is never filled with
// anything.
type Piece struct {
	Offset  int64  // of its first byte, from 0
	Data    []byte // valid until the function returns that is given it
	Missing int64  // a gap of so many bytes; Data is nil
}

// A Stream puts the bytes of one direction in order: segments may come out of order,
// overlap, and come again. What comes first counts; a later copy that differs from one
// which still waits is counted, not used. Out of order it holds at most Window bytes,
// what it needs to hold them included: then, or when it is told that a gap will not be
// filled, the gap is handed out as such.
//
// The zero value is ready to use.
type Stream struct {
	// Window is how many bytes it holds at most; 0: DefaultWindow.
	Window int

	// Conflicts counts the segments that contradicted an earlier one.
	Conflicts int64

	// Late counts the bytes that came after their gap was handed out.
	Late int64

	next    int64   // all before was handed out
	waiting []chunk // behind next, in order, without overlap
	held    int     // bytes of memory
	gaps    []span  // the last ones that were handed out
}

type chunk struct {
	at   int64
	data []byte
}

func (c chunk) end() int64 { return c.at + int64(len(c.data)) }

// cost counts each chunk as no less than chunkCost, so that many small ones are few.
func (c chunk) cost() int { return len(c.data) + chunkCost }

const chunkCost = 256

type span struct{ from, to int64 }

// maxGaps is how many gaps are remembered to count what comes late.
const maxGaps = 16

// Next returns the offset of the first byte that was not handed out.
func (s *Stream) Next() int64 { return s.next }

// Held returns how much memory is taken by what waits behind a gap, in bytes.
func (s *Stream) Held() int { return s.held }

// Add takes the bytes at an offset, and hands out what is in order with them.
func (s *Stream) Add(offset int64, data []byte, out func(Piece)) {
	if offset < s.next {
		old := min(s.next-offset, int64(len(data)))
		s.countLate(offset, offset+old)
		offset, data = offset+old, data[old:]
	}
	if len(data) == 0 {
		return
	}
	if offset == s.next && len(s.waiting) == 0 { // as most come
		s.next += int64(len(data))
		out(Piece{Offset: offset, Data: data})
		return
	}
	s.keep(offset, data)
	s.advance(out)
	for s.held > s.window() {
		s.jump(out)
	}
}

// Skip tells that what is missing before an offset will not come: gaps before it are
// handed out, and what waits behind them.
func (s *Stream) Skip(offset int64, out func(Piece)) {
	for s.next < offset && len(s.waiting) > 0 && s.waiting[0].at <= offset {
		s.jump(out)
	}
	if s.next < offset {
		s.gap(offset, out)
		s.advance(out)
	}
}

// Flush hands out all that waits, and the gaps between: no more will come.
func (s *Stream) Flush(out func(Piece)) {
	for len(s.waiting) > 0 {
		s.jump(out)
	}
}

func (s *Stream) window() int {
	if s.Window > 0 {
		return s.Window
	}
	return DefaultWindow
}

// keep puts what is new of data among what waits.
func (s *Stream) keep(offset int64, data []byte) {
	conflict := false
	at, _ := slices.BinarySearchFunc(s.waiting, offset, func(c chunk, o int64) int {
		if c.end() <= o {
			return -1
		}
		return 1
	})
	for len(data) > 0 {
		if at == len(s.waiting) || s.waiting[at].at >= offset+int64(len(data)) {
			s.insert(at, offset, data)
			break
		}
		c := s.waiting[at]
		if offset < c.at {
			n := c.at - offset
			s.insert(at, offset, data[:n])
			offset, data = c.at, data[n:]
			at++
		}
		same := min(c.end()-offset, int64(len(data)))
		conflict = conflict || !bytes.Equal(c.data[offset-c.at:][:same], data[:same])
		offset, data = offset+same, data[same:]
		at++
	}
	if conflict {
		s.Conflicts++
	}
}

func (s *Stream) insert(at int, offset int64, data []byte) {
	c := chunk{offset, bytes.Clone(data)}
	s.waiting = slices.Insert(s.waiting, at, c)
	s.held += c.cost()
}

// advance hands out what has come in order.
func (s *Stream) advance(out func(Piece)) {
	n := 0
	for ; n < len(s.waiting) && s.waiting[n].at == s.next; n++ {
		c := s.waiting[n]
		s.next = c.end()
		s.held -= c.cost()
		out(Piece{Offset: c.at, Data: c.data})
	}
	s.waiting = slices.Delete(s.waiting, 0, n)
}

// jump hands out the first gap, and what waits behind it.
func (s *Stream) jump(out func(Piece)) {
	if first := s.waiting[0].at; s.next < first {
		s.gap(first, out)
	}
	s.advance(out)
}

func (s *Stream) gap(to int64, out func(Piece)) {
	if len(s.gaps) == maxGaps {
		s.gaps = slices.Delete(s.gaps, 0, 1)
	}
	s.gaps = append(s.gaps, span{s.next, to})
	out(Piece{Offset: s.next, Missing: to - s.next})
	s.next = to
}

func (s *Stream) countLate(from, to int64) {
	for _, g := range s.gaps {
		s.Late += max(min(to, g.to)-max(from, g.from), 0)
	}
}
