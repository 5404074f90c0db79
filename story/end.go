package story

import (
	"net/netip"
	"slices"

	"yodel/watch/packet"
)

// ending is how a connection ended, and where the walk back begins.
type ending struct {
	last node
	have bool

	// tail is what is not a node: time at the end during which what was sent did not come.
	tail held

	how     Verdict // who closed; "" if nobody did
	why     string
	hard    bool    // by RST: not as the two had agreed
	kernel  Verdict // of whose kernel the RST is, if that is certain; how may be less than that
	answers bool    // by RST that only answers what came
	blind   bool    // a capture had ended before: what did not come can't be told

	unsure string   // why it is not certain who has closed
	toTell []string // what would show it
}

// findEnd looks for the end of a connection.
func (w *walk) findEnd() ending {
	var e ending
	if w.reset(&e) {
		return e
	}
	w.closing(&e)
	if w.pending(&e) || w.untaken(&e) {
		return e
	}
	e.last, e.have = w.lastArrival()
	if n, ok := w.serverGone(e.how); ok {
		e.last = n
	}
	return e
}

// serverGone returns the arrival of the server's FIN, if it was first and the client has
// only closed its own end after it: a server that has closed waits for nobody.
func (w *walk) serverGone(how Verdict) (node, bool) {
	if how != ClosedByServer {
		return node{}, false
	}
	if l := w.line[client]; l != nil && l.fin[server] >= 0 && len(l.whole[server]) > 0 {
		p := l.whole[server][len(l.whole[server])-1]
		return node{client, false, ofStream, p.pos, p.at, p.i}, l.silentAfter(l.fin[server])
	}
	if l := w.line[server]; l != nil && w.line[client] != nil && l.fin[server] >= 0 { // the client's capture lacks it
		p := l.sent[server][len(l.sent[server])-1]
		return node{server, true, ofStream, p.pos, p.at, p.i}, l.silentAfter(l.fin[server])
	}
	return node{}, false
}

// silentAfter reports whether there is no payload after packet i.
func (l *line) silentAfter(i int) bool {
	return !slices.ContainsFunc(l.wire.seen[i+1:], func(s sighting) bool { return s.length > 0 && !s.icmp })
}

// reset finds the RST that has ended the connection.
func (w *walk) reset(e *ending) bool {
	if r, to, sure, ok := w.forged(); ok {
		e.how, e.hard = NobodyWeSee, true
		e.why = "a RST came to the " + to.String() + " that the " + to.other().String() + " has not sent: a host between them has, in its name"
		if !sure {
			e.how, e.toTell = CannotTell, []string{wholeCaptures}
			e.why = "a RST came to the " + to.String() + " that the capture at the " + to.other().String() + "'s end has not: a host between has sent it, or that capture has lost it"
		}
		e.last, e.have = w.beforeReset(to, r)
		e.tail = held{from: e.last.time, to: r.at, by: HeldUnseen}
		return true
	}
	r, by, ok := w.firstReset()
	if !ok || w.finished(by, r) {
		return false
	}
	e.hard = true
	if w.line[by] == nil { // it came from the end that was not captured
		e.how = CannotTell
		e.why = "a RST came from the " + by.String() + "'s side: its kernel has sent it, or a host between in its name"
		e.last, e.have = w.beforeReset(by.other(), r)
		e.tail = held{from: e.last.time, to: r.at, by: HeldUnseen}
		return true
	}
	e.how = [2]Verdict{KernelOfClient, KernelOfServer}[by]
	e.kernel = e.how
	e.answers = w.line[by].wire.seen[r.i].ack < 0
	e.why = w.whyReset(by, r)
	switch {
	case e.answers && !w.neverWas(by) && !w.aborted(by, r):
		e.how, e.toTell = CannotTell, []string{wholeCaptures}
		e.why += "; what has ended it there before was not captured"
	case w.holed(by, w.silentBefore(by, r.i), r.at), w.line[by].wire.capture.saysLossy():
		e.how, e.toTell = CannotTell, []string{wholeCaptures}
		e.why += "; but the capture there has a hole right before, and it may have closed in it"
	}
	e.last, e.have = node{at: by, sent: true, kind: ofReset, time: r.at, i: r.i}, true
	return true
}

// beforeReset returns the last thing that came to an end before a RST did, or that it
// has sent.
func (w *walk) beforeReset(at end, r point) (node, bool) {
	l := w.line[at]
	came, okCame := l.whole[at.other()].before(r.i)
	own, okOwn := l.sent[at].before(r.i)
	switch {
	case okOwn && (!okCame || own.i > came.i):
		return node{at, true, ofStream, own.pos, own.at, own.i}, true
	case okCame:
		return node{at, false, ofStream, came.pos, came.at, came.i}, true
	}
	return node{}, false
}

// neverWas reports whether a RST refuses a connection: the server's kernel has sent
// nothing else. Any other RST that only answers comes from an end where the connection
// has ended before.
func (w *walk) neverWas(by end) bool {
	l := w.line[by]
	return by == server && len(l.sent[server]) == 0 && l.opens()
}

// aborted reports whether a RST answers the end of the handshake, or what came with it:
// the server's kernel has sent nothing else but its SYN, ACK.
func (w *walk) aborted(by end, r point) bool {
	l := w.line[by]
	if by != server || len(l.sent[server]) != 1 || l.sent[server].last() != 1 || !l.opens() || len(l.acks[client]) == 0 {
		return false
	}
	shaken := l.acks[client][0]
	return l.wire.seen[r.i].ack < 0 && shaken.i < r.i && r.at-shaken.at < impatient
}

// forged finds a RST that came to an end, and was not sent by the other, and was obeyed.
// A capture may have lost it: so there must be more that speaks against its sender.
func (w *walk) forged() (r point, to end, sure, ok bool) {
	if w.line[client] == nil || w.line[server] == nil || w.one() {
		return r, to, false, false
	}
	for _, to := range []end{client, server} {
		from := to.other()
		for _, r := range w.line[to].resets[from] {
			if w.line[from].hasReset(from, r.pos) || !w.obeyed(to, r) {
				continue
			}
			return r, to, w.covered(from, r.at) && (w.speaksAfter(from, r.at) || w.fromElsewhere(to, r)), true
		}
	}
	return r, to, false, false
}

// speaksAfter reports whether an end has sent something but RST after a time, as nobody
// does who has sent a RST.
func (w *walk) speaksAfter(e end, at int64) bool {
	l := w.line[e]
	for i := l.indexAt(at + prompt); i < len(l.wire.seen); i++ {
		if s := &l.wire.seen[i]; s.from == e && !s.icmp && !s.resets() {
			return true
		}
	}
	return false
}

// fromElsewhere reports whether a RST came over another number of hops than all else
// that came from the same address.
func (w *walk) fromElsewhere(to end, r point) bool {
	l := w.line[to]
	from := l.wire.flow.Pair.Server.Addr()
	if to == server {
		from = l.wire.flow.Pair.Client.Addr()
	}
	ttl, known := l.wire.seen[r.i].ttl, false
	for _, o := range l.wire.capture.wires {
		for i := range o.seen {
			s := &o.seen[i]
			if s.icmp || s.resets() || [2]netip.AddrPort{o.flow.Pair.Client, o.flow.Pair.Server}[s.from].Addr() != from {
				continue
			}
			if known = true; s.ttl == ttl {
				return false
			}
		}
	}
	return known
}

func (l *line) hasReset(by end, pos int64) bool {
	for _, r := range l.resets[by] {
		if r.pos == pos {
			return true
		}
	}
	return false
}

// obeyed reports whether an end said nothing more after a RST, but for RSTs.
func (w *walk) obeyed(e end, r point) bool {
	l := w.line[e]
	for i := r.i + 1; i < len(l.wire.seen); i++ {
		if s := &l.wire.seen[i]; s.from == e && !s.icmp && !s.resets() {
			return false
		}
	}
	return true
}

// firstReset returns the first RST that an end has sent or, of an end that was not
// captured, that came from it.
func (w *walk) firstReset() (r point, by end, ok bool) {
	for _, e := range []end{client, server} {
		l := w.line[e]
		if l == nil {
			l = w.line[e.other()]
		}
		if list := l.resets[e]; len(list) > 0 && (!ok || list[0].at < r.at) {
			r, by, ok = list[0], e, true
		}
	}
	return r, by, ok
}

// finished reports whether the connection had been closed when a RST was sent: by its
// sender, which has nobody any more to read what comes, or by the other one, if the RST
// only answers what came after that.
func (w *walk) finished(by end, r point) bool {
	l := w.line[by]
	if l == nil {
		l = w.line[by.other()]
	}
	if l.fin[by] >= 0 && l.fin[by] < r.i {
		return true
	}
	peer := l.fin[by.other()] >= 0 && l.fin[by.other()] < r.i
	return peer && l.wire.seen[r.i].ack < 0
}

// whyReset says what a RST can mean, by what it answers (RFC 9293 §3.10.4).
func (w *walk) whyReset(by end, r point) string {
	l := w.line[by]
	s := &l.wire.seen[r.i]
	switch {
	case w.aborted(by, r):
		return "the server's kernel has answered the end of the handshake with RST: its accept queue is full and tcp_abort_on_overflow is set, or the listening socket was closed just then"
	case by == server && len(l.sent[server]) == 0 && l.opens():
		return "the server's kernel has answered the SYN with RST: nothing listens on that port, or a filter of that host refuses, or the accept queue is full and tcp_abort_on_overflow is set"
	case s.ack < 0:
		return "the " + by.String() + "'s kernel has answered with RST, for it has no such connection any more"
	}
	return "the " + by.String() + "'s kernel has sent RST: its program was killed, or closed with bytes unread or with SO_LINGER of 0, or its kernel gave up"
}

// closing finds out whose FIN was first.
func (w *walk) closing(e *ending) {
	cl, cf := w.finOf(client)
	sl, sf := w.finOf(server)
	switch {
	case cf < 0 && sf < 0:
		return
	case cf >= 0 && (sf < 0 || sl.acksAll(server, sf, cl.endOf(client, cf))):
		e.how, e.why = ClosedByClient, "the client has closed first"
	case sf >= 0 && (cf < 0 || cl.acksAll(client, cf, sl.endOf(server, sf))):
		e.how, e.why = ClosedByServer, "the server has closed first"
	default:
		w.atOnce(e, cl.at[cf], sl.at[sf])
	}
	w.doubt(e)
}

// atOnce finds out who was first of two who have closed before either knew of the other: by the
// clocks, as far as they are known. One that was not captured may have closed long before it was seen.
func (w *walk) atOnce(e *ending, byClient, byServer int64) {
	before := byClient - byServer
	far := w.line[server] == nil && before <= 0 || w.line[client] == nil && before >= 0
	e.why = "both have closed at the same time"
	switch wrong := w.clockError(byClient); {
	case far || max(before, -before) < wrong:
		e.how = CannotTell
		e.why += ", each before it knew of the other, and it is not known whose FIN was first"
		e.toTell = []string{"the wire at both ends, with clocks that agree, by PTP or NTP"}
	case before > 0:
		e.how = ClosedByServer
	default:
		e.how = ClosedByClient
	}
}

// finOf returns the first FIN of an end, and the line that has it: its own, if it does.
func (w *walk) finOf(e end) (*line, int) {
	for _, l := range []*line{w.line[e], w.line[e.other()]} {
		if l != nil && l.fin[e] >= 0 {
			return l, l.fin[e]
		}
	}
	return nil, -1
}

// endOf is the number behind a packet of an end.
func (l *line) endOf(e end, i int) int64 { return l.wire.seen[i].end + l.shifts[e] }

// acksAll reports whether a packet of an end acknowledges the other's stream up to pos.
func (l *line) acksAll(e end, i int, pos int64) bool {
	s := &l.wire.seen[i]
	return s.ack >= 0 && s.ack+l.shifts[e.other()] >= pos
}

// doubt finds out whether a FIN may have gone unseen, or may have been sent before it was
// seen; whether the beginning was seen, and whether all was taken in the end.
func (w *walk) doubt(e *ending) {
	for _, x := range []end{client, server} {
		l := w.of(x)
		from, to := int64(never), w.lastTime()
		i := len(l.at)
		if l.fin[x] >= 0 {
			i, to = l.fin[x], l.at[l.fin[x]]
		}
		if p, ok := l.sent[x].before(i); ok {
			from = p.at
		}
		if w.holed(w.where(x), from, to) {
			e.unsure = "a capture has a hole where the " + x.String() + " may have closed"
		}
	}
	for _, l := range w.line {
		if l != nil && l.wire.capture.saysLossy() {
			e.unsure = "a capture has lost packets, as it says itself"
		}
	}
	if l := w.of(client); !l.opens() {
		e.unsure = "the beginning was not captured: what kept anybody waiting then is not known"
	}
	for _, x := range []end{client, server} {
		if w.unanswered(x) {
			e.unsure = notAcknowledged(x)
		}
	}
}

// unanswered reports whether an end that was captured has sent what was not acknowledged,
// as far as any capture shows.
func (w *walk) unanswered(e end) bool {
	l := w.line[e]
	if l == nil || len(l.resets[e]) > 0 { // it has ended it itself
		return false
	}
	acked := l.acks[e.other()].last()
	if far := w.line[e.other()]; far != nil {
		if len(far.resets[e.other()]) > 0 { // it was refused
			return false
		}
		acked = max(acked, far.acks[e.other()].last())
	}
	return acked < l.sent[e].last()
}

// pending finds what was sent and never came: the time from its first sending to the
// last packet is the network's.
func (w *walk) pending(e *ending) bool {
	if w.line[client] == nil || w.line[server] == nil || w.one() {
		return false
	}
	found := false
	for _, from := range []end{client, server} {
		own, far := w.line[from], w.line[from.other()]
		p, ok := own.missing(far, from)
		if !ok {
			continue
		}
		until := w.lastTime()
		if until-p.at < prompt { // it was under way when the capture ended
			continue
		}
		copies := own.copies(from, p.pos, p.i, until)
		if !w.covered(from.other(), p.at) || copies < 2 || // kernels send again what is lost
			p.pos <= 1 && w.mayHideSYN(from.other()) {
			e.blind = true
			continue
		}
		if found && p.at > e.last.time {
			continue
		}
		found = true
		e.last, e.have = node{from, true, ofStream, p.pos, p.at, p.i}, true
		e.tail = held{from: p.at, to: until, by: network(from), why: lost, copies: copies}
	}
	return found
}

// missing returns the first part of an end's stream that never came to the other.
func (l *line) missing(far *line, from end) (point, bool) {
	came := int64(-1)
	if c := far.whole[from]; len(c) > 0 {
		came = c.last()
	}
	return l.sent[from].reach(came + 1)
}

// lastTime is when the last packet of the connection was seen.
func (w *walk) lastTime() int64 {
	var last int64
	for _, l := range w.line {
		if l != nil && len(l.at) > 0 {
			last = max(last, l.at[len(l.at)-1])
		}
	}
	return last
}

// untaken finds what came, was not acknowledged to the end, and came again: the kernel
// there did not take it.
func (w *walk) untaken(e *ending) bool {
	for _, at := range []end{server, client} {
		l := w.line[at]
		if l == nil {
			continue
		}
		from := at.other()
		if len(l.whole[from]) == 0 {
			continue
		}
		last := l.whole[from][len(l.whole[from])-1]
		if _, acked := l.acks[at].reach(last.pos); acked {
			continue
		}
		until, n := last.at, 1
		for i := last.i + 1; i < len(l.wire.seen); i++ {
			s := &l.wire.seen[i]
			if s.from == from && s.takes() && s.seq+l.shifts[from] < last.pos {
				until = l.at[i]
				n++
			}
		}
		if n < 2 || until-last.at < neglected || l.zero[at] {
			continue
		}
		e.last, e.have = node{at, false, ofStream, last.pos, last.at, last.i}, true
		e.tail = held{from: last.at, to: until, by: HeldByServer, why: refused, copies: n}
		if at == client {
			e.tail.by = HeldByClient
		} else if w.queueFull != nil && w.queueFull(last.at) {
			e.tail.by = HeldInQueue
		}
		return true
	}
	return false
}

// lastArrival returns the last thing that came to an end, or that one has sent.
func (w *walk) lastArrival() (n node, ok bool) {
	for _, at := range []end{client, server} {
		l := w.line[at]
		if l == nil {
			continue
		}
		for _, of := range []end{client, server} {
			c := l.whole[of]
			if len(c) == 0 {
				continue
			}
			p := c[len(c)-1]
			if !ok || p.at > n.time {
				n, ok = node{at, of == at, ofStream, p.pos, p.at, p.i}, true
			}
		}
	}
	return n, ok
}

// opens reports whether the beginning of the connection was captured.
func (l *line) opens() bool {
	for i := range l.wire.seen {
		if s := &l.wire.seen[i]; s.flags&(packet.SYN|packet.ACK) == packet.SYN {
			return true
		}
	}
	return false
}
