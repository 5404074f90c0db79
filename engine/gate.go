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
	// the kernel's accept queue. If zero, what the limit on descriptors allows,
	// less a reserve; if negative, there is no bound.
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
	conns int
	shook int // handshakes under way
	by    map[netip.Addr]int
	room  chan struct{} // closed when a connection ends; nil: nobody has asked
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

// Conns returns how many connections are inside.
func (g *Gate) Conns() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.conns
}

// Room returns nil if one more connection may be accepted, and else a channel that
// is closed when one has ended: look again then.
func (g *Gate) Room() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.max == 0 || g.conns < g.max {
		return nil
	}
	return g.nextEnd()
}

// Ended returns a channel that is closed when the next connection ends.
func (g *Gate) Ended() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.nextEnd()
}

func (g *Gate) nextEnd() <-chan struct{} {
	if g.room == nil {
		g.room = make(chan struct{})
	}
	return g.room
}

// A Pass is the right of one connection to be inside. The zero Pass is none.
type Pass struct {
	gate *Gate
	key  netip.Addr // not valid: not counted by address
}

// Enter admits a connection from remote, which is not valid for a Unix socket, and
// returns None; or it says why not. MaxConns is not asked here but before accept,
// with Room, so that who must wait waits in the accept queue.
func (g *Gate) Enter(remote netip.AddrPort) (Pass, Reason) {
	addr := remote.Addr().Unmap()
	if addr.IsValid() && !g.allowed(addr) {
		return Pass{}, Denied
	}
	p := g.passOf(remote)
	g.mu.Lock()
	defer g.mu.Unlock()
	if p.key.IsValid() {
		if g.by[p.key] >= g.perIP {
			return Pass{}, PerAddress
		}
		g.by[p.key]++
	}
	g.conns++
	return p, None
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

// Leave ends the right. It is called once for each Pass that Enter gave.
func (p Pass) Leave() {
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
	if g.room != nil {
		close(g.room)
		g.room = nil
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
