package capture

import (
	"net/netip"

	"golang.org/x/sys/unix"
)

// An asker asks the list of sockets who is where. It is for one goroutine.
type asker struct {
	uid    uint32
	keeper *keeper
	diag   *diag
}

// A gate proves, before a packet is shown, what the kernel's filter could not: whether
// the socket that a SYN or a datagram arrives at is the owner's. It is for one
// goroutine.
type gate struct {
	asker
	tables *tables

	proved    map[flowKey]Proof // in this block; NotAsked: it could not be
	last      flowKey           // the one that was looked up last in proved, or the zero key
	lastProof Proof
}

// A sight is one packet as a gate looks at it.
type sight struct {
	header
	transport bool // header is that of TCP or UDP
	direction Direction
	index     uint32
	time      int64
	network   int // bytes before the network header
}

// begin starts a new block.
func (g *gate) begin() {
	clear(g.proved)
	g.last = flowKey{}
}

// admit says how a packet is known to be the owner's, or ok false.
func (g *gate) admit(s *sight) (p Proof, ok bool) {
	if !s.transport || s.direction == Out || s.key.Proto == unix.IPPROTO_TCP && !s.opens() {
		return Kernel, true
	}
	if s.key == g.last {
		return g.lastProof, g.lastProof != NotAsked
	}
	p, known := g.proved[s.key]
	if !known {
		p = g.prove(s)
		g.proved[s.key] = p
	}
	g.last, g.lastProof = s.key, p
	return p, p != NotAsked
}

// prove looks at a SYN or a datagram that arrives. What the filter has let pass because
// of its flow needs no proof if sockets' ends are known.
func (g *gate) prove(s *sight) Proof {
	claimed := g.tables.claimed(&s.key)
	if s.key.Proto == unix.IPPROTO_TCP {
		return g.proveSYN(s, claimed)
	}
	if !claimed && s.direction == Both && g.sentByOwner(s) {
		return Kernel
	}
	e, there, err := g.diag.one(unix.IPPROTO_UDP, s.key.destination(), s.key.source(), s.index)
	switch {
	case err != nil:
	case there && e.UID == g.uid && (g.tables.exact || g.before(&e, s.time)):
		return Socket
	case g.tables.exact && !(there && g.before(&e, s.time)):
		return Kernel // it was open when the packet came; it, and who has the port now, are closed or new since
	}
	return NotAsked
}

func (g *gate) proveSYN(s *sight, claimed bool) Proof {
	if !claimed {
		return Kernel // leaves from the owner's socket
	}
	if _, answered := g.tables.own(s.key.reversed()); answered || g.listens(s) {
		return Socket
	}
	return NotAsked
}

// sentByOwner reports whether a datagram on loopback is the owner's by its sender. Where
// sockets' ends are not known, the flow may be another one by now.
func (g *gate) sentByOwner(s *sight) bool {
	if g.tables.exact {
		return true
	}
	_, ours := g.tables.own(&s.key)
	return ours
}

// listens reports whether the owner listens on the port that a packet arrives at, and
// has done so since before the packet came.
func (a *asker) listens(s *sight) bool {
	since, ok := a.listensSince(s.key.destination(), s.index)
	return ok && since <= s.time
}

// listensSince returns since when the owner is known to listen at an address.
func (a *asker) listensSince(at netip.AddrPort, index uint32) (nanoseconds int64, ok bool) {
	nobody := netip.AddrPortFrom(netip.IPv4Unspecified(), 0)
	if at.Addr().Is6() {
		nobody = netip.AddrPortFrom(netip.IPv6Unspecified(), 0)
	}
	e, there, err := a.diag.one(unix.IPPROTO_TCP, at, nobody, index)
	if err != nil || !there || e.State != stateListen || e.UID != a.uid {
		return 0, false
	}
	return a.keeper.knownSince(e.Cookie)
}

// before reports whether a socket is known to have been there at a time: then it was
// there until now.
func (a *asker) before(e *socketEntry, time int64) bool {
	since, known := a.keeper.knownSince(e.Cookie)
	return known && since <= time
}
