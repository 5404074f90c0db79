package packet_test

import (
	"testing"

	"yodel/watch/packet"
)

func BenchmarkDecode(b *testing.B) {
	for _, c := range []struct {
		name string
		data []byte
	}{
		{"tcp4", frame(ipv4(packet.ProtocolTCP, tcp(20, nil, make([]byte, 1448))))},
		{"tcp4, all options", frame(ipv4(packet.ProtocolTCP, tcp(0, allOptions, make([]byte, 1448))))},
		{"tcp6", frame6(ipv6(packet.ProtocolTCP, tcp(20, nil, make([]byte, 1428))))},
		{"udp4", frame(ipv4(packet.ProtocolUDP, udp(make([]byte, 512))))},
	} {
		b.Run(c.name, func(b *testing.B) {
			var p packet.Packet
			b.SetBytes(int64(len(c.data)))
			b.ReportAllocs()
			for b.Loop() {
				if err := p.Decode(packet.Ethernet, c.data, len(c.data)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
