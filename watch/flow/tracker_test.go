package flow_test

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"

	"yodel/trace"
	"yodel/watch/flow"
	"yodel/watch/packet"
)

// datagram gives the tracker a packet of UDP.
func (k *talk) datagram(from, to netip.AddrPort, length int) *flow.Event {
	k.number++
	k.now = k.now.Add(time.Millisecond)
	k.packet = packet.Packet{
		Kind: packet.UDP, Src: from, Dst: to, Length: length,
		IP: packet.IPHeader{Version: 4, Protocol: packet.ProtocolUDP, TTL: 64},
	}
	return k.tracker.Add(k.number, k.now, &k.packet)
}

// icmp gives it an error about a packet from one socket to another.
func (k *talk) icmp(by netip.Addr, protocol uint8, from, to netip.AddrPort) *flow.Event {
	k.number++
	k.now = k.now.Add(time.Millisecond)
	k.packet = packet.Packet{
		Kind: packet.ICMP, Src: netip.AddrPortFrom(by, 0), Dst: netip.AddrPortFrom(from.Addr(), 0),
		IP:   packet.IPHeader{Version: 4, Protocol: packet.ProtocolICMP},
		ICMP: packet.ICMPHeader{Type: 3, Code: 4, MTU: 1400, Error: true, Quote: packet.Quote{Protocol: protocol, Src: from, Dst: to}},
	}
	return k.tracker.Add(k.number, k.now, &k.packet)
}

func TestDatagrams(t *testing.T) {
	t.Parallel()
	k := newTalk(t, nil)
	e := k.datagram(client, server, 30)
	if e.Kind != flow.Datagram || e.From != trace.Client || e.Flow.Network != "udp" || e.Length != 30 || e.Flow.Guessed || e.State != flow.NotTCP {
		t.Errorf("%+v", e)
	}
	if e = k.datagram(server, client, 400); e.From != trace.Server || e.Flow.Number != 1 || e.Since != time.Millisecond {
		t.Errorf("%+v", e)
	}
	k.datagram(client, server, 0)
	f := e.Flow
	if f.Client.Packets != 2 || f.Client.Bytes != 30 || f.Server.Bytes != 400 || f.Server.TTL != 64 || f.Ending() != flow.Datagrams {
		t.Errorf("%+v", f)
	}
	k.after(time.Minute)
	if e = k.datagram(client, server, 1); e.Flow == f || len(k.ended) != 1 || k.ended[0] != f {
		t.Error("after a minute it is the same flow")
	}
	k.tracker.Advance(k.now.Add(2 * time.Minute))
	if k.tracker.Len() != 0 || len(k.ended) != 2 {
		t.Errorf("%d flows, %d ended", k.tracker.Len(), len(k.ended))
	}
}

func TestICMPErrors(t *testing.T) {
	t.Parallel()
	router := netip.MustParseAddr("198.51.100.1")
	k := newTalk(t, nil)
	if e := k.icmp(router, packet.ProtocolUDP, client, server); e != nil || k.tracker.Stats().Stray != 1 {
		t.Errorf("an error about nothing that was seen: %+v", e)
	}
	k.datagram(client, server, 10)
	for _, c := range []struct {
		by       netip.Addr
		from, to netip.AddrPort
		side     trace.Side
	}{
		{router, client, server, ""},
		{server.Addr(), client, server, trace.Server},
		{client.Addr(), server, client, trace.Client},
	} {
		e := k.icmp(c.by, packet.ProtocolUDP, c.from, c.to)
		if e == nil || e.Kind != flow.ICMPError || e.From != c.side || e.Flow.LastICMP != (flow.ICMPInfo{From: c.by, Version: 4, Type: 3, Code: 4, MTU: 1400}) {
			t.Errorf("%+v", e)
		}
	}
	if f := k.ended; len(f) != 0 {
		t.Errorf("%d flows ended", len(f))
	}
	k.tracker.Close()
	if f := k.ended[0]; f.ICMP != 3 || f.Packets() != 4 {
		t.Errorf("%+v", f)
	}
	// Both sides on one host, where addresses do not tell who is who.
	k = newTalk(t, nil)
	a, b := netip.MustParseAddrPort("127.0.0.1:5000"), netip.MustParseAddrPort("127.0.0.1:6000")
	k.datagram(a, b, 1)
	if e := k.icmp(a.Addr(), packet.ProtocolUDP, a, b); e.From != trace.Server {
		t.Errorf("from the %s", e.From)
	}
	if e := k.icmp(a.Addr(), packet.ProtocolUDP, b, a); e.From != trace.Client {
		t.Errorf("from the %s", e.From)
	}
}

func TestWhatIsNoFlow(t *testing.T) {
	t.Parallel()
	k := newTalk(t, nil)
	for _, kind := range []packet.Kind{packet.None, packet.Other, packet.Fragment, packet.ICMP} {
		if e := k.tracker.Add(1, k.now, &packet.Packet{Kind: kind}); e != nil {
			t.Errorf("kind %d: %+v", kind, e)
		}
	}
	if s := k.tracker.Stats(); s.Other != 4 || s.Packets != 0 || s.Flows != 0 {
		t.Errorf("%+v", s)
	}
}

// Ended is called once a connection that has ended is silent, and again if something
// came after that.
func TestEnded(t *testing.T) {
	t.Parallel()
	k := newTalk(t, nil)
	k.handshake()
	k.send(c, fin, 1, 1, "")
	k.send(s, fin, 1, 2, "")
	k.send(c, ack, 2, 2, "")
	k.tracker.Advance(k.now.Add(time.Second - 1))
	if len(k.ended) != 0 {
		t.Error("it was told at once")
	}
	k.after(time.Second).tracker.Advance(k.now)
	if len(k.ended) != 1 || k.ended[0].State != flow.Closed || k.tracker.Len() != 1 {
		t.Fatalf("%d ended", len(k.ended))
	}
	k.after(time.Hour).tracker.Advance(k.now)
	if len(k.ended) != 1 {
		t.Error("it was told twice")
	}
	k.send(s, fin, 1, 2, "") // late
	k.send(c, ack, 2, 2, "")
	k.after(time.Hour).tracker.Advance(k.now)
	if len(k.ended) != 2 || k.ended[1].Packets() != 8 {
		t.Errorf("%d ended", len(k.ended))
	}
	k.tracker.Close()
	k.tracker.Close()
	if len(k.ended) != 2 || k.tracker.Len() != 0 {
		t.Errorf("%d ended, %d flows", len(k.ended), k.tracker.Len())
	}
}

// A flow that is forgotten is told of, and counted.
func TestMaxFlows(t *testing.T) {
	t.Parallel()
	k := newTalk(t, &flow.Config{MaxFlows: 10})
	for i := range 25 {
		from := netip.AddrPortFrom(client.Addr(), uint16(1000+i))
		k.send(c, packet.SYN, 0, 0, "", func(p *packet.Packet) { p.Src = from })
		if i == 8 {
			k.datagram(from, server, 1)
		}
	}
	if k.tracker.Len() != 10 || len(k.ended) != 16 || k.tracker.Stats() != (flow.Stats{Packets: 26, Flows: 26, Evicted: 16}) {
		t.Errorf("%d flows, %d ended, %+v", k.tracker.Len(), len(k.ended), k.tracker.Stats())
	}
	for i, f := range k.ended {
		if !f.Evicted || f.Number != int64(i+1) {
			t.Errorf("flow %d, evicted: %v", f.Number, f.Evicted)
		}
	}
}

// Connections that have ended are told of before too many wait for that.
func TestManyEndedAtOnce(t *testing.T) {
	t.Parallel()
	k := newTalk(t, &flow.Config{MaxFlows: 10, Linger: time.Hour})
	for i := range 100 {
		from := netip.AddrPortFrom(client.Addr(), uint16(1000+i))
		k.send(c, packet.SYN, 0, 0, "", func(p *packet.Packet) { p.Src = from })
		k.send(s, packet.RST|ack, 0, 1, "", func(p *packet.Packet) { p.Dst = from })
	}
	if len(k.ended) != 90 {
		t.Errorf("%d ended", len(k.ended))
	}
}

// What flows hold is bounded: the one that was silent for longest must go, but never the
// one that speaks.
func TestMaxBytes(t *testing.T) {
	t.Parallel()
	k := newTalk(t, &flow.Config{MaxBytes: 100_000})
	for i := range 100 {
		from := netip.AddrPortFrom(client.Addr(), uint16(1000+i))
		for n := range int64(50) { // never acknowledged
			k.send(c, ack, 1+100*n, 1, "12345", func(p *packet.Packet) { p.Src = from })
		}
	}
	if n := k.tracker.Len(); n < 2 || n > 40 {
		t.Errorf("%d flows are known", n)
	}
	k = newTalk(t, &flow.Config{MaxBytes: 1})
	for n := range int64(5) {
		k.send(c, ack, 1+100*n, 1, "12345")
	}
	if k.tracker.Len() != 1 || k.tracker.Stats().Evicted != 0 {
		t.Errorf("%d flows, %+v", k.tracker.Len(), k.tracker.Stats())
	}
}

// Streams come in order, with their gaps; what is acknowledged and was not captured is
// not waited for.
func TestData(t *testing.T) {
	t.Parallel()
	var log []string
	k := newTalk(t, &flow.Config{Data: func(f *flow.Flow, from trace.Side, p flow.Piece) {
		log = append(log, fmt.Sprintf("%s %d %q %d", from, p.Offset, p.Data, p.Missing))
	}})
	k.handshake()
	k.send(c, ack, 1, 1, "abc")
	k.send(c, ack, 7, 1, "ghi")
	k.send(s, ack, 1, 4, "ABC")
	k.send(c, ack, 4, 4, "def") // late
	k.send(c, ack, 13, 4, "mno")
	k.send(s, ack, 4, 16, "")
	k.send(s, ack, 4, 16, "DEF")
	k.send(c, ack, 19, 7, "stu")
	k.send(c, fin, 22, 7, "")
	k.send(s, fin, 7, 10, "")
	k.tracker.Close()
	want := []string{
		`client 0 "abc" 0`, `server 0 "ABC" 0`, `client 3 "def" 0`, `client 6 "ghi" 0`,
		`server 3 "DEF" 0`, `client 9 "" 3`, `client 12 "mno" 0`, `client 15 "" 3`, `client 18 "stu" 0`,
	}
	if strings.Join(log, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(log, "\n"), strings.Join(want, "\n"))
	}
	if f := k.ended[0]; f.Client.Stream != 21 || f.Client.Missing != 6 || f.Server.Stream != 6 {
		t.Errorf("%d bytes, %d missing; %d", f.Client.Stream, f.Client.Missing, f.Server.Stream)
	}

	log = nil // bytes from before the capture, and data with a SYN
	k = newTalk(t, &flow.Config{Data: k.dataTo(&log)})
	k.send(c, ack, 100, 1, "later")
	k.send(c, ack, 97, 1, "xyzla")
	k.send(c, ack, 50, 1, "old")
	k.isn[c] += 5000
	k.send(c, packet.SYN, 0, 0, "with SYN")
	if got := strings.Join(log, " "); got != "later with SYN" {
		t.Errorf("%q", got)
	}
}

func (k *talk) dataTo(log *[]string) func(*flow.Flow, trace.Side, flow.Piece) {
	return func(_ *flow.Flow, _ trace.Side, p flow.Piece) { *log = append(*log, string(p.Data)) }
}

func TestNewID(t *testing.T) {
	t.Parallel()
	n := uint64(40)
	k := newTalk(t, &flow.Config{NewID: func() trace.ConnID { n++; return trace.ConnID{Run: 7, Seq: n} }})
	if id := k.handshake().Flow.ID; id.String() != "00000007-41" {
		t.Error(id)
	}
}

// A stranger who opens connections without end, each with a gap, takes no more memory
// than is allowed.
func TestMemoryIsBounded(t *testing.T) {
	k := newTalk(t, &flow.Config{Ended: func(*flow.Flow) {}, Data: func(*flow.Flow, trace.Side, flow.Piece) {}})
	payload := strings.Repeat("x", 1400)
	var most uint64
	for i := range 50_000 {
		from := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), uint16(i))
		k.send(c, ack, int64(1+5000*(i%3)), 1, payload, func(p *packet.Packet) {
			p.Src = from
			p.TCP.Seq = uint32(i * 5000)
		})
		if i%10 == 0 {
			k.send(c, packet.SYN, int64(i), 0, "", func(p *packet.Packet) { p.Src = from })
		}
		if i%1_000 == 0 {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			most = max(most, m.HeapInuse)
		}
	}
	if most > 48<<20 {
		t.Errorf("the heap grew to %d MiB", most>>20)
	}
	if k.tracker.Stats().Evicted == 0 {
		t.Error("nothing was forgotten")
	}
}

// FuzzTracker makes segments, datagrams and errors of any bytes, between few sockets so
// that they meet.
func FuzzTracker(f *testing.F) {
	f.Add([]byte("\x00\x02\x00\x00\x00\x00\x00\x00\x01\x12\x00\x00\x00\x01\x00\x00\x00\x10\x00\x01\x00\x01\x00\x05"))
	f.Add([]byte(strings.Repeat("\x00\x10\x12\x34\x00\x01\x00\x09\x01\x11\x00\x01\x12\x34\x10\x00", 8)))
	f.Fuzz(func(t *testing.T, in []byte) {
		type stream struct {
			flow int64
			from trace.Side
		}
		offsets := make(map[stream]int64)
		tr := flow.New(&flow.Config{MaxFlows: 2, MaxBytes: 4096, Window: 1000, Data: func(f *flow.Flow, from trace.Side, p flow.Piece) {
			key := stream{f.Number, from}
			if p.Offset != offsets[key] {
				t.Errorf("a piece at %d, after %d", p.Offset, offsets[key])
			}
			offsets[key] = p.Offset + int64(len(p.Data)) + p.Missing
		}})
		now := began
		number, sum := int64(0), int64(0)
		for ; len(in) >= 8; in = in[8:] {
			p := fuzzed(in[:8])
			number++
			now = now.Add(time.Duration(int8(in[6])) * 50 * time.Millisecond) // also back
			e := tr.Add(number, now, p)
			if e == nil {
				continue
			}
			sum++
			if e.Kind == flow.Segment && (e.End < e.Seq || e.Ack < -1 && e.Ack > 1<<40 || e.Flow.Client.Missing < 0 || e.Flow.Client.Stream < 0) {
				t.Errorf("%+v", e)
			}
			if e.Evidence != 0 && e.Marks == 0 {
				t.Errorf("evidence %v for nothing", e.Evidence.Names())
			}
		}
		tr.Close()
		if s := tr.Stats(); s.Packets != sum || tr.Len() != 0 {
			t.Errorf("%+v, %d flows", s, tr.Len())
		}
	})
}

// fuzzed makes a packet of 8 bytes.
func fuzzed(b []byte) *packet.Packet {
	p := &packet.Packet{
		Kind: packet.TCP, Src: client, Dst: server, Length: int(b[7]) * 7, Payload: make([]byte, int(b[7])*int(b[6]%8)),
		IP: packet.IPHeader{Version: 4, Protocol: packet.ProtocolTCP, ID: uint32(b[6])},
		TCP: packet.TCPHeader{
			Flags: packet.TCPFlags(b[1]), Seq: uint32(binary.BigEndian.Uint16(b[2:])) << (b[0] >> 5), Ack: uint32(binary.BigEndian.Uint16(b[4:])),
			Window: uint16(b[0]>>3) * 100, Options: packet.TCPOptions(b[6]), SACKs: b[6] % 5, TSVal: uint32(b[5]),
			SACK: [4]packet.SACKBlock{{Left: uint32(b[2]), Right: uint32(b[3])}, {Left: 1, Right: uint32(b[4])}},
		},
	}
	p.Length = max(p.Length, len(p.Payload))
	if b[0]&1 != 0 {
		p.Src, p.Dst = p.Dst, p.Src
	}
	switch b[0] & 6 {
	case 2:
		p.Src = netip.AddrPortFrom(p.Src.Addr(), uint16(b[2]))
	case 4:
		p.Kind, p.IP.Protocol = packet.UDP, packet.ProtocolUDP
	case 6:
		p.ICMP = packet.ICMPHeader{Error: true, Quote: packet.Quote{Protocol: packet.ProtocolTCP, Src: p.Src, Dst: p.Dst}}
		p.Kind, p.IP.Protocol = packet.ICMP, packet.ProtocolICMP
	}
	return p
}

func BenchmarkTrack(b *testing.B) {
	tr := flow.New(nil)
	data := packet.Packet{
		Kind: packet.TCP, Src: client, Dst: server, Length: 1448, Payload: make([]byte, 1448),
		IP:  packet.IPHeader{Version: 4, Protocol: packet.ProtocolTCP},
		TCP: packet.TCPHeader{Flags: packet.ACK, Window: 1000, Options: packet.HasTimestamps},
	}
	answer := data
	answer.Src, answer.Dst, answer.Length, answer.Payload = server, client, 0, nil
	now := began
	b.ReportAllocs()
	for i := int64(0); b.Loop(); i++ { // two segments and an ACK
		p := &data
		if i%3 == 2 {
			p = &answer
			p.TCP.Ack = data.TCP.Seq
		}
		now = now.Add(10 * time.Microsecond)
		tr.Add(i, now, p)
		data.TCP.Seq += uint32(p.Length)
		data.IP.ID++
		data.TCP.TSVal++
	}
}

// With very many segments under way, an ACK costs no more than with few.
func BenchmarkTrackLongWindow(b *testing.B) {
	tr := flow.New(nil)
	data := packet.Packet{
		Kind: packet.TCP, Src: client, Dst: server, Length: 1448,
		IP:  packet.IPHeader{Version: 4, Protocol: packet.ProtocolTCP},
		TCP: packet.TCPHeader{Flags: packet.ACK, Window: 1000},
	}
	answer := data
	answer.Src, answer.Dst, answer.Length = server, client, 0
	b.ReportAllocs()
	for i := int64(0); b.Loop(); i++ {
		tr.Add(i, began, &data)
		data.TCP.Seq += 1448
		if i > 3000 {
			answer.TCP.Ack = data.TCP.Seq - 3000*1448
			tr.Add(i, began, &answer)
		}
	}
}
