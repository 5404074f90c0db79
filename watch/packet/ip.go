package packet

import "net/netip"

// IPHeader is what the header of IPv4 or IPv6 says, the extension headers included.
type IPHeader struct {
	Version  uint8
	Protocol uint8 // of the payload, behind all extension headers
	TTL      uint8 // hop limit in IPv6
	TOS      uint8 // traffic class in IPv6
	DontFrag bool  // IPv4 only

	// ID is IPv4's identification, or that of IPv6's fragment header; 0 if it has none.
	ID uint32

	// Offset is where a fragment's payload belongs in its datagram, in bytes, and More
	// is set if it is not the last. A packet that is no fragment has 0 and false.
	Offset uint16
	More   bool

	// Offload is set if the length field is 0, which is how hosts write down what the
	// network card will cut up, or has put together: such packets may be longer than
	// 65,535 bytes (Linux "BIG TCP"), and their length is that of the frame.
	Offload bool
}

func (h *IPHeader) fragment() bool { return h.More || h.Offset != 0 }

// ip reads IPv4 or IPv6, as the first four bits say.
func (p *Packet) ip(c *cursor) error {
	src, dst, next, err := p.IP.read(c, true)
	if err != nil {
		p.IP = IPHeader{}
		return err
	}
	p.Src, p.Dst = netip.AddrPortFrom(src, 0), netip.AddrPortFrom(dst, 0)
	return p.upper(c, next)
}

// upper reads what follows the fixed header: IPv6's extension headers, of which next is
// the first, and the transport.
func (p *Packet) upper(c *cursor, next uint8) error {
	p.done(Other, c)
	if p.IP.Version == 6 {
		if err := p.IP.extensions(c, next, true); err != nil {
			return err
		}
		p.done(Other, c)
	}
	if p.IP.fragment() {
		return p.fragmented(c)
	}
	return p.transport(c)
}

// fragmented sets what there is to know of a piece of a datagram. The first one has
// the ports.
func (p *Packet) fragmented(c *cursor) error {
	if int(p.IP.Offset)+c.wire > 0xffff || p.IP.More && c.wire%8 != 0 {
		return errFragmentSize
	}
	p.Kind = Fragment
	if p.IP.Offset == 0 && len(c.data) >= 4 && hasPorts(p.IP.Protocol) {
		p.ports(c.data)
	}
	return nil
}

func hasPorts(protocol uint8) bool { return protocol == ProtocolTCP || protocol == ProtocolUDP }

// read reads the fixed header and IPv4's options. It makes what the length field says
// all that is left in c if strict is set: the packet that an ICMP error quotes is shorter
// than it was. In IPv6 next is the kind of the first extension header.
func (h *IPHeader) read(c *cursor, strict bool) (src, dst netip.Addr, next uint8, err error) {
	if len(c.data) == 0 {
		_, err = c.take(1)
		return src, dst, 0, err
	}
	switch c.data[0] >> 4 {
	case 4:
		src, dst, err = h.readV4(c, strict)
	case 6:
		src, dst, next, err = h.readV6(c, strict)
	default:
		err = errIPVersion
	}
	return src, dst, next, err
}

// readV4 reads a header of IPv4 (RFC 791 §3.1).
func (h *IPHeader) readV4(c *cursor, strict bool) (src, dst netip.Addr, err error) {
	before := c.wire
	b, err := c.take(20)
	if err != nil {
		return src, dst, err
	}
	size := int(b[0]&0xf) * 4
	if size < 20 {
		return src, dst, errIPv4Header
	}
	if _, err := c.take(size - 20); err != nil { // options
		return src, dst, err
	}
	flags := be.Uint16(b[6:])
	*h = IPHeader{
		Version: 4, Protocol: b[9], TTL: b[8], TOS: b[1], ID: uint32(be.Uint16(b[4:])),
		DontFrag: flags&0x4000 != 0, More: flags&0x2000 != 0, Offset: flags << 3,
	}
	src, dst = netip.AddrFrom4([4]byte(b[12:16])), netip.AddrFrom4([4]byte(b[16:20]))
	if strict {
		err = h.clip(c, int(be.Uint16(b[2:])), size, before)
	}
	return src, dst, err
}

// clip makes c end where IPv4's total length says.
func (h *IPHeader) clip(c *cursor, total, size, before int) error {
	switch {
	case total == 0:
		h.Offload = true
	case total < size:
		return errIPv4Total
	case total > before:
		return errIPLength
	default:
		c.clip(total - size)
	}
	return nil
}

// readV6 reads the fixed header of IPv6 (RFC 8200 §3).
func (h *IPHeader) readV6(c *cursor, strict bool) (src, dst netip.Addr, next uint8, err error) {
	b, err := c.take(40)
	if err != nil {
		return src, dst, 0, err
	}
	*h = IPHeader{Version: 6, TTL: b[7], TOS: b[0]<<4 | b[1]>>4}
	src, dst = netip.AddrFrom16([16]byte(b[8:24])), netip.AddrFrom16([16]byte(b[24:40]))
	length := int(be.Uint16(b[4:]))
	switch {
	case !strict:
	case length > c.wire:
		err = errIPLength
	case length > 0:
		c.clip(length)
	default:
		h.Offload = c.wire > 0
	}
	return src, dst, b[6], err
}

const maxExtensions = 16

// The kinds of extension headers (RFC 8200 §4, RFC 4302, RFC 6275, RFC 7401, RFC 5533).
const (
	extHopByHop    = 0
	extRouting     = 43
	extFragment    = 44
	extAuth        = 51
	extDestination = 60
	extMobility    = 135
	extHIP         = 139
	extShim6       = 140
)

// extensions reads extension headers up to the payload, or up to what a fragment
// carries.
func (h *IPHeader) extensions(c *cursor, next uint8, strict bool) error {
	for range maxExtensions {
		h.Protocol = next
		switch next {
		case extFragment:
			whole, err := h.readFragment(c)
			if err != nil || !whole {
				return err
			}
		case extHopByHop, extRouting, extAuth, extDestination, extMobility, extHIP, extShim6:
			if err := h.extension(c, next, strict); err != nil {
				return err
			}
		default:
			return nil
		}
		next = h.Protocol
	}
	return errExtensions
}

// extension reads one extension header whose length is in its second byte.
func (h *IPHeader) extension(c *cursor, kind uint8, strict bool) error {
	b, err := c.take(8)
	if err != nil {
		return err
	}
	more := int(b[1]) * 8
	if kind == extAuth { // counted in another unit, RFC 4302 §2.2
		more = (int(b[1])+2)*4 - 8
	}
	if _, err := c.take(more); err != nil {
		return err
	}
	h.Protocol = b[0]
	if kind == extHopByHop && strict && b[2] == 0xc2 && b[3] == 4 {
		return h.jumbo(c, int64(be.Uint32(b[4:])), 8+more)
	}
	return nil
}

// jumbo makes c end where a jumbogram's option says (RFC 2675 §2), which counts from
// behind the fixed header; done is how much of that was read.
func (h *IPHeader) jumbo(c *cursor, length int64, done int) error {
	if length <= 0xffff {
		return errJumbo
	}
	if length > int64(c.wire+done) {
		return errIPLength
	}
	c.clip(int(length) - done)
	h.Offload = false
	return nil
}

// readFragment reads IPv6's fragment header (RFC 8200 §4.5). A fragment that is its own
// whole datagram is none (RFC 6946).
func (h *IPHeader) readFragment(c *cursor) (whole bool, err error) {
	b, err := c.take(8)
	if err != nil {
		return false, err
	}
	place := be.Uint16(b[2:])
	h.Protocol, h.ID = b[0], be.Uint32(b[4:])
	h.Offset, h.More = place&^7, place&1 != 0
	return !h.fragment(), nil
}
