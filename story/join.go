package story

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"yodel/sock"
	"yodel/trace"
)

// conn is what all sources have of one connection.
type conn struct {
	pair  sock.Pair
	wires []*wire
	calls [2]*traced // by the end whose program it was

	at     [2]*wire // the wires at its ends; both are the same on one host
	middle *wire    // the only wire, if it is not known where it was taken
	clock  *clock   // between the two ends; nil: not known, or the same
	empty  [2]bool  // the capture at this end runs, and has nothing of the connection
	notes  []string
}

// join makes connections of what was read.
func (ev *evidence) join() []*conn {
	conns := ev.joinWires()
	for _, c := range conns {
		c.findPlaces()
	}
	near := nearOf(conns)
	clocks := ev.clocks(conns)
	for _, c := range conns {
		c.complete(ev, near)
		c.setClock(clocks)
	}
	conns = ev.joinTraces(conns)
	slices.SortStableFunc(conns, func(a, b *conn) int { return cmp.Compare(a.began(), b.began()) })
	return conns
}

// identity is what the two captures of a connection have in common. Initial sequence
// numbers are random: with both, addresses and ports may differ, as behind a translation.
type identity struct {
	client, server uint32
	pair           sock.Pair // zero if both numbers are known
}

func (w *wire) identity() (id identity, whole bool) {
	f := w.flow
	if f.SYN.IsZero() && f.SYNACK.IsZero() {
		return identity{pair: f.Pair}, false
	}
	return identity{client: f.Client.ISN, server: f.Server.ISN}, !f.SYN.IsZero() && !f.SYNACK.IsZero()
}

// joinWires joins the wires of different captures.
func (ev *evidence) joinWires() []*conn {
	var conns []*conn
	byNumbers := make(map[[2]uint32][]*conn)
	byPair := make(map[sock.Pair][]*conn)
	for _, capture := range ev.captures {
		for _, w := range capture.wires {
			numbers := [2]uint32{w.flow.Client.ISN, w.flow.Server.ISN}
			c := pick(w, byNumbers[numbers], byPair[w.flow.Pair])
			if c == nil {
				c = &conn{pair: w.flow.Pair}
				conns = append(conns, c)
			}
			c.wires = append(c.wires, w)
			byNumbers[numbers] = append(byNumbers[numbers], c)
			byPair[w.flow.Pair] = append(byPair[w.flow.Pair], c)
		}
	}
	return conns
}

// pick returns the connection that a wire is of; nil if it is a new one.
func pick(w *wire, byNumbers, byPair []*conn) *conn {
	for _, lists := range [][]*conn{byNumbers, byPair} {
		for _, c := range lists {
			if c.has(w.capture) || !sameConnection(c.wires[0], w) {
				continue
			}
			return c
		}
	}
	return nil
}

func (c *conn) has(capture *capture) bool {
	return slices.ContainsFunc(c.wires, func(w *wire) bool { return w.capture == capture })
}

// sameConnection compares the initial sequence numbers, as far as both captures have
// them. Without them it takes the same sockets and numbers that are near each other.
func sameConnection(a, b *wire) bool {
	ia, wholeA := a.identity()
	ib, wholeB := b.identity()
	samePair := a.flow.Pair == b.flow.Pair
	switch {
	case wholeA && wholeB:
		return ia == ib
	case !samePair:
		return false
	case !a.flow.SYN.IsZero() && !b.flow.SYN.IsZero():
		return ia.client == ib.client // one has no answer to the SYN
	case !a.flow.SYNACK.IsZero() && !b.flow.SYNACK.IsZero():
		return ia.server == ib.server // one has the answer alone
	}
	return nearby(a.flow.Client.ISN, b.flow.Client.ISN) && nearby(a.flow.Server.ISN, b.flow.Server.ISN)
}

// nearby reports whether two numbers can be of one stream: capture began at most 64 MiB
// apart. By chance one pair in a thousand is that near.
func nearby(a, b uint32) bool {
	const room = 64 << 20
	d := int32(a - b)
	return d > -room && d < room
}

// findPlaces finds out which wire is at which end, as far as the connection itself shows
// it: the clocks of two captures agree only if the first is nearer to the client.
func (c *conn) findPlaces() {
	best := int64(-1 << 62)
	same := false
	for i, a := range c.wires {
		for _, b := range c.wires[i+1:] {
			there, back, known := order(a, b)
			if !known || max(there, back) <= best {
				continue
			}
			best = max(there, back)
			same = min(there, back) > -rounding // neither comes first: taken at one place
			if c.at = [2]*wire{a, b}; back > there {
				c.at = [2]*wire{b, a}
			}
		}
	}
	switch {
	case c.at[client] == nil:
		for _, w := range c.wires {
			c.one(w)
		}
	case same:
		w := c.at[client]
		c.at = [2]*wire{}
		c.one(w)
	}
}

// order compares two wires: how well their clocks agree if a is the client's, and if b is.
func order(a, b *wire) (there, back int64, known bool) {
	x, y := compare(a, b), compare(b, a)
	there, knownThere := x.width()
	back, knownBack := y.width()
	return there, back, knownThere && knownBack
}

// one places a wire by what it has alone.
func (c *conn) one(w *wire) {
	p := w.place()
	if p == atClient || p == atBoth {
		c.at[client] = w
	}
	if p == atServer || p == atBoth {
		c.at[server] = w
	}
	if p == nowhere {
		c.middle = w
	}
}

// nearness says which capture was taken at which address, as far as all connections
// agree.
type nearness map[netip.Addr]*capture

func nearOf(conns []*conn) nearness {
	near := make(nearness)
	for _, c := range conns {
		for _, e := range []end{client, server} {
			if w := c.at[e]; w != nil {
				near.set(addrOf(c, e), w.capture)
			}
		}
	}
	return near
}

func addrOf(c *conn, e end) netip.Addr {
	if w := c.at[e]; w != nil {
		return [2]netip.AddrPort{w.flow.Pair.Client, w.flow.Pair.Server}[e].Addr()
	}
	return [2]netip.AddrPort{c.pair.Client, c.pair.Server}[e].Addr()
}

func (n nearness) set(a netip.Addr, c *capture) {
	if was, ok := n[a]; ok && was != c {
		n[a] = nil
		return
	}
	n[a] = c
}

// complete places what the connection itself did not show, by what other connections
// have shown of the same addresses. A capture that was running at an end, and has
// nothing of the connection, is evidence too.
func (c *conn) complete(ev *evidence, near nearness) {
	if len(c.wires) == 0 {
		return
	}
	for _, e := range []end{client, server} {
		if c.at[e] != nil {
			continue
		}
		for _, w := range c.wires {
			if near[addrOf(c, e)] == w.capture && w != c.at[e.other()] {
				c.at[e] = w
			}
		}
		if c.at[e] == nil {
			c.running(e, near[addrOf(c, e)])
		}
	}
	if c.at != [2]*wire{} {
		c.middle = nil
	}
}

func (c *conn) running(e end, at *capture) {
	if at == nil || c.has(at) {
		return
	}
	c.at[e] = &wire{capture: at, flow: c.wires[0].flow}
	c.empty[e] = true
}

// between is two captures, one at the client's end, one at the server's.
type between struct{ client, server *capture }

// clocks bounds the clocks of each two captures by all connections that they share.
func (ev *evidence) clocks(conns []*conn) map[between]*clock {
	all := make(map[between]*bounds)
	for _, c := range conns {
		if c.at[client] == nil || c.at[server] == nil || c.at[client] == c.at[server] {
			continue
		}
		key := between{c.at[client].capture, c.at[server].capture}
		if all[key] == nil {
			all[key] = &bounds{}
		}
		all[key].add(compare(c.at[client], c.at[server]))
	}
	clocks := make(map[between]*clock)
	for key, b := range all {
		if back := all[between{key.server, key.client}]; back != nil {
			merged := bounds{}
			merged.add(*b)
			merged.add(back.flip())
			b = &merged
		}
		if clk := newClock(*b); clk != nil {
			clocks[key] = clk
		}
	}
	return clocks
}

func (c *conn) setClock(clocks map[between]*clock) {
	if c.at[client] == nil || c.at[server] == nil || c.at[client] == c.at[server] {
		return
	}
	c.clock = clocks[between{c.at[client].capture, c.at[server].capture}]
}

// began is when the connection was seen first, for the order of stories.
func (c *conn) began() int64 {
	for _, w := range []*wire{c.at[client], c.middle, c.at[server]} {
		if w != nil && len(w.seen) > 0 {
			return w.seen[0].at
		}
	}
	first := int64(1<<63 - 1)
	for _, t := range c.calls {
		if t != nil {
			first = min(first, t.first().UnixNano())
		}
	}
	return first
}

// joinTraces gives each connection what programs have of it. What has no wire becomes a
// connection of its own, of both ends where the sockets mirror each other.
func (ev *evidence) joinTraces(conns []*conn) []*conn {
	again := knownTraces()
	byPair := make(map[sock.Pair][]*conn)
	for _, c := range conns {
		byPair[c.pair] = append(byPair[c.pair], c)
	}
	for _, t := range ev.traced {
		if t.isListener() || again(t) {
			continue
		}
		c := nearest(t, byPair[t.pair()])
		if c == nil {
			c = ev.matched(t, conns)
		}
		if c == nil {
			c = attempted(t, conns)
		}
		if c == nil {
			c = &conn{pair: t.pair()}
			conns = append(conns, c)
			if t.local.IsValid() || t.path != "" {
				byPair[c.pair] = append(byPair[c.pair], c)
			}
		}
		c.calls[t.end] = t
		t.joined = true
	}
	return conns
}

// knownTraces returns a function that reports whether it was asked for the same connection
// of the same program before: a file that was given twice.
func knownTraces() func(*traced) bool {
	type key struct {
		id    trace.ConnID
		end   end
		first int64
	}
	known := make(map[key]bool)
	return func(t *traced) bool {
		k := key{t.id, t.end, t.calls[0].Time.UnixNano()}
		was := known[k]
		known[k] = true
		return was
	}
}

// attempted returns the connection that a client's failed connect() has made: its trace
// does not know the local address, so it must be the only one to that address within a
// second.
func attempted(t *traced, conns []*conn) *conn {
	if t.end != client || t.local.IsValid() || !t.remote.IsValid() {
		return nil
	}
	var found *conn
	for _, c := range conns {
		d := c.began() - t.began()
		if c.pair.Server != t.remote || c.calls[client] != nil || len(c.wires) == 0 || max(d, -d) > int64(time.Second) {
			continue
		}
		if found != nil {
			return nil
		}
		found = c
	}
	return found
}

// nearest returns the connection of the same sockets whose time is nearest; nil if none
// has room for the trace, or is within 10 s of it (clocks may differ).
func nearest(t *traced, list []*conn) *conn {
	const room = 10 * time.Second
	var best *conn
	least := int64(room)
	for _, c := range list {
		if c.calls[t.end] != nil || t.path != "" && c.path() != t.path {
			continue
		}
		d := c.began() - t.began()
		if d = max(d, -d); d < least {
			best, least = c, d
		}
	}
	return best
}

func (c *conn) path() string {
	for _, t := range c.calls {
		if t != nil {
			return t.path
		}
	}
	return ""
}

// began is when the connection itself began: a client may have looked for the name long
// before.
func (t *traced) began() int64 {
	for _, op := range []trace.Op{trace.Connect, trace.Accept} {
		if e := t.find(op); e != nil && op == trace.Connect {
			return e.Time.Add(-e.Took).UnixNano()
		} else if e != nil {
			return e.Time.UnixNano()
		}
	}
	return t.first().UnixNano()
}

// matched finds the connection that --match has named.
func (ev *evidence) matched(t *traced, conns []*conn) *conn {
	for _, m := range ev.opt.Match {
		var other trace.ConnID
		switch t.id {
		case m[0]:
			other = m[1]
		case m[1]:
			other = m[0]
		default:
			continue
		}
		for _, c := range conns {
			if o := c.calls[t.end.other()]; o != nil && o.id == other && c.calls[t.end] == nil {
				return c
			}
		}
	}
	return nil
}
