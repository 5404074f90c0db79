package engine

import (
	"net/netip"
	"testing"
	"time"
)

// testGuard returns a Guard on a host with one address, 192.0.2.5/24, and the time
// at which it began.
func testGuard(cfg *GuardConfig) (*Guard, time.Time) {
	g := NewGuard(cfg)
	g.local.list = networks("127.0.0.1/8", "192.0.2.5/24")
	return g, g.base
}

// ask returns how many of n datagrams from remote are admitted at now, and why the
// last was not.
func (g *Guard) ask(remote string, n int, now time.Time) (admitted int, last Reason) {
	from := netip.MustParseAddrPort(remote)
	for range n {
		why := g.admit(from, netip.Addr{}, now)
		if why == None {
			admitted++
		} else {
			last = why
		}
	}
	return admitted, last
}

func TestGuardRules(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		why    string
		remote string
		to     string
		want   Reason
	}{
		{"a client", "198.51.100.1:40000", "192.0.2.5", None},
		{"a client on this host", "192.0.2.5:40000", "192.0.2.5", None},
		{"a client on loopback", "127.0.0.1:40000", "127.0.0.1", None},
		{"it is not known where it was sent to", "198.51.100.1:40000", "", None},
		{"all that can be known is that we are bound to all", "198.51.100.1:40000", "0.0.0.0", None},
		{"a server", "198.51.100.1:53", "192.0.2.5", ServerPort},
		{"a broadcast address of ours", "192.0.2.255:40000", "192.0.2.5", BadSource},
		{"sent to our network", "198.51.100.1:40000", "192.0.2.255", ToGroup},
		{"sent to all", "198.51.100.1:40000", "255.255.255.255", ToGroup},
		{"sent to a group", "198.51.100.1:40000", "224.0.0.251", ToGroup},
		{"sent to a group over IPv6", "[2001:db8::9]:40000", "ff02::1", ToGroup},
		{"our own socket", "192.0.2.5:10007", "192.0.2.5", Ourselves},
		{"our own socket that is bound to all", "127.0.0.3:10019", "127.0.0.1", Ourselves},
	} {
		g, now := testGuard(nil)
		g.enter(netip.MustParseAddrPort("192.0.2.5:10007"))
		g.enter(netip.MustParseAddrPort("[::]:10019"))
		var to netip.Addr
		if tt.to != "" {
			to = netip.MustParseAddr(tt.to)
		}
		if got := g.admit(netip.MustParseAddrPort(tt.remote), to, now); got != tt.want {
			t.Errorf("%s: from %s to %s: %q, want %q", tt.why, tt.remote, tt.to, got, tt.want)
		}
	}
}

func TestGuardForgetsClosedSockets(t *testing.T) {
	t.Parallel()
	g, now := testGuard(nil)
	own := netip.MustParseAddrPort("127.0.0.1:10007")
	g.enter(own)
	g.leave(own)
	if n, why := g.ask(own.String(), 1, now); n != 1 {
		t.Errorf("from a port that was ours once: %q", why)
	}
}

func TestGuardDefaultRates(t *testing.T) {
	t.Parallel()
	g, now := testGuard(nil)
	for _, tt := range []struct {
		why    string
		remote string
		tries  int
		want   int
		reason Reason
	}{
		{"one source", "198.51.100.1:40000", 1000, 100, SourceRate},
		{"another port of it", "198.51.100.1:40001", 1000, 0, SourceRate},
		{"another source", "198.51.100.2:40000", 100, 100, None},
		{"one IPv6 source", "[2001:db8::1]:40000", 1000, 100, SourceRate},
		{"the same /64", "[2001:db8::2]:40000", 1000, 0, SourceRate},
		{"another /64", "[2001:db8:0:1::2]:40000", 1000, 100, SourceRate},
		{"loopback", "127.0.0.1:40000", 100_010, 100_000, SourceRate},
		{"another port on loopback", "127.0.0.1:40001", 100_010, 100_000, SourceRate},
		{"another address on loopback", "[::1]:40000", 100_010, 100_000, SourceRate},
	} {
		if got, why := g.ask(tt.remote, tt.tries, now); got != tt.want || why != tt.reason {
			t.Errorf("%s: %d admitted, then %q; want %d, then %q", tt.why, got, why, tt.want, tt.reason)
		}
	}
	if got, _ := g.ask("198.51.100.1:40000", 1000, now.Add(time.Second)); got != 100 {
		t.Errorf("a second later: %d, want 100", got)
	}
}

// A flood of forged sources, each of them new, gets no more than the rate for all;
// it does not touch who is on loopback.
func TestGuardTotalRate(t *testing.T) {
	t.Parallel()
	g, now := testGuard(nil)
	flood := func(at time.Time) (admitted int, last Reason) {
		for i := range 20_000 {
			addr := netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})
			if why := g.admit(netip.AddrPortFrom(addr, 40000), netip.Addr{}, at); why != None {
				last = why
				continue
			}
			admitted++
		}
		return admitted, last
	}
	if got, why := flood(now); got != 10_000 || why != TotalRate {
		t.Errorf("%d of 20000 sources admitted, then %q; want 10000, then %q", got, why, TotalRate)
	}
	if got, why := g.ask("127.0.0.1:40000", 1, now); got != 1 {
		t.Errorf("loopback during the flood: %q", why)
	}
	if got, _ := flood(now.Add(time.Second / 2)); got != 5000 {
		t.Errorf("half a second later: %d more, want 5000", got)
	}
	if n := len(g.sources.by); n != 4096 {
		t.Errorf("%d sources are held, want 4096", n)
	}
}

// Who is refused by the bucket for all has lost nothing of its own.
func TestGuardTakesFromBothOrNone(t *testing.T) {
	t.Parallel()
	g, now := testGuard(&GuardConfig{SourceRate: 2, TotalRate: 1})
	if n, why := g.ask("198.51.100.1:40000", 5, now); n != 1 || why != TotalRate {
		t.Errorf("%d admitted, then %q", n, why)
	}
	if n, _ := g.ask("198.51.100.1:40000", 5, now.Add(time.Second)); n != 1 {
		t.Errorf("%d admitted a second later, want 1", n)
	}
	key, each, _ := g.measures(netip.MustParseAddrPort("198.51.100.1:40000"))
	if !each.has(g.sources.of(key), time.Second) {
		t.Error("the source's own bucket is empty, although it was answered twice in a second")
	}
}

func TestGuardRatesOff(t *testing.T) {
	t.Parallel()
	g, now := testGuard(&GuardConfig{SourceRate: -1, TotalRate: -1, LoopbackRate: -1, Sources: -1})
	for _, remote := range []string{"198.51.100.1:40000", "127.0.0.1:40000"} {
		if n, why := g.ask(remote, 101_000, now); n != 101_000 {
			t.Errorf("%s: %d admitted, then %q", remote, n, why)
		}
	}
}

func TestGuardGivesBack(t *testing.T) {
	t.Parallel()
	g, now := testGuard(&GuardConfig{SourceRate: 1, TotalRate: 1})
	remote := netip.MustParseAddrPort("198.51.100.1:40000")
	for i := range 10 {
		if why := g.admit(remote, netip.Addr{}, now); why != None {
			t.Fatalf("datagram %d: %q, although none was answered", i, why)
		}
		g.giveBack(remote)
	}
}
