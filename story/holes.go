package story

import (
	"math"
	"slices"
)

// hole is a time in which a capture has lost packets of a connection, or was not running:
// what happened in it at that end is not known.
type hole struct{ from, to int64 }

// Before and after all that can be captured.
const (
	never   = math.MinInt64 / 4
	forever = math.MaxInt64 / 4
)

// Times in nanoseconds.
const (
	slack = 500_000 // by how much two captures may disagree about a moment: a copy that was sent again is later
	touch = 2_000   // what only touches a hole is not in it
)

// findHoles collects what shows that captures are not whole: bytes that were acknowledged
// and never seen; packets that came to the other end, and were never seen to leave this
// one; more sent than there was room for, by the windows that were seen. What one
// connection shows of a capture goes for all others in it.
func (ev *evidence) findHoles(conns []*conn) {
	for _, c := range ev.captures {
		c.order()
		c.holes = append(c.holes, hole{never, c.first}, hole{c.last, forever})
	}
	for _, c := range conns {
		t := &teller{ev: ev, c: c, s: &Story{}}
		t.lines()
		for _, e := range []end{client, server} {
			if l := t.w.line[e]; l != nil && (e == client || l != t.w.line[client]) {
				t.findHoles(e, l)
			}
		}
	}
}

// order collects when the packets of a capture were seen.
func (c *capture) order() {
	for _, w := range c.wires {
		for i := range w.seen {
			c.times = append(c.times, w.seen[i].at)
		}
	}
	slices.Sort(c.times)
}

// around is the time between the packets before and after a moment.
func (c *capture) around(at int64) hole {
	h := hole{never, forever}
	i, _ := slices.BinarySearch(c.times, at)
	if i > 0 {
		h.from = c.times[i-1]
	}
	for i < len(c.times) && c.times[i] <= at {
		i++
	}
	if i < len(c.times) {
		h.to = c.times[i]
	}
	return h
}

// misses adds a hole. What is before a capture's first packet, or behind its last, it has
// not lost.
func (c *capture) misses(h hole) {
	if h.from > never && h.to < forever && h.from >= c.first && h.to <= c.last {
		c.holes = append(c.holes, h)
		c.missed++
	}
}

func (t *teller) findHoles(e end, l *line) {
	if !l.opens() && len(l.at) > 0 { // it may have begun before the capture did
		return
	}
	to := t.c.at[e].capture
	for _, h := range l.holes {
		to.misses(hole{t.clockOf(e, h.from), t.clockOf(e, h.to)})
	}
	far := t.w.line[e.other()]
	if far == nil || far == l || !far.opens() {
		return
	}
	for _, pair := range [][2]curve{{l.sent[e], far.sent[e]}, {l.acks[e], far.acks[e]}} {
		for _, p := range pair[1] {
			if q, ok := pair[0].reach(p.pos); !ok || q.at > p.at+slack {
				to.misses(to.around(t.clockOf(e, p.at)))
			}
		}
	}
}

// clockOf maps a time of the client's clock to that of the capture at an end.
func (t *teller) clockOf(e end, at int64) int64 {
	if e == server {
		return t.fromClient(at)
	}
	return at
}

// knowHoles takes what is known of the captures at the ends, by the client's clock.
func (t *teller) knowHoles() {
	for _, e := range []end{client, server} {
		if t.c.at[e] == nil {
			continue
		}
		for _, h := range t.c.at[e].capture.holes {
			t.w.holes[e] = append(t.w.holes[e], hole{t.toClient(e, h.from), t.toClient(e, h.to)})
		}
		if l := t.w.line[e]; l != nil {
			t.w.holes[e] = append(t.w.holes[e], l.holes...)
		}
	}
}

// toClient maps a time of the capture at an end to the client's clock.
func (t *teller) toClient(e end, at int64) int64 {
	if e == client || t.c.clock == nil || t.c.at[client] == nil || at == never || at == forever {
		return at
	}
	return t.c.clock.toClient(at)
}

// holed reports whether the capture at an end has a hole in a time.
func (w *walk) holed(e end, from, to int64) bool {
	for _, h := range w.holes[e] {
		if min(to, h.to)-max(from, h.from) > touch {
			return true
		}
	}
	return false
}

// complete adds the time between the first packet of the connection and where the walk
// has come to: a capture had a hole there, or began later than the other one.
func (w *walk) complete() {
	l := w.of(client)
	if len(l.at) == 0 || len(w.held) == 0 {
		return
	}
	first, from := l.at[0], w.held[0].from
	if s := w.of(server); !l.opens() && len(s.at) > 0 {
		first = min(first, s.at[0])
	}
	for i := range w.held {
		from = min(from, w.held[i].from)
	}
	switch missing := from - first; {
	case missing <= 0:
	case missing < prompt: // the clocks are not known better than that
		w.hold(first, from, HeldThere, plainly)
	default:
		w.held = append(w.held, held{from: first, to: from, by: HeldUnseen, why: notCaptured})
	}
}

// synced returns when both ends had sent and acknowledged something new, if the beginning
// was not captured. What comes before that may have been sent earlier.
func (w *walk) synced() int64 {
	if w.of(client).opens() || w.of(server).opens() {
		return never
	}
	at := int64(never)
	for _, l := range w.line {
		for _, e := range []end{client, server} {
			switch {
			case l == nil:
			case len(l.whole[e]) < 2 || len(l.acks[e]) < 2:
				return forever
			default:
				at = max(at, l.whole[e][1].at, l.acks[e][1].at)
			}
		}
	}
	return at
}

// withhold takes back what rests on a capture that has a hole then: what it has not seen
// may have happened.
func (w *walk) withhold() {
	synced := w.synced()
	for i := range w.held {
		h := &w.held[i]
		if h.why != lookedUp && (h.from < synced || w.rests(h) || w.mayHaveCome(h)) {
			h.by, h.why = HeldUnseen, notCaptured
		}
	}
}

// mayHaveCome reports whether a long piece may be none, because a capture has lost more
// than a few packets: what seems to have been lost on the way, if that is proven of one of
// the two; any piece, if one says so itself.
func (w *walk) mayHaveCome(h *held) bool {
	if h.length() < neglected || h.by == HeldUnseen {
		return false
	}
	network := h.by == HeldThere || h.by == HeldBack
	for _, l := range w.line {
		if l != nil && (l.wire.capture.saysLossy() || network && l.wire.capture.isLossy()) {
			return true
		}
	}
	return false
}

// few is one packet of how many that a capture may lose.
const few = 1000

func (c *capture) saysLossy() bool { return c.lost > 0 && c.lost*few >= uint64(len(c.times)) }

func (c *capture) isLossy() bool { return c.missed > 0 && c.missed*few >= len(c.times) }

func (w *walk) rests(h *held) bool {
	switch h.by {
	case HeldByClient:
		return w.holed(client, h.from, h.to)
	case HeldInQueue, HeldByHandler, HeldByServer:
		return w.holed(server, h.from, h.to)
	case HeldThere:
		return w.holed(server, h.from, h.to)
	case HeldBack:
		return w.holed(client, h.from, h.to)
	}
	return false
}

// silentBefore is when the last packet before packet i came from an end, as its capture
// has it, or the other one's; or the connection's first one.
func (w *walk) silentBefore(e end, i int) (from int64) {
	l := w.of(e)
	for i--; i >= 0; i-- {
		if s := &l.wire.seen[i]; s.from == e && !s.icmp {
			return l.at[i]
		}
	}
	if len(l.at) > 0 {
		return l.at[0]
	}
	return never
}

// of returns the line of an end, or the other's if there is none.
func (w *walk) of(e end) *line {
	if w.line[e] != nil {
		return w.line[e]
	}
	return w.line[e.other()]
}

// where is the end whose capture of is.
func (w *walk) where(e end) end {
	if w.line[e] != nil {
		return e
	}
	return e.other()
}
