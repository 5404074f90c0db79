package flow

import "slices"

// maxHoles is how many holes of a direction are known at the same time.
const maxHoles = 64

// coverage is which bytes of a direction were captured: all from floor up to high,
// except holes. Of what is before floor nothing is known.
type coverage struct {
	floor, high int64
	started     bool
	holes       []hole // in order
	missing     int64  // bytes in all holes, the forgotten ones included
}

// hole is a range that was not captured, and what the segment behind it, by which it was
// noticed, tells of the time at which that was sent.
type hole struct {
	span
	sent moment
}

// moment is what a packet tells of when it was sent, beside others of its sender.
type moment struct {
	stamp    uint32 // of RFC 7323
	hasStamp bool
	id       uint16 // of IPv4, if it counts up
	hasID    bool
}

// compare returns less than 0 if m was before o, more if it was later, and 0 if that
// cannot be told.
func (m moment) compare(o moment) int {
	if m.hasStamp && o.hasStamp && m.stamp != o.stamp {
		return int(int32(m.stamp - o.stamp))
	}
	if m.hasID && o.hasID {
		return int(int16(m.id - o.id))
	}
	return 0
}

// counting finds out whether a sender's IPv4 identifications count up, as those of Linux
// do: other systems choose them by chance, or send none.
type counting struct {
	last         uint16
	steps, jumps uint16
}

// see takes the identification of the next packet.
func (c *counting) see(id uint16) {
	if step := id - c.last; step >= 1 && step <= 256 {
		c.steps++
	} else {
		c.jumps++
	}
	if c.steps >= 1<<15 || c.jumps >= 1<<15 {
		c.steps, c.jumps = c.steps/2, c.jumps/2
	}
	c.last = id
}

// up reports whether they do.
func (c *counting) up() bool { return c.steps >= 8 && c.jumps <= c.steps/16+1 }

// sight is what coverage has to say of a segment.
type sight struct {
	all  bool // each of its bytes was captured before
	hole hole // the first one in which it has bytes
}

// look says what is known of the range, and writes down that it was captured.
func (c *coverage) look(r span, sent moment) sight {
	switch {
	case !c.started:
		c.started, c.floor, c.high = true, r.from, r.to
		return sight{}
	case r.from == c.high: // as most come
		c.high = r.to
		return sight{}
	case r.from > c.high:
		c.addHole(hole{span{c.high, r.from}, sent})
		c.high = r.to
		return sight{}
	}
	s := c.fill(r)
	s.all = s.hole == hole{} && r.from >= c.floor && r.to <= c.high
	c.high = max(c.high, r.to)
	return s
}

// lacks reports whether some of the range is known not to have been captured.
func (c *coverage) lacks(r span) bool {
	if !c.started {
		return false
	}
	return r.to > c.high || slices.ContainsFunc(c.holes, func(h hole) bool { return h.from < r.to && r.from < h.to })
}

func (c *coverage) addHole(h hole) {
	c.missing += h.to - h.from
	if len(c.holes) == maxHoles {
		c.floor = c.holes[0].to
		c.holes = slices.Delete(c.holes, 0, 1)
	}
	c.holes = append(c.holes, h)
}

// fill takes the range out of all holes.
func (c *coverage) fill(r span) (s sight) {
	for i := 0; i < len(c.holes); i++ {
		h := &c.holes[i]
		from, to := max(r.from, h.from), min(r.to, h.to)
		if from >= to {
			continue
		}
		if s.hole == (hole{}) {
			s.hole = *h
		}
		c.missing -= to - from
		switch {
		case from == h.from && to == h.to:
			c.holes = slices.Delete(c.holes, i, i+1)
			i--
		case from == h.from:
			h.from = to
		case to == h.to:
			h.to = from
		default:
			rest := *h
			rest.from, h.to = to, from
			c.split(i+1, rest)
			return s
		}
	}
	return s
}

// split puts the rest of a hole behind what it was split from.
func (c *coverage) split(at int, rest hole) {
	c.holes = slices.Insert(c.holes, at, rest)
	if len(c.holes) > maxHoles {
		c.floor = c.holes[0].to
		c.holes = slices.Delete(c.holes, 0, 1)
	}
}

// recent is the last packets of a side, to find one that comes twice.
type recent struct {
	last [8]fingerprint
	at   uint8
}

// fingerprint is what two packets don't have in common unless they are one.
type fingerprint struct {
	id, seq, ack, stamp uint32
	length              int32
	flags, window       uint16
}

// again reports whether the packet was there shortly before, and writes it down. Without
// an identification nothing can be said: two equal ACKs may be meant.
func (r *recent) again(f fingerprint) bool {
	if f.id == 0 {
		return false
	}
	if slices.Contains(r.last[:], f) {
		return true
	}
	r.last[r.at%uint8(len(r.last))] = f
	r.at++
	return false
}
