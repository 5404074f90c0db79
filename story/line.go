package story

import (
	"slices"

	"yodel/watch/packet"
)

// point is when a number was first reached.
type point struct {
	pos int64
	at  int64 // by the clock of the client's capture
	i   int   // the packet, as it stands in wire.seen
}

// curve is how far something has come, and when: both grow.
type curve []point

// push adds a point if it goes further than all before. Times never run back: captures
// write packets down in the order in which they meet them, which is not quite that of
// their times.
func (c *curve) push(p point) {
	if n := len(*c); n > 0 {
		last := (*c)[n-1]
		if p.pos <= last.pos {
			return
		}
		p.at = max(p.at, last.at)
	}
	*c = append(*c, p)
}

// reach returns when pos was first reached.
func (c curve) reach(pos int64) (point, bool) {
	at, _ := slices.BinarySearchFunc(c, pos, func(p point, pos int64) int {
		if p.pos < pos {
			return -1
		}
		return 1
	})
	if at == len(c) {
		return point{}, false
	}
	return c[at], true
}

// before returns the last point before packet i.
func (c curve) before(i int) (point, bool) {
	at, _ := slices.BinarySearchFunc(c, i, func(p point, i int) int {
		if p.i < i {
			return -1
		}
		return 1
	})
	if at == 0 {
		return point{}, false
	}
	return c[at-1], true
}

func (c curve) last() int64 {
	if len(c) == 0 {
		return 0
	}
	return c[len(c)-1].pos
}

// line is one wire, read as what had come how far by when. For each end:
type line struct {
	wire *wire

	sent  [2]curve // its stream, as first seen here: SYN and FIN count one each
	whole [2]curve // its stream, without a gap
	acks  [2]curve // what it has acknowledged, of the other's stream
	edges [2]curve // what it can take, of the other's stream

	resets [2][]point // its RSTs: pos is the sequence number
	fin    [2]int     // the packet with its first FIN; -1: none
	spoke  [2]int     // the packet with its first payload; -1: none
	big    [2]int64   // the longest payload in a packet
	zero   [2]bool    // its window was zero at some time
	widest [2]int64   // its largest window
	again  [2]int     // the first packet with payload that it had sent before; 0: none
	blind  [2]bool    // its windows can't be read: their scale is not known
	holes  []hole     // what was acknowledged and never seen
	at     []int64    // of each packet
	shifts shifts     // from the numbers of the wire to those of the line
	scale  scales
}

// shifts is what must be added to the numbers of a wire to be those of another one.
type shifts [2]int64

// scales is by how many bits the windows of the two ends are shifted, as any capture has
// it; -1: none has it, or they are not.
type scales [2]int

// scales returns what all captures of a connection know of its windows.
func (c *conn) scales() scales {
	s := scales{-1, -1}
	for _, w := range c.wires {
		s[client] = max(s[client], w.flow.Client.WindowScale)
		s[server] = max(s[server], w.flow.Server.WindowScale)
	}
	return s
}

// newLine reads a wire; clock maps its times to those of the story.
func newLine(w *wire, clock func(int64) int64, shift shifts, scale scales) *line {
	l := &line{wire: w, shifts: shift, scale: scale, fin: [2]int{-1, -1}, spoke: [2]int{-1, -1}, at: make([]int64, len(w.seen))}
	var cover [2]cover
	for i := range w.seen {
		s := &w.seen[i]
		l.at[i] = clock(s.at)
		if i > 0 && l.at[i] < l.at[i-1] {
			l.at[i] = l.at[i-1]
		}
		if !s.icmp {
			l.take(i, s, shift, &cover)
		}
	}
	return l
}

func (l *line) take(i int, s *sighting, shift shifts, covers *[2]cover) {
	at, me, peer := l.at[i], s.from, s.from.other()
	if s.resets() {
		l.resets[me] = append(l.resets[me], point{s.seq + shift[me], at, i})
		return
	}
	if s.takes() {
		from, to := s.seq+shift[me], s.end+shift[me]
		if s.length > 0 && to <= l.sent[me].last() && l.again[me] == 0 {
			l.again[me] = i
		}
		l.room(me, to, at)
		l.sent[me].push(point{to, at, i})
		covers[me].add(from, to, shift[me], s.flags&packet.SYN != 0)
		l.whole[me].push(point{covers[me].next, at, i})
	}
	if s.ack >= 0 {
		ack := s.ack + shift[peer]
		l.acks[me].push(point{ack, at, i})
		if covers[peer].reached(ack) { // it has come, though it was not captured
			l.hole(peer, at)
			l.whole[peer].push(point{ack, at, i})
		}
		l.window(i, s, at)
		l.twice(i, s)
	}
	l.note(i, s)
}

// window takes what an end says it can take.
func (l *line) window(i int, s *sighting, at int64) {
	me := s.from
	edge := s.edge
	if edge < 0 && l.scale[me] >= 0 && s.flags&packet.SYN == 0 {
		edge = s.ack + int64(s.window)<<l.scale[me]
	}
	if edge < 0 {
		l.blind[me] = true
		return
	}
	l.edges[me].push(point{edge + l.shifts[me.other()], at, i})
	l.zero[me] = l.zero[me] || edge == s.ack
	l.widest[me] = max(l.widest[me], edge-s.ack)
}

// hole notes that a part of an end's stream was missed, after the last one that was not.
func (l *line) hole(of end, at int64) {
	from := int64(never)
	if n := len(l.whole[of]); n > 0 {
		from = l.whole[of][n-1].at
	}
	l.holes = append(l.holes, hole{from, at})
}

// twice notes a hole if an end says that it has got something twice that came once here.
func (l *line) twice(i int, s *sighting) {
	if s.twice < 0 {
		return
	}
	n := 0
	for j := range i {
		o := &l.wire.seen[j]
		if o.from != s.from && o.takes() && o.seq < s.twice && s.twice <= o.end {
			n++
		}
	}
	if n < 2 {
		l.holes = append(l.holes, hole{l.at[0], l.at[i]})
	}
}

// room notes a hole if an end sends more than the other had room for, as far as was seen:
// it has seen another window. One byte more asks whether there is room.
func (l *line) room(me end, to, at int64) {
	edges := l.edges[me.other()]
	if len(edges) == 0 || l.blind[me.other()] {
		return
	}
	if last := edges[len(edges)-1]; to > last.pos+2 {
		l.holes = append(l.holes, hole{last.at, at})
	}
}

// indexAt returns the first packet after a time: what came before it is known by then.
func (l *line) indexAt(at int64) int {
	lo, hi := 0, len(l.at)
	for lo < hi {
		if mid := (lo + hi) / 2; l.at[mid] <= at {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo
}

func (l *line) note(i int, s *sighting) {
	me := s.from
	if s.flags&packet.FIN != 0 && l.fin[me] < 0 {
		l.fin[me] = i
	}
	if s.length > 0 && l.spoke[me] < 0 {
		l.spoke[me] = i
	}
	l.big[me] = max(l.big[me], int64(s.length))
}

// cover is how far a stream has come without a gap.
type cover struct {
	begun   bool
	next    int64
	waiting []span // behind next, in order
}

type span struct{ from, to int64 }

// maxWaiting is how many pieces may wait behind gaps. A capture with more has lost so
// much that what waits is not needed.
const maxWaiting = 1024

func (c *cover) add(from, to, shift int64, syn bool) {
	if !c.begun {
		c.begun, c.next = true, from
		if !syn {
			c.next = min(from, 1+shift)
		}
	}
	if from > c.next {
		if len(c.waiting) < maxWaiting {
			c.wait(span{from, to})
		}
		return
	}
	c.next = max(c.next, to)
	c.advance()
}

func (c *cover) wait(s span) {
	at, _ := slices.BinarySearchFunc(c.waiting, s.from, func(w span, from int64) int {
		if w.from < from {
			return -1
		}
		return 1
	})
	c.waiting = slices.Insert(c.waiting, at, s)
}

func (c *cover) advance() {
	n := 0
	for ; n < len(c.waiting) && c.waiting[n].from <= c.next; n++ {
		c.next = max(c.next, c.waiting[n].to)
	}
	c.waiting = slices.Delete(c.waiting, 0, n)
}

// reached takes the word of the receiver that all up to ack has come, and reports whether
// that is new.
func (c *cover) reached(ack int64) bool {
	if c.begun && ack <= c.next {
		return false
	}
	c.begun, c.next = true, ack
	c.advance()
	return true
}
