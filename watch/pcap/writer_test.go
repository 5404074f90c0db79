package pcap_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"yodel/watch/packet"
	"yodel/watch/pcap"
)

// sample writes a file with all that a Writer can write.
func sample(t testing.TB) []byte {
	t.Helper()
	var out bytes.Buffer
	w := pcap.NewWriter(&out, &pcap.Section{Hardware: "amd64", OS: "linux", Application: "yodel", Comment: "a test"})
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	eth, err := w.AddInterface(&pcap.Interface{LinkType: packet.Ethernet, SnapLen: 65535, Name: "eth0", Description: "a cable", Filter: "tcp port 80", OS: "Linux 6"})
	must(err)
	must(w.WriteNames([]pcap.Name{
		{netip.MustParseAddr("192.0.2.1"), "a.test"},
		{netip.MustParseAddr("2001:db8::1"), "a.test"},
		{netip.Addr{}, "nobody"},
		{netip.IPv4Unspecified(), "with\x00NUL"},
		{netip.IPv4Unspecified(), ""},
	}))
	must(w.WritePacket(eth, &pcap.Packet{Time: at, Direction: packet.Outbound, Data: []byte(ether), Length: 1400, Comments: []string{"first", "second, with \xff"}}))
	tun, err := w.AddInterface(&pcap.Interface{LinkType: packet.Raw, Name: "tun0"})
	must(err)
	must(w.WritePacket(tun, &pcap.Packet{Time: at.Add(1), Direction: packet.Inbound, Data: []byte(ether)[14:], Lost: 3}))
	must(w.WritePacket(tun, &pcap.Packet{Data: []byte("E")}))
	s := pcap.NoStatistics()
	s.Start, s.End, s.Received, s.OSDropped, s.Accepted, s.Delivered, s.Dropped = at, at.Add(time.Second), 10, 3, 9, 1, 0
	s.Comment = "of all interfaces"
	must(w.WriteStatistics(eth, at.Add(time.Second), &s))
	must(w.Flush())
	return out.Bytes()
}

// ether is a UDP datagram in a frame.
const ether = "\x02\x00\x00\x00\x00\x01\x02\x00\x00\x00\x00\x02\x08\x00" +
	"E\x00\x00\x21\x00\x01\x00\x00\x40\x11\x00\x00\xc0\x00\x02\x01\xc0\x00\x02\x02" +
	"\x10\x00\x20\x00\x00\x0d\x00\x00hello"

func TestWriterIsReadBack(t *testing.T) {
	t.Parallel()
	all, r := mustRead(t, sample(t))
	if r.Section() != (pcap.Section{Hardware: "amd64", OS: "linux", Application: "yodel", Comment: "a test"}) {
		t.Errorf("%+v", r.Section())
	}
	eth, tun := r.Interfaces()[0], r.Interfaces()[1]
	if eth.Name != "eth0" || eth.Description != "a cable" || eth.Filter != "tcp port 80" || eth.OS != "Linux 6" || eth.SnapLen != 65535 || tun.LinkType != packet.Raw {
		t.Errorf("%+v %+v", eth, tun)
	}
	for i, want := range []pcap.Packet{
		{Interface: eth, Time: at, Direction: packet.Outbound, Data: []byte(ether), Length: 1400, Comments: []string{"first", "second, with ?"}},
		{Interface: tun, Time: at.Add(1), Direction: packet.Inbound, Data: []byte(ether)[14:], Length: len(ether) - 14, Lost: 3},
		{Interface: tun, Time: time.Unix(0, 0).UTC(), Data: []byte("E"), Length: 1},
	} {
		want.Number = int64(i + 1)
		if got := fmt.Sprintf("%+v", all[i]); got != fmt.Sprintf("%+v", want) {
			t.Errorf("packet %d:\ngot  %s\nwant %+v", i+1, got, want)
		}
	}
	names := []pcap.Name{{netip.MustParseAddr("192.0.2.1"), "a.test"}, {netip.MustParseAddr("2001:db8::1"), "a.test"}}
	if !slices.Equal(r.Names(), names) {
		t.Errorf("names %v", r.Names())
	}
	want := pcap.Statistics{Start: at, End: at.Add(time.Second), Received: 10, Dropped: 0, Accepted: 9, OSDropped: 3, Delivered: 1, Comment: "of all interfaces"}
	if *eth.Statistics != want {
		t.Errorf("statistics %+v", eth.Statistics)
	}
}

func TestWriterWithoutSection(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	w := pcap.NewWriter(&out, nil)
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	all, r := mustRead(t, out.Bytes())
	if len(all) != 0 || r.Section() != (pcap.Section{}) {
		t.Errorf("%+v", r.Section())
	}
	if err := w.WritePacket(0, &pcap.Packet{}); !errors.Is(err, pcap.ErrNoInterface) {
		t.Errorf("a packet of no interface: %v", err)
	}
	if err := w.WriteStatistics(-1, at, new(pcap.Statistics)); !errors.Is(err, pcap.ErrNoInterface) {
		t.Errorf("statistics of no interface: %v", err)
	}
}

// Texts that are too long for the file are cut between characters.
func TestWriterCutsTexts(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	w := pcap.NewWriter(&out, nil)
	n, _ := w.AddInterface(&pcap.Interface{})
	w.WritePacket(n, &pcap.Packet{Comments: []string{strings.Repeat("ü", 40_000)}})
	many := slices.Repeat([]pcap.Name{{netip.IPv4Unspecified(), strings.Repeat("n", 5000)}}, 40)
	w.WriteNames(many)
	nothing := pcap.NoStatistics()
	w.WriteStatistics(n, at, &nothing)
	w.Flush()
	all, r := mustRead(t, out.Bytes())
	if got := r.Interfaces()[0].Statistics; *got != nothing {
		t.Errorf("%+v", got)
	}
	if c := all[0].Comments[0]; len(c) != 65534 || c != strings.Repeat("ü", 32767) {
		t.Errorf("a comment of %d bytes", len(c))
	}
	if n := len(r.Names()); n == 0 || n >= len(many) {
		t.Errorf("%d names", n)
	}
}

// What fails once has failed.
func TestWriterKeepsItsError(t *testing.T) {
	t.Parallel()
	r, in := io.Pipe()
	r.CloseWithError(errors.New("disk full"))
	w := pcap.NewWriter(in, nil)
	n, err := w.AddInterface(&pcap.Interface{})
	if err != nil {
		t.Fatal(err)
	}
	for range 100 {
		err = w.WritePacket(n, &pcap.Packet{Data: make([]byte, 1000)})
	}
	if err == nil || !strings.Contains(err.Error(), "disk full") || w.Flush() != err {
		t.Errorf("%v", err)
	}
}

func TestWritingAllocatesNothing(t *testing.T) {
	w := pcap.NewWriter(io.Discard, nil)
	n, _ := w.AddInterface(&pcap.Interface{})
	p := &pcap.Packet{Time: at, Direction: packet.Inbound, Data: make([]byte, 1400)}
	if allocs := testing.AllocsPerRun(1000, func() { w.WritePacket(n, p) }); allocs != 0 {
		t.Errorf("%v allocations a packet", allocs)
	}
}

func BenchmarkWrite(b *testing.B) {
	w := pcap.NewWriter(io.Discard, nil)
	n, _ := w.AddInterface(&pcap.Interface{})
	p := &pcap.Packet{Time: at, Direction: packet.Inbound, Data: make([]byte, 1400)}
	b.SetBytes(1400)
	b.ReportAllocs()
	for b.Loop() {
		w.WritePacket(n, p)
	}
}

func BenchmarkRead(b *testing.B) {
	o := orders[0]
	data := strings.Repeat("x", 1400)
	for name, file := range map[string][]byte{
		"pcap":   append(classic(o, 0xa1b2c3d4), bytes.Repeat(record(o, 1, 1, 1400, 1400, []byte(data)), 10_000)...),
		"pcapng": slices.Concat(section(o), device(o, 1), bytes.Repeat(enhanced(o, 0, 1, data, option(o, 2, "\x01\x00\x00\x00")), 10_000)),
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(1400)
			b.ReportAllocs()
			var r *pcap.Reader
			for i := 0; b.Loop(); i++ {
				if i%10_000 == 0 {
					r, _ = pcap.NewReader(bytes.NewReader(file))
				}
				if _, err := r.Next(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
