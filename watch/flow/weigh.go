package flow

import (
	"time"

	"yodel/watch/packet"
)

// timerLimit is for how long both sides must have been silent for what is sent then to
// be sent by a timer: Linux waits no less for an ACK (RFC 6298 §2.4 wants 1 s).
const timerLimit = 200 * time.Millisecond

// weigh corrects the rules of thumb by what the capture proves.
func (l *look) weigh(rules Marks, s sight, sent moment, same bool) (Marks, Evidence) {
	switch {
	case same:
		return rules&^(Retransmission|Fast|Spurious|OutOfOrder|DuplicateACK) | Duplicate, SamePacket
	case rules&KeepAlive != 0 && l.n == 0 && l.rev.window == 0 && !l.rev.lastAt.IsZero():
		return rules&^KeepAlive | ZeroWindowProbe, WindowWasZero
	case rules&ZeroWindow != 0 && l.repeats() && l.rev.lastMarks&ZeroWindowProbe != 0:
		return rules | ZeroWindowProbeACK, l.whyProbed()
	case rules&(Retransmission|OutOfOrder) == 0 || !l.counts():
		return rules, 0
	case s.all:
		return asResent(rules), BytesSeen
	}
	switch order := sent.compare(s.hole.sent); {
	case order < 0:
		return rules&^(Retransmission|Fast|Spurious) | OutOfOrder, SentEarlier
	case order > 0:
		return asResent(rules), SentLater
	}
	return rules, 0
}

func asResent(m Marks) Marks {
	if m&OutOfOrder != 0 {
		return m&^OutOfOrder | Retransmission
	}
	return m
}

// whyProbed is the evidence for an answer to a window probe: that of the probe.
func (l *look) whyProbed() Evidence {
	if l.rev.lastRules&ZeroWindowProbe != 0 {
		return 0
	}
	return WindowWasZero
}

// moment is what the segment tells of when it was sent. A kernel's answer to a SYN, and
// most resets, have no identification that counts.
func (l *look) moment(ids *counting) moment {
	m := moment{stamp: l.h.TSVal, hasStamp: l.h.Options&packet.HasTimestamps != 0}
	if ip := &l.e.Packet.IP; ip.Version == 4 && ip.ID != 0 && !l.opens && !l.resets {
		ids.see(uint16(ip.ID))
		m.id, m.hasID = uint16(ip.ID), ids.up()
	}
	return m
}

// cause tells why a segment was sent again, and since when its first byte was waiting.
func (l *look) cause() {
	e := l.e
	if e.Marks&Retransmission == 0 {
		return
	}
	if before, ok := l.fwd.sent.last(e.Seq); ok {
		e.Earlier, e.Waited = before.number, e.Time.Sub(before.at)
	}
	quiet := e.Time.Sub(l.fwd.lastAt)
	if !l.rev.lastAt.IsZero() {
		quiet = min(quiet, e.Time.Sub(l.rev.lastAt))
	}
	switch {
	case quiet >= timerLimit:
		e.Cause = CauseTimer
	case e.Marks&Fast != 0 || l.isAskedFor():
		e.Cause = CauseACKs
	}
}

// isAskedFor reports whether the last SACK of the other side tells that the segment is
// missing: it is not in it, and what was sent behind it is.
func (l *look) isAskedFor() bool {
	from, to := l.e.Seq, l.e.End
	behind := false
	for _, s := range l.rev.sacked[:l.rev.sacks] {
		if s.from < to && from < s.to {
			return false
		}
		behind = behind || s.from >= to
	}
	return behind && l.rev.lastAck <= from
}

// isDuplicateSACK reports whether the first block of a SACK tells of bytes that came
// twice: it is below the acknowledgement, or inside the second block (RFC 2883 §4).
func (l *look) isDuplicateSACK() bool {
	if l.h.Options&packet.HasSACK == 0 || l.e.Ack == unset {
		return false
	}
	at := func(i int) span {
		b := l.h.SACK[i]
		return span{l.rev.relative(b.Left), l.rev.relative(b.Right)}
	}
	first := at(0)
	if first.to <= l.e.Ack {
		return true
	}
	return l.h.SACKs > 1 && at(1).from <= first.from && first.to <= at(1).to
}
