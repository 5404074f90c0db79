package engine

import (
	"cmp"
	"net"
	"net/netip"
	"sync"
	"time"
)

// GuardConfig is how often a Guard lets datagrams be answered. The zero value, and
// nil, mean the documented defaults; a negative rate means no bound. A rate of n
// lets n answers go at once and n more in each second after that: in t seconds at
// most n*(1+t).
type GuardConfig struct {
	// SourceRate is how many answers a second one source gets. An IPv6 /64 counts
	// as one source. If zero, 100.
	SourceRate int

	// LoopbackRate takes the place of SourceRate for sources on this host, where
	// each port of 127.0.0.0/8 and ::1 is a source by itself: nobody can forge
	// those from outside, and a load generator has many. If zero, 100,000; with
	// two processors one such source was seen to get 84,000.
	LoopbackRate int

	// TotalRate is how many answers a second all sources together get, those on
	// loopback not counted. If zero, 10,000.
	TotalRate int

	// Sources is how many sources are remembered. The one that was quiet longest
	// is forgotten for a new one, and would find a full bucket; TotalRate bounds
	// what a flood of forged sources gains by that. If zero or less, 4,096, which
	// take less than 1 MiB.
	Sources int
}

// A Guard decides which datagrams may be answered, so that no answer hits a third
// party or starts two servers talking to each other for ever. One Guard serves all
// Datagrams of a process, because it knows the process's own sockets by having
// seen them. It is safe for concurrent use.
type Guard struct {
	source, loopback, total rate
	base                    time.Time

	mu      sync.Mutex
	all     bucket
	sources *sources
	local   localAddrs
	bound   boundPorts
}

// NewGuard returns a Guard for cfg, nil for the defaults.
func NewGuard(cfg *GuardConfig) *Guard {
	if cfg == nil {
		cfg = &GuardConfig{}
	}
	most := cfg.Sources
	if most <= 0 {
		most = 4096
	}
	return &Guard{
		source:   perSecond(cmp.Or(cfg.SourceRate, 100)),
		loopback: perSecond(cmp.Or(cfg.LoopbackRate, 100_000)),
		total:    perSecond(cmp.Or(cfg.TotalRate, 10_000)),
		base:     time.Now(),
		sources:  newSources(most),
		local:    localAddrs{list: net.InterfaceAddrs},
		bound:    make(boundPorts),
	}
}

// enter notes that a socket bound to addr is served.
func (g *Guard) enter(addr netip.AddrPort) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.bound.add(addr)
}

// leave is called once for each enter.
func (g *Guard) leave(addr netip.AddrPort) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.bound.remove(addr)
}

// admit returns None if a datagram from remote that was sent to the address to may
// be answered at now, and takes the tokens for one answer; or it says why not. to
// is not valid if it is not known. Addresses are not 4-in-6.
func (g *Guard) admit(remote netip.AddrPort, to netip.Addr, now time.Time) Reason {
	if why := refusesSource(remote); why != None {
		return why
	}
	t := now.Sub(g.base)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.local.refresh(t)
	switch {
	case g.local.broadcast[remote.Addr()]:
		return BadSource
	case to.IsValid() && (isGroup(to) || g.local.broadcast[to]):
		return ToGroup
	case g.bound.holds(remote, &g.local):
		return Ourselves
	}
	return g.take(remote, t)
}

// take takes a token from the bucket of remote and one from the bucket for all, or
// none from either.
func (g *Guard) take(remote netip.AddrPort, now time.Duration) Reason {
	key, each, all := g.measures(remote)
	b := g.sources.of(key)
	if !each.has(b, now) {
		return SourceRate
	}
	if !all.has(&g.all, now) {
		return TotalRate
	}
	each.take(b, now)
	all.take(&g.all, now)
	return None
}

// giveBack returns the tokens that admit took, where no answer came of it.
func (g *Guard) giveBack(remote netip.AddrPort) {
	key, each, all := g.measures(remote)
	g.mu.Lock()
	defer g.mu.Unlock()
	each.giveBack(g.sources.of(key))
	all.giveBack(&g.all)
}

// measures returns under which key remote is counted, its own rate and the rate
// for all.
func (g *Guard) measures(remote netip.AddrPort) (key netip.AddrPort, each, all rate) {
	if remote.Addr().IsLoopback() {
		return remote, g.loopback, rate{}
	}
	return netip.AddrPortFrom(countedAs(remote.Addr()), 0), g.source, g.total
}
