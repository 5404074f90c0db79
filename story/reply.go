package story

import (
	"strings"

	"yodel/watch"
	"yodel/watch/packet"
)

// findLags finds how long the kernel of each end took to answer in the handshake: to
// a SYN, or to a SYN, ACK, of which only one had come. A kernel does that at once, whatever its
// program does; so if it did not, its host was stopped or starved, or it keeps packets back
// before they are captured, as queueing disciplines do. All that it sends may be as late.
func (w *walk) findLags() {
	for _, e := range []end{client, server} {
		if l := w.line[e]; l != nil {
			w.lag[e] = l.lag(e)
		}
	}
}

// lag is what an end's kernel took for its answer in the handshake; 0 if that is not known.
func (l *line) lag(e end) int64 {
	asked := -1
	for i := range l.wire.seen {
		s := &l.wire.seen[i]
		switch {
		case s.icmp:
		case s.from != e && s.flags&packet.SYN != 0:
			if asked >= 0 { // it came again: that is told otherwise
				return 0
			}
			asked = i
		case s.from == e && asked >= 0:
			return l.at[i] - l.at[asked]
		}
	}
	return 0
}

// late is how much of a piece may be what the kernel of its end takes for any packet.
func (w *walk) late(h *held) int64 {
	e := client
	switch h.by {
	case HeldByClient:
	case HeldInQueue, HeldByHandler, HeldByServer:
		e = server
	default:
		return 0
	}
	switch h.why {
	case plainly, notRead, owed, gaveUp, parted:
		if w.lag[e] >= prompt {
			return min(w.lag[e], h.length())
		}
	}
	return 0
}

// farewell reports whether a sending is the last words of an end that closes right after
// them, and before its peer, which said nothing since: as an answer that took long, or as what a
// server says when its patience is at an end.
func (w *walk) farewell(n node) bool {
	const short = 1460
	l, me := w.line[n.at], n.at
	fin := l.fin[me]
	if fin < n.i || l.at[fin]-n.time > prompt || l.fin[me.other()] >= 0 && l.fin[me.other()] < fin {
		return false
	}
	return l.endOf(me, fin)-n.pos <= short && !l.spokeBetween(me.other(), n.i, fin)
}

// saysWhy returns what is remarkable about the time between what came to an end and what
// it has sent then. A client that closes without a word more may have waited for the rest of an
// answer; a server, for the rest of a request; and the client may not wait for the server's end
// if it has closed itself.
func (w *walk) saysWhy(n node, came point) reason {
	last := &w.line[n.at].wire.seen[came.i]
	switch {
	case n.time-came.at < w.remarkable || !w.closes(n):
	case n.at == client:
		return gaveUp
	case last.flags&packet.FIN != 0:
		return parted
	case last.length > 0:
		return gaveUp
	}
	return plainly
}

// spokeBetween reports whether an end has sent payload in packets from i to j.
func (l *line) spokeBetween(e end, i, j int) bool {
	for ; i <= j && i < len(l.wire.seen); i++ {
		if s := &l.wire.seen[i]; s.from == e && s.length > 0 && !s.icmp {
			return true
		}
	}
	return false
}

// paced reports whether a kernel may have kept back what its program had given it, to pace it:
// an end has sent one full segment after another, and what was before was still under way.
func (w *walk) paced(n node, own point) bool {
	l := w.line[n.at]
	if n.time-own.at < prompt || n.i >= len(l.wire.seen) {
		return false
	}
	acked, ok := l.acks[n.at.other()].before(n.i)
	return ok && acked.pos < own.pos && l.isFull(n.at, n.i) && l.isFull(n.at, own.i)
}

// isFull reports whether a packet of an end carries as much as it may, but for options.
func (l *line) isFull(e end, i int) bool {
	const options, least = 40, 1000
	s := &l.wire.seen[i]
	return s.from == e && !s.icmp && int64(s.length) >= max(l.mostSegment(e)-options, least)
}

// mostSegment is the largest segment that an end sends, as far as it is known: the other's
// MSS, but no more than half of the largest window, so that two are under way
// (RFC 9293 §3.8.6.2.1).
func (l *line) mostSegment(e end) int64 {
	mss := int64(l.wire.flow.Client.MSS)
	if e == client {
		mss = int64(l.wire.flow.Server.MSS)
	}
	return min(mss, l.widest[e.other()]/2)
}

// unreachable says what an ICMP error has done to a connection that never was; "" if
// there is none.
func (w *walk) unreachable() string {
	for _, at := range []end{client, server} {
		l := w.line[at]
		if l == nil || len(l.acks[client]) > 0 || len(l.acks[server]) > 0 {
			continue
		}
		for i := range l.wire.seen {
			if s := &l.wire.seen[i]; s.icmp {
				return s.icmpText(l.wire.flow.Pair.Client.Addr().Is6()) + " came back for its SYN, from " + s.icmpFrom()
			}
		}
	}
	return ""
}

func (s *sighting) icmpText(v6 bool) string {
	version := uint8(4)
	if v6 {
		version = 6
	}
	meaning := watch.ICMPMeaning(version, &packet.ICMPHeader{Type: s.icmpType, Code: s.code})
	return "an ICMP error (" + strings.TrimPrefix(meaning, "ICMP: ") + ")"
}

func (s *sighting) icmpFrom() string {
	if s.alien {
		return "a host between"
	}
	return "the " + s.from.String() + "'s address"
}
