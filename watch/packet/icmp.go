package packet

import "net/netip"

// ICMPHeader is the header of a message of ICMP (RFC 792) or ICMPv6 (RFC 4443).
// Which of them is said by IPHeader.Version.
type ICMPHeader struct {
	Type, Code uint8

	// Error is set for messages that tell why a packet did not arrive. They quote its
	// beginning.
	Error bool

	// MTU is the longest packet, in bytes, that would have got through, where the
	// message is that the packet was too big (RFC 1191, RFC 4443 §3.2); 0 otherwise.
	MTU uint32

	// Quote is the beginning of the packet that an error is about.
	Quote Quote
}

// Quote is what an ICMP error says of the packet it is about.
type Quote struct {
	// Protocol is 0 if there was no quotation that could be read.
	Protocol uint8

	// Src and Dst are those of the quoted packet, so Src is the receiver of the error.
	// The ports are 0 if they are not in the quotation.
	Src, Dst netip.AddrPort

	// Seq is the sequence number of a quoted TCP segment, if HasSeq is set.
	Seq    uint32
	HasSeq bool
}

func (p *Packet) icmp(c *cursor) error {
	b, err := c.take(8)
	if err != nil {
		return err
	}
	p.ICMP.Type, p.ICMP.Code = b[0], b[1]
	p.done(ICMP, c)
	if p.IP.Version == 4 {
		p.ICMP.errorV4(b)
	} else {
		p.ICMP.errorV6(b)
	}
	if p.ICMP.Error {
		p.ICMP.Quote.read(*c)
	}
	return nil
}

// errorV4 knows the messages of RFC 792 that tell of an error.
func (h *ICMPHeader) errorV4(b []byte) {
	switch h.Type {
	case 3: // destination unreachable
		h.Error = true
		if h.Code == 4 { // fragmentation needed, RFC 1191 §4
			h.MTU = uint32(be.Uint16(b[6:]))
		}
	case 4, 5, 11, 12: // source quench, redirect, time exceeded, parameter problem
		h.Error = true
	}
}

// errorV6 knows that the first half of types tells of errors (RFC 4443 §2.1).
func (h *ICMPHeader) errorV6(b []byte) {
	h.Error = h.Type < 128
	if h.Type == 2 { // packet too big
		h.MTU = be.Uint32(b[4:])
	}
}

// read reads what is there of a quotation, which may end anywhere.
func (q *Quote) read(c cursor) {
	c.wire = len(c.data)
	var ip IPHeader
	src, dst, next, err := ip.read(&c, false)
	if err != nil {
		return
	}
	if ip.Version == 6 && ip.extensions(&c, next, false) != nil {
		return
	}
	*q = Quote{Protocol: ip.Protocol, Src: netip.AddrPortFrom(src, 0), Dst: netip.AddrPortFrom(dst, 0)}
	if ip.Offset != 0 || !hasPorts(ip.Protocol) || len(c.data) < 4 {
		return
	}
	q.Src = netip.AddrPortFrom(src, be.Uint16(c.data))
	q.Dst = netip.AddrPortFrom(dst, be.Uint16(c.data[2:]))
	if q.HasSeq = ip.Protocol == ProtocolTCP && len(c.data) >= 8; q.HasSeq {
		q.Seq = be.Uint32(c.data[4:])
	}
}
