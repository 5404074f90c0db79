package packet

import (
	"bytes"
	"slices"
	"time"
)

// Bounds of a Defragmenter.
const (
	maxDatagrams  = 64               // under way at the same time
	maxPieces     = 256              // of one datagram that are not joined yet
	fragmentsLive = 30 * time.Second // as Linux: net.ipv4.ipfrag_time
)

// A Defragmenter joins the fragments of IP datagrams. It holds at most 64 datagrams, and
// so at most 4 MiB; what does not fit, comes too late or contradicts itself is thrown
// away and counted. The zero value is ready to use. It is not safe for concurrent use.
type Defragmenter struct {
	// Joined counts datagrams that became whole. Dropped counts those that did not:
	// a piece did not come within 30 seconds, was captured in part, overlapped another
	// one (RFC 5722 §3), or there were too many at once.
	Joined, Dropped int64

	held []*datagram // the oldest first
}

type fragmentKey struct {
	id       uint32
	protocol uint8
	src, dst [16]byte
	version  uint8
}

// datagram is one that is not whole yet.
type datagram struct {
	key   fragmentKey
	began time.Time
	first Packet  // the piece at offset 0, once it is there
	total int     // its length; 0: the last piece is not there yet
	have  []piece // in order, not touching each other
	buf   []byte
	bad   bool // no use to go on; kept until its time is over, so that the rest is not taken for another
}

type piece struct{ from, to int }

// Add takes a fragment that came at now. If its datagram is whole with it, p is made
// that datagram, as if it had come in one piece, and whole is true: Kind and all that
// depends on it are set anew, and p.Payload is memory of its own. The error is
// that of its headers. A packet that is no Fragment is left as it is.
func (d *Defragmenter) Add(now time.Time, p *Packet) (whole bool, err error) {
	if p.Kind != Fragment {
		return false, nil
	}
	d.expire(now)
	g := d.find(keyOf(p), now)
	if g.bad || !g.add(p) {
		return false, nil
	}
	d.remove(g)
	d.Joined++
	*p = g.first
	p.IP.More = false
	c := cursor{data: g.buf, wire: len(g.buf)}
	return true, p.upper(&c, p.IP.Protocol)
}

// Waiting returns how many datagrams are not whole yet.
func (d *Defragmenter) Waiting() int { return len(d.held) }

func keyOf(p *Packet) fragmentKey {
	key := fragmentKey{id: p.IP.ID, version: p.IP.Version, src: p.Src.Addr().As16(), dst: p.Dst.Addr().As16()}
	if key.version == 4 { // in IPv6 only the first piece says it truly, RFC 8200 §4.5
		key.protocol = p.IP.Protocol
	}
	return key
}

func (d *Defragmenter) find(key fragmentKey, now time.Time) *datagram {
	for _, g := range d.held {
		if g.key == key {
			return g
		}
	}
	if len(d.held) == maxDatagrams {
		d.drop(d.held[0])
	}
	g := &datagram{key: key, began: now}
	d.held = append(d.held, g)
	return g
}

func (d *Defragmenter) expire(now time.Time) {
	for len(d.held) > 0 && now.Sub(d.held[0].began) > fragmentsLive {
		d.drop(d.held[0])
	}
}

func (d *Defragmenter) drop(g *datagram) {
	d.remove(g)
	d.Dropped++
}

func (d *Defragmenter) remove(g *datagram) {
	at := slices.Index(d.held, g)
	d.held = slices.Delete(d.held, at, at+1)
}

// add takes a piece, and reports whether all are there.
func (g *datagram) add(p *Packet) (whole bool) {
	from := int(p.IP.Offset)
	to := from + len(p.Payload)
	if !g.fits(p, from, to) {
		g.spoil()
		return false
	}
	if !g.mark(piece{from, to}, p.Payload) {
		return false
	}
	if len(g.buf) < to {
		g.buf = append(g.buf, make([]byte, to-len(g.buf))...)
	}
	copy(g.buf[from:], p.Payload)
	if from == 0 {
		g.first = *p
		g.first.Payload = nil
	}
	return g.total > 0 && len(g.have) == 1 && g.have[0] == piece{0, g.total}
}

// fits reports whether the piece is whole, and agrees with what is known of the end.
func (g *datagram) fits(p *Packet, from, to int) bool {
	if len(p.Payload) < p.Length || from == to {
		return false
	}
	if p.IP.More {
		return g.total == 0 || to <= g.total
	}
	if g.total != 0 && g.total != to || len(g.have) > 0 && g.have[len(g.have)-1].to > to {
		return false
	}
	g.total = to
	return true
}

// mark writes down that a piece is there. It returns false, and nothing is to be
// done, for one that came again; and for one that overlaps another, which spoils all.
func (g *datagram) mark(n piece, payload []byte) bool {
	at, _ := slices.BinarySearchFunc(g.have, n.from, func(h piece, from int) int { return h.to - from })
	if at < len(g.have) && g.have[at].to == n.from { // it goes on where this one ends
		at++
	}
	if at < len(g.have) && g.have[at].from < n.to {
		h := g.have[at]
		if again := n.from >= h.from && n.to <= h.to; !again || !bytes.Equal(payload, g.buf[n.from:n.to]) {
			g.spoil()
		}
		return false
	}
	g.have = slices.Insert(g.have, at, n)
	g.join(at)
	if len(g.have) > maxPieces {
		g.spoil()
		return false
	}
	return true
}

// join joins the piece at a place with its neighbours, where they touch.
func (g *datagram) join(at int) {
	if at+1 < len(g.have) && g.have[at].to == g.have[at+1].from {
		g.have[at].to = g.have[at+1].to
		g.have = slices.Delete(g.have, at+1, at+2)
	}
	if at > 0 && g.have[at-1].to == g.have[at].from {
		g.have[at-1].to = g.have[at].to
		g.have = slices.Delete(g.have, at, at+1)
	}
}

func (g *datagram) spoil() { g.bad, g.buf, g.have = true, nil, nil }
