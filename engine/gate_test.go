package engine

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func from(s string) netip.AddrPort { return netip.AddrPortFrom(netip.MustParseAddr(s), 40000) }

func TestGatePerAddress(t *testing.T) {
	for _, tt := range []struct {
		why   string
		first string
		then  string
		want  Reason
	}{
		{"the same address", "192.0.2.1", "192.0.2.1", PerAddress},
		{"4-in-6 is the same address", "192.0.2.1", "::ffff:192.0.2.1", PerAddress},
		{"another address", "192.0.2.1", "192.0.2.2", None},
		{"a /64 counts as one", "2001:db8::1", "2001:db8::ffff:2", PerAddress},
		{"another /64", "2001:db8::1", "2001:db8:0:1::1", None},
		{"a zone does not matter", "fe80::1%eth0", "fe80::2%eth1", PerAddress},
		{"loopback is exempt", "127.0.0.1", "127.0.0.1", None},
		{"IPv6 loopback is exempt", "::1", "::1", None},
	} {
		g := NewGate(&GateConfig{MaxConns: 100, MaxPerIP: 1})
		pass, why := g.Enter(from(tt.first))
		if why != None {
			t.Fatalf("%s: the first: %v", tt.why, why)
		}
		if _, why := g.Enter(from(tt.then)); why != tt.want {
			t.Errorf("%s: %q, want %q", tt.why, why, tt.want)
		}
		pass.Leave()
		if _, why := g.Enter(from(tt.first)); why != None && tt.want == PerAddress {
			t.Errorf("%s: after the first has left: %v", tt.why, why)
		}
	}
	g := NewGate(&GateConfig{MaxPerIP: 1})
	for range 3 {
		if _, why := g.Enter(netip.AddrPort{}); why != None {
			t.Errorf("Unix sockets are exempt: %v", why)
		}
	}
}

func TestGateAllowDeny(t *testing.T) {
	g := NewGate(&GateConfig{
		Allow: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("fe80::/10")},
		Deny:  []netip.Prefix{netip.MustParsePrefix("192.0.2.128/25")},
	})
	for addr, want := range map[string]Reason{
		"192.0.2.1": None, "::ffff:192.0.2.1": None, "192.0.2.200": Denied,
		"198.51.100.1": Denied, "2001:db8::1": Denied, "fe80::1%eth0": None,
	} {
		if _, why := g.Enter(from(addr)); why != want {
			t.Errorf("%s: %q, want %q", addr, why, want)
		}
	}
	if _, why := NewGate(nil).Enter(from("198.51.100.1")); why != None {
		t.Errorf("without lists: %v", why)
	}
}

func TestGateRoom(t *testing.T) {
	g := NewGate(&GateConfig{MaxConns: 2})
	a, _ := g.Enter(from("127.0.0.1"))
	if g.Room() != nil {
		t.Fatal("no room for a second")
	}
	b, _ := g.Enter(from("127.0.0.1"))
	room := g.Room()
	if room == nil {
		t.Fatal("room for a third")
	}
	select {
	case <-room:
		t.Fatal("room before anyone left")
	default:
	}
	a.Leave()
	select {
	case <-room:
	case <-time.After(5 * time.Second):
		t.Fatal("not told of the room")
	}
	if g.Room() != nil || g.Conns() != 1 {
		t.Errorf("room %v, %d inside", g.Room(), g.Conns())
	}
	b.Leave()
	Pass{}.Leave()
	if g.Conns() != 0 || len(g.by) != 0 {
		t.Errorf("%d inside, %d addresses kept", g.Conns(), len(g.by))
	}
}

// A place is taken by one, whoever asks at the same time, and who waits is told when it is
// free again.
func TestGateReserve(t *testing.T) {
	t.Parallel()
	g := NewGate(&GateConfig{MaxConns: 3, MaxPerIP: 1, Deny: []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}})
	var got atomic.Int64
	var all sync.WaitGroup
	places := make(chan Pass, 20)
	for range cap(places) {
		all.Go(func() {
			if g.Room() != nil {
				return
			}
			if p, room := g.reserve(); room == nil {
				got.Add(1)
				places <- p
			}
		})
	}
	if all.Wait(); got.Load() != 3 || g.Conns() != 3 {
		t.Fatalf("%d have a place, %d are counted, want 3", got.Load(), g.Conns())
	}
	first, second, third := <-places, <-places, <-places
	inside, why := first.enter(from("192.0.2.1"))
	if why != None || g.Conns() != 3 {
		t.Errorf("%v, %d are counted", why, g.Conns())
	}
	for addr, want := range map[string]Reason{"192.0.2.1": PerAddress, "203.0.113.1": Denied} {
		if p, why := second.enter(from(addr)); why != want || p != second || g.Conns() != 3 {
			t.Errorf("%s: %v, %v, %d are counted", addr, p, why, g.Conns())
		}
	}
	_, room := g.reserve()
	ended := g.Ended()
	second.giveBack()
	<-room
	select {
	case <-ended:
		t.Error("a place that nobody had came for an end")
	default:
	}
	inside.Leave()
	<-ended
	third.Leave()
	Pass{}.giveBack()
	if g.Conns() != 0 || len(g.by) != 0 {
		t.Errorf("%d inside, %d addresses kept", g.Conns(), len(g.by))
	}
	if _, room := NewGate(&GateConfig{MaxConns: -1}).reserve(); room != nil {
		t.Error("without bound there was no place")
	}
}

func TestGateDefaults(t *testing.T) {
	limit := descriptorLimit()
	g := NewGate(nil)
	if limit > 0 && (g.MaxConns() >= limit || g.MaxConns() < limit/2) {
		t.Errorf("of %d descriptors %d connections", limit, g.MaxConns())
	}
	if limit > 0 && g.perIP != (g.MaxConns()+3)/4 {
		t.Errorf("for one address %d of %d", g.perIP, g.MaxConns())
	}
	if g := NewGate(&GateConfig{MaxConns: -1}); g.MaxConns() != 0 || g.Room() != nil || g.perIP != 0 {
		t.Error("negative is not without bound")
	}
}

func TestGateHandshakes(t *testing.T) {
	g := NewGate(&GateConfig{MaxHandshakes: 1})
	if !g.Handshake() || g.Handshake() {
		t.Fatal("one at a time")
	}
	g.HandshakeDone()
	if !g.Handshake() {
		t.Fatal("the place is free again")
	}
}
