package flow

import (
	"time"

	"yodel/trace"
	"yodel/watch/packet"
)

// datagram takes a packet of UDP.
func (t *Tracker) datagram() {
	e := &t.event
	f := t.find(e.Packet)
	e.Kind = Datagram
	t.touch(f, f.sideOf(e.Packet.Src))
	half := f.Half(e.From)
	half.Packets++
	half.Bytes += int64(e.Length)
	half.TTL = e.Packet.IP.TTL
}

// icmp takes an ICMP error, which belongs to the flow that it quotes.
func (t *Tracker) icmp() {
	e := &t.event
	p := e.Packet
	q := &p.ICMP.Quote
	f := t.flows[keyOf(q.Protocol, q.Src, q.Dst)]
	if f == nil {
		t.stats.Stray++
		return
	}
	e.Kind = ICMPError
	t.touch(f, reporter(f, p))
	e.Was, e.State = f.State, f.State
	f.ICMP++
	f.LastICMP = ICMPInfo{
		From: p.Src.Addr(), Version: p.IP.Version, Type: p.ICMP.Type, Code: p.ICMP.Code, MTU: p.ICMP.MTU,
	}
}

// reporter returns the side that an ICMP error comes from; "" if it is neither.
func reporter(f *Flow, p *packet.Packet) trace.Side {
	switch p.Src.Addr() {
	case f.Pair.Server.Addr():
		if p.ICMP.Quote.Src == f.Pair.Server { // both on one host
			return trace.Client
		}
		return trace.Server
	case f.Pair.Client.Addr():
		return trace.Client
	}
	return ""
}

// segment takes a packet of TCP.
func (t *Tracker) segment() {
	e := &t.event
	f := t.find(e.Packet)
	reused := f.isReused(e.Packet)
	if reused {
		t.remove(f)
		f = t.open(f.key, e.Packet)
	}
	e.Kind, e.Was = Segment, f.State
	t.touch(f, f.sideOf(e.Packet.Src))
	l := f.look(e)
	fwd, rev := f.Half(e.From), f.Half(other(e.From))
	if l.opens && l.fwd.startsAnew(l.h.Seq) {
		fwd.startAnew()
	}
	l.number()
	l.scaling()
	e.Window = l.room()
	l.judge(fwd, rev)
	if reused {
		e.Marks |= PortsReused
		e.Rules |= PortsReused
	}
	l.cause()
	l.measure(rev)
	l.move(f)
	l.remember()
	fwd.count(&l)
	e.State = f.State
	t.deliver(f, &l)
	t.account(f, f.memory())
	if f.State.Ended() {
		t.await(f)
	}
}

// look returns the segment beside what its sender and the other side have sent.
func (f *Flow) look(e *Event) look {
	h := &e.Packet.TCP
	l := look{
		e: e, h: h, fwd: &f.Half(e.From).analysis, rev: &f.Half(other(e.From)).analysis, n: int64(e.Length),
		opens: h.Flags.Has(packet.SYN), ends: h.Flags.Has(packet.FIN), resets: h.Flags.Has(packet.RST),
		limit: f.InitialRTT,
	}
	if l.limit <= 0 {
		l.limit = reorderLimit
	}
	return l
}

// await has Ended called when nothing comes for a while.
func (t *Tracker) await(f *Flow) {
	if f.awaited {
		return
	}
	if len(t.ended) >= or(t.cfg.MaxFlows, DefaultMaxFlows) {
		t.tellOldest()
	}
	f.awaited = true
	t.ended = append(t.ended, f)
}

func (t *Tracker) tellOldest() {
	f := t.ended[0]
	t.ended = t.ended[1:]
	f.awaited = false
	t.tell(f)
}

func other(side trace.Side) trace.Side {
	if side == trace.Client {
		return trace.Server
	}
	return trace.Client
}

// startAnew forgets the numbers of what a side has sent before its SYN: segments of an
// earlier connection between the same sockets, that were late.
func (h *Half) startAnew() {
	scale := h.analysis.scale
	h.analysis, h.seen = analysis{}, coverage{}
	h.analysis.init()
	h.analysis.scale = scale
}

// isReused reports whether the packet begins a new connection between the same sockets:
// a SYN with another number than the one that the connection began with, or after its
// end.
func (f *Flow) isReused(p *packet.Packet) bool {
	const mask = packet.SYN | packet.ACK | packet.RST
	if f.First.IsZero() || p.TCP.Flags&mask != packet.SYN {
		return false
	}
	a := &f.Half(f.sideOf(p.Src)).analysis
	if !a.hasBase {
		return false
	}
	return p.TCP.Seq != a.base || f.ClosedBy != "" || f.Reset != nil
}

// judge sets the marks, and the evidence for them.
func (l *look) judge(fwd, rev *Half) {
	e, p := l.e, l.e.Packet
	same := fwd.recent.again(fingerprint{
		id: p.IP.ID, seq: l.h.Seq, ack: l.h.Ack, stamp: l.h.TSVal, length: int32(l.n),
		flags: uint16(l.h.Flags), window: l.h.Window,
	})
	sent := l.moment(&fwd.ids)
	var s sight
	if l.counts() {
		s = fwd.seen.look(span{e.Seq, e.End}, sent)
	}
	e.Rules = l.rules()
	e.Marks, e.Evidence = l.weigh(e.Rules, s, sent, same)
	if l.isDuplicateSACK() {
		e.Marks |= DuplicateSACK
	}
	if e.Ack > l.fwd.highAck && rev.seen.lacks(span{l.fwd.highAck, e.Ack}) {
		e.Marks |= AckedUnseen
	}
}

// measure takes the time that an acknowledgement took, and writes down what it will be
// taken of.
func (l *look) measure(rev *Half) {
	e := l.e
	if l.counts() {
		l.fwd.sent.add(sending{span: span{e.Seq, e.End}, at: e.Time, number: e.Number})
	}
	if e.Ack == unset {
		return
	}
	was, ok := l.rev.sent.acknowledge(e.Ack)
	switch {
	case !ok:
	case was.again:
		e.Ambiguous = true
	case e.Time.Before(was.at): // a clock that was set back
	default:
		e.RTT, e.Acked = e.Time.Sub(was.at), was.number
		rev.RTT.add(e.RTT)
	}
}

// count adds a segment to the sums of its side.
func (h *Half) count(l *look) {
	e := l.e
	h.Packets++
	h.Bytes += l.n
	h.Marks.Add(e.Marks)
	h.ByRule.Add(e.Rules)
	h.ISN = l.fwd.base
	h.Missing = h.seen.missing
	h.Stream = max(h.seen.high-1-bit(l.fwd.finEnd != unset && l.fwd.finEnd == h.seen.high), 0)
	if !l.resets {
		h.TTL = e.Packet.IP.TTL
	}
	if l.opens {
		h.introduce(l.h)
	}
	h.countZero(e)
}

// introduce notes what a side tells in its SYN.
func (h *Half) introduce(t *packet.TCPHeader) {
	h.MSS = int(t.MSS)
	h.SACK = t.Options&packet.HasSACKPermitted != 0
	h.Timestamps = t.Options&packet.HasTimestamps != 0
	h.WindowScale = unset
	if t.Options&packet.HasWindowScale != 0 {
		h.WindowScale = int(t.WindowScale)
	}
}

// countZero adds up for how long the window is zero.
func (h *Half) countZero(e *Event) {
	since := &h.analysis.zeroSince
	switch {
	case e.Marks&ZeroWindow != 0 && since.IsZero():
		*since = e.Time
	case e.Marks&ZeroWindow == 0 && !since.IsZero():
		h.ZeroWindow += e.Time.Sub(*since)
		*since = time.Time{}
	}
}

// memory is how many bytes the flow holds beside itself.
func (f *Flow) memory() int { return f.Client.memory() + f.Server.memory() }

func (h *Half) memory() int {
	const sending, hole = 56, 32 // bytes each
	return cap(h.analysis.sent.list)*sending + cap(h.seen.holes)*hole + h.stream.held
}

// deliver hands out what the segment brings into order, of its own direction, and of the
// other one: what is acknowledged twice, and was not captured, will not come any more.
func (t *Tracker) deliver(f *Flow, l *look) {
	if t.cfg.Data == nil {
		return
	}
	e := l.e
	if offset := e.Seq + bit(l.opens) - 1; l.n > 0 {
		data := e.Packet.Payload
		if offset < 0 { // before the first byte that was captured of what was joined
			data, offset = data[min(-offset, int64(len(data))):], 0
		}
		half := f.Half(e.From)
		half.stream.Add(offset, data, half.out)
	}
	back := other(e.From)
	half := f.Half(back)
	if acked := min(l.fwd.ackedTwice, half.seen.high) - 1; acked > half.stream.Next() {
		half.stream.Skip(acked, half.out)
	}
	l.fwd.ackedTwice = l.fwd.highAck
}

// flush hands out what still waits behind gaps.
func (t *Tracker) flush(f *Flow) {
	if t.cfg.Data == nil {
		return
	}
	f.Client.stream.Flush(f.Client.out)
	f.Server.stream.Flush(f.Server.out)
}
