package capture

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"
)

// A header is what of a packet must be known to say whose it is.
type header struct {
	key   flowKey // in the packet's direction
	flags byte    // TCP
	seq   uint32  // TCP

	part   bool   // it is a fragment
	number uint32 // of the datagram that it is a part of
}

// opens reports whether the packet asks for a new connection.
func (h *header) opens() bool {
	return h.key.Proto == unix.IPPROTO_TCP && h.flags&(tcpSYN|tcpACK) == tcpSYN
}

// parse reads a packet from its network header on into h, which is zero. It is ok if the
// packet is one of TCP or UDP with its ports: no later fragment, nothing else.
func (h *header) parse(b []byte) (ok bool) {
	if b, ok = h.network(b); !ok || len(b) < 4 {
		return false
	}
	copy(h.key.Ports[:], b)
	switch h.key.Proto {
	case unix.IPPROTO_UDP:
		return true
	case unix.IPPROTO_TCP:
		if len(b) < 20 {
			return false
		}
		h.seq, h.flags = binary.BigEndian.Uint32(b[4:]), b[13]
		return true
	}
	return false
}

// parseQuote reads of the packet that an ICMP error quotes what says whose it is: b is
// the error, from its network header on. Of the quoted transport header only the ports
// need be there.
func (h *header) parseQuote(b []byte) (ok bool) {
	var outer header
	if b, ok = outer.network(b); !ok || len(b) < 8 || !outer.isError(b[0]) {
		return false
	}
	if b, ok = h.network(b[8:]); !ok || len(b) < 4 {
		return false
	}
	copy(h.key.Ports[:], b)
	return h.key.Proto == unix.IPPROTO_TCP || h.key.Proto == unix.IPPROTO_UDP
}

// isError reports whether a packet is an ICMP error, by its type: RFC 792, RFC 4443 §2.1.
func (h *header) isError(typ byte) bool {
	if h.key.Proto == unix.IPPROTO_ICMPV6 {
		return h.key.Family == 6 && typ < 128
	}
	return h.key.Proto == unix.IPPROTO_ICMP && h.key.Family == 4 && (typ >= 3 && typ <= 5 || typ == 11 || typ == 12)
}

// network fills in what IP says, and returns what follows it: ok is false if that is
// not the beginning of what IP carries.
func (h *header) network(b []byte) (rest []byte, ok bool) {
	if len(b) == 0 {
		return nil, false
	}
	switch b[0] >> 4 {
	case 4:
		return h.parseIPv4(b)
	case 6:
		return h.parseIPv6(b)
	}
	return nil, false
}

// datagram returns a key for all fragments of one datagram: RFC 791 §3.2, RFC 8200 §4.5.
func (h *header) datagram() flowKey {
	k := h.key
	if k.Family == 6 {
		k.Proto = 0 // only the first one tells
	}
	binary.BigEndian.PutUint32(k.Ports[:], h.number)
	return k
}

// parseIPv4 fills in the key and returns what follows the header: RFC 791 §3.1.
func (h *header) parseIPv4(b []byte) ([]byte, bool) {
	key := &h.key
	if len(b) < 20 {
		return nil, false
	}
	n, fragment := int(b[0]&0xf)*4, binary.BigEndian.Uint16(b[6:])
	if n < 20 || len(b) < n {
		return nil, false
	}
	key.Family, key.Proto = 4, b[9]
	copy(key.Src[:], b[12:16])
	copy(key.Dst[:], b[16:20])
	h.part, h.number = fragment&0x3fff != 0, uint32(binary.BigEndian.Uint16(b[4:]))
	return b[n:], fragment&0x1fff == 0
}

// parseIPv6 fills in the key but for its scope, and returns what follows the header and
// its extensions: RFC 8200 §3, §4.
func (h *header) parseIPv6(b []byte) ([]byte, bool) {
	key := &h.key
	if len(b) < 40 {
		return nil, false
	}
	key.Family = 6
	copy(key.Src[:], b[8:24])
	copy(key.Dst[:], b[24:40])
	next, b := b[6], b[40:]
	for range extensionHeaders {
		n := 8
		switch next {
		case unix.IPPROTO_HOPOPTS, unix.IPPROTO_ROUTING, unix.IPPROTO_DSTOPTS:
			if len(b) < 2 {
				return nil, false
			}
			n = (int(b[1]) + 1) * 8
		case unix.IPPROTO_FRAGMENT:
			if len(b) < 8 {
				return nil, false
			}
			fragment := binary.BigEndian.Uint16(b[2:])
			h.part, h.number = fragment&0xfff9 != 0, binary.BigEndian.Uint32(b[4:])
			if fragment&0xfff8 != 0 {
				return nil, false
			}
		default:
			key.Proto = next
			return b, true
		}
		if len(b) < n {
			return nil, false
		}
		next, b = b[0], b[n:]
	}
	key.Proto = next
	return b, true
}

// scoped sets the interface of a link-local key, as the programs do.
func (k *flowKey) scoped(index uint32) {
	if k.Family == 6 && (k.source().Addr().IsLinkLocalUnicast() || k.destination().Addr().IsLinkLocalUnicast()) {
		k.Scope = index
	}
}

func (k *flowKey) source() netip.AddrPort      { return k.end(k.Src, k.Ports[0:2]) }
func (k *flowKey) destination() netip.AddrPort { return k.end(k.Dst, k.Ports[2:4]) }

func (k *flowKey) end(addr [16]byte, port []byte) netip.AddrPort {
	a := netip.AddrFrom16(addr)
	if k.Family == 4 {
		a = netip.AddrFrom4([4]byte(addr[:4]))
	}
	return netip.AddrPortFrom(a, binary.BigEndian.Uint16(port))
}

// reversed returns the key of the other direction.
func (k *flowKey) reversed() *flowKey {
	r := *k
	r.Src, r.Dst = k.Dst, k.Src
	r.Ports = [4]byte{k.Ports[2], k.Ports[3], k.Ports[0], k.Ports[1]}
	return &r
}

// keyOf returns the key of what a socket sends.
func keyOf(proto uint8, local, remote netip.AddrPort, index uint32) flowKey {
	k := flowKey{Proto: proto}
	k.Src, k.Family = raw(local.Addr())
	k.Dst, _ = raw(remote.Addr())
	binary.BigEndian.PutUint16(k.Ports[0:], local.Port())
	binary.BigEndian.PutUint16(k.Ports[2:], remote.Port())
	k.scoped(index)
	return k
}
