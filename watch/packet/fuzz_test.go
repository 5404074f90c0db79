package packet_test

import (
	"errors"
	"testing"
	"time"

	"yodel/watch/packet"
)

var linkTypes = []packet.LinkType{
	packet.Null, packet.Ethernet, packet.Raw, packet.Loop, packet.LinuxSLL, packet.LinuxSLL2, 147,
}

// FuzzDecode wants of any bytes that they are read without a panic, that a payload is
// part of them, and that a length is one that can be.
func FuzzDecode(f *testing.F) {
	for i, c := range linkTests {
		f.Add(uint8(i), uint16(0), c.data)
	}
	for _, data := range [][]byte{
		ipv4(6, tcp(1, allOptions, []byte("hello"))),
		ipv4(6, tcp(1, synOptions, nil)),
		ipv4(1, icmp(3, 3, 0, ipv4(17, udp(nil)))),
		ipv6(58, icmp(2, 0, 1280, ipv6(60, extension(6, nil, tcp(1, nil, nil))))),
		ipv6(0, extension(44, []byte{0xc2, 4, 0, 1, 0, 0}, fragment6(6, 9, 1, nil))),
		ipv4With(17, 0x2001, []byte{1, 1, 1, 0}, udp(make([]byte, 8))),
	} {
		f.Add(uint8(2), uint16(0), data)
		f.Add(uint8(2), uint16(1000), data)
	}
	f.Fuzz(func(t *testing.T, link uint8, more uint16, data []byte) {
		var p packet.Packet
		before := string(data)
		err := p.Decode(linkTypes[int(link)%len(linkTypes)], data, len(data)+int(more))
		if err != nil && !errors.Is(err, packet.ErrMalformed) && !errors.Is(err, packet.ErrTruncated) && !errors.Is(err, packet.ErrLinkType) {
			t.Errorf("error %v", err)
		}
		if errors.Is(err, packet.ErrTruncated) && more == 0 {
			t.Errorf("%v, and nothing is missing", err)
		}
		if string(data) != before {
			t.Error("the data was changed")
		}
		if p.Length < len(p.Payload) || p.Length > len(data)+int(more) {
			t.Errorf("length %d, payload %d, of %d and %d bytes", p.Length, len(p.Payload), len(data), more)
		}
		if (p.Kind == packet.None) == p.Src.Addr().IsValid() || int(p.TCP.SACKs) > len(p.TCP.SACK) {
			t.Errorf("%+v", p)
		}
	})
}

// FuzzDefragmenter gives it fragments that it makes of any bytes: pieces of one datagram,
// each with its place and length in two bytes.
func FuzzDefragmenter(f *testing.F) {
	f.Add([]byte{0, 3, 3, 0x82}, true)
	f.Add([]byte{0, 3, 1, 3, 2, 0x81, 9, 9}, false)
	f.Fuzz(func(t *testing.T, places []byte, six bool) {
		var d packet.Defragmenter
		content := numbers(64 * 8)
		for i := 0; i+1 < len(places); i += 2 {
			from, size := int(places[i]%64)*8, int(places[i+1]%16)*8
			piece := content[from:min(from+size, len(content))]
			more := uint16(1)
			if places[i+1]&0x80 != 0 {
				more = 0
			}
			data := ipv4With(47, uint16(from/8)|more<<13, nil, piece)
			if six {
				data = ipv6(44, fragment6(47, uint16(from)|more, 1, piece))
			}
			var p packet.Packet
			if p.Decode(packet.Raw, data, len(data)) != nil || p.Kind != packet.Fragment {
				continue
			}
			whole, err := d.Add(began.Add(time.Duration(i)*time.Second/4), &p)
			if err != nil {
				t.Fatal(err)
			}
			if whole && string(p.Payload) != string(content[:len(p.Payload)]) {
				t.Error("the datagram is not what its pieces were")
			}
		}
	})
}
