package packet

import (
	"net/netip"
	"strings"
)

// TCPFlags are the control bits of a segment (RFC 9293 §3.1).
type TCPFlags uint16

// The control bits.
const (
	FIN TCPFlags = 1 << iota
	SYN
	RST
	PSH
	ACK
	URG
	ECE
	CWR
	AE // accurate ECN; NS of old
)

var flagNames = [...]struct {
	flag TCPFlags
	name string
}{
	{SYN, "SYN"},
	{FIN, "FIN"},
	{RST, "RST"},
	{PSH, "PSH"},
	{ACK, "ACK"},
	{URG, "URG"},
	{ECE, "ECE"},
	{CWR, "CWR"},
	{AE, "AE"},
}

// String returns the names of the bits, the opening and closing ones first, for example
// "SYN, ACK"; "none" if no bit is set.
func (f TCPFlags) String() string {
	switch f { // most segments
	case ACK:
		return "ACK"
	case PSH | ACK:
		return "PSH, ACK"
	}
	names := make([]string, 0, len(flagNames))
	for _, n := range flagNames {
		if f&n.flag != 0 {
			names = append(names, n.name)
		}
	}
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

// Has reports whether all of want are set.
func (f TCPFlags) Has(want TCPFlags) bool { return f&want == want }

// TCPOptions says which options a segment has.
type TCPOptions uint16

// The options. Others are skipped.
const (
	HasMSS           TCPOptions = 1 << iota // RFC 9293 §3.2
	HasWindowScale                          // RFC 7323 §2
	HasSACKPermitted                        // RFC 2018 §2
	HasSACK                                 // RFC 2018 §3
	HasTimestamps                           // RFC 7323 §3
	HasFastOpen                             // RFC 7413 §4.1
	HasMultipath                            // RFC 8684 §3
	BadOptions                              // the list breaks off: an option's length can't be
	CutOptions                              // the capture has only the beginning of the list
)

// SACKBlock is a piece of the stream that its receiver has, beside what it
// acknowledges: from Left up to, not including, Right.
type SACKBlock struct{ Left, Right uint32 }

// TCPHeader is the header of a segment (RFC 9293 §3.1), in its own numbers.
type TCPHeader struct {
	Seq, Ack uint32
	Flags    TCPFlags
	Window   uint16 // as sent: not scaled
	Urgent   uint16

	Options      TCPOptions // which of the following are set
	MSS          uint16     // HasMSS: bytes
	WindowScale  uint8      // HasWindowScale: the window is shifted by so many bits
	SACKs        uint8      // HasSACK: how many blocks
	SACK         [4]SACKBlock
	TSVal, TSEcr uint32 // HasTimestamps
}

// transport reads what follows IP.
func (p *Packet) transport(c *cursor) error {
	switch {
	case p.IP.Protocol == ProtocolTCP:
		return p.tcp(c)
	case p.IP.Protocol == ProtocolUDP:
		return p.udp(c)
	case p.IP.Protocol == ProtocolICMP && p.IP.Version == 4,
		p.IP.Protocol == ProtocolICMPv6 && p.IP.Version == 6:
		return p.icmp(c)
	}
	return nil
}

// ports sets the ports, which TCP and UDP have at the same place: the first four bytes.
func (p *Packet) ports(head []byte) {
	p.Src = netip.AddrPortFrom(p.Src.Addr(), be.Uint16(head))
	p.Dst = netip.AddrPortFrom(p.Dst.Addr(), be.Uint16(head[2:]))
}

func (p *Packet) tcp(c *cursor) error {
	b, err := c.take(20)
	if err != nil {
		return err
	}
	size := int(b[12]>>4) * 4
	if size < 20 {
		return errTCPHeader
	}
	options, cut, err := c.upTo(size - 20)
	if err != nil {
		return err
	}
	p.ports(b)
	p.TCP = TCPHeader{
		Seq: be.Uint32(b[4:]), Ack: be.Uint32(b[8:]),
		Flags:  TCPFlags(be.Uint16(b[12:]) & 0x1ff),
		Window: be.Uint16(b[14:]), Urgent: be.Uint16(b[18:]),
	}
	p.TCP.readOptions(options)
	if cut { // it may break off anywhere
		p.TCP.Options = p.TCP.Options&^BadOptions | CutOptions
	}
	p.done(TCP, c)
	return nil
}

// done sets the kind, and what is left as the payload.
func (p *Packet) done(k Kind, c *cursor) {
	p.Kind, p.Payload, p.Length = k, c.data, c.wire
}

// The kinds of TCP options (IANA "TCP Option Kind Numbers").
const (
	optEnd           = 0
	optNop           = 1
	optMSS           = 2
	optWindowScale   = 3
	optSACKPermitted = 4
	optSACK          = 5
	optTimestamps    = 8
	optMultipath     = 30
	optFastOpen      = 34
)

// readOptions reads the options until they end, or can't be.
func (h *TCPHeader) readOptions(b []byte) {
	for len(b) > 0 && b[0] != optEnd {
		if b[0] == optNop {
			b = b[1:]
			continue
		}
		if len(b) < 2 || b[1] < 2 || int(b[1]) > len(b) {
			h.Options |= BadOptions
			return
		}
		if !h.option(b[0], b[2:b[1]]) {
			h.Options |= BadOptions
		}
		b = b[b[1]:]
	}
}

// option sets what one option says; ok is false if it has not the length of its kind.
func (h *TCPHeader) option(kind byte, v []byte) (ok bool) {
	switch {
	case kind == optMSS && len(v) == 2:
		h.Options |= HasMSS
		h.MSS = be.Uint16(v)
	case kind == optWindowScale && len(v) == 1:
		h.Options |= HasWindowScale
		h.WindowScale = min(v[0], 14) // RFC 7323 §2.3: more counts as 14
	case kind == optSACKPermitted && len(v) == 0:
		h.Options |= HasSACKPermitted
	case kind == optTimestamps && len(v) == 8:
		h.Options |= HasTimestamps
		h.TSVal, h.TSEcr = be.Uint32(v), be.Uint32(v[4:])
	case kind == optSACK:
		return h.sack(v)
	case kind == optFastOpen:
		h.Options |= HasFastOpen
	case kind == optMultipath:
		h.Options |= HasMultipath
	default:
		return kind > optTimestamps || kind == 6 || kind == 7 // not ours to judge
	}
	return true
}

func (h *TCPHeader) sack(v []byte) bool {
	if len(v) == 0 || len(v)%8 != 0 || len(v) > 8*len(h.SACK) {
		return false
	}
	h.Options |= HasSACK
	h.SACKs = uint8(len(v) / 8)
	for i := range h.SACKs {
		h.SACK[i] = SACKBlock{be.Uint32(v[8*i:]), be.Uint32(v[8*i+4:])}
	}
	return true
}

// udp reads a header of UDP (RFC 768). A length of 0 is that of a jumbogram
// (RFC 2675 §4), or of an offload.
func (p *Packet) udp(c *cursor) error {
	b, err := c.take(8)
	if err != nil {
		return err
	}
	length := int(be.Uint16(b[4:]))
	switch {
	case length == 0 && c.wire+8 > 0xffff:
	case length < 8 || length-8 > c.wire:
		return errUDPLength
	default:
		c.clip(length - 8)
	}
	p.ports(b)
	p.done(UDP, c)
	return nil
}
