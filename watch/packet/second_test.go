package packet_test

import (
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"yodel/watch/packet"
)

// gopacket's decoders are a second opinion: on packets that are right both must say the
// same; on packets that are damaged ours must not see what theirs does not.

// opinion is what both can be asked.
type opinion struct {
	kind     packet.Kind
	src, dst netip.AddrPort
	seq, ack uint32
	window   uint16
	flags    packet.TCPFlags
	mss      uint16
	scale    uint8
	stamp    uint32
	payload  string
}

func ours(data []byte) (opinion, error) {
	var p packet.Packet
	err := p.Decode(packet.Ethernet, data, len(data))
	return opinion{
		p.Kind, p.Src, p.Dst, p.TCP.Seq, p.TCP.Ack, p.TCP.Window, p.TCP.Flags,
		p.TCP.MSS, p.TCP.WindowScale, p.TCP.TSVal, string(p.Payload),
	}, err
}

func theirs(data []byte) (o opinion, failed bool) {
	p := gopacket.NewPacket(data, layers.LayerTypeEthernet, gopacket.DecodeOptions{NoCopy: true})
	var src, dst netip.Addr
	switch ip := p.NetworkLayer().(type) {
	case *layers.IPv4:
		src, _ = netip.AddrFromSlice(ip.SrcIP)
		dst, _ = netip.AddrFromSlice(ip.DstIP)
	case *layers.IPv6:
		src, _ = netip.AddrFromSlice(ip.SrcIP)
		dst, _ = netip.AddrFromSlice(ip.DstIP)
	}
	switch l := p.TransportLayer().(type) {
	case *layers.TCP:
		o = theirTCP(l)
		o.src, o.dst = netip.AddrPortFrom(src, uint16(l.SrcPort)), netip.AddrPortFrom(dst, uint16(l.DstPort))
	case *layers.UDP:
		o = opinion{kind: packet.UDP, payload: string(l.Payload)}
		o.src, o.dst = netip.AddrPortFrom(src, uint16(l.SrcPort)), netip.AddrPortFrom(dst, uint16(l.DstPort))
	}
	return o, p.ErrorLayer() != nil || p.Metadata().Truncated
}

func theirTCP(l *layers.TCP) opinion {
	o := opinion{kind: packet.TCP, seq: l.Seq, ack: l.Ack, window: l.Window, payload: string(l.Payload)}
	for i, set := range []bool{l.FIN, l.SYN, l.RST, l.PSH, l.ACK, l.URG, l.ECE, l.CWR, l.NS} {
		if set {
			o.flags |= 1 << i
		}
	}
	for _, option := range l.Options {
		switch v := option.OptionData; {
		case option.OptionType == layers.TCPOptionKindMSS && len(v) == 2:
			o.mss = be.Uint16(v)
		case option.OptionType == layers.TCPOptionKindWindowScale && len(v) == 1:
			o.scale = min(v[0], 14)
		case option.OptionType == layers.TCPOptionKindTimestamps && len(v) == 8:
			o.stamp = be.Uint32(v)
		}
	}
	return o
}

// random makes a packet that is right, by gopacket.
func random(t *testing.T, r *rand.Rand) []byte {
	t.Helper()
	bytes := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		return b
	}
	eth := &layers.Ethernet{SrcMAC: bytes(6), DstMAC: bytes(6), EthernetType: layers.EthernetTypeIPv4}
	all := []gopacket.SerializableLayer{eth}
	if r.IntN(3) == 0 {
		eth.EthernetType = layers.EthernetTypeDot1Q
		all = append(all, &layers.Dot1Q{VLANIdentifier: uint16(r.IntN(4096)), Type: layers.EthernetTypeIPv4})
	}
	transport, protocol := layers.IPProtocolTCP, gopacket.SerializableLayer(randomTCP(r, bytes))
	if r.IntN(3) == 0 {
		transport = layers.IPProtocolUDP
		protocol = &layers.UDP{SrcPort: layers.UDPPort(1 + r.IntN(65535)), DstPort: layers.UDPPort(50000 + r.IntN(1000))}
	}
	if r.IntN(2) == 0 {
		all = append(all, &layers.IPv4{Version: 4, TTL: 1, Protocol: transport, SrcIP: bytes(4), DstIP: bytes(4)})
	} else {
		if v, ok := all[len(all)-1].(*layers.Dot1Q); ok {
			v.Type = layers.EthernetTypeIPv6
		} else {
			eth.EthernetType = layers.EthernetTypeIPv6
		}
		all = append(all, &layers.IPv6{Version: 6, NextHeader: transport, SrcIP: bytes(16), DstIP: bytes(16)})
	}
	all = append(all, protocol, gopacket.Payload(bytes(r.IntN(100))))
	buf := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true}, all...); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func randomTCP(r *rand.Rand, bytes func(int) []byte) *layers.TCP {
	l := &layers.TCP{
		SrcPort: layers.TCPPort(1 + r.IntN(65535)), DstPort: layers.TCPPort(50000 + r.IntN(1000)),
		Seq: r.Uint32(), Ack: r.Uint32(), Window: uint16(r.Uint32()), Urgent: uint16(r.Uint32()),
		SYN: r.IntN(2) == 0, ACK: r.IntN(2) == 0, FIN: r.IntN(2) == 0, RST: r.IntN(2) == 0, PSH: r.IntN(2) == 0,
		ECE: r.IntN(2) == 0, NS: r.IntN(2) == 0,
	}
	for _, option := range []layers.TCPOption{
		{OptionType: layers.TCPOptionKindMSS, OptionLength: 4, OptionData: bytes(2)},
		{OptionType: layers.TCPOptionKindWindowScale, OptionLength: 3, OptionData: bytes(1)},
		{OptionType: layers.TCPOptionKindNop, OptionLength: 1},
		{OptionType: layers.TCPOptionKindTimestamps, OptionLength: 10, OptionData: bytes(8)},
		{OptionType: layers.TCPOptionKindSACKPermitted, OptionLength: 2},
	} {
		if r.IntN(2) == 0 {
			l.Options = append(l.Options, option)
		}
	}
	return l
}

func TestSecondOpinion(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(3, 4))
	for range 2000 {
		data := random(t, r)
		us, err := ours(data)
		them, failed := theirs(data)
		if err != nil || failed || us != them {
			t.Fatalf("% x:\nours   %+v, %v\ntheirs %+v, failed: %v", data, us, err, them, failed)
		}
	}
}

// Damaged packets: what both still take for whole they must read in the same way.
func TestSecondOpinionOnDamage(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(5, 6))
	agreed := 0
	for range 20_000 {
		data := random(t, r)
		data[14+r.IntN(len(data)-14)] ^= 1 << r.IntN(8)
		us, err := ours(data)
		them, failed := theirs(data)
		if err != nil || failed || us.kind != packet.TCP && us.kind != packet.UDP || us.kind != them.kind {
			continue // one of them does not want it
		}
		agreed++
		if us != them {
			t.Fatalf("% x:\nours   %+v\ntheirs %+v", data, us, them)
		}
	}
	if agreed < 1000 {
		t.Errorf("both read %d packets only", agreed)
	}
}
