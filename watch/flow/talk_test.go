package flow_test

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"yodel/trace"
	"yodel/watch/flow"
	"yodel/watch/packet"
)

var (
	client = netip.MustParseAddrPort("192.0.2.1:51213")
	server = netip.MustParseAddrPort("192.0.2.2:80")
	began  = time.Unix(1_700_000_000, 0).UTC()
)

// A talk is packets between two sockets, as a test tells them, given to a Tracker.
type talk struct {
	t       *testing.T
	tracker *flow.Tracker
	ended   []*flow.Flow
	number  int64
	now     time.Time
	isn     map[trace.Side]uint32
	packet  packet.Packet
}

func newTalk(t *testing.T, cfg *flow.Config) *talk {
	k := &talk{t: t, now: began, isn: map[trace.Side]uint32{trace.Client: 1000, trace.Server: 900_000}}
	settings := flow.Config{}
	if cfg != nil {
		settings = *cfg
	}
	if settings.Ended == nil {
		settings.Ended = func(f *flow.Flow) { k.ended = append(k.ended, f) }
	}
	k.tracker = flow.New(&settings)
	return k
}

// after lets time go by.
func (k *talk) after(d time.Duration) *talk {
	k.now = k.now.Add(d)
	return k
}

// change is what a segment has beside what every one has.
type change func(p *packet.Packet)

func window(n uint16) change { return func(p *packet.Packet) { p.TCP.Window = n } }

func stamp(n uint32) change {
	return func(p *packet.Packet) { p.TCP.Options |= packet.HasTimestamps; p.TCP.TSVal = n }
}

func id(n uint32) change { return func(p *packet.Packet) { p.IP.ID = n } }

func ttl(n uint8) change { return func(p *packet.Packet) { p.IP.TTL = n } }

func scale(n uint8) change {
	return func(p *packet.Packet) { p.TCP.Options |= packet.HasWindowScale; p.TCP.WindowScale = n }
}

// sack has blocks in the other side's relative numbers.
func (k *talk) sack(from trace.Side, numbers ...int64) change {
	return func(p *packet.Packet) {
		p.TCP.Options |= packet.HasSACK
		p.TCP.SACKs = uint8(len(numbers) / 2)
		for i := range p.TCP.SACKs {
			base := k.isn[other(from)]
			p.TCP.SACK[i] = packet.SACKBlock{Left: base + uint32(numbers[2*i]), Right: base + uint32(numbers[2*i+1])}
		}
	}
}

func other(s trace.Side) trace.Side {
	if s == trace.Client {
		return trace.Server
	}
	return trace.Client
}

// send gives the tracker a segment, in relative numbers, a millisecond after the one
// before. Without ACK in flags ack is not used.
func (k *talk) send(from trace.Side, flags packet.TCPFlags, seq, ack int64, payload string, changes ...change) *flow.Event {
	k.t.Helper()
	k.number++
	k.now = k.now.Add(time.Millisecond)
	k.packet = packet.Packet{
		Kind: packet.TCP, Src: client, Dst: server, Payload: []byte(payload), Length: len(payload),
		IP: packet.IPHeader{Version: 4, Protocol: packet.ProtocolTCP, TTL: 64},
		TCP: packet.TCPHeader{
			Flags: flags, Seq: k.isn[from] + uint32(seq), Window: 1000,
		},
	}
	p := &k.packet
	if flags.Has(packet.ACK) {
		p.TCP.Ack = k.isn[other(from)] + uint32(ack)
	}
	if from == trace.Server {
		p.Src, p.Dst = p.Dst, p.Src
	}
	for _, c := range changes {
		c(p)
	}
	e := k.tracker.Add(k.number, k.now, p)
	if e == nil {
		k.t.Fatalf("packet %d is no event", k.number)
	}
	if e.Number != k.number || !e.Time.Equal(k.now) || e.Packet != p || e.Kind != flow.Segment {
		k.t.Errorf("packet %d: %+v", k.number, e)
	}
	return e
}

// handshake opens the connection, with windows that are scaled by 2^2.
func (k *talk) handshake() *flow.Event {
	k.t.Helper()
	k.send(trace.Client, packet.SYN, 0, 0, "", scale(2))
	k.send(trace.Server, packet.SYN|packet.ACK, 0, 1, "", scale(2))
	return k.send(trace.Client, packet.ACK, 1, 1, "")
}

const (
	c   = trace.Client
	s   = trace.Server
	ack = packet.ACK
	fin = packet.FIN | packet.ACK
)

// want holds the marks of an event against a text: "marks", or "marks (evidence)".
func want(t *testing.T, e *flow.Event, text string) {
	t.Helper()
	got := strings.Join(e.Marks.Names(), " ")
	if names := e.Evidence.Names(); len(names) > 0 {
		got += " (" + strings.Join(names, " ") + ")"
	}
	if got != text {
		t.Errorf("packet %d: %s; want %s", e.Number, got, text)
	}
}
