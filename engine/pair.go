package engine

import (
	"net/netip"
	"strconv"

	"yodel"
)

// A Pair is the socket pair of a connection in 40 bytes, for engines that have a great
// many. The zero Pair is none.
type Pair struct {
	local, remote         [16]byte // an IPv4 address is 4-in-6
	localPort, remotePort uint16
	scope                 uint32 // of remote, where it is link-local
}

// PairOf returns the Pair of p, zero for a Unix socket.
func PairOf(p *yodel.Peer) Pair {
	if !p.Remote.IsValid() {
		return Pair{}
	}
	var scope uint64
	if zone := p.Remote.Addr().Zone(); zone != "" { // an error of strconv's would be memory
		scope, _ = strconv.ParseUint(zone, 10, 32)
	}
	return Pair{
		local: p.Local.Addr().As16(), localPort: p.Local.Port(),
		remote: p.Remote.Addr().As16(), remotePort: p.Remote.Port(), scope: uint32(scope),
	}
}

// SetIn sets Local and Remote of p as they were; the zero Pair sets nothing.
func (s *Pair) SetIn(p *yodel.Peer) {
	if *s == (Pair{}) {
		return
	}
	p.Local = netip.AddrPortFrom(netip.AddrFrom16(s.local).Unmap(), s.localPort)
	remote := netip.AddrFrom16(s.remote).Unmap()
	if s.scope != 0 {
		remote = remote.WithZone(strconv.FormatUint(uint64(s.scope), 10))
	}
	p.Remote = netip.AddrPortFrom(remote, s.remotePort)
}
