package story

import (
	"slices"
)

// maxDrift is how fast two clocks may run apart: 100 parts in a million, which is more
// than crystals do, and less than a clock that is being slewed by hand.
const maxDrift = 1e-4

// rounding is how much a capture's times may be wrong by their resolution alone.
const rounding = 5_000 // ns

// bound says that at a time of the server's clock its offset, server's less client's, was
// at most (or at least) so much.
type bound struct{ at, offset int64 }

// bounds is what the packets that two captures share say of their clocks. A packet can't
// arrive before it was sent: one from the client to the server gives an upper bound, one
// from the server to the client a lower one.
type bounds struct{ upper, lower []bound }

// compare collects the bounds that a connection gives, if cw was taken at the client's
// end and sw at the server's. Times are those of the captures.
func compare(cw, sw *wire) bounds {
	c := newLine(cw, asIs, shifts{}, unscaled)
	s := newLine(sw, asIs, aligned(cw, sw), unscaled)
	var b bounds
	for _, pairs := range [][2]curve{{c.sent[client], s.whole[client]}, {c.acks[client], s.acks[client]}} {
		for _, p := range pairs[0] {
			if q, ok := pairs[1].reach(p.pos); ok {
				b.upper = append(b.upper, bound{q.at, q.at - p.at})
			}
		}
	}
	for _, pairs := range [][2]curve{{s.sent[server], c.whole[server]}, {s.acks[server], c.acks[server]}} {
		for _, p := range pairs[0] {
			if q, ok := pairs[1].reach(p.pos); ok {
				b.lower = append(b.lower, bound{p.at, p.at - q.at})
			}
		}
	}
	return b
}

// unscaled is for those who do not look at windows.
var unscaled = scales{-1, -1}

func asIs(t int64) int64 { return t }

// aligned returns what must be added to sw's numbers to be cw's. Where one of them has nothing
// of an end there is nothing to compare.
func aligned(cw, sw *wire) (s shifts) {
	if cw.knows(client) && sw.knows(client) {
		s[client] = int64(int32(sw.flow.Client.ISN - cw.flow.Client.ISN))
	}
	if cw.knows(server) && sw.knows(server) {
		s[server] = int64(int32(sw.flow.Server.ISN - cw.flow.Server.ISN))
	}
	return s
}

// knows reports whether a wire has a number of an end's stream: from itself, or acknowledged.
func (w *wire) knows(e end) bool {
	return slices.ContainsFunc(w.seen, func(s sighting) bool {
		return !s.icmp && (s.from == e && !s.resets() || s.from != e && s.ack >= 0)
	})
}

// width returns the room that is left for the offset where there is least: negative if
// there is none, as when the two captures are taken for each other. It is known if there
// are bounds of both kinds.
func (b *bounds) width() (ns int64, known bool) {
	c := newClock(*b)
	if c == nil {
		return 0, false
	}
	ns = c.high[0] - c.low[0]
	for i := range c.at {
		ns = min(ns, c.high[i]-c.low[i])
	}
	return ns, true
}

// flip returns the bounds for the captures the other way round.
func (b *bounds) flip() bounds {
	return bounds{upper: negated(b.lower), lower: negated(b.upper)}
}

func negated(list []bound) []bound {
	out := make([]bound, len(list))
	for i, b := range list {
		out[i] = bound{b.at - b.offset, -b.offset}
	}
	return out
}

func (b *bounds) add(more bounds) {
	b.upper = append(b.upper, more.upper...)
	b.lower = append(b.lower, more.lower...)
}

// A clock says how far the server's clock is ahead of the client's, at any time of the
// server's. Between two bounds it may drift.
type clock struct {
	at        []int64
	low, high []int64 // at these times, all bounds considered
	broken    bool    // no offset fits: a clock was set
}

// newClock makes the most of the bounds; nil if there are none of one kind.
func newClock(b bounds) *clock {
	if len(b.upper) == 0 || len(b.lower) == 0 {
		return nil
	}
	c := &clock{}
	for _, list := range [][]bound{b.upper, b.lower} {
		for _, x := range list {
			c.at = append(c.at, x.at)
		}
	}
	slices.Sort(c.at)
	c.at = slices.Compact(c.at)
	c.high = envelope(c.at, b.upper, 1)
	c.low = envelope(c.at, b.lower, -1)
	for i := range c.at {
		if c.low[i] > c.high[i]+rounding {
			c.broken = true
		}
	}
	return c
}

// envelope returns for each time the tightest bound that those of all times allow; sign
// is 1 for upper bounds, -1 for lower ones.
func envelope(at []int64, list []bound, sign int64) []int64 {
	const far = 1 << 62
	out := make([]int64, len(at))
	for i := range out {
		out[i] = far
	}
	for _, b := range list {
		i, _ := slices.BinarySearch(at, b.at)
		out[i] = min(out[i], sign*b.offset)
	}
	for i := 1; i < len(at); i++ {
		out[i] = min(out[i], out[i-1]+drifted(at[i]-at[i-1]))
	}
	for i := len(at) - 2; i >= 0; i-- {
		out[i] = min(out[i], out[i+1]+drifted(at[i+1]-at[i]))
	}
	for i := range out {
		out[i] *= sign
	}
	return out
}

func drifted(d int64) int64 { return int64(maxDrift * float64(d)) }

// offset returns the offset at a time of the server's clock, and by how much it may be
// wrong.
func (c *clock) offset(at int64) (offset, wrong int64) {
	i, found := slices.BinarySearch(c.at, at)
	var low, high int64
	switch {
	case found:
		low, high = c.low[i], c.high[i]
	case i == 0:
		d := drifted(c.at[0] - at)
		low, high = c.low[0]-d, c.high[0]+d
	case i == len(c.at):
		d := drifted(at - c.at[i-1])
		low, high = c.low[i-1]-d, c.high[i-1]+d
	default:
		before, after := drifted(at-c.at[i-1]), drifted(c.at[i]-at)
		low = max(c.low[i-1]-before, c.low[i]-after)
		high = min(c.high[i-1]+before, c.high[i]+after)
	}
	return low + (high-low)/2, max((high-low+1)/2, 0)
}

// toClient maps a time of the server's clock to the client's.
func (c *clock) toClient(at int64) int64 {
	offset, _ := c.offset(at)
	return at - offset
}
