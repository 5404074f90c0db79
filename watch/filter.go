package watch

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"yodel/internal/escape"
	"yodel/sock"
	"yodel/watch/packet"
)

// A Filter says whose packets are shown: those that have, at either end, one of the
// ports, one of the addresses and one of the sockets. A kind of which none is given
// stands for all; so the zero Filter is all packets.
type Filter struct {
	Ports     []uint16
	Addresses []netip.Prefix
	Sockets   []netip.AddrPort
}

// ParseFilter reads a port ("80", "smtp"), an address ("192.0.2.1", "2001:db8::/32") or
// a socket ("192.0.2.1:80", "[::1]:80") from each word.
func ParseFilter(words ...string) (Filter, error) {
	var f Filter
	for _, word := range words {
		if err := f.add(word); err != nil {
			return Filter{}, err
		}
	}
	return f, nil
}

func (f *Filter) add(word string) error {
	if n, err := strconv.ParseUint(word, 10, 16); err == nil {
		f.Ports = append(f.Ports, uint16(n))
		return nil
	}
	if socket, err := netip.ParseAddrPort(word); err == nil {
		f.Sockets = append(f.Sockets, plain(socket))
		return nil
	}
	if addr, err := netip.ParseAddr(strings.Trim(word, "[]")); err == nil {
		addr = addr.Unmap().WithZone("")
		f.Addresses = append(f.Addresses, netip.PrefixFrom(addr, addr.BitLen()))
		return nil
	}
	if prefix, err := netip.ParsePrefix(word); err == nil {
		f.Addresses = append(f.Addresses, prefix.Masked())
		return nil
	}
	for _, network := range []string{"tcp", "udp"} {
		if port, err := sock.ServicePort(network, word); err == nil {
			f.Ports = append(f.Ports, port)
			return nil
		}
	}
	return fmt.Errorf("%q is no port, address or socket: write for example 80, smtp, 192.0.2.1, 2001:db8::/32, 192.0.2.1:80 or [::1]:80",
		escape.StringN(word, 80))
}

func plain(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap().WithZone(""), a.Port())
}

// Match reports whether the packet is to be shown. An ICMP error is judged by what it
// quotes.
func (f *Filter) Match(p *packet.Packet) bool {
	src, dst := p.Src, p.Dst
	if p.Kind == packet.ICMP && p.ICMP.Error {
		src, dst = p.ICMP.Quote.Src, p.ICMP.Quote.Dst
	}
	return f.MatchPair(src, dst)
}

// MatchPair reports whether what goes between two sockets is to be shown.
func (f *Filter) MatchPair(a, b netip.AddrPort) bool {
	a, b = plain(a), plain(b)
	return f.matchPorts(a, b) && f.matchAddresses(a, b) && f.matchSockets(a, b)
}

func (f *Filter) matchPorts(src, dst netip.AddrPort) bool {
	return len(f.Ports) == 0 || slices.Contains(f.Ports, src.Port()) || slices.Contains(f.Ports, dst.Port())
}

func (f *Filter) matchAddresses(src, dst netip.AddrPort) bool {
	return len(f.Addresses) == 0 || slices.ContainsFunc(f.Addresses, func(p netip.Prefix) bool {
		return p.Contains(src.Addr()) || p.Contains(dst.Addr())
	})
}

func (f *Filter) matchSockets(src, dst netip.AddrPort) bool {
	return len(f.Sockets) == 0 || slices.Contains(f.Sockets, src) || slices.Contains(f.Sockets, dst)
}

// String returns what was asked for, in words; "" for all.
func (f *Filter) String() string {
	var words []string
	for _, p := range f.Ports {
		words = append(words, "port "+strconv.Itoa(int(p)))
	}
	for _, a := range f.Addresses {
		words = append(words, "address "+strings.TrimSuffix(a.String(), "/"+strconv.Itoa(a.Addr().BitLen())))
	}
	for _, s := range f.Sockets {
		words = append(words, "socket "+s.String())
	}
	return strings.Join(words, ", ")
}
