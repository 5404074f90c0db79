package capture

import "golang.org/x/sys/unix"

const (
	provedMax = 1 << 13 // how many connections portGate remembers
	heldMax   = 4       // for how many blocks it may wait
	never     = 1<<63 - 1
)

// portGate proves whole flows by the list of sockets alone, for kernels without
// anything better. A socket's cookie is never used again: so if the socket of a flow
// was the owner's at one time, and is the same at a later one, all packets of the flow
// between the two are the owner's. A connection that is seen for the first time is the
// owner's from its SYN on, if no packet at all has come while its socket was looked up,
// and none was dropped: otherwise there might be a later SYN. All else is not.
type portGate struct {
	asker
	known map[flowKey]provedFlow // by what the owner's end sends

	// Of the packets that came together:
	held   int // in that many blocks
	starts map[flowKey]start
	now    map[flowKey]provedFlow

	dropped uint64 // so far
}

// A provedFlow covers the owner's packets of a flow. The zero value covers none.
type provedFlow struct {
	cookie uint64
	from   int64 // the owner's at this time
	until  int64 // and still at this one
	first  int   // the packet with which the connection began; 0 if from tells
}

// A start is the first SYN of a flow's newest connection.
type start struct {
	packet int
	number uint32
}

// An answer is what the list of sockets said about a flow. Both times are of the same
// question: the socket was there at some time between them.
type answer struct {
	socketEntry
	there           bool
	asked, answered int64
}

// isOthers reports whether the socket belongs to somebody else now. One that is closed, but
// still sends, older kernels say to be root's.
func (a *answer) isOthers(uid uint32) bool {
	closed := a.Inode == 0 && a.UID == 0
	return a.hasOwner() && a.UID != uid && !closed
}

// begin judges the flows of packets that came together, or asks for more packets.
func (g *portGate) begin(all []sight, r *ring) (more bool, err error) {
	answers := g.ask(all)
	received, dropped, _, err := r.count()
	if err != nil {
		return false, err
	}
	g.held++
	complete := dropped == g.dropped
	quiet := r.frames >= received
	if complete && !quiet && g.held < heldMax {
		return true, nil
	}
	g.held, g.dropped = 0, dropped
	g.judge(all, answers, complete && quiet)
	return false, nil
}

// ask looks up the socket of each flow.
func (g *portGate) ask(all []sight) map[flowKey]answer {
	answers := map[flowKey]answer{}
	for i := range all {
		s := &all[i]
		if !s.transport {
			continue
		}
		for _, key := range s.ends() {
			if _, done := answers[key]; done {
				continue
			}
			a := answer{asked: now()}
			var err error
			a.socketEntry, a.there, err = g.diag.one(key.Proto, key.source(), key.destination(), s.index)
			a.answered = now()
			a.there = a.there && err == nil
			answers[key] = a
		}
	}
	return answers
}

// ends returns the flow as each end that may be on this host sends it.
func (s *sight) ends() []flowKey {
	switch s.direction {
	case Out:
		return []flowKey{s.key}
	case In:
		return []flowKey{*s.key.reversed()}
	}
	return []flowKey{s.key, *s.key.reversed()}
}

func (g *portGate) judge(all []sight, answers map[flowKey]answer, quiet bool) {
	if g.known == nil || len(g.known) > provedMax {
		g.known = map[flowKey]provedFlow{}
	}
	g.starts, g.now = map[flowKey]start{}, map[flowKey]provedFlow{}
	for i := range all {
		g.note(i, &all[i])
	}
	for key, a := range answers {
		g.now[key] = g.prove(key, &a, quiet)
	}
}

// note finds where connections begin. A SYN that is sent again has the same number.
func (g *portGate) note(i int, s *sight) {
	if !s.transport || !s.opens() {
		return
	}
	for _, key := range s.ends() {
		if old, ok := g.starts[key]; !ok || old.number != s.seq {
			g.starts[key] = start{i, s.seq}
		}
	}
}

func (g *portGate) prove(key flowKey, a *answer, quiet bool) provedFlow {
	old, known := g.known[key]
	delete(g.known, key)
	switch {
	case !a.there:
		return old // up to when it was last seen
	case known && old.cookie == a.Cookie && a.isOthers(g.uid):
		return old // up to when it was last seen as the owner's: it has changed hands
	case known && old.cookie == a.Cookie: // also in TIME-WAIT, where nobody owns it
		old.until, old.first = a.asked, 0
	case !a.hasOwner() || a.UID != g.uid:
		return provedFlow{}
	default:
		old = g.first(key, a, quiet)
	}
	if a.State != stateListen && a.Remote.Port() != 0 {
		next := old
		if old.from == never || old.first > 0 || old.from == 0 {
			next = provedFlow{cookie: a.Cookie, from: a.answered, until: a.asked}
			if quiet { // nothing has come between asking and now
				next.from = a.asked
			}
		}
		g.known[key] = next
	}
	return old
}

// first proves a flow whose socket has not been seen in it before: since that socket, or
// the one that listens for it, is known to wait for others; or since the SYN. A socket
// that still waits for the answer may not have sent its SYN yet.
func (g *portGate) first(key flowKey, a *answer, quiet bool) provedFlow {
	f := provedFlow{cookie: a.Cookie, from: never, until: a.asked}
	if since, ok := g.keeper.knownSince(a.Cookie); ok {
		f.from = since
		return f
	}
	if since, ok := g.listensSince(key.source(), a.Bound); ok && key.Proto == unix.IPPROTO_TCP {
		f.from = since
		return f
	}
	if begun, ok := g.starts[key]; ok && quiet && key.Proto == unix.IPPROTO_TCP && a.State != stateSynSent {
		f.from, f.first = 0, begun.packet
	}
	return f
}

// admit says whether packet number i is known to be the owner's.
func (g *portGate) admit(i int, s *sight, p *Packet) verdict {
	if !s.transport {
		return unproved
	}
	for _, key := range s.ends() {
		if g.now[key].covers(i, s.time) {
			p.Proof = Socket
			return shown
		}
	}
	return unproved
}

func (f provedFlow) covers(i int, time int64) bool {
	return f.cookie != 0 && i >= f.first && f.from <= time && time <= f.until
}
