package story

import (
	"net/netip"
	"time"

	"yodel/watch/packet"
)

// place is where a capture was taken, as a connection has it.
type place uint8

const (
	nowhere place = iota // not known: between the ends perhaps
	atClient
	atServer
	atBoth // on one host
)

// place finds out where a wire was captured by what it has alone.
func (w *wire) place() place {
	f := w.flow
	if isOneHost(f.Pair.Client.Addr(), f.Pair.Server.Addr()) {
		return atBoth
	}
	if p := w.byDirection(); p != nowhere {
		return p
	}
	hops, times := w.byTTL(), w.byAnswers()
	switch {
	case hops == nowhere:
		return times
	case times == nowhere, hops == times:
		return hops
	}
	return nowhere
}

func isOneHost(a, b netip.Addr) bool { return a == b || a.IsLoopback() && b.IsLoopback() }

// byDirection believes what the capture says of the way of its packets.
func (w *wire) byDirection() place {
	var out [2]int
	for i := range w.seen {
		s := &w.seen[i]
		switch {
		case s.icmp:
		case s.direction == packet.Outbound:
			out[s.from]++
		case s.direction == packet.Inbound:
			out[s.from.other()]++
		}
	}
	switch {
	case out[client] > 0 && out[server] > 0: // each packet was seen twice, or none of it is true
		return nowhere
	case out[client] > 0:
		return atClient
	case out[server] > 0:
		return atServer
	}
	return nowhere
}

// byTTL knows that a packet begins its way with a TTL of 64, 128 or 255, and that each
// router takes one away.
func (w *wire) byTTL() place {
	fresh := [2]bool{}
	known := [2]bool{}
	for i := range w.seen {
		s := &w.seen[i]
		if s.icmp || s.resets() {
			continue
		}
		known[s.from] = true
		fresh[s.from] = isFresh(s.ttl)
	}
	switch {
	case !known[client] || !known[server] || fresh[client] == fresh[server]:
		return nowhere
	case fresh[client]:
		return atClient
	}
	return atServer
}

// isFresh reports whether a TTL is one that packets begin with.
func isFresh(ttl uint8) bool { return ttl == 64 || ttl == 128 || ttl == 255 }

// onTheWay returns the TTL of what an end sends, if no packet of it is fresh where this was
// captured: so that is some hops away from the end, and what is beyond is not seen.
func (w *wire) onTheWay(e end) (ttl uint8, is bool) {
	for i := range w.seen {
		s := &w.seen[i]
		if s.icmp || s.resets() || s.from != e {
			continue
		}
		if isFresh(s.ttl) {
			return 0, false
		}
		ttl, is = s.ttl, true
	}
	return ttl, is && !isOneHost(w.flow.Pair.Client.Addr(), w.flow.Pair.Server.Addr())
}

// byAnswers compares how soon the two ends acknowledge, at best: kernels do so at once
// now and then, the near one here, and the far one after a round trip. One answer each is
// not enough to tell. Of a capture that lacks the handshake nothing is believed: an end that
// never has to acknowledge at once puts all of it off.
func (w *wire) byAnswers() place {
	const least, times, enough = 500 * time.Microsecond, 4, 2
	far, near := w.flow.Client.RTT, w.flow.Server.RTT
	switch {
	case w.flow.SYN.IsZero() || w.flow.SYNACK.IsZero(), far.Count < enough || near.Count < enough:
		return nowhere
	case far.Min > times*near.Min && far.Min-near.Min > least:
		return atClient
	case near.Min > times*far.Min && near.Min-far.Min > least:
		return atServer
	}
	return nowhere
}
