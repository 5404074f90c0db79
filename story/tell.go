package story

import (
	"context"
	"fmt"
	"slices"
	"time"

	"yodel/internal/escape"
	"yodel/sock"
	"yodel/trace"
	"yodel/watch"
)

// A Telling is what Tell has to tell.
type Telling struct {
	Stories []*Story // in the order in which they began
	More    int      // stories that were not told, beyond Options.Stories
	Notes   []string // what is to be known of the sources: damaged, cut
}

// Tell reads the sources and tells the story of each TCP connection in them. opt may be
// nil. The error is that of a source that can't be read at all, or of ctx.
func Tell(ctx context.Context, sources []Source, opt *Options) (*Telling, error) {
	if opt == nil {
		opt = &Options{}
	}
	ev, err := readAll(ctx, sources, opt)
	if err != nil {
		return nil, err
	}
	t := &Telling{}
	conns := ev.join()
	ev.findHoles(conns)
	for _, c := range conns {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if len(t.Stories) == opt.stories() {
			t.More++
			continue
		}
		t.Stories = append(t.Stories, ev.tell(c))
	}
	t.Notes = ev.notes
	return t, nil
}

// teller tells one story.
type teller struct {
	ev   *evidence
	c    *conn
	w    walk
	end  ending
	s    *Story
	sums sums
	zero int64 // the Start, by the client's clock
}

func (ev *evidence) tell(c *conn) *Story {
	t := &teller{ev: ev, c: c, s: &Story{Pair: c.pair, Network: "tcp", Notes: c.notes}}
	t.name()
	t.s.Evidence = c.evidence()
	t.lines()
	t.traces()
	if t.wired() {
		t.measure()
	} else {
		t.measureCalls()
	}
	t.finish()
	t.rows()
	return t.s
}

// name takes what the traces say of who it is.
func (t *teller) name() {
	for _, p := range t.c.calls {
		if p == nil {
			continue
		}
		if t.s.Conn.IsZero() {
			t.s.Conn = p.id
		}
		if p.network != "" {
			t.s.Network = escape.StringN(p.network, 20)
		}
	}
	if t.s.Conn.IsZero() && len(t.c.wires) > 0 {
		t.s.Conn = t.c.wires[0].flow.ID
	}
}

// evidence says at which ends the connection was seen.
func (c *conn) evidence() Evidence {
	has := func(e end) bool { return c.at[e] != nil || len(c.wires) == 0 && c.calls[e] != nil }
	switch {
	case has(client) && has(server):
		return Both
	case has(client):
		return ClientOnly
	case has(server):
		return ServerOnly
	}
	return Between
}

// wired reports whether there is a wire to walk along.
func (t *teller) wired() bool { return t.w.line[client] != nil || t.w.line[server] != nil }

// lines reads the wires, all in the time of the client's clock.
func (t *teller) lines() {
	c := t.c
	cw, sw := c.at[client], c.at[server]
	for _, w := range c.wires {
		if w.unseen > 0 {
			t.s.Notes = append(t.s.Notes, fmt.Sprintf("%d packets of it were not kept: for want of room, or because their times can't be", w.unseen))
			t.s.Why = "not all of its packets were kept"
			return
		}
	}
	toClient := asIs
	if cw != nil && sw != nil && cw != sw {
		if !t.aligns() {
			t.s.Why = "the two captures can't be brought on one time line"
			t.s.ToTell = append(t.s.ToTell, wholeCaptures, "clocks that nobody sets meanwhile; or one of the two captures alone")
			return
		}
		toClient = c.clock.toClient
	}
	if cw != nil {
		t.w.line[client] = newLine(cw, asIs, shifts{}, c.scales())
	}
	switch {
	case sw == nil:
	case sw == cw:
		t.w.line[server] = t.w.line[client]
	case cw == nil:
		t.w.line[server] = newLine(sw, asIs, shifts{}, c.scales())
	default:
		t.w.line[server] = newLine(sw, toClient, aligned(cw, sw), c.scales())
	}
	t.w.remarkable = t.ev.opt.remarkable()
	t.w.findLags()
	t.w.covered, t.w.clockError = t.covered, t.clockError
	t.knowHoles()
	if sw != nil {
		t.w.queueFull = func(at int64) bool { return sw.queueFull(t.fromClient(at)) }
	}
}

// aligns reports whether the two captures can be brought on one time line. If not, one
// of them is left out.
func (t *teller) aligns() bool {
	c := t.c
	switch {
	case c.clock == nil:
		t.s.Notes = append(t.s.Notes, "nothing bounds the clocks of the two captures: they share no packets in both directions")
	case c.clock.broken:
		t.s.Notes = append(t.s.Notes, "the clocks of the two captures can't be brought together: one of them was set while they ran, or ran too fast or too slow")
	default:
		return true
	}
	return false
}

// covered reports whether the capture at an end was running at a time of the client's.
func (t *teller) covered(e end, at int64) bool {
	w := t.c.at[e]
	if w == nil {
		return false
	}
	if e == server {
		at = t.fromClient(at)
	}
	return w.capture.first <= at && at <= w.capture.last
}

// clockError is by how much times of the two captures may be wrong against each other at a time.
func (t *teller) clockError(at int64) int64 {
	if t.c.clock == nil || t.w.one() {
		return 0
	}
	_, wrong := t.c.clock.offset(t.fromClient(at))
	return wrong
}

// fromClient maps a time of the client's clock to the server's.
func (t *teller) fromClient(at int64) int64 {
	if t.c.clock == nil || t.c.at[client] == nil {
		return at
	}
	offset, _ := t.c.clock.offset(at)
	offset, _ = t.c.clock.offset(at + offset)
	return at + offset
}

// queueFull reports whether, at a time, other connections to the same socket were waiting
// at the server: complete, with a request, and not a word from its program.
func (w *wire) queueFull(at int64) bool {
	for _, o := range w.capture.wires {
		if o != w && o.flow.Pair.Server == w.flow.Pair.Server && o.waiting(at) {
			return true
		}
	}
	return false
}

func (w *wire) waiting(at int64) bool {
	asked := false
	for i := range w.seen {
		s := &w.seen[i]
		if s.at > at {
			break
		}
		if s.from == server && !s.icmp && (s.length > 0 || s.end > 1 && s.takes() || s.resets()) {
			return false // its program has it, or nobody has it any more
		}
		asked = asked || s.from == client && s.length > 0
	}
	return asked
}

// measure walks along the wires.
func (t *teller) measure() {
	t.end = t.w.findEnd()
	if t.end.have {
		if t.end.tail.from < t.end.tail.to {
			t.w.held = append(t.w.held, t.end.tail)
		}
		t.w.back(t.end.last)
	}
	t.w.complete()
	t.w.withhold()
	t.before()
	t.intervals()
	t.offset()
	t.sums = t.w.sums()
	t.parts()
	t.decide()
}

// before adds what the client did before its SYN: it looked for the name.
func (t *teller) before() {
	l := t.w.line[client]
	if l == nil || !l.opens() || len(l.at) == 0 || t.c.at[client] == nil {
		return
	}
	syn := l.at[0]
	if from, to, ok := t.lookedUp(syn); ok {
		t.w.hold(to, syn, HeldByClient, plainly)
		t.w.hold(from, to, HeldByClient, lookedUp)
	}
}

// lookedUp returns when the client's host asked for the server's name, and was told.
func (t *teller) lookedUp(syn int64) (from, to int64, ok bool) {
	if r := t.c.calls[client].find(trace.Resolve); r != nil && r.Took > 0 {
		if to = r.Time.UnixNano(); to <= syn && syn-to < int64(time.Second) {
			return to - int64(r.Took), to, true
		}
	}
	w := t.c.at[client]
	pair := w.flow.Pair
	if n, found := w.capture.nameFor(pair.Client.Addr(), pair.Server.Addr(), syn); found && n.asked <= n.answered && !w.capture.used(&n, syn) {
		return n.asked, n.answered, true
	}
	return 0, 0, false
}

// intervals puts what was walked in order.
func (t *teller) intervals() {
	slices.Reverse(t.w.held)
	slices.SortStableFunc(t.w.held, func(a, b held) int { return int(min(max(a.from-b.from, -1), 1)) })
	if len(t.w.held) > 0 {
		t.zero = t.w.held[0].from
	} else {
		t.zero = t.c.began()
	}
	t.s.Start = time.Unix(0, t.zero).UTC()
	for _, h := range t.w.held {
		t.s.Intervals = append(t.s.Intervals, Interval{
			From: time.Duration(h.from - t.zero), To: time.Duration(h.to - t.zero), Holder: h.by, Why: h.says(),
		})
	}
}

// says names what is remarkable about a piece.
func (h *held) says() string {
	switch h.why {
	case lookedUp:
		return "looked up the name"
	case refused:
		return "the kernel did not take what came"
	case delayed:
		return "the kernel put off an acknowledgement"
	case notRead:
		return "the window was closed: the program did not read"
	case lost:
		if h.copies > 1 {
			return fmt.Sprintf("sent %d times", h.copies)
		}
		return "sent, and never came"
	case gaveUp:
		return "silent, and then it closed"
	case owed:
		return "silent, and then it sent more"
	case parted:
		return "the other end had closed already"
	case notCaptured:
		return "a capture has not all of it"
	case notShown:
		return "perhaps it came: a capture by yodel does not show every SYN"
	}
	return ""
}

// offset says how the clocks stand to each other, and how wrong the parts may be by it.
func (t *teller) offset() {
	c := t.c
	if c.at[client] == nil || c.at[server] == nil {
		return
	}
	t.s.OffsetKnown = true
	if c.clock == nil {
		return // the same clock
	}
	offset, wrong := c.clock.offset(t.fromClient(t.zero))
	t.s.Offset, t.s.OffsetError = time.Duration(offset), time.Duration(wrong)
	var sum, way int64
	for i := range t.w.held {
		if h := &t.w.held[i]; h.by == HeldThere || h.by == HeldBack {
			_, wrong := c.clock.offset(t.fromClient(h.to))
			sum += wrong
			way += h.length()
		}
	}
	t.s.Error = time.Duration(min(sum, way))
}

func (t *teller) parts() {
	by := &t.sums.by
	d := func(h Holder) time.Duration { return time.Duration(by[h]) }
	t.s.Parts = Parts{
		Client: d(HeldByClient), NetworkThere: d(HeldThere), AcceptQueue: d(HeldInQueue),
		Handler: d(HeldByHandler), Server: d(HeldByServer), NetworkBack: d(HeldBack), NotSeen: d(HeldUnseen),
	}
}

// wholeCaptures is what to do about captures that are not whole.
const wholeCaptures = "captures of both ends that lose nothing, from before the connection until after it: one more packet at the end, a ping for example, proves that a capture was still running"

// decide finds the verdict.
func (t *teller) decide() {
	j, waited := judge(t.sums, int64(t.s.Error), t.w.remarkable)
	e := &t.end
	switch {
	case e.hard && !(waited && t.waitedForOther()):
		t.say(e.how, e.why, e.toTell...)
	case e.blind:
		t.say(CannotTell, "a capture had ended, or had not begun, when what the other end sent should have come", wholeCaptures)
	case waited && e.hard:
		t.say(j.verdict, t.because(j)+"; then "+e.why, j.toTell...)
	case waited:
		t.say(j.verdict, t.because(j), j.toTell...)
	case e.unsure != "":
		t.say(CannotTell, e.unsure, wholeCaptures)
	case t.sums.holed > 0 && t.sums.most()+t.sums.holed >= t.w.remarkable:
		t.say(CannotTell, "a capture has holes: it has lost packets, or did not run from before the connection until after it", wholeCaptures)
	case e.how != "":
		t.say(e.how, e.why+"; nobody kept the other waiting for "+watch.Duration(time.Duration(t.w.remarkable)), e.toTell...)
	case t.w.unreachable() != "":
		t.say(CannotTell, t.w.unreachable(), "the host that sends it: its routes, its neighbours and the rules of its filter (ip route; ip neigh; nft list ruleset)")
	case t.w.unanswered(client):
		t.say(CannotTell, notAcknowledged(client), wholeCaptures)
	case t.w.unanswered(server):
		t.say(CannotTell, notAcknowledged(server), wholeCaptures)
	default:
		t.say(CannotTell, "nobody kept the other waiting for "+watch.Duration(time.Duration(t.w.remarkable))+", and the connection was open when it was seen last")
	}
	t.doubtPlaces()
	if t.s.Evidence != Both && (t.s.Verdict == CannotTell || t.s.NotSeen()) {
		t.tellOtherEnd()
	}
}

// notAcknowledged says that what an end has sent was not acknowledged.
func notAcknowledged(e end) string {
	return "what the " + e.String() + " had sent was not acknowledged, as far as was captured"
}

// doubtPlaces takes back a verdict on an end that was captured some hops before it.
func (t *teller) doubtPlaces() {
	for e, w := range t.c.at {
		if w == nil {
			continue
		}
		ttl, is := w.onTheWay(end(e))
		if !is {
			continue
		}
		what := fmt.Sprintf("what the %s sends has a TTL of %d in %s: that was captured on the way", end(e), ttl, escape.StringN(w.capture.name, 200))
		t.s.Notes = append(t.s.Notes, what+", and what is beyond it counts as the "+end(e).String()+"'s")
		if t.s.Verdict.blames(end(e)) {
			t.s.ToTell = nil
			t.say(CannotTell, what+": it may be the "+end(e).String()+", or the network beyond", "the "+end(e).String()+" itself: tcpdump on its host, or in its container (nsenter -n -t PID tcpdump -w FILE)")
		}
	}
}

// blames reports whether a verdict says what only a capture at an end can show.
func (v Verdict) blames(e end) bool {
	if e == client {
		return v == Client || v == KernelOfClient
	}
	return v == Server || v == AcceptQueue || v == Handler || v == KernelOfServer
}

// NotSeen reports whether part of the time was beyond the only capture.
func (s *Story) NotSeen() bool { return s.Parts.NotSeen > 0 }

func (t *teller) say(v Verdict, why string, toTell ...string) {
	t.s.Verdict, t.s.Why = v, why
	t.s.ToTell = append(t.s.ToTell, toTell...)
}

func (t *teller) tellOtherEnd() {
	missing := map[Evidence]string{ClientOnly: "the server's end", ServerOnly: "the client's end", Between: "both ends"}[t.s.Evidence]
	if missing != "" {
		t.s.ToTell = append(t.s.ToTell, missing+": a capture there, tcpdump -w FILE for example, or yodel watch --write FILE")
	}
}

// waitedForOther reports whether the one who has sent the RST had waited for the other,
// or for the network, right before: then that is what is to be said. A RST that only
// answers says that its program was gone before, and it may have gone for the same reason.
func (t *teller) waitedForOther() bool {
	if t.end.kernel == "" {
		return false
	}
	mine := func(h Holder) bool { return h == HeldByClient }
	if t.end.kernel == KernelOfServer {
		mine = func(h Holder) bool { return h == HeldInQueue || h == HeldByHandler || h == HeldByServer }
	}
	var since int64
	for i := len(t.w.held) - 1; i >= 0; i-- {
		h := &t.w.held[i]
		if h.length() >= t.w.remarkable {
			return !mine(h.by)
		}
		if since += h.length(); since >= t.w.remarkable || !t.end.answers {
			return false
		}
	}
	return false
}

// because says what the one that is named has done, by its longest piece.
func (t *teller) because(j judged) string {
	if j.why != "" {
		return j.why
	}
	is := map[Verdict][]Holder{
		Client: {HeldByClient}, NetworkThere: {HeldThere}, NetworkBack: {HeldBack},
		AcceptQueue: {HeldInQueue}, Handler: {HeldByHandler}, Server: {HeldByServer, HeldByHandler, HeldInQueue},
	}[j.verdict]
	var sum, longest int64
	var of held
	for _, h := range t.w.held {
		if slices.Contains(is, h.by) {
			sum += h.length()
			if h.length() > longest {
				longest, of = h.length(), h
			}
		}
	}
	text := fmt.Sprintf("it held the connection for %s of %s", watch.Duration(time.Duration(sum)), watch.Duration(t.s.Parts.Total()))
	if says := of.says(); says != "" {
		text += fmt.Sprintf(", %s at a time: %s", watch.Duration(time.Duration(longest)), says)
	}
	if j.verdict == Server {
		text += "; the packets do not show when accept() returned"
	}
	return text
}

// finish adds what is always to be said.
func (t *teller) finish() {
	c := t.c
	if c.middle != nil && c.at == [2]*wire{} {
		t.s.Notes = append(t.s.Notes, escape.StringN(c.middle.capture.name, 200)+": it is not known at which end this was captured")
	}
	for e, empty := range c.empty {
		if empty {
			t.s.Notes = append(t.s.Notes, fmt.Sprintf("the capture at the %s's end has nothing of it", end(e)))
		}
	}
	if t.s.Verdict == "" {
		t.s.Verdict = CannotTell
		if t.s.Why == "" {
			t.s.Why = "there is no capture of which it is known where it was taken"
		}
		t.tellOtherEnd()
	}
	for _, w := range c.at {
		if w != nil && w.capture.lost > 0 {
			t.s.Notes = append(t.s.Notes, fmt.Sprintf("%s: the capture itself has lost %d packets", escape.StringN(w.capture.name, 200), w.capture.lost))
		}
	}
}

// traces takes from the traces when accept() returned.
func (t *teller) traces() {
	sv := t.c.calls[server]
	a := sv.find(trace.Accept)
	if via := sv.via(); via != "" {
		t.s.Notes = append(t.s.Notes, "the server's program has it "+escape.StringN(via, 80)+": a proxy; its own connection to the server is another one")
		return
	}
	if a == nil || t.w.line[server] == nil {
		return
	}
	at := a.Time.UnixNano()
	if t.c.clock != nil && t.c.at[client] != nil && t.c.at[client] != t.c.at[server] {
		at = t.c.clock.toClient(at)
	}
	if !t.plausible(at) {
		t.s.Notes = append(t.s.Notes, "the clock of the server's trace is not that of its capture: the time of accept() was not used")
		return
	}
	t.w.accept = at
}

// plausible reports whether accept() can have returned at a time: after the SYN had come
// at least, and before the program's first words had left.
func (t *teller) plausible(at int64) bool {
	l := t.w.line[server]
	const slack = int64(time.Millisecond)
	if len(l.at) == 0 || at < l.at[0]-slack {
		return false
	}
	spoke := l.spoke[server]
	return spoke < 0 || at <= l.at[spoke]+slack
}

// pairText prints a socket pair, or what stands for it.
func (s *Story) pairText() string {
	if s.Pair == (sock.Pair{}) {
		return s.Network
	}
	return s.Pair.String()
}
