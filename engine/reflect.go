package engine

import (
	"net"
	"net/netip"
	"slices"
	"time"
)

// reflectors are the ports from 1024 up whose servers answer whatever they get, and
// are made to do so with forged source addresses: SSDP, NFS, multicast DNS,
// memcached. A client has none of them.
var reflectors = []uint16{1900, 2049, 5353, 11211}

// refusesSource says why a datagram from remote is not answered whoever we are, or
// None. Ports below 1024 belong to servers, and two servers that answer each other
// never end (CVE-1999-0103, CVE-2024-2169).
func refusesSource(remote netip.AddrPort) Reason {
	switch addr, port := remote.Addr(), remote.Port(); {
	case port == 0, !addr.IsValid(), isNowhere(addr), isGroup(addr):
		return BadSource
	case port < 1024, slices.Contains(reflectors, port):
		return ServerPort
	}
	return None
}

// isNowhere reports whether addr is no host's: "::" and "this network"
// (RFC 1122 §3.2.1.3).
func isNowhere(addr netip.Addr) bool {
	return addr.IsUnspecified() || addr.Is4() && addr.As4()[0] == 0
}

// isGroup reports whether addr is, for everyone, an address of many hosts.
func isGroup(addr netip.Addr) bool {
	return addr.IsMulticast() || addr == netip.AddrFrom4([4]byte{255, 255, 255, 255})
}

// localEvery is how long a reading of this host's addresses is good for.
const localEvery = 10 * time.Second

// localAddrs are this host's addresses and the broadcast addresses of its networks,
// read anew from time to time.
type localAddrs struct {
	list      func() ([]net.Addr, error) // net.InterfaceAddrs
	next      time.Duration
	own       map[netip.Addr]bool
	broadcast map[netip.Addr]bool
}

// refresh reads the addresses if the last reading is too old. If that fails the
// last reading stays.
func (l *localAddrs) refresh(now time.Duration) {
	if l.own != nil && now < l.next {
		return
	}
	l.next = now + localEvery
	addrs, err := l.list()
	if err != nil {
		return
	}
	l.own, l.broadcast = make(map[netip.Addr]bool), make(map[netip.Addr]bool)
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			l.add(p)
		}
	}
}

func (l *localAddrs) add(p netip.Prefix) {
	addr := p.Addr().Unmap()
	l.own[addr] = true
	if addr.Is4() && p.Bits() < 31 { // in a /31 both are hosts (RFC 3021)
		l.broadcast[lastOf(p)] = true
		l.broadcast[p.Masked().Addr()] = true // the old form (RFC 1122 §3.3.6)
	}
}

// lastOf returns the last address of an IPv4 network.
func lastOf(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().As4()
	for bit := p.Bits(); bit < 32; bit++ {
		b[bit/8] |= 0x80 >> (bit % 8)
	}
	return netip.AddrFrom4(b)
}

// isOwn reports whether addr, without a zone, is one of this host's.
func (l *localAddrs) isOwn(addr netip.Addr) bool { return addr.IsLoopback() || l.own[addr] }

// boundPorts are the UDP addresses that are served, each with the number of its
// sockets. One that is bound to all addresses stands under no address.
type boundPorts map[netip.AddrPort]int

func boundKey(bound netip.AddrPort) netip.AddrPort {
	addr := bound.Addr().Unmap().WithZone("")
	if addr.IsUnspecified() {
		addr = netip.Addr{}
	}
	return netip.AddrPortFrom(addr, bound.Port())
}

func (b boundPorts) add(bound netip.AddrPort) { b[boundKey(bound)]++ }

func (b boundPorts) remove(bound netip.AddrPort) {
	key := boundKey(bound)
	if b[key]--; b[key] == 0 {
		delete(b, key)
	}
}

// holds reports whether a datagram from remote is from one of our own sockets.
func (b boundPorts) holds(remote netip.AddrPort, local *localAddrs) bool {
	key := boundKey(remote)
	if b[key] > 0 {
		return true
	}
	return b[netip.AddrPortFrom(netip.Addr{}, key.Port())] > 0 && local.isOwn(key.Addr())
}
