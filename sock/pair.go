package sock

import (
	"encoding/binary"
	"net"
	"net/netip"

	"yodel/trace"
)

// A Pair is a socket pair: the two socket addresses that together name one
// connection. It prints as (128.2.194.242:51213, 208.216.181.15:80), the client
// first. The client's port is an ephemeral one as a rule, chosen by its kernel;
// the server's says which service is meant.
//
// Both ends of a connection have the same Pair, see [Pair.Wire]. An end that is not
// known, as with Unix sockets, is the zero AddrPort and prints as "?".
type Pair struct {
	Client, Server netip.AddrPort
}

// PairOf returns the socket pair of a connection of which this process has the
// given side. 4-in-6 addresses are unmapped.
func PairOf(c net.Conn, side trace.Side) Pair {
	p := Pair{Client: endOf(c.LocalAddr()), Server: endOf(c.RemoteAddr())}
	if side == trace.Server {
		return p.Mirror()
	}
	return p
}

// endOf reads an address of package net, or one of another package that prints in
// the same way.
func endOf(a net.Addr) netip.AddrPort {
	var ap netip.AddrPort
	switch a := a.(type) {
	case nil:
	case interface{ AddrPort() netip.AddrPort }:
		ap = a.AddrPort()
	default:
		ap, _ = netip.ParseAddrPort(a.String())
	}
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

// Mirror returns the pair with its ends exchanged: what one gets who takes the
// client for the server.
func (p Pair) Mirror() Pair { return Pair{Client: p.Server, Server: p.Client} }

// Wire returns the pair as the packets have it: 4-in-6 addresses unmapped, and no
// zones, since each host names its own interfaces. Two ends saw the same
// connection if the Wire of their pairs is equal and they did so at the same time:
// ports are used again.
func (p Pair) Wire() Pair {
	return Pair{Client: wireAddrPort(p.Client), Server: wireAddrPort(p.Server)}
}

func wireAddrPort(ap netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(ap.Addr().Unmap().WithZone(""), ap.Port())
}

// IsValid reports whether both ends are known.
func (p Pair) IsValid() bool { return p.Client.IsValid() && p.Server.IsValid() }

// String returns for example "(128.2.194.242:51213, 208.216.181.15:80)".
func (p Pair) String() string {
	return "(" + endString(p.Client) + ", " + endString(p.Server) + ")"
}

func endString(ap netip.AddrPort) string {
	if !ap.IsValid() {
		return "?"
	}
	return ap.String()
}

// NetworkBytes returns the bytes of an address in network byte order, as they
// stand in a packet and in a sockaddr: 4 for IPv4, 16 for IPv6, none for the zero
// Addr. 4-in-6 is unmapped, and a zone is not sent. The verb "% x" of package fmt
// prints them as books do: 128.2.217.13 is 80 02 d9 0d.
//
// Network byte order is big-endian: the most significant byte comes first, at the
// lowest address, whatever the order of the host (RFC 1700, htonl(3)).
func NetworkBytes(a netip.Addr) []byte { return a.Unmap().AsSlice() }

// NetworkPort returns the two bytes of a port in network byte order: port 80 is
// 00 50, which a little-endian host that forgets htons(3) takes for 20480.
func NetworkPort(port uint16) []byte { return binary.BigEndian.AppendUint16(nil, port) }
