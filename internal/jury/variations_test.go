package jury

import (
	"fmt"
	"math/rand/v2"
	"time"
)

// A variation makes worse evidence of the same connection. The verdict may be "cannot
// tell" then; it may not be another one.
type variation struct {
	name  string
	alter func(v *evidence)

	kind loss
}

// loss is what is lost by a variation.
type loss uint8

const (
	same   loss = iota // nothing: the verdict must be as right as before
	less               // a part of the evidence
	losing             // packets that a capture has lost; see evidence.silent
)

// evidence is what is given to story: what may be altered.
type evidence struct {
	client, server tape // nil: not there
	traces         [][]byte
	rng            *rand.Rand
	port           int
	own            bool // captured by us
	lost           int  // packets that the captures say they have lost

	// silent keeps them from saying so, as tcpdump's files do. Then there is nothing
	// left to go by if just the packets are lost that matter, and no others: what a capture
	// has lost without a word can't be told from what the network has lost.
	silent bool
}

// files is what there is, by name.
func (v *evidence) files() map[string][]byte {
	files := make(map[string][]byte)
	for i, t := range []tape{v.client, v.server} {
		name := [...]string{"c.pcap", "s.pcap"}[i]
		switch {
		case t == nil:
		case v.own || v.lost > 0:
			files[name] = t.ours(v.lost)
		default:
			files[name] = t.bytes()
		}
	}
	for i, b := range v.traces {
		files[fmt.Sprintf("%d.jsonl", i)] = b
	}
	return files
}

// pick is a number of packets, about a share of those of the connections.
func (v *evidence) within(t tape) int {
	first, last := t.span(v.port)
	return first + v.rng.IntN(last-first+1)
}

var variations = []variation{
	{"clocks apart", (*evidence).clocks, same},
	{"54 bytes of a packet", func(v *evidence) { v.cut(54) }, less},
	{"68 bytes of a packet", func(v *evidence) { v.cut(68) }, less},
	{"packets out of order", func(v *evidence) {
		v.client, v.server = v.client.shuffled(v.rng), v.server.shuffled(v.rng)
	}, same},
	{"each packet twice", func(v *evidence) { v.client, v.server = v.client.doubled(), v.server.doubled() }, less},
	{"client's capture alone", func(v *evidence) { v.server = nil }, less},
	{"server's capture alone", func(v *evidence) { v.client = nil }, less},
	{"client's capture twice", func(v *evidence) { v.server = v.client }, less},
	{"client's capture begins late", func(v *evidence) { v.client = v.client[v.within(v.client):] }, less},
	{"server's capture begins late", func(v *evidence) { v.server = v.server[v.within(v.server):] }, less},
	{"both begin late", (*evidence).late, less},
	{"client's capture ends early", func(v *evidence) { v.client = v.client[:v.within(v.client)] }, less},
	{"server's capture ends early", func(v *evidence) { v.server = v.server[:v.within(v.server)] }, less},
	{"both end early", (*evidence).early, less},
	{"both lack 1 packet of 50", func(v *evidence) { v.lose(0.02, 0.02) }, losing},
	{"both lack 1 packet of 5", func(v *evidence) { v.lose(0.2, 0.2) }, losing},
	{"client's lacks 1 packet of 5", func(v *evidence) { v.lose(0.2, 0) }, losing},
	{"server's lacks 1 packet of 5", func(v *evidence) { v.lose(0, 0.2) }, losing},
	{"client's has a gap", func(v *evidence) { v.client = v.gap(v.client) }, losing},
	{"server's has a gap", func(v *evidence) { v.server = v.gap(v.server) }, losing},
	{"both have the same gap", (*evidence).blackout, losing},
}

// clocks gives the server's host a clock that is up to 12 days off, and up to 50 parts in
// a million too fast or too slow.
func (v *evidence) clocks() {
	off := time.Duration(v.rng.Int64N(int64(2e6*time.Second))) - 1e6*time.Second
	v.server = v.server.shifted(off, 100*v.rng.Float64()-50)
	v.traces = nil // they have the host's clock
}

func (v *evidence) cut(snap int) { v.client, v.server = v.client.cut(snap), v.server.cut(snap) }

func (v *evidence) lose(c, s float64) {
	defer v.lack(len(v.client) + len(v.server))
	v.client, v.server = v.client.without(v.rng, c), v.server.without(v.rng, s)
}

func (v *evidence) late() {
	at := v.client[v.within(v.client)].at
	v.client, v.server = v.client.from(at), v.server.from(at)
}

func (v *evidence) early() {
	at := v.client[v.within(v.client)].at
	v.client, v.server = v.client[:len(v.client)-len(v.client.from(at))], v.server[:len(v.server)-len(v.server.from(at))]
}

// lack notes how many packets of so many are not there any more.
func (v *evidence) lack(of int) {
	if !v.silent {
		v.lost = of - len(v.client) - len(v.server)
	}
}

func (v *evidence) gap(t tape) tape {
	i := v.within(t)
	if !v.silent {
		v.lost = 1
	}
	return t.lacking(i, min(i+1+v.rng.IntN(12), len(t)))
}

func (v *evidence) blackout() {
	defer v.lack(len(v.client) + len(v.server))
	i := v.within(v.client)
	j := min(i+1+v.rng.IntN(12), len(v.client)-1)
	a, b := v.client[i].at, v.client[j].at
	out := func(t tape) tape {
		return t.lacking(len(t)-len(t.from(a)), len(t)-len(t.from(b)))
	}
	v.client, v.server = out(v.client), out(v.server)
}

// from is what was captured at a time, or later.
func (t tape) from(at time.Time) tape {
	for i, s := range t {
		if !s.at.Before(at) {
			return t[i:]
		}
	}
	return nil
}
