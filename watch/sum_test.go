package watch_test

import (
	"bytes"
	"io"
	"net/netip"
	"reflect"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"

	"yodel/trace"
	"yodel/watch"
	"yodel/watch/flow"
	"yodel/watch/packet"
	"yodel/watch/pcap"
)

// Of what can't be read because of its link type the sum says so, each type once.
func TestUnknownLinkTypes(t *testing.T) {
	t.Parallel()
	var file bytes.Buffer
	w := pcap.NewWriter(&file, nil)
	for range 3 {
		for link := range packet.LinkType(8) {
			n, err := w.AddInterface(&pcap.Interface{LinkType: 140 + link})
			if err != nil {
				t.Fatal(err)
			}
			if err := w.WritePacket(n, &pcap.Packet{Time: began, Data: []byte("of a radio")}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	sum := watched(t, file.Bytes(), nil)
	if sum.Broken != 24 || !slices.Equal(sum.LinkTypes, []packet.LinkType{140, 141, 142, 143}) {
		t.Errorf("%+v", sum)
	}
	if text := watch.CaptureSummary(sum); !strings.Contains(text, "24 broken; packets of the link type 140 can't be read: ") {
		t.Errorf("%q", text)
	}
}

// Every packet is in one of the sums.
func TestSum(t *testing.T) {
	t.Parallel()
	m := newMade(t)
	m.echo()                                                            // 8
	m.write(udp(client, server, "question"))                            // 1
	m.icmp(3, 3, udp(client, server, "question"))                       // 1
	m.icmp(3, 3, udp(server, netip.MustParseAddrPort("9.9.9.9:9"), "")) // about nothing that was seen
	m.write(ip(47, 64, client.Addr(), server.Addr(), []byte("tunnel")))
	m.write([]byte{0x45, 0})
	whole := udp(client, server, "a datagram in two pieces")
	first, second := bytes.Clone(whole[:36]), append(bytes.Clone(whole[:20]), whole[36:]...)
	be.PutUint16(first[2:], 36)
	be.PutUint16(first[6:], 0x2000)
	be.PutUint16(second[2:], uint16(len(second)))
	be.PutUint16(second[6:], 2)
	m.write(first)
	m.before = func(p *pcap.Packet) { p.Lost = 5 }
	m.write(second) // shown, as a datagram
	first[5] = 99
	m.write(first) // its rest never comes
	sum := watched(t, m.file(), nil)
	want := watch.Sum{
		Packets: 16, Shown: 11, Other: 1, Stray: 1, Broken: 1, Fragments: 2, Joined: 1, Unjoined: 1, Losses: watch.Losses{Dropped: 5}, Flows: 2,
		First: began, Last: began.Add(15 * time.Millisecond),
	}
	if !reflect.DeepEqual(*sum, want) {
		t.Errorf("got  %+v\nwant %+v", *sum, want)
	}
	filter, _ := watch.ParseFilter("15213", "192.0.2.1", "192.0.2.2:15213")
	sum = watched(t, m.file(), &watch.Config{Filter: filter})
	if sum.Hidden != 2 || sum.Shown != 11 {
		t.Errorf("%+v", sum)
	}
	text := watch.CaptureSummary(sum)
	if text != "16 packets in 15.0 ms: 2 flows, 2 hidden: not asked for, 1 broken, 2 fragments, 1 datagrams of which fragments are missing, 5 dropped by the capture\n" {
		t.Errorf("%q", text)
	}
}

func TestFilter(t *testing.T) {
	t.Parallel()
	p := func(src, dst string) *packet.Packet {
		return &packet.Packet{Kind: packet.TCP, Src: netip.MustParseAddrPort(src), Dst: netip.MustParseAddrPort(dst)}
	}
	icmp := &packet.Packet{Kind: packet.ICMP, Src: netip.MustParseAddrPort("9.9.9.9:0"), ICMP: packet.ICMPHeader{Error: true, Quote: packet.Quote{
		Src: netip.MustParseAddrPort("192.0.2.1:5000"), Dst: netip.MustParseAddrPort("192.0.2.2:80"),
	}}}
	for _, k := range []struct {
		words string
		text  string
		p     *packet.Packet
		want  bool
	}{
		{"", "", p("192.0.2.1:5000", "192.0.2.2:80"), true},
		{"80", "port 80", p("192.0.2.1:5000", "192.0.2.2:80"), true},
		{"80", "port 80", p("192.0.2.2:80", "192.0.2.1:5000"), true},
		{"81", "port 81", p("192.0.2.1:5000", "192.0.2.2:80"), false},
		{"81 80", "port 81, port 80", p("192.0.2.1:5000", "192.0.2.2:80"), true},
		{"smtp", "port 25", p("192.0.2.1:5000", "192.0.2.2:25"), true},
		{"192.0.2.2", "address 192.0.2.2", p("192.0.2.1:5000", "192.0.2.2:80"), true},
		{"192.0.2.3", "address 192.0.2.3", p("192.0.2.1:5000", "192.0.2.2:80"), false},
		{"192.0.2.7/24", "address 192.0.2.0/24", p("192.0.2.1:5000", "9.9.9.9:80"), true},
		{"2001:db8::/32", "address 2001:db8::/32", p("[2001:db8::1]:5000", "[::1]:80"), true},
		{"[::1]", "address ::1", p("[2001:db8::1]:5000", "[::1]:80"), true},
		{"192.0.2.2:80", "socket 192.0.2.2:80", p("192.0.2.1:5000", "192.0.2.2:80"), true},
		{"192.0.2.1:80", "socket 192.0.2.1:80", p("192.0.2.1:5000", "192.0.2.2:80"), false},
		{"[::ffff:192.0.2.2]:80", "socket 192.0.2.2:80", p("192.0.2.1:5000", "192.0.2.2:80"), true},
		{"80 192.0.2.9", "port 80, address 192.0.2.9", p("192.0.2.1:5000", "192.0.2.2:80"), false},
		{"80", "port 80", icmp, true},
		{"81", "port 81", icmp, false},
	} {
		f, err := watch.ParseFilter(strings.Fields(k.words)...)
		if err != nil {
			t.Errorf("%q: %v", k.words, err)
			continue
		}
		if got := f.Match(k.p); got != k.want || f.String() != k.text {
			t.Errorf("%q (%s): %v, want %v, %s", k.words, f.String(), got, k.want, k.text)
		}
	}
	for _, word := range []string{"nosuchservice", "65536", "-1", "192.0.2.300", "192.0.2.1:http", "", "\x1b"} {
		if _, err := watch.ParseFilter(word); err == nil || strings.Contains(err.Error(), "\x1b") {
			t.Errorf("%q: %v", word, err)
		}
	}
}

func TestSummaries(t *testing.T) {
	t.Parallel()
	m := newMade(t)
	m.segment(c, ack, 1, 1, 0, "in the middle")
	m.segment(s, ack, 1, 14, 1000, "")
	m.segment(c, ack, 20, 1, 1000, "more")
	m.icmp(3, 4, m.out.Bytes()[:0])
	m.icmp(3, 4, ip(6, 64, client.Addr(), server.Addr(), be.AppendUint64(nil, uint64(client.Port())<<48|uint64(server.Port())<<32)))
	m.write(udp(client, server, "question"))
	var flows []*flow.Flow
	watched(t, m.file(), &watch.Config{Flow: flow.Config{Ended: func(f *flow.Flow) { flows = append(flows, f) }}})
	flows[0].Evicted = true
	if got, want := watch.FlowSummary(flows[0]), `#1 tcp (192.0.2.1:51213, 192.0.2.2:15213): open, for 4.00 ms
   client sent 23 bytes in 2 segments, 1 zero window, 6 bytes not captured, window zero for 2.00 ms, RTT 1.00 ms (1.00 ms to 1.00 ms)
   server sent 0 bytes in 1 segment
   1 ICMP error, the last from 198.51.100.7
   its beginning was not captured: who is the client is a guess
   forgotten before its end: too many flows at the same time
`; got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	if got, want := watch.FlowSummary(flows[1]), `#2 udp (192.0.2.1:51213, 192.0.2.2:15213): 0 ns
   client sent 1 datagram of 8 bytes
   server sent 0 datagrams of 0 bytes
`; got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	m = newMade(t)
	m.segment(c, syn, 0, 0, 1000, "")
	if got := rows(t, m.file(), &watch.Diagram{Brief: true})[0]; !strings.HasSuffix(got, "nobody answered, for 0 ns") {
		t.Error(got)
	}
	m.segment(s, rst|ack, 0, 1, 0, "")
	if got := rows(t, m.file(), &watch.Diagram{Brief: true}); !strings.HasSuffix(got[0], "refused, after 1.00 ms") || !strings.Contains(got[3], "RST from the server: connection refused") {
		t.Error(got)
	}
	f := &flow.Flow{Network: "tcp", State: flow.Established}
	f.Client.Marks.Add(1<<18 - 1)
	f.Server.RTT = flow.RTT{Count: 1, Sum: time.Second, Min: time.Second, Max: time.Second}
	if got := watch.FlowSummary(f); !strings.Contains(got, "1 retransmission, 1 of them fast, 1 of them spurious, 1 out of order, 1 duplicate ACK, 1 zero window, 1 zero-window probe, 1 filled the window, 1 keep-alive, 1 doubled, 1 RST") {
		t.Error(got)
	}
}

func TestOwner(t *testing.T) {
	t.Parallel()
	m := newMade(t)
	m.echo()
	r, _ := pcap.NewReader(bytes.NewReader(m.file()))
	var out strings.Builder
	if _, err := watch.Watch(t.Context(), owned{watch.File(r)}, &watch.Config{View: &watch.Diagram{W: &out}}); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(out.String(), `#1 tcp (192.0.2.1:51213, 192.0.2.2:15213) of curl\x1b`+"\n") {
		t.Error(out.String())
	}
}

type owned struct{ watch.Source }

func (o owned) Next() (*watch.Packet, error) {
	p, err := o.Source.Next()
	if p != nil {
		p.Owner = "curl\x1b"
	}
	return p, err
}

// endless is a capture of as many bytes as are wanted: packets of many flows, huge ones
// and small ones.
type endless struct {
	packets [][]byte
	left    int64
	at      int
	rest    []byte
}

func (r *endless) Read(p []byte) (int, error) {
	if len(r.rest) == 0 {
		if r.left <= 0 {
			return 0, io.EOF
		}
		r.rest = r.packets[r.at%len(r.packets)]
		be.PutUint32(r.rest[len(r.rest)-r.offset()+12:], uint32(r.at*2654435761)) // another client each time
		r.at++
		r.left -= int64(len(r.rest))
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

func (r *endless) offset() int { return len(r.rest) - 16 }

// A capture of any size is read in 64 MiB: here of 3 GiB. With the race detector, which
// takes memory and time of its own, it is smaller and nothing is measured.
func TestMemory(t *testing.T) {
	size, limit := int64(3<<30), uint64(64<<20)
	if raceDetector() {
		size, limit = 1<<28, 1<<40
	}
	var packets [][]byte
	for _, size := range []int{900_000, 60, 1400, 0, 60, 1400, 60, 1400} {
		m := newMade(t)
		m.segment(c, ack, 1, 1, 1000, strings.Repeat("x", size))
		file := m.file()
		r, _ := pcap.NewReader(bytes.NewReader(file))
		p, _ := r.Next()
		b := make([]byte, 16, 16+len(p.Data))
		be.PutUint32(b, 1_700_000_000)
		be.PutUint32(b[8:], uint32(len(p.Data)))
		be.PutUint32(b[12:], uint32(len(p.Data)))
		packets = append(packets, append(b, p.Data...))
	}
	header := be.AppendUint32(nil, 0xa1b2c3d4)
	header = append(header, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 101)
	src := io.MultiReader(bytes.NewReader(header), &endless{packets: packets, left: size})
	r, err := pcap.NewReader(src)
	if err != nil {
		t.Fatal(err)
	}
	var most uint64
	n := 0
	sum, err := watch.Watch(t.Context(), watch.File(r), &watch.Config{
		Flow: flow.Config{Data: func(*flow.Flow, trace.Side, flow.Piece) {}},
		View: viewFunc(func(*watch.Event) error {
			if n++; n%1000 == 0 {
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				most = max(most, m.HeapInuse+m.StackInuse)
			}
			return nil
		}),
	})
	if err != nil || sum.Shown != sum.Packets || sum.Packets < size/200_000 {
		t.Fatalf("%v, %+v", err, sum)
	}
	if t.Logf("%d packets, %d flows, at most %d MiB", sum.Packets, sum.Flows, most>>20); most > limit {
		t.Errorf("it took %d MiB", most>>20)
	}
}

func raceDetector() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}
