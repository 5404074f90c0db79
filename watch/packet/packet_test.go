package packet_test

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"yodel/watch/packet"
)

var be = binary.BigEndian

// What follows builds packets, with right lengths and no checksums.

var (
	src4, dst4 = netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	src6, dst6 = netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2")
)

func ipv4(protocol byte, payload []byte) []byte { return ipv4With(protocol, 0, nil, payload) }

// ipv4With has a fragment field and options, padded by the caller.
func ipv4With(protocol byte, fragment uint16, options, payload []byte) []byte {
	b := make([]byte, 20, 20+len(options)+len(payload))
	b[0] = 0x40 | byte(5+len(options)/4)
	be.PutUint16(b[2:], uint16(20+len(options)+len(payload)))
	be.PutUint16(b[4:], 0x1234)
	be.PutUint16(b[6:], fragment)
	b[8], b[9] = 64, protocol
	copy(b[12:], src4.AsSlice())
	copy(b[16:], dst4.AsSlice())
	return append(append(b, options...), payload...)
}

func ipv6(next byte, payload []byte) []byte {
	b := make([]byte, 40, 40+len(payload))
	b[0] = 0x60
	be.PutUint16(b[4:], uint16(len(payload)))
	b[6], b[7] = next, 64
	copy(b[8:], src6.AsSlice())
	copy(b[24:], dst6.AsSlice())
	return append(b, payload...)
}

// extension is an IPv6 extension header of 8 bytes, or more if body has more than 6.
func extension(next byte, body []byte, payload []byte) []byte {
	body = append(slices.Clone(body), make([]byte, max(0, 6-len(body)))...)
	for len(body)%8 != 6 {
		body = append(body, 0)
	}
	b := append([]byte{next, byte((len(body) - 6) / 8)}, body...)
	return append(b, payload...)
}

func fragment6(next byte, place uint16, id uint32, payload []byte) []byte {
	b := []byte{next, 0, 0, 0, 0, 0, 0, 0}
	be.PutUint16(b[2:], place)
	be.PutUint32(b[4:], id)
	return append(b, payload...)
}

// tcp is a segment with ACK; seq is its number, and options are padded here.
func tcp(seq uint32, options, payload []byte) []byte {
	for len(options)%4 != 0 {
		options = append(options, 0)
	}
	b := make([]byte, 20, 20+len(options)+len(payload))
	be.PutUint16(b, 51213)
	be.PutUint16(b[2:], 80)
	be.PutUint32(b[4:], seq)
	be.PutUint32(b[8:], 77)
	b[12], b[13] = byte(5+len(options)/4)<<4, 0x10
	be.PutUint16(b[14:], 502)
	return append(append(b, options...), payload...)
}

func udp(payload []byte) []byte {
	b := make([]byte, 8, 8+len(payload))
	be.PutUint16(b, 5353)
	be.PutUint16(b[2:], 53)
	be.PutUint16(b[4:], uint16(8+len(payload)))
	return append(b, payload...)
}

func icmp(typ, code byte, field uint32, payload []byte) []byte {
	b := []byte{typ, code, 0, 0, 0, 0, 0, 0}
	be.PutUint32(b[4:], field)
	return append(b, payload...)
}

func ethernet(typ uint16, payload []byte) []byte {
	b := make([]byte, 14, 14+len(payload))
	be.PutUint16(b[12:], typ)
	return append(b, payload...)
}

func frame(ip []byte) []byte { return ethernet(0x0800, ip) }

func frame6(ip []byte) []byte { return ethernet(0x86dd, ip) }

func vlan(id, typ uint16, payload []byte) []byte {
	return append(be.AppendUint16(be.AppendUint16(nil, 0xe000|id), typ), payload...)
}

// allOptions are those of a busy segment, and some that are skipped.
var allOptions = []byte{
	1, 1, 8, 10, 0, 0, 0, 9, 0, 0, 0, 7, // timestamps
	5, 18, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4, // SACK
	19, 2, 1, 0,
}

var synOptions = []byte{2, 4, 5, 0xb4, 4, 2, 3, 3, 7, 34, 2, 30, 4, 0, 0, 3, 3, 200}

// linkTests are packets that begin with each kind of link, and what is then said.
var linkTests = []struct {
	name string
	link packet.LinkType
	data []byte
	kind packet.Kind
	way  packet.Direction
}{
	{"Ethernet, IPv4", packet.Ethernet, frame(ipv4(6, tcp(1, nil, nil))), packet.TCP, 0},
	{"Ethernet, IPv6", packet.Ethernet, frame6(ipv6(6, tcp(1, nil, nil))), packet.TCP, 0},
	{"Ethernet, ARP", packet.Ethernet, ethernet(0x0806, make([]byte, 28)), packet.None, 0},
	{"VLAN", packet.Ethernet, ethernet(0x8100, vlan(7, 0x0800, ipv4(17, udp(nil)))), packet.UDP, 0},
	{"QinQ", packet.Ethernet, ethernet(0x88a8, vlan(9, 0x8100, vlan(7, 0x86dd, ipv6(17, udp(nil))))), packet.UDP, 0},
	{"cooked, to us", packet.LinuxSLL, append([]byte{0, 0, 0, 1, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0}, ipv4(6, tcp(1, nil, nil))...), packet.TCP, packet.Inbound},
	{"cooked, from us", packet.LinuxSLL, append([]byte{0, 4, 0, 1, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0, 0x86, 0xdd}, ipv6(6, tcp(1, nil, nil))...), packet.TCP, packet.Outbound},
	{"cooked 2, to us", packet.LinuxSLL2, append([]byte{8, 0, 0, 0, 0, 0, 0, 2, 0, 1, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0}, ipv4(6, tcp(1, nil, nil))...), packet.TCP, packet.Inbound},
	{"cooked 2, between others", packet.LinuxSLL2, append([]byte{8, 0, 0, 0, 0, 0, 0, 2, 0, 1, 3, 6, 0, 0, 0, 0, 0, 0, 0, 0}, ipv4(6, tcp(1, nil, nil))...), packet.TCP, 0},
	{"BSD loopback, little-endian", packet.Null, append([]byte{2, 0, 0, 0}, ipv4(6, tcp(1, nil, nil))...), packet.TCP, 0},
	{"BSD loopback, big-endian, IPv6 of Darwin", packet.Null, append([]byte{0, 0, 0, 30}, ipv6(6, tcp(1, nil, nil))...), packet.TCP, 0},
	{"BSD loopback, something else", packet.Null, append([]byte{0, 0, 0, 7}, make([]byte, 40)...), packet.None, 0},
	{"OpenBSD loopback", packet.Loop, append([]byte{0, 0, 0, 24}, ipv6(6, tcp(1, nil, nil))...), packet.TCP, 0},
	{"raw", packet.Raw, ipv4(6, tcp(1, nil, nil)), packet.TCP, 0},
	{"raw, of BSD", packet.RawBSD, ipv6(6, tcp(1, nil, nil)), packet.TCP, 0},
	{"raw, of OpenBSD", packet.RawOld, ipv6(6, tcp(1, nil, nil)), packet.TCP, 0},
	{"raw IPv4", packet.RawIPv4, ipv4(6, tcp(1, nil, nil)), packet.TCP, 0},
	{"raw IPv6", packet.RawIPv6, ipv6(6, tcp(1, nil, nil)), packet.TCP, 0},
}

func TestLinks(t *testing.T) {
	t.Parallel()
	for _, c := range linkTests {
		var p packet.Packet
		if err := p.Decode(c.link, c.data, len(c.data)); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if p.Kind != c.kind || p.Direction != c.way {
			t.Errorf("%s: kind %d, direction %v; want %d, %v", c.name, p.Kind, p.Direction, c.kind, c.way)
		}
	}
}

func TestVLANTags(t *testing.T) {
	t.Parallel()
	data := ethernet(0x88a8, vlan(9, 0x8100, vlan(7, 0x9100, vlan(5, 0x0800, ipv4(17, udp(nil))))))
	p := decode(t, packet.Ethernet, data)
	if p.VLANs != 3 || p.VLAN != [2]uint16{9, 7} || p.Kind != packet.UDP {
		t.Errorf("tags %d %v, kind %d", p.VLANs, p.VLAN, p.Kind)
	}
}

func decode(t *testing.T, link packet.LinkType, data []byte) *packet.Packet {
	t.Helper()
	p := new(packet.Packet)
	if err := p.Decode(link, data, len(data)); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestTCP(t *testing.T) {
	t.Parallel()
	payload := []byte("hello")
	p := decode(t, packet.Raw, ipv4(6, tcp(4_294_967_290, allOptions, payload)))
	want := packet.TCPHeader{
		Seq: 4_294_967_290, Ack: 77, Flags: packet.ACK, Window: 502,
		Options: packet.HasTimestamps | packet.HasSACK, TSVal: 9, TSEcr: 7,
		SACKs: 2, SACK: [4]packet.SACKBlock{{1, 2}, {3, 4}},
	}
	if p.TCP != want || string(p.Payload) != "hello" || p.Length != 5 {
		t.Errorf("%+v %q %d", p.TCP, p.Payload, p.Length)
	}
	if p.Src != netip.AddrPortFrom(src4, 51213) || p.Dst != netip.AddrPortFrom(dst4, 80) {
		t.Errorf("from %v to %v", p.Src, p.Dst)
	}
	if p.IP.TTL != 64 || p.IP.ID != 0x1234 || p.IP.Version != 4 || p.IP.Protocol != 6 {
		t.Errorf("%+v", p.IP)
	}

	syn := decode(t, packet.Raw, ipv6(6, tcp(1, synOptions, nil))).TCP
	if syn.Options != packet.HasMSS|packet.HasSACKPermitted|packet.HasWindowScale|packet.HasFastOpen|packet.HasMultipath ||
		syn.MSS != 1460 || syn.WindowScale != 14 { // a scale of 200 counts as 14
		t.Errorf("%+v", syn)
	}
}

// Options that can't be are marked, and those before them stay.
func TestBadOptions(t *testing.T) {
	t.Parallel()
	for _, options := range [][]byte{
		{2, 4, 5, 0xb4, 8, 0, 0, 0},               // a length of 0
		{2, 4, 5, 0xb4, 8, 10, 0, 0},              // longer than what is there
		{2, 4, 5, 0xb4, 1, 1, 1, 8},               // no length
		{2, 4, 5, 0xb4, 3, 4, 0, 0},               // not the length of its kind
		{2, 4, 5, 0xb4, 5, 3, 0, 0},               // half a block
		{2, 4, 5, 0xb4, 5, 2, 1, 1},               // no block
		{2, 4, 5, 0xb4, 4, 3, 0, 0},               // SACK permitted with a value
		{2, 4, 5, 0xb4, 8, 3, 0, 0},               // a timestamp of a byte
		append([]byte{2, 4, 5, 0xb4, 2, 3}, 0, 0), // another MSS, of a byte
	} {
		p := decode(t, packet.Raw, ipv4(6, tcp(1, options, nil)))
		if p.TCP.Options != packet.HasMSS|packet.BadOptions || p.TCP.MSS != 1460 {
			t.Errorf("% x: %+v", options, p.TCP)
		}
	}
}

func TestUDP(t *testing.T) {
	t.Parallel()
	p := decode(t, packet.Ethernet, append(frame(ipv4(17, udp([]byte("hi")))), "padding"...))
	if p.Kind != packet.UDP || string(p.Payload) != "hi" || p.Length != 2 || p.Src.Port() != 5353 || p.Dst.Port() != 53 {
		t.Errorf("%+v", p)
	}
}

func TestExtensionHeaders(t *testing.T) {
	t.Parallel()
	inner := tcp(1, nil, []byte("x"))
	auth := append([]byte{6, 4, 0, 0}, make([]byte, 20)...) // 24 bytes, counted in words less two
	for name, payload := range map[string][]byte{
		"hop by hop":          extension(6, nil, inner),
		"a long one":          extension(6, make([]byte, 30), inner),
		"two":                 extension(60, nil, extension(6, nil, inner)),
		"authentication":      append(auth, inner...),
		"its own fragment":    fragment6(6, 0, 5, inner),
		"hop by hop, no more": extension(6, []byte{1, 4, 0, 0, 0, 0}, inner),
	} {
		next := map[string]byte{"authentication": 51, "its own fragment": 44}[name]
		p := decode(t, packet.Raw, ipv6(next, payload))
		if p.Kind != packet.TCP || string(p.Payload) != "x" || p.IP.Protocol != 6 {
			t.Errorf("%s: kind %d, protocol %d, payload %q", name, p.Kind, p.IP.Protocol, p.Payload)
		}
	}
}

func TestOther(t *testing.T) {
	t.Parallel()
	p := decode(t, packet.Raw, ipv4(47, []byte("gre")))
	if p.Kind != packet.Other || string(p.Payload) != "gre" || p.Src.Addr() != src4 {
		t.Errorf("%+v", p)
	}
	if p := decode(t, packet.Raw, ipv6(1, []byte("ICMP is not of IPv6"))); p.Kind != packet.Other {
		t.Errorf("%+v", p)
	}
}

// Packets of more than 65,535 bytes have 0 in the length field, or a jumbo option.
func TestOffload(t *testing.T) {
	t.Parallel()
	big := make([]byte, 100_000)
	v4 := ipv4(6, tcp(1, nil, big))
	be.PutUint16(v4[2:], 0)
	v6 := ipv6(6, tcp(1, nil, big))
	be.PutUint16(v6[4:], 0)
	jumbo := ipv6(0, extension(6, append([]byte{0xc2, 4}, be.AppendUint32(nil, uint32(8+20+len(big)))...), tcp(1, nil, big)))
	be.PutUint16(jumbo[4:], 0)
	datagram := ipv6(17, udp(big))
	be.PutUint16(datagram[4:], 0)
	be.PutUint16(datagram[40+4:], 0)
	for name, c := range map[string]struct {
		data    []byte
		offload bool
	}{"IPv4": {v4, true}, "IPv6": {v6, true}, "jumbogram": {jumbo, false}, "UDP": {datagram, true}} {
		for _, link := range []packet.LinkType{packet.Raw, packet.Ethernet} {
			data := c.data
			if link == packet.Ethernet {
				data = frame(data)
			}
			p := decode(t, link, data)
			if p.Length != len(big) || len(p.Payload) != len(big) || p.IP.Offload != c.offload {
				t.Errorf("%s: length %d, payload %d, offload %v", name, p.Length, len(p.Payload), p.IP.Offload)
			}
		}
	}
}

func TestICMPErrors(t *testing.T) {
	t.Parallel()
	segment, datagram := tcp(7, nil, []byte("quoted")), udp([]byte("quoted"))
	from := netip.AddrPortFrom(src4, 51213)
	to := netip.AddrPortFrom(dst4, 80)
	from6, to6 := netip.AddrPortFrom(src6, 51213), netip.AddrPortFrom(dst6, 80)
	for _, c := range []struct {
		name string
		data []byte
		want packet.ICMPHeader
	}{
		{
			"port unreachable, 8 bytes quoted", ipv4(1, icmp(3, 3, 0, ipv4(17, datagram)[:28])),
			packet.ICMPHeader{Type: 3, Code: 3, Error: true, Quote: packet.Quote{
				Protocol: 17, Src: netip.AddrPortFrom(src4, 5353), Dst: netip.AddrPortFrom(dst4, 53),
			}},
		},
		{
			"fragmentation needed", ipv4(1, icmp(3, 4, 1400, ipv4(6, segment))),
			packet.ICMPHeader{Type: 3, Code: 4, Error: true, MTU: 1400, Quote: packet.Quote{Protocol: 6, Src: from, Dst: to, Seq: 7, HasSeq: true}},
		},
		{
			"time exceeded, ports only", ipv4(1, icmp(11, 0, 0, ipv4(6, segment)[:24])),
			packet.ICMPHeader{Type: 11, Error: true, Quote: packet.Quote{Protocol: 6, Src: from, Dst: to}},
		},
		{
			"a later fragment has no ports", ipv4(1, icmp(11, 1, 0, ipv4With(17, 1, nil, datagram))),
			packet.ICMPHeader{Type: 11, Code: 1, Error: true, Quote: packet.Quote{Protocol: 17, Src: netip.AddrPortFrom(src4, 0), Dst: netip.AddrPortFrom(dst4, 0)}},
		},
		{"nothing quoted", ipv4(1, icmp(3, 1, 0, nil)), packet.ICMPHeader{Type: 3, Code: 1, Error: true}},
		{"half a header quoted", ipv4(1, icmp(3, 1, 0, ipv4(6, segment)[:19])), packet.ICMPHeader{Type: 3, Code: 1, Error: true}},
		{"half an extension quoted", ipv6(58, icmp(1, 0, 0, ipv6(0, extension(6, nil, nil))[:44])), packet.ICMPHeader{Type: 1, Error: true}},
		{"an echo is no error", ipv4(1, icmp(8, 0, 0, []byte("ping"))), packet.ICMPHeader{Type: 8}},
		{"an echo of IPv6 is none either", ipv6(58, icmp(128, 0, 0, []byte("ping"))), packet.ICMPHeader{Type: 128}},
		{
			"packet too big", ipv6(58, icmp(2, 0, 1280, ipv6(60, extension(6, nil, segment)))),
			packet.ICMPHeader{Type: 2, Error: true, MTU: 1280, Quote: packet.Quote{Protocol: 6, Src: from6, Dst: to6, Seq: 7, HasSeq: true}},
		},
	} {
		p := decode(t, packet.Raw, c.data)
		if p.Kind != packet.ICMP || p.ICMP != c.want {
			t.Errorf("%s: %+v, want %+v", c.name, p.ICMP, c.want)
		}
	}
}

// Each length that can't be is an error, and what was read before stays.
func TestMalformed(t *testing.T) {
	t.Parallel()
	edit := func(data []byte, at int, value byte) []byte {
		data = slices.Clone(data)
		data[at] = value
		return data
	}
	segment := ipv4(6, tcp(1, nil, []byte("payload")))
	datagram := ipv4(17, udp([]byte("payload")))
	segment6 := ipv6(6, tcp(1, nil, nil))
	jumbo := func(length uint32) []byte {
		data := ipv6(0, extension(6, append([]byte{0xc2, 4}, be.AppendUint32(nil, length)...), tcp(1, nil, nil)))
		be.PutUint16(data[4:], 0)
		return data
	}
	var many []byte
	for range 17 {
		many = extension(60, nil, many)
	}
	var tags []byte
	for range 5 {
		tags = vlan(1, 0x8100, tags)
	}
	for _, c := range []struct {
		name string
		link packet.LinkType
		data []byte
		kind packet.Kind
		text string
	}{
		{"empty", packet.Raw, nil, packet.None, "shorter than its headers"},
		{"half an Ethernet header", packet.Ethernet, make([]byte, 13), packet.None, "shorter"},
		{"half a VLAN tag", packet.Ethernet, ethernet(0x8100, []byte{0, 1, 8}), packet.None, "shorter"},
		{"five VLAN tags", packet.Ethernet, ethernet(0x8100, tags), packet.None, "4 VLAN tags"},
		{"half a cooked header", packet.LinuxSLL, make([]byte, 15), packet.None, "shorter"},
		{"half a loopback header", packet.Null, make([]byte, 3), packet.None, "shorter"},
		{"IP version 5", packet.Raw, edit(segment, 0, 0x55), packet.None, "neither 4 nor 6"},
		{"IPv4 of 19 bytes", packet.Raw, segment[:19], packet.None, "shorter"},
		{"IPv4 header length of 16", packet.Raw, edit(segment, 0, 0x44), packet.None, "header length below 20"},
		{"IPv4 options beyond the end", packet.Raw, edit(segment[:24], 0, 0x4f), packet.None, "shorter"},
		{"IPv4 total length of 19", packet.Raw, edit(segment, 3, 19), packet.None, "below its header"},
		{"IPv4 total length beyond the end", packet.Raw, edit(segment, 2, 0xff), packet.None, "beyond the end"},
		{"IPv6 of 39 bytes", packet.Raw, segment6[:39], packet.None, "shorter"},
		{"IPv6 length beyond the end", packet.Raw, edit(segment6, 4, 0xff), packet.None, "beyond the end"},
		{"half an extension", packet.Raw, edit(ipv6(0, []byte{6, 0, 0}), 5, 3), packet.Other, "shorter"},
		{"an extension beyond the end", packet.Raw, ipv6(0, edit(extension(6, nil, nil), 1, 9)), packet.Other, "shorter"},
		{"an authentication header of 4 bytes", packet.Raw, ipv6(51, append([]byte{6, 0xff}, make([]byte, 10)...)), packet.Other, "shorter"},
		{"half a fragment header", packet.Raw, ipv6(44, []byte{6, 0, 0}), packet.Other, "shorter"},
		{"17 extensions", packet.Raw, ipv6(60, many), packet.Other, "16 IPv6 extension"},
		{"a jumbogram of 100 bytes", packet.Raw, jumbo(100), packet.Other, "below 65,536"},
		{"a jumbogram beyond the end", packet.Raw, jumbo(1 << 31), packet.Other, "beyond the end"},
		{"TCP of 19 bytes", packet.Raw, ipv4(6, tcp(1, nil, nil)[:19]), packet.Other, "shorter"},
		{"TCP header length of 16", packet.Raw, edit(segment, 20+12, 0x40), packet.Other, "TCP header length"},
		{"TCP options beyond the end", packet.Raw, edit(segment, 20+12, 0xf0), packet.Other, "shorter"},
		{"UDP of 7 bytes", packet.Raw, ipv4(17, udp(nil)[:7]), packet.Other, "shorter"},
		{"UDP length of 7", packet.Raw, edit(datagram, 20+5, 7), packet.Other, "UDP length"},
		{"UDP length beyond the end", packet.Raw, edit(datagram, 20+4, 9), packet.Other, "UDP length"},
		{"UDP length of 0", packet.Raw, edit(datagram, 20+5, 0), packet.Other, "UDP length"},
		{"ICMP of 7 bytes", packet.Raw, ipv4(1, icmp(3, 1, 0, nil)[:7]), packet.Other, "shorter"},
		{"a fragment beyond 65,535", packet.Raw, ipv4With(17, 0x1fff, nil, make([]byte, 16)), packet.Other, "fragment"},
		{"a fragment of 7 bytes, and more", packet.Raw, ipv4With(17, 0x2000, nil, make([]byte, 7)), packet.Other, "fragment"},
	} {
		var p packet.Packet
		err := p.Decode(c.link, c.data, len(c.data))
		if !errors.Is(err, packet.ErrMalformed) || !contains(err, c.text) || p.Kind != c.kind {
			t.Errorf("%s: %v, kind %d; want %q, kind %d", c.name, err, p.Kind, c.text, c.kind)
		}
		if errors.Is(err, packet.ErrTruncated) {
			t.Errorf("%s: %v is both", c.name, err)
		}
	}
	var p packet.Packet
	if err := p.Decode(9999, segment, len(segment)); !errors.Is(err, packet.ErrLinkType) {
		t.Errorf("an unknown link type: %v", err)
	}
}

func contains(err error, text string) bool {
	return err != nil && strings.Contains(err.Error(), text)
}

// A capture may have the beginning of a packet only. Cut anywhere, what is there is read,
// and no cut is mistaken for a packet that is wrong in itself.
func TestCutByTheCapture(t *testing.T) {
	t.Parallel()
	for _, c := range linkTests {
		var whole packet.Packet
		if err := whole.Decode(c.link, c.data, len(c.data)); err != nil {
			t.Fatal(err)
		}
		for cut := range c.data {
			var p packet.Packet
			err := p.Decode(c.link, c.data[:cut], len(c.data))
			if err != nil && !errors.Is(err, packet.ErrTruncated) {
				t.Errorf("%s, cut after %d bytes: %v", c.name, cut, err)
			}
			if err == nil && (p.Kind != whole.Kind || p.Length != whole.Length || p.Src != whole.Src) {
				t.Errorf("%s, cut after %d bytes: %+v", c.name, cut, p)
			}
		}
	}
	data := ipv4(6, tcp(1, nil, make([]byte, 100)))
	var p packet.Packet
	if err := p.Decode(packet.Raw, data[:60], len(data)); err != nil || p.Length != 100 || len(p.Payload) != 20 {
		t.Errorf("a payload that is cut: %v, length %d, payload %d", err, p.Length, len(p.Payload))
	}
	if err := p.Decode(packet.Raw, data, 1); err != nil || p.Length != 100 {
		t.Errorf("a wire length that can't be: %v, length %d", err, p.Length)
	}
}

func TestDecodeAllocatesNothing(t *testing.T) {
	var p packet.Packet
	for _, c := range linkTests {
		if n := testing.AllocsPerRun(100, func() { p.Decode(c.link, c.data, len(c.data)) }); n != 0 {
			t.Errorf("%s: %v allocations", c.name, n)
		}
	}
	bad := ipv4(6, tcp(1, nil, nil)[:19])
	if n := testing.AllocsPerRun(100, func() { p.Decode(packet.Raw, bad, len(bad)) }); n != 0 {
		t.Errorf("malformed: %v allocations", n)
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	if f := packet.SYN | packet.ACK; !f.Has(packet.SYN) || !f.Has(f) || f.Has(packet.SYN|packet.FIN) {
		t.Error("Has does not want all of the flags")
	}
	for _, c := range []struct{ got, want string }{
		{(packet.SYN | packet.ACK).String(), "SYN, ACK"},
		{packet.ACK.String(), "ACK"},
		{(packet.PSH | packet.ACK).String(), "PSH, ACK"},
		{(packet.FIN | packet.PSH | packet.URG | packet.ECE | packet.CWR | packet.AE | packet.RST).String(), "FIN, RST, PSH, URG, ECE, CWR, AE"},
		{packet.TCPFlags(0).String(), "none"},
		{packet.Unknown.String(), ""},
		{packet.Inbound.String(), "in"},
		{packet.Outbound.String(), "out"},
		{packet.Null.String(), "null"},
		{packet.Ethernet.String(), "ethernet"},
		{packet.RawOld.String(), "raw"},
		{packet.Loop.String(), "loop"},
		{packet.LinuxSLL.String(), "linux_sll"},
		{packet.RawIPv4.String(), "ipv4"},
		{packet.RawIPv6.String(), "ipv6"},
		{packet.LinuxSLL2.String(), "linux_sll2"},
		{packet.LinkType(147).String(), "linktype(147)"},
	} {
		if c.got != c.want {
			t.Errorf("got %q, want %q", c.got, c.want)
		}
	}
}
