package story

import "yodel/watch/packet"

// Times in the rules of the walk, in nanoseconds.
const (
	// prompt is how soon a kernel sends what it holds when an acknowledgement or a window
	// lets it: in the same breath, but for a busy machine.
	prompt = 2_000_000

	// neglected is how long a kernel lets what has come wait for its acknowledgement at
	// most before it must have dropped it: the longest retransmission after the first.
	neglected = 150_000_000

	// overdue is from when on an acknowledgement that was not seen was lost by the capture:
	// kernels put it off by 0.2 s at most, and RFC 9293 §3.8.6.3 allows 0.5 s.
	overdue = 320_000_000

	// impatient is for how long an end that gives up has waited at least.
	impatient = 50_000_000

	// delayedACK is from when on an acknowledgement counts as put off on purpose
	// (RFC 9293 §3.8.6.3).
	delayedACK = 15_000_000
)

// kind is what a node of the walk is about.
type kind uint8

const (
	ofStream kind = iota // payload, SYN, FIN
	ofACK                // an acknowledgement
	ofWindow             // room for more
	ofReset              // RST
)

// node is one thing that happened at one end: it was sent there, or it came there.
type node struct {
	at   end
	sent bool
	kind kind
	pos  int64
	time int64
	i    int // the packet, on the line of this end
}

// reason says why somebody held the connection, where that is remarkable.
type reason uint8

const (
	plainly reason = iota
	lookedUp
	refused     // packets had come, and the kernel did not take them
	delayed     // the kernel put off an acknowledgement
	notRead     // the window was closed
	lost        // what was sent came later, or never
	gaveUp      // closed while the other one may have owed an answer
	owed        // sent more while the other one may have owed an answer
	parted      // closed long after the other one, which may not have waited
	notCaptured // a capture has a hole then
	notShown    // a SYN may have come, to a capture that does not show all of them
	windowless  // sent more, and it is not known whether it could have before
	slowed      // sent more after losses, for which its kernel may have slowed down
)

// held is a piece of the walk.
type held struct {
	from, to int64
	by       Holder
	why      reason
	copies   int // lost: how often it was sent
}

func (h *held) length() int64 { return h.to - h.from }

// walk goes back from the last thing that happened to the first.
type walk struct {
	line       [2]*line // at the client, at the server; nil: not captured
	accept     int64    // when accept() returned at the server; 0: not known
	queueFull  func(at int64) bool
	covered    func(e end, at int64) bool
	remarkable int64
	clockError func(at int64) int64 // by how much times of the two ends may be wrong against each other

	holes [2][]hole // of the captures at the ends
	lag   [2]int64  // how long the kernels took to answer in the handshake; 0: not known

	held []held // the last one first
}

// one reports whether both ends are seen at one place.
func (w *walk) one() bool { return w.line[client] == w.line[server] }

// go back from n to the beginning.
func (w *walk) back(n node) {
	for range 1 << 24 {
		var more bool
		if n.sent {
			n, more = w.sentBy(n)
		} else {
			n, more = w.cameTo(n)
		}
		if !more {
			return
		}
	}
}

func (w *walk) hold(from, to int64, by Holder, why reason) {
	if from < to {
		w.held = append(w.held, held{from: from, to: to, by: by, why: why})
	}
}

func network(from end) Holder {
	if from == client {
		return HeldThere
	}
	return HeldBack
}

// curve returns how far the peer's things had come when they left it, or came to us.
func (l *line) curve(k kind, of end, sent bool) curve {
	switch {
	case k == ofACK:
		return l.acks[of]
	case k == ofWindow:
		return l.edges[of]
	case sent:
		return l.sent[of]
	}
	return l.whole[of]
}

// cameTo goes back from an arrival to the sending.
func (w *walk) cameTo(n node) (node, bool) {
	from := n.at.other()
	l := w.line[from]
	if l == nil {
		return w.unseen(n)
	}
	p, ok := l.curve(n.kind, from, true).reach(n.pos)
	if !ok || p.at > n.time {
		p = point{n.pos, n.time, l.indexAt(n.time)}
	}
	if h := w.transit(from, p, n); h.length() > 0 {
		if n.kind == ofStream && n.pos <= 1 && h.length() >= prompt && w.mayHideSYN(n.at) {
			h.by, h.why = HeldUnseen, notShown
		}
		w.held = append(w.held, h)
	}
	return node{at: from, sent: true, kind: n.kind, pos: n.pos, time: p.at, i: p.i}, true
}

// mayHideSYN reports whether the capture at an end may not show a SYN that came: one of
// yodel shows it if it can prove that it was for its user's socket.
func (w *walk) mayHideSYN(e end) bool { return e == server && w.line[e].wire.capture.own }

// transit is the time on the way.
func (w *walk) transit(from end, p point, n node) held {
	h := held{from: p.at, to: n.time, by: network(from)}
	if n.kind != ofStream || h.length() < prompt {
		return h
	}
	if h.copies = w.line[from].copies(from, n.pos, p.i, n.time); h.copies > 1 {
		h.why = lost
	}
	return h
}

// copies counts how often an end has sent what ends a stretch of its stream, up to a time.
func (l *line) copies(from end, pos int64, i int, until int64) int {
	n := 0
	shift := l.shifts[from]
	for ; i < len(l.wire.seen) && l.at[i] <= until; i++ {
		s := &l.wire.seen[i]
		if s.from == from && s.takes() && s.seq+shift < pos && pos <= s.end+shift {
			n++
		}
	}
	return n
}

// unseen goes back from an arrival to what happened here before it, for the far end was
// not captured.
func (w *walk) unseen(n node) (node, bool) {
	l := w.line[n.at]
	own, okOwn := l.sent[n.at].before(n.i)
	peer, okPeer := l.whole[n.at.other()].before(n.i)
	switch {
	case okOwn && (!okPeer || own.i >= peer.i):
		w.hold(own.at, n.time, HeldUnseen, plainly)
		return node{n.at, true, ofStream, own.pos, own.at, own.i}, true
	case okPeer:
		w.hold(peer.at, n.time, HeldUnseen, plainly)
		return node{n.at, false, ofStream, peer.pos, peer.at, peer.i}, true
	}
	return node{}, false
}

// sentBy goes back from a sending to what let it happen.
func (w *walk) sentBy(n node) (node, bool) {
	l, me, peer := w.line[n.at], n.at, n.at.other()
	came, okCame := l.whole[peer].before(n.i)
	own, okOwn := l.sent[me].before(n.i)
	if n.kind == ofACK || n.kind == ofWindow {
		if !okCame {
			return node{}, false
		}
		return w.answered(n, came)
	}
	if next, ok := w.waitedInVain(n, came); ok {
		return next, true
	}
	if next, ok := w.released(n, came, okCame); ok {
		return next, true
	}
	if next, ok := w.waitedForACK(n, came, okCame); ok {
		return next, true
	}
	switch {
	case okCame && (!okOwn || came.i >= own.i):
		w.program(n, came, w.saysWhy(n, came))
		return node{me, false, ofStream, came.pos, came.at, came.i}, true
	case okOwn:
		w.wentOn(n, own)
		return node{me, true, ofStream, own.pos, own.at, own.i}, true
	}
	return node{}, false
}

// answered goes back from an acknowledgement, or a window that opens, to what came.
func (w *walk) answered(n node, came point) (node, bool) {
	why := plainly
	switch {
	case n.kind == ofWindow:
		why = notRead
	case n.time-came.at >= delayedACK:
		why = delayed
	}
	w.program(n, came, why)
	return node{n.at, false, ofStream, came.pos, came.at, came.i}, true
}

// released finds the acknowledgement that let the kernel send what it held, and the one
// that completes the handshake, before which a server's program has nothing to send to.
func (w *walk) released(n node, came point, okCame bool) (node, bool) {
	l, me, peer := w.line[n.at], n.at, n.at.other()
	ack, okACK := l.acks[peer].before(n.i)
	edge, okEdge := l.edges[peer].before(n.i)
	if me == server && okACK && len(l.acks[peer]) > 0 && n.pos > 1 {
		first := l.acks[peer][0]
		if first.pos == 1 && first.i < n.i && (!okCame || came.i < first.i) && !l.spokeBefore(server, n.i) {
			w.handshaken(n, first)
			return node{me, false, ofACK, 1, first.at, first.i}, true
		}
	}
	k, last := ofACK, ack
	if okEdge && (!okACK || edge.i > ack.i || edge.i == ack.i && w.wasFull(l, me, edge.i)) {
		k, last = ofWindow, edge
	} else if !okACK {
		return node{}, false
	}
	if n.time-last.at > prompt || okCame && came.i >= last.i {
		return node{}, false
	}
	if k == ofWindow && !w.wasFull(l, me, last.i) {
		if !okACK || n.time-ack.at > prompt || okCame && came.i >= ack.i {
			return node{}, false
		}
		k, last = ofACK, ack
	}
	if k == ofACK && !l.inFlight(me, last.i) {
		return node{}, false
	}
	w.hold(last.at, n.time, w.holder(me, last.i, last.at), plainly)
	return node{me, false, k, last.pos, last.at, last.i}, true
}

// waitedForACK is for an end that sends though what it sent long before has not been
// acknowledged: a kernel sends no more then than its congestion control allows, and again,
// or a little more, when its timer runs out (RFC 6298, RFC 5682, RFC 8985). It was the
// network that it waited for, whichever way the loss was.
func (w *walk) waitedForACK(n node, came point, okCame bool) (node, bool) {
	l, me, peer := w.line[n.at], n.at, n.at.other()
	acked, ok := l.acks[peer].before(n.i)
	if !ok || acked.pos < 1 {
		return node{}, false
	}
	p, ok := l.sent[me].reach(acked.pos + 1)
	long := int64(neglected)
	if w.closes(n) {
		long = impatient
	}
	if !ok || p.i >= n.i || n.time-p.at < long || okCame && came.i > p.i {
		return node{}, false
	}
	w.hold(p.at, n.time, w.unacknowledged(me, p, n.time), lost)
	return node{me, true, ofStream, p.pos, p.at, p.i}, true
}

// unacknowledged returns who had what was not acknowledged in time: the way there if it had
// not come by then, else the way back; the end itself if its kernel does not acknowledge.
func (w *walk) unacknowledged(me end, p point, until int64) Holder {
	far := w.line[me.other()]
	if far == nil || w.one() {
		return HeldUnseen
	}
	came, ok := far.whole[me].reach(p.pos)
	if !ok || came.at > until-prompt {
		return network(me)
	}
	if back, ok := far.acks[me.other()].reach(p.pos); ok && back.at < until {
		return network(me.other())
	}
	return HeldUnseen
}

// spokeBefore reports whether an end has sent payload before packet i.
func (l *line) spokeBefore(e end, i int) bool { return l.spoke[e] >= 0 && l.spoke[e] < i }

// inFlight reports whether the acknowledgement in packet i confirmed what was under way,
// more than a SYN.
func (l *line) inFlight(e end, i int) bool {
	p, ok := l.acks[e.other()].before(i + 1)
	return ok && p.pos > 1
}

// wasFull reports whether an end had filled the window before packet i opened it.
func (w *walk) wasFull(l *line, e end, i int) bool {
	edge, ok := l.edges[e.other()].before(i)
	sent, okSent := l.sent[e].before(i)
	const segment = 1460
	return ok && okSent && edge.pos-sent.pos < max(2*segment, l.mostSegment(e))
}

// program gives the time between what came and what was sent to the end itself, less
// what its kernel had not taken.
func (w *walk) program(n node, came point, why reason) {
	me := n.at
	taken, ok := w.neglect(me, came, n)
	switch {
	case ok && w.line[me].zero[me]: // no room: kernels drop what comes then
		why = notRead
	case ok:
		w.hold(taken, n.time, w.holder(me, n.i, taken), why)
		w.refusal(me, came.at, taken)
		return
	}
	if until := w.acknowledged(me, came, n); until-came.at >= overdue {
		w.hold(until, n.time, w.holder(me, n.i, until), why)
		w.hold(came.at, until, HeldUnseen, notCaptured)
		return
	}
	w.split(n, came, why)
}

// acknowledged returns when an end had acknowledged what came, or n at the latest: if
// that is overdue, the capture has not got what happened.
func (w *walk) acknowledged(e end, came point, n node) int64 {
	p, ok := w.line[e].acks[e].reach(came.pos)
	if !ok || p.at > n.time {
		return n.time
	}
	return p.at
}

// split gives a server's time before accept() returned to its queue.
func (w *walk) split(n node, came point, why reason) {
	if n.at == server && w.accept > came.at && w.accept < n.time {
		w.hold(w.accept, n.time, HeldByHandler, why)
		w.hold(came.at, w.accept, HeldInQueue, why)
		return
	}
	w.hold(came.at, n.time, w.holder(n.at, came.i, came.at), why)
}

// refusal is a time in which a kernel did not take what had come.
func (w *walk) refusal(e end, from, to int64) {
	switch {
	case e == server && w.queueFull != nil && w.queueFull(from):
		w.hold(from, to, HeldInQueue, refused)
	case e == server:
		w.hold(from, to, HeldByServer, refused)
	default:
		w.hold(from, to, HeldByClient, refused)
	}
}

// neglect reports that what had come was not taken by the kernel, but only a later copy
// of it, and when that came.
func (w *walk) neglect(e end, came point, n node) (taken int64, ok bool) {
	l := w.line[e]
	if n.time-came.at < neglected {
		return 0, false
	}
	ack, acked := l.acks[e].reach(came.pos)
	until := n.i - 1
	if acked {
		until = min(ack.i, until)
	}
	from := e.other()
	for i := came.i + 1; i <= until && i < len(l.wire.seen); i++ {
		s := &l.wire.seen[i]
		if s.from == from && s.takes() && s.seq+l.shifts[from] < came.pos && came.pos <= s.end+l.shifts[from] && s.seq+l.shifts[from] >= l.ackedBefore(e, i) {
			taken, ok = l.at[i], true
		}
	}
	return taken, ok && taken-came.at >= neglected
}

// ackedBefore returns what an end had acknowledged before packet i.
func (l *line) ackedBefore(e end, i int) int64 {
	p, _ := l.acks[e].before(i)
	return p.pos
}

// handshaken is a server's time between the end of the handshake and its first words. As
// long as it repeats its SYN, ACK its kernel has not taken the end of the handshake.
func (w *walk) handshaken(n node, first point) {
	l := w.line[server]
	taken := first.at
	for i := first.i + 1; i < n.i; i++ {
		if s := &l.wire.seen[i]; s.from == server && s.flags.Has(packet.SYN) {
			taken = l.at[i]
		}
	}
	from, why := first, plainly
	if n.time-first.at >= w.remarkable && !l.spokeBefore(client, n.i) && (w.closes(n) || w.farewell(n)) { // it may have waited for a request
		why = gaveUp
	}
	if taken-first.at >= neglected {
		from.at = taken
		w.split(n, from, why)
		w.refusal(server, first.at, taken)
		return
	}
	w.split(n, from, why)
}

// wentOn gives the time between two sendings of one end to it. If the other one may have
// owed an answer by then, that is noted.
func (w *walk) wentOn(n node, own point) {
	me := n.at
	why := plainly
	if n.time-own.at >= w.remarkable && w.mayOwe(n, own) {
		why = owed
		if w.closes(n) {
			why = gaveUp
		}
	}
	switch {
	case why != plainly:
	case w.line[me].blind[me.other()]:
		why = windowless
	case w.line[me].repeated(me, n.i), w.paced(n, own):
		why = slowed
	}
	if me == server && w.accept > own.at && w.accept < n.time {
		w.split(n, own, why)
		return
	}
	w.hold(own.at, n.time, w.holder(me, own.i+1, own.at), why)
}

// repeated reports whether an end has sent payload again before packet i.
func (l *line) repeated(e end, i int) bool {
	return l.again[e] > 0 && l.again[e] < i
}

// closes reports whether a sending is FIN or RST and nothing else.
func (w *walk) closes(n node) bool {
	if n.kind == ofReset {
		return true
	}
	l := w.line[n.at]
	if n.i >= len(l.wire.seen) || l.wire.seen[n.i].from != n.at { // the capture has not got it
		return false
	}
	s := &l.wire.seen[n.i]
	return s.flags&packet.FIN != 0 && s.length == 0
}

// mayOwe reports whether the peer may have owed an answer between own and n. It did not
// if it never says anything from then on, but for an end that gives up, with or without
// last words; nor if it answers
// soon after it has got the last words, and not soon after those before.
func (w *walk) mayOwe(n node, own point) bool {
	me, peer := n.at, n.at.other()
	mine := w.line[me]
	if !mine.spokeBefore(me, n.i) { // it has asked nothing yet
		return false
	}
	if w.closes(n) || w.farewell(n) {
		return true
	}
	l := w.line[peer]
	if l == nil {
		l = mine
	}
	answer, ok := l.answerAfter(peer, n)
	if !ok {
		return false
	}
	words, ok := l.whole[me].before(answer.i)
	return ok && answer.at-words.at > (n.time-own.at)/5
}

// answerAfter returns the first payload of e that was sent when it had got n.
func (l *line) answerAfter(e end, n node) (point, bool) {
	got, ok := l.whole[e.other()].reach(n.pos)
	if !ok {
		return point{}, false
	}
	for _, p := range l.sent[e] {
		if p.i > got.i && l.wire.seen[p.i].length > 0 {
			return p, true
		}
	}
	return point{}, false
}

// waitedInVain is for an end that closes while something is under way to it that it has
// not got: it was the network that it waited for.
func (w *walk) waitedInVain(n node, came point) (node, bool) {
	peer := n.at.other()
	l := w.line[peer]
	if !w.closes(n) || l == nil || w.one() {
		return node{}, false
	}
	for _, p := range l.sent[peer] {
		if p.pos <= came.pos {
			continue
		}
		if p.at >= n.time || p.at < came.at || n.time-p.at < w.remarkable {
			return node{}, false
		}
		copies := l.copies(peer, p.pos, p.i, n.time)
		w.held = append(w.held, held{p.at, n.time, network(peer), lost, copies})
		return node{peer, true, ofStream, p.pos, p.at, p.i}, true
	}
	return node{}, false
}

// holder returns who holds a time at an end that begins after packet i.
func (w *walk) holder(e end, i int, at int64) Holder {
	switch {
	case e == client:
		return HeldByClient
	case w.accept > 0 && at >= w.accept:
		return HeldByHandler
	case w.accept > 0:
		return HeldInQueue
	case w.acceptedBefore(i):
		return HeldByHandler
	}
	return HeldByServer
}

// acceptedBefore reports whether the server's program had shown by then that it has the
// connection: by payload, or by its FIN.
func (w *walk) acceptedBefore(i int) bool {
	l := w.line[server]
	return l != nil && (l.spokeBefore(server, i) || l.fin[server] >= 0 && l.fin[server] < i)
}
