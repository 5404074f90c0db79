package flow

import "time"

// Times in the rules.
const (
	// fastLimit is how soon after the last duplicate ACK a fast retransmission comes.
	fastLimit = 20 * time.Millisecond

	// reorderLimit is within what time a packet that is late counts as out of order, if
	// the first round trip is not known.
	reorderLimit = 3 * time.Millisecond
)

// rules returns what is remarkable about the segment by the definitions of Wireshark's
// User's Guide, "TCP Analysis". They are rules of thumb: see look.weigh.
func (l *look) rules() Marks {
	m := l.ofACK()
	l.countDupACKs(m)
	if l.reopens() {
		l.takeProbe()
		m |= WindowUpdate
	}
	if m&ZeroWindowProbe == 0 && l.counts() {
		m |= l.ofResending(m)
	}
	if l.resets {
		m |= Reset
	}
	return m
}

// ofACK finds what has to do with windows, probes and ACKs.
func (l *look) ofACK() Marks {
	if l.isWindowProbe() {
		return ZeroWindowProbe
	}
	var m Marks
	if l.h.Window == 0 && l.plain() {
		m |= ZeroWindow
	}
	if l.fwd.next != unset && l.e.Seq > l.fwd.next && !l.resets {
		m |= LostSegment
	}
	if l.isKeepAlive() {
		m |= KeepAlive
	}
	if l.isWindowUpdate() {
		m |= WindowUpdate
	}
	if l.fillsWindow() {
		m |= WindowFull
	}
	switch {
	case l.repeats() && l.h.Window != 0 && l.rev.lastRules&KeepAlive != 0:
		m |= KeepAliveACK
	case l.isWindowProbeACK():
		m |= ZeroWindowProbeACK
	case l.repeats() && l.h.Window != 0:
		m |= DuplicateACK
	}
	return m
}

func (l *look) isWindowProbe() bool {
	return l.n == 1 && l.e.Seq == l.fwd.next && l.rev.window == 0 && !l.rev.lastAt.IsZero()
}

func (l *look) isKeepAlive() bool {
	return l.n <= 1 && l.plain() && l.fwd.next != unset && l.e.Seq == l.fwd.next-1
}

// atNext reports whether the segment is an ACK without payload, at the place where the
// stream stands.
func (l *look) atNext() bool {
	return l.n == 0 && l.plain() && l.fwd.next != unset && l.e.Seq == l.fwd.next
}

// repeats reports whether the segment says exactly what its sender has said last.
func (l *look) repeats() bool {
	return l.atNext() && l.e.Ack == l.fwd.lastAck && l.h.Window == l.fwd.window
}

func (l *look) isWindowUpdate() bool {
	return l.atNext() && l.h.Window != 0 && l.h.Window != l.fwd.window && l.e.Ack == l.fwd.lastAck
}

// fillsWindow reports whether the payload goes up to the last byte that the other side
// can take, as it has said.
func (l *look) fillsWindow() bool {
	r := l.rev
	return l.n > 0 && l.plain() && r.scale != scaleUnknown && r.lastAck != unset &&
		l.e.End == r.lastAck+r.room
}

func (l *look) isWindowProbeACK() bool {
	if !l.atNext() || l.h.Window != 0 || l.fwd.window != 0 || l.rev.lastRules&ZeroWindowProbe == 0 {
		return false
	}
	if l.e.Ack == l.fwd.lastAck+1 { // it has taken the byte of the probe
		l.takeProbe()
		return true
	}
	return l.e.Ack == l.fwd.lastAck
}

// takeProbe counts the byte of a window probe as sent, now that it was acknowledged.
func (l *look) takeProbe() { l.rev.next = l.e.Ack }

func (l *look) countDupACKs(m Marks) {
	if l.e.Ack != l.fwd.lastAck {
		l.fwd.dupACKs = 0
	} else if m&DuplicateACK != 0 {
		l.fwd.dupACKs++
		l.e.DupACK = l.fwd.dupACKs
	}
}

// reopens reports whether the segment tells, after a window probe, that the window is
// open again, and that the probe's byte was taken.
func (l *look) reopens() bool {
	return l.e.Ack != unset && l.rev.next != unset && l.e.Ack > l.rev.next && l.e.Ack == l.fwd.lastAck+1 &&
		l.e.Seq == l.fwd.next && l.rev.lastRules&ZeroWindowProbe != 0
}

// ofResending finds out what a segment is that does not advance the stream.
func (l *look) ofResending(m Marks) Marks {
	f, r, e := l.fwd, l.rev, l.e
	old := f.next != unset && e.Seq < f.next
	if old && m&KeepAlive != 0 {
		return 0
	}
	if l.n > 1 && e.Seq == f.next-1 { // its first byte was that of a window probe
		old = false
	}
	if l.n > 0 && r.lastAck != unset && e.Seq+l.n <= r.lastAck {
		return Retransmission | Spurious
	}
	switch {
	case !old:
		return 0
	case r.dupACKs >= 2 && r.lastAck == e.Seq && within(e.Time.Sub(r.lastAt), fastLimit):
		return Retransmission | Fast
	case within(e.Time.Sub(f.nextAt), l.limit) && e.End != f.next:
		return OutOfOrder
	}
	return Retransmission
}

func within(d, limit time.Duration) bool { return d >= 0 && d < limit }
