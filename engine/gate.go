package engine

import (
	"cmp"
	"net/netip"
	"slices"
	"sync"
)

// GateConfig is what a Gate admits. The zero value, and nil, mean the documented
// defaults.
type GateConfig struct {
	// MaxConns is how many connections are served at once; further ones wait in
	// the kernel's accept queue, but for one of each listener that an engine with
	// blocking I/O may have accepted already: that one waits unserved. If zero,
	// what the limit on descriptors allows, less a reserve; if negative, there is
	// no bound.
	MaxConns int

	// MaxPerIP is how many connections one address may have at once; a further one
	// is closed. An IPv6 /64 counts as one address; loopback and Unix sockets are
	// exempt. If zero, a quarter of MaxConns; if negative, there is no bound.
	MaxPerIP int

	// MaxHandshakes is how many TLS handshakes may be under way at once; a
	// connection beyond that is closed. If zero, an eighth of MaxConns, at least
	// 16; if negative, there is no bound.
	MaxHandshakes int

	// Allow lists who is served; empty means everyone. Deny lists who is not, and
	// is asked first.
	Allow, Deny []netip.Prefix
}

// A Gate decides which connections are served. One Gate serves all engines of a
// process, because descriptors are the process's. It is safe for concurrent use.
type Gate struct {
	max, perIP, handshakes int // 0: no bound
	allow, deny            []netip.Prefix

	mu    sync.Mutex
	conns int // places that are taken
	shook int // handshakes under way
	by    map[netip.Addr]int
	room  chan struct{} // closed when a place is free again; nil: nobody has asked
	ended chan struct{} // closed when a connection ends; nil: nobody has asked
}

// NewGate returns a Gate for cfg, nil for the defaults.
func NewGate(cfg *GateConfig) *Gate {
	if cfg == nil {
		cfg = &GateConfig{}
	}
	g := &Gate{allow: cfg.Allow, deny: cfg.Deny, by: make(map[netip.Addr]int)}
	g.max = max(cmp.Or(cfg.MaxConns, defaultMaxConns()), 0)
	g.perIP = max(cmp.Or(cfg.MaxPerIP, (g.max+3)/4), 0)
	g.handshakes = max(cmp.Or(cfg.MaxHandshakes, max(g.max/8, 16)), 0)
	return g
}

// defaultMaxConns is the process's limit on descriptors less a reserve for
// listeners, logs, name lookups and whoever administers the process.
func defaultMaxConns() int {
	limit := descriptorLimit()
	if limit == 0 {
		return 0
	}
	return max(limit-max(limit/10, 32), 1)
}

// MaxConns returns how many connections are served at once; 0 means no bound.
func (g *Gate) MaxConns() int { return g.max }

// Conns returns how many connections are inside, or about to come in.
func (g *Gate) Conns() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.conns
}

// Room returns nil if there is a place for one more connection, and else a channel
// that is closed when one is free again: look again then. Others may be faster.
func (g *Gate) Room() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.full() {
		return nil
	}
	return next(&g.room)
}

// reserve takes a place for one connection, whose enter or giveBack comes next. If room
// is not nil there is none: see Room.
func (g *Gate) reserve() (p Pass, room <-chan struct{}) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.full() {
		return Pass{}, next(&g.room)
	}
	g.conns++
	return Pass{gate: g}, nil
}

func (g *Gate) full() bool { return g.max > 0 && g.conns >= g.max }

// Ended returns a channel that is closed when the next connection ends.
func (g *Gate) Ended() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	return next(&g.ended)
}

// next returns the channel on which something is told next.
func next(c *chan struct{}) <-chan struct{} {
	if *c == nil {
		*c = make(chan struct{})
	}
	return *c
}

// tell tells those who wait for it.
func tell(c *chan struct{}) {
	if *c != nil {
		close(*c)
		*c = nil
	}
}

// A Pass is the right of one connection to be inside. The zero Pass is none.
type Pass struct {
	gate *Gate
	key  netip.Addr // not valid: not counted by address
}

// Enter admits a connection from remote, which is not valid for a Unix socket, and
// returns None; or it says why not. MaxConns is not asked: that is for connections that
// can wait, by reserve.
func (g *Gate) Enter(remote netip.AddrPort) (Pass, Reason) {
	p, why := g.enter(remote)
	if why == None {
		g.mu.Lock()
		g.conns++
		g.mu.Unlock()
	}
	return p, why
}

// enter is Enter, but for the place.
func (g *Gate) enter(remote netip.AddrPort) (Pass, Reason) {
	addr := remote.Addr().Unmap()
	if addr.IsValid() && !g.allowed(addr) {
		return Pass{}, Denied
	}
	p := g.passOf(remote)
	if !p.key.IsValid() {
		return p, None
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.by[p.key] >= g.perIP {
		return Pass{}, PerAddress
	}
	g.by[p.key]++
	return p, None
}

// enter is Enter for the connection that has the place: it returns the Pass that
// is now the connection's. If it says why not, that is p, as before.
func (p Pass) enter(remote netip.AddrPort) (Pass, Reason) {
	inside, why := p.gate.enter(remote)
	if why != None {
		return p, why
	}
	return inside, None
}

// passOf returns the Pass that Enter gives to remote: who keeps the address need not
// keep the Pass.
func (g *Gate) passOf(remote netip.AddrPort) Pass {
	p := Pass{gate: g}
	if g.perIP > 0 {
		p.key = countedAs(remote.Addr().Unmap())
	}
	return p
}

func (g *Gate) allowed(addr netip.Addr) bool {
	if contains(g.deny, addr) {
		return false
	}
	return len(g.allow) == 0 || contains(g.allow, addr)
}

// contains reports whether addr is in one of the networks.
func contains(networks []netip.Prefix, addr netip.Addr) bool {
	addr = addr.Unmap().WithZone("")
	return slices.ContainsFunc(networks, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// countedAs returns the address under which a peer's connections are counted: a /64
// is one, because whoever has one address of it has all. It is not valid for peers
// that are not counted.
func countedAs(addr netip.Addr) netip.Addr {
	if !addr.IsValid() || addr.IsLoopback() {
		return netip.Addr{}
	}
	if addr.Is4() {
		return addr
	}
	p, err := addr.WithZone("").Prefix(64)
	if err != nil {
		return netip.Addr{}
	}
	return p.Addr()
}

// giveBack frees a place to which nobody has come. No connection has ended by that, so
// who waits for one is not told.
func (p Pass) giveBack() { p.free(false) }

// Leave ends the right. It is called once for each Pass that Enter gave, and for each place
// that was not given back.
func (p Pass) Leave() { p.free(true) }

// free frees the place, and what the address has of it.
func (p Pass) free(ended bool) {
	g := p.gate
	if g == nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.conns--
	if p.key.IsValid() {
		if g.by[p.key]--; g.by[p.key] == 0 {
			delete(g.by, p.key)
		}
	}
	tell(&g.room)
	if ended {
		tell(&g.ended)
	}
}

// Handshake admits one more TLS handshake; if it returns true, HandshakeDone is
// called when that is over.
func (g *Gate) Handshake() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.handshakes > 0 && g.shook >= g.handshakes {
		return false
	}
	g.shook++
	return true
}

// HandshakeDone is called once for each Handshake that returned true.
func (g *Gate) HandshakeDone() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shook--
}
