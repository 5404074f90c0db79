package story

import (
	"net/netip"
	"slices"

	"golang.org/x/net/dns/dnsmessage"

	"yodel/watch"
)

// lookup is a name that was looked up over the wire, and the addresses it led to.
type lookup struct {
	host            netip.Addr // who asked
	name            string
	asked, answered int64
	addrs           []netip.Addr
}

// question is a query that waits for its answer.
type question struct {
	host netip.AddrPort
	id   uint16
	name string
	kind dnsmessage.Type
}

// Bounds of what is kept of names.
const (
	maxLookups   = 4096
	maxQuestions = 4096
	maxAddrs     = 16
	dnsPort      = 53
)

// lookup keeps a query, or the answer to one.
func (c *capture) lookup(e *watch.Event) {
	p := e.What.Packet
	toServer := p.Dst.Port() == dnsPort
	if !toServer && p.Src.Port() != dnsPort {
		return
	}
	var parser dnsmessage.Parser
	h, err := parser.Start(p.Payload)
	if err != nil || h.Response == toServer {
		return
	}
	q, err := parser.Question()
	if err != nil {
		return
	}
	asks := question{host: p.Src, id: h.ID, name: q.Name.String(), kind: q.Type}
	if toServer {
		c.ask(asks, e.Time.UnixNano())
		return
	}
	asks.host = p.Dst
	c.answer(asks, &parser, e.Time.UnixNano())
}

// ask keeps the first of equal queries: the others are the same one, sent again.
func (c *capture) ask(q question, at int64) {
	if _, again := c.asked[q]; !again && len(c.asked) < maxQuestions {
		c.asked[q] = at
	}
}

func (c *capture) answer(q question, parser *dnsmessage.Parser, at int64) {
	asked, known := c.asked[q]
	if !known || len(c.names) >= maxLookups {
		return
	}
	delete(c.asked, q)
	l := lookup{host: q.host.Addr(), name: q.name, asked: asked, answered: at}
	if parser.SkipAllQuestions() != nil {
		return
	}
	for len(l.addrs) < maxAddrs {
		r, err := parser.Answer()
		if err != nil {
			break
		}
		switch body := r.Body.(type) {
		case *dnsmessage.AResource:
			l.addrs = append(l.addrs, netip.AddrFrom4(body.A))
		case *dnsmessage.AAAAResource:
			l.addrs = append(l.addrs, netip.AddrFrom16(body.AAAA).Unmap())
		}
	}
	c.names = append(c.names, l)
}

// used reports whether another connection had been made with the answer before syn: then the
// later one has not waited for it.
func (c *capture) used(l *lookup, syn int64) bool {
	return slices.ContainsFunc(c.wires, func(w *wire) bool {
		pair := w.flow.Pair
		return pair.Client.Addr() == l.host && slices.Contains(l.addrs, pair.Server.Addr()) &&
			len(w.seen) > 0 && w.seen[0].at >= l.answered && w.seen[0].at < syn-prompt
	})
}

// nameFor returns the look-up that led to a connection from host to addr at a time: the
// last one that was answered before, and not long before. Asked is when its name was
// first asked for: there may be several queries, for addresses of both kinds.
func (c *capture) nameFor(host, addr netip.Addr, at int64) (l lookup, found bool) {
	const soon = 1e9 // a program that has the address connects
	for i := range c.names {
		n := &c.names[i]
		if n.host == host && n.answered <= at && at-n.answered < soon && slices.Contains(n.addrs, addr) {
			if !found || n.answered > l.answered {
				l, found = *n, true
			}
		}
	}
	if !found {
		return l, false
	}
	for i := range c.names { // the query for the other kind of address
		n := &c.names[i]
		if n.host == host && n.name == l.name && n.answered <= at && at-n.answered < soon {
			l.asked, l.answered = min(l.asked, n.asked), max(l.answered, n.answered)
		}
	}
	return l, true
}
