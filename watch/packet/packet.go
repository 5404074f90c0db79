// Package packet reads one packet: from the frame of a link, or from IP, up to what
// TCP, UDP or ICMP carry. It does no I/O, keeps nothing, and allocates nothing:
// [Packet.Decode] fills a struct of the caller's.
//
// No length field is believed before it is checked. What a packet says of itself is
// held against two lengths that it does not choose: how many bytes the capture has, and
// how many there were on the wire. So a packet can be cut short by the capture
// ([ErrTruncated]) or be wrong in itself ([ErrMalformed]); in both cases what could be
// read before is there, and [Packet.Kind] says how far that is.
//
// Checksums are not verified: a packet that is captured on its own host as a rule has
// none yet, since the network card makes them.
package packet

import (
	"errors"
	"fmt"
	"net/netip"
)

// LinkType says what a captured packet begins with. The numbers are those of capture
// files, https://www.tcpdump.org/linktypes.html.
type LinkType uint16

// The link types that Decode knows.
const (
	Null      LinkType = 0   // BSD loopback: the address family in the byte order of the capturing host
	Ethernet  LinkType = 1   // IEEE 802.3, with or without VLAN tags
	RawBSD    LinkType = 12  // IP, as some BSD files number it
	RawOld    LinkType = 14  // IP, as OpenBSD files number it
	Raw       LinkType = 101 // IP; the first four bits say which
	Loop      LinkType = 108 // OpenBSD loopback: the address family in network byte order
	LinuxSLL  LinkType = 113 // Linux "any" device, cooked
	RawIPv4   LinkType = 228
	RawIPv6   LinkType = 229
	LinuxSLL2 LinkType = 276 // the same, version 2
)

// String returns the name that capture programs use, in lower case.
func (l LinkType) String() string {
	switch l {
	case Null:
		return "null"
	case Ethernet:
		return "ethernet"
	case RawBSD, RawOld, Raw:
		return "raw"
	case Loop:
		return "loop"
	case LinuxSLL:
		return "linux_sll"
	case RawIPv4:
		return "ipv4"
	case RawIPv6:
		return "ipv6"
	case LinuxSLL2:
		return "linux_sll2"
	}
	return fmt.Sprintf("linktype(%d)", uint16(l))
}

// Direction is the way of a packet as the capturing host sees it.
type Direction uint8

// The directions.
const (
	Unknown Direction = iota
	Inbound
	Outbound
)

// String returns "in", "out", or "" if the direction is not known.
func (d Direction) String() string {
	switch d {
	case Inbound:
		return "in"
	case Outbound:
		return "out"
	}
	return ""
}

// Kind is what a packet is, as far as it could be read.
type Kind uint8

// The kinds. Each includes that IP is set, but for None.
const (
	None     Kind = iota // no IP, or it could not be read
	Other                // IP with a transport that is none of the following, or whose header could not be read
	Fragment             // a piece of an IP datagram: see IPHeader, and Defragmenter
	TCP
	UDP
	ICMP // ICMP, or ICMPv6
)

// The numbers of protocols in IP headers (IANA "Assigned Internet Protocol Numbers").
const (
	ProtocolICMP   = 1
	ProtocolTCP    = 6
	ProtocolUDP    = 17
	ProtocolICMPv6 = 58
)

// A Packet is one packet, decoded. Its slices are parts of the data it was read from.
type Packet struct {
	Kind      Kind
	Direction Direction // Linux cooked captures say it; Unknown otherwise

	// VLANs is how many VLAN tags there were (IEEE 802.1Q, 802.1ad), and VLAN the
	// identifiers of the outermost two.
	VLANs uint8
	VLAN  [2]uint16

	IP IPHeader // Kind is not None

	// Src and Dst are the addresses of IP with the ports of TCP or UDP, 0 if it has
	// none or is a later fragment. Not valid (zero) if Kind is None.
	Src, Dst netip.AddrPort

	TCP  TCPHeader  // Kind is TCP
	ICMP ICMPHeader // Kind is ICMP

	// Payload is what was captured of the transport's payload: of IP's for Other and
	// Fragment, of what follows the first eight bytes for ICMP.
	Payload []byte

	// Length is how many bytes the payload had on the wire, by the length fields of IP
	// and UDP. It is never less than len(Payload).
	Length int
}

// ErrTruncated reports that the capture has only the beginning of the packet, and that
// a header is not whole. A payload that is cut is no error: it is shorter than Length; nor
// are options of TCP that are: see [CutOptions].
var ErrTruncated = errors.New("packet: the capture ends inside a header")

// ErrLinkType reports a link type that is not known.
var ErrLinkType = errors.New("packet: link type not known")

// ErrMalformed is what all errors are that tell of a packet which is wrong in itself.
var ErrMalformed = errors.New("packet: malformed")

// malformed is one way to be wrong. The values are made once, so that returning one
// costs nothing.
type malformed string

func (m malformed) Error() string { return "packet: malformed: " + string(m) }

func (m malformed) Is(target error) bool { return target == ErrMalformed }

var (
	errShort        error = malformed("shorter than its headers")
	errIPVersion    error = malformed("IP version is neither 4 nor 6")
	errIPv4Header   error = malformed("IPv4 header length below 20")
	errIPv4Total    error = malformed("IPv4 total length below its header length")
	errIPLength     error = malformed("IP length beyond the end of the packet")
	errJumbo        error = malformed("IPv6 jumbo length below 65,536")
	errExtensions   error = malformed("more than 16 IPv6 extension headers")
	errTCPHeader    error = malformed("TCP header length below 20")
	errUDPLength    error = malformed("UDP length below 8 or beyond the end of the packet")
	errFragmentSize error = malformed("fragment beyond 65,535 bytes, or not a multiple of 8")
	errVLANs        error = malformed("more than 4 VLAN tags")
)

// Decode reads a packet from data, of which there were length bytes on the wire; less
// than len(data) stands for len(data). All fields of p are set. p.Payload is part of
// data.
//
// The error is nil also for what is no TCP, UDP or ICMP: see Kind. It is
// [ErrTruncated], [ErrLinkType] or an [ErrMalformed] if p could not be read to its end.
func (p *Packet) Decode(link LinkType, data []byte, length int) error {
	*p = Packet{}
	c := cursor{data: data, wire: max(length, len(data))}
	return p.link(link, &c)
}

// cursor is what is left to read of a packet.
type cursor struct {
	data []byte // captured
	wire int    // how long it was on the wire: never less than len(data)
}

// take returns the next n bytes.
func (c *cursor) take(n int) ([]byte, error) {
	if len(c.data) < n {
		if c.wire >= n {
			return nil, ErrTruncated
		}
		return nil, errShort
	}
	head := c.data[:n:n]
	c.data, c.wire = c.data[n:], c.wire-n
	return head, nil
}

// upTo is take, but what the capture has cut off may be missing.
func (c *cursor) upTo(n int) (head []byte, cut bool, err error) {
	if c.wire < n {
		return nil, false, errShort
	}
	have := min(n, len(c.data))
	head = c.data[:have:have]
	c.data, c.wire = c.data[have:], c.wire-n
	return head, have < n, nil
}

// clip makes n bytes all that is left, as a length field says. There must be as many.
func (c *cursor) clip(n int) {
	c.wire = n
	c.data = c.data[:min(n, len(c.data))]
}
