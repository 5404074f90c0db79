package watch_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"yodel/watch"
	"yodel/watch/packet"
	"yodel/watch/pcap"
)

var (
	be     = binary.BigEndian
	began  = time.Date(2026, 5, 6, 7, 8, 9, 0, time.UTC)
	client = netip.MustParseAddrPort("192.0.2.1:51213")
	server = netip.MustParseAddrPort("192.0.2.2:15213")
)

// A made capture: what follows writes packets of raw IP, a millisecond apart.
type made struct {
	t      testing.TB
	out    bytes.Buffer
	w      *pcap.Writer
	now    time.Time
	before func(*pcap.Packet) // changes the next packet
}

func newMade(t testing.TB) *made {
	m := &made{t: t, now: began}
	m.w = pcap.NewWriter(&m.out, nil)
	if _, err := m.w.AddInterface(&pcap.Interface{LinkType: packet.Raw, Name: "tun0", Filter: "tcp"}); err != nil {
		t.Fatal(err)
	}
	return m
}

func (m *made) file() []byte {
	if err := m.w.Flush(); err != nil {
		m.t.Fatal(err)
	}
	return m.out.Bytes()
}

func (m *made) write(data []byte) {
	p := &pcap.Packet{Time: m.now, Data: data, Length: len(data)}
	if m.before != nil {
		m.before(p)
		m.before = nil
	}
	if err := m.w.WritePacket(0, p); err != nil {
		m.t.Fatal(err)
	}
	m.now = m.now.Add(time.Millisecond)
}

// ip is a packet of IPv4.
func ip(protocol byte, ttl byte, from, to netip.Addr, payload []byte) []byte {
	b := make([]byte, 20, 20+len(payload))
	b[0], b[8], b[9] = 0x45, ttl, protocol
	if len(payload) <= 0xffff-20 { // else 0, as offloads have it
		be.PutUint16(b[2:], uint16(20+len(payload)))
	}
	copy(b[12:], from.AsSlice())
	copy(b[16:], to.AsSlice())
	return append(b, payload...)
}

// The sides, with their initial sequence numbers.
type side struct {
	here, there netip.AddrPort
	isn, other  uint32
	ttl         byte
}

var (
	c = side{client, server, 1000, 900_000, 64}
	s = side{server, client, 900_000, 1000, 64}
)

// segment is a segment in relative numbers.
func (m *made) segment(from side, flags packet.TCPFlags, seq, ack int, window uint16, payload string) {
	b := make([]byte, 20, 20+len(payload))
	be.PutUint16(b, from.here.Port())
	be.PutUint16(b[2:], from.there.Port())
	be.PutUint32(b[4:], from.isn+uint32(seq))
	if flags.Has(packet.ACK) {
		be.PutUint32(b[8:], from.other+uint32(ack))
	}
	be.PutUint16(b[12:], 5<<12|uint16(flags))
	be.PutUint16(b[14:], window)
	m.write(ip(packet.ProtocolTCP, from.ttl, from.here.Addr(), from.there.Addr(), append(b, payload...)))
}

func udp(from, to netip.AddrPort, payload string) []byte {
	b := make([]byte, 8, 8+len(payload))
	be.PutUint16(b, from.Port())
	be.PutUint16(b[2:], to.Port())
	be.PutUint16(b[4:], uint16(8+len(payload)))
	return ip(packet.ProtocolUDP, 64, from.Addr(), to.Addr(), append(b, payload...))
}

func (m *made) icmp(typ, code byte, about []byte) {
	m.write(ip(packet.ProtocolICMP, 64, netip.MustParseAddr("198.51.100.7"), client.Addr(), append([]byte{typ, code, 0, 0, 0, 0, 5, 0x78}, about...)))
}

const (
	syn = packet.SYN
	ack = packet.ACK
	fin = packet.FIN | packet.ACK
	rst = packet.RST
)

func (m *made) handshake() {
	m.segment(c, syn, 0, 0, 1000, "")
	m.segment(s, syn|ack, 0, 1, 1000, "")
	m.segment(c, ack, 1, 1, 1000, "")
}

// echo is a whole talk of the lecture's.
func (m *made) echo() {
	m.handshake()
	m.segment(c, ack|packet.PSH, 1, 1, 1000, "hello\n")
	m.segment(s, ack|packet.PSH, 1, 7, 1000, "HELLO\n")
	m.segment(c, fin, 7, 7, 1000, "")
	m.segment(s, fin, 7, 8, 1000, "")
	m.segment(c, ack, 8, 8, 1000, "")
}

// watched shows a file with a view, and returns the sum.
func watched(t testing.TB, file []byte, cfg *watch.Config) *watch.Sum {
	t.Helper()
	r, err := pcap.NewReader(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	sum, err := watch.Watch(context.Background(), watch.File(r), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return sum
}

// rows draws a file, and returns the rows.
func rows(t testing.TB, file []byte, d *watch.Diagram) []string {
	t.Helper()
	var out strings.Builder
	d.W = &out
	watched(t, file, &watch.Config{View: d})
	return strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
}

var errBroken = errors.New("broken")

// broken fails at its first event.
type broken struct{}

func (broken) Show(*watch.Event) error { return errBroken }
