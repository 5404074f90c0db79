package flow

import (
	"time"

	"yodel/watch/packet"
)

// unset stands for a number that is not known yet.
const unset = -1

// Values of analysis.scale beside a number of bits.
const (
	scaleUnknown = -1 // no SYN was captured
	scaleNone    = -2 // windows are as they are sent
)

// analysis is what the rules need to know of one side: what it has sent so far. The
// numbers are relative.
type analysis struct {
	base    uint32 // stands for 0
	hasBase bool
	hasSYN  bool // its SYN was captured

	next   int64     // the number behind all that it has sent; window probes don't count
	nextAt time.Time // when that was captured

	lastAt    time.Time // of its last packet
	lastAck   int64     // in that; unset: without ACK
	window    uint16    // in that, as sent
	room      int64     // the same in bytes, if the scale is known
	scale     int       // a number of bits, or one of the above
	dupACKs   int       // in a row
	lastRules Marks     // of that
	lastMarks Marks
	sacked    [4]span // in its last packet with SACK
	sacks     int

	sent sendings

	zeroSince  time.Time // its window is zero since then; zero: it is not
	finEnd     int64     // the number behind its FIN; unset: none
	finAcked   bool      // the other side knows
	highAck    int64     // the highest that it has acknowledged
	ackedTwice int64     // the same, before its last packet
}

func (a *analysis) init() {
	a.next, a.lastAck, a.finEnd = unset, unset, unset
	a.scale = scaleUnknown
}

// setBase says which number stands for 0, the first time.
func (a *analysis) setBase(base uint32) {
	if !a.hasBase {
		a.base, a.hasBase = base, true
	}
}

// relative returns the number that a field of 32 bits stands for: the one that is next
// to what was sent so far (RFC 9293 §3.4 counts modulo 2^32).
func (a *analysis) relative(field uint32) int64 {
	near := max(a.next, 0)
	return near + int64(int32(field-a.base-uint32(near)))
}

// startsAnew reports whether a SYN says that all which was sent before it was of another
// connection.
func (a *analysis) startsAnew(seq uint32) bool { return a.hasBase && !a.hasSYN && a.base != seq }

// look is one segment, and what its sender and the other side have sent before.
type look struct {
	e        *Event
	h        *packet.TCPHeader
	fwd, rev *analysis
	n        int64 // bytes of payload
	opens    bool  // SYN
	ends     bool  // FIN
	resets   bool  // RST
	limit    time.Duration
}

// plain reports whether the segment has none of SYN, FIN and RST.
func (l *look) plain() bool { return !l.opens && !l.ends && !l.resets }

// counts reports whether the segment takes part of the stream's numbers.
func (l *look) counts() bool { return l.n > 0 || l.opens || l.ends }

// number finds what the fields of the segment stand for.
func (l *look) number() {
	if l.opens {
		l.fwd.setBase(l.h.Seq)
		l.fwd.hasSYN = true
	} else {
		l.fwd.setBase(l.h.Seq - 1)
	}
	e := l.e
	e.Seq = l.fwd.relative(l.h.Seq)
	e.End = e.Seq + l.n + bit(l.opens) + bit(l.ends)
	e.Ack = unset
	if l.h.Flags.Has(packet.ACK) {
		l.rev.setBase(l.h.Ack - 1)
		e.Ack = l.rev.relative(l.h.Ack)
	}
}

func bit(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// scaling learns how windows are to be read, from a SYN (RFC 7323 §2.2: both sides
// scale, or none).
func (l *look) scaling() {
	if !l.opens {
		return
	}
	switch {
	case l.h.Options&(packet.HasWindowScale|packet.CutOptions) == packet.CutOptions: // it may have one
	case l.h.Options&packet.HasWindowScale == 0:
		l.fwd.scale, l.rev.scale = scaleNone, scaleNone
	case l.rev.scale == scaleNone:
		l.fwd.scale = scaleNone
	default:
		l.fwd.scale = int(l.h.WindowScale)
	}
}

// room returns the window in bytes, unset if its scale is not known. In a SYN it is
// never scaled.
func (l *look) room() int64 {
	window := int64(l.h.Window)
	switch {
	case l.opens || l.fwd.scale == scaleNone, window == 0: // nothing is nothing by any scale
		return window
	case l.fwd.scale == scaleUnknown:
		return unset
	}
	return window << l.fwd.scale
}

// remember keeps what the rules will ask of this segment.
func (l *look) remember() {
	f, e := l.fwd, l.e
	if e.Rules&ZeroWindowProbe == 0 && (f.next == unset || e.End > f.next) {
		f.next, f.nextAt = e.End, e.Time
	}
	f.lastAt, f.lastAck, f.window, f.room = e.Time, e.Ack, l.h.Window, e.Window
	f.lastRules, f.lastMarks = e.Rules, e.Marks
	f.highAck = max(f.highAck, e.Ack)
	if l.h.Options&packet.HasSACK != 0 {
		l.rememberSACK()
	}
}

func (l *look) rememberSACK() {
	l.fwd.sacks = int(l.h.SACKs)
	for i, b := range l.h.SACK[:l.h.SACKs] {
		l.fwd.sacked[i] = span{l.rev.relative(b.Left), l.rev.relative(b.Right)}
	}
}
