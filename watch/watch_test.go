package watch_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
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

func TestDiagram(t *testing.T) {
	t.Parallel()
	m := newMade(t)
	m.echo()
	want := []string{
		"#1 tcp (192.0.2.1:51213, 192.0.2.2:15213)",
		"#1   0.000000 client ──SYN─────────────────▶ server  seq 0 win 1000  SYN: connect()",
		"#1   0.001000 client ◀────────────SYN, ACK── server  seq 0 ack 1 win 1000  the server's kernel accepts",
		"#1   0.002000 client ──ACK─────────────────▶ server  seq 1 ack 1 win 1000  connected: connect() returns, accept() can return",
		`#1   0.003000 client ──PSH, ACK────────────▶ server  seq 1:7 ack 1 win 1000  "hello\n"`,
		`#1   0.004000 client ◀────────────PSH, ACK── server  seq 1:7 ack 7 win 1000  "HELLO\n"`,
		"#1   0.005000 client ──FIN, ACK────────────▶ server  seq 7 ack 7 win 1000  FIN: close() or shutdown(), the client will send no more",
		"#1   0.006000 client ◀────────────FIN, ACK── server  seq 7 ack 8 win 1000  FIN: close() or shutdown(), the server will send no more either",
		"#1   0.007000 client ──ACK─────────────────▶ server  seq 8 ack 8 win 1000  both directions are closed",
		"#1 tcp (192.0.2.1:51213, 192.0.2.2:15213): closed by client, after 7.00 ms",
		"   client sent 6 bytes in 5 segments, RTT 1.00 ms (1.00 ms to 1.00 ms)",
		"   server sent 6 bytes in 3 segments, RTT 1.00 ms (1.00 ms to 1.00 ms)",
		"   handshake 2.00 ms",
		"8 packets in 7.00 ms: 1 flow",
	}
	if got := rows(t, m.file(), new(watch.Diagram)); !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if got := rows(t, m.file(), &watch.Diagram{Brief: true}); !slices.Equal(got, want[9:]) {
		t.Errorf("brief:\n%s", strings.Join(got, "\n"))
	}
	dump := rows(t, m.file(), &watch.Diagram{Hex: true})
	if dump[4] != "#1   0.003000 client ──PSH, ACK────────────▶ server  seq 1:7 ack 1 win 1000" ||
		dump[5] != "      00000000  68 65 6c 6c 6f 0a                                 |hello.|" {
		t.Errorf("with a dump:\n%s", strings.Join(dump, "\n"))
	}
	if got := rows(t, m.file(), &watch.Diagram{Text: -1})[4]; strings.Contains(got, "hello") {
		t.Errorf("without payload: %s", got)
	}
	if got := rows(t, m.file(), &watch.Diagram{Text: 3})[4]; !strings.HasSuffix(got, `"hel…"`) {
		t.Errorf("with three bytes: %s", got)
	}
}

// No byte of the wire's, and none of a comment's, reaches the terminal as it is.
func TestNothingRawIsShown(t *testing.T) {
	t.Parallel()
	hostile := "\x1b]0;owned\a\r\nlevel=info \u202e\x9b\\\xff"
	m := newMade(t)
	m.handshake()
	m.before = func(p *pcap.Packet) { p.Comments = []string{hostile, "SYN: connect()"} }
	m.segment(c, ack, 1, 1, 1000, hostile)
	for _, d := range []*watch.Diagram{{}, {Hex: true}, {Text: 1 << 20}} {
		for _, row := range rows(t, m.file(), d) {
			if strings.ContainsFunc(row, func(r rune) bool { return r < ' ' || r == 0x7f || r == 0x9b || r == '\u202e' || r == '\ufffd' }) {
				t.Errorf("%q", row)
			}
		}
	}
	if got := rows(t, m.file(), &watch.Diagram{Text: 100})[4]; !strings.Contains(got, `"\x1b]0;owned\a\r\nlevel=info \u202e\x9b\\\xff"`) || !strings.Contains(got, `# \x1b]0;owned`) {
		t.Errorf("%s", got)
	}
}

// withSACK gives a segment without options one, with these blocks.
func withSACK(blocks ...[2]uint32) func(*pcap.Packet) {
	return func(p *pcap.Packet) {
		option := []byte{1, 1, 5, byte(2 + 8*len(blocks))}
		for _, b := range blocks {
			option = be.AppendUint32(be.AppendUint32(option, b[0]), b[1])
		}
		p.Data = slices.Insert(bytes.Clone(p.Data), 40, option...)
		p.Length = len(p.Data)
		be.PutUint16(p.Data[2:], uint16(p.Length))
		p.Data[32] += byte(len(option)/4) << 4
	}
}

// What each segment means, in words.
func TestMeanings(t *testing.T) {
	t.Parallel()
	foreign := s
	foreign.ttl = 61
	for _, k := range []struct {
		name string
		play func(m *made)
		want string // in the last row
	}{
		{"a SYN again", func(m *made) {
			m.segment(c, syn, 0, 0, 1000, "")
			m.now = m.now.Add(time.Second)
			m.segment(c, syn, 0, 0, 1000, "")
		}, "SYN again by the timer: no ACK came, after 1.00 s"},
		{"a SYN, ACK again", func(m *made) {
			m.segment(c, syn, 0, 0, 1000, "")
			m.segment(s, syn|ack, 0, 1, 1000, "")
			m.now = m.now.Add(time.Second)
			m.segment(s, syn|ack, 0, 1, 1000, "")
		}, "SYN, ACK again by the timer"},
		{"the same ports", func(m *made) {
			m.handshake()
			again := c
			again.isn += 999
			m.segment(again, syn, 0, 0, 1000, "")
		}, "SYN: connect(), between the ports of an earlier connection"},
		{"data again", func(m *made) {
			m.handshake()
			m.segment(c, ack, 1, 1, 1000, "data")
			m.now = m.now.Add(203 * time.Millisecond)
			m.segment(c, ack, 1, 1, 1000, "data")
		}, "sent again by the timer: no ACK came, after 204 ms"},
		{"data again, at once", func(m *made) {
			m.handshake()
			m.segment(c, ack, 1, 1, 1000, "data")
			m.now = m.now.Add(20 * time.Millisecond)
			m.segment(c, ack, 1, 1, 1000, "data")
		}, "sent again, after 21.0 ms"},
		{"data again for nothing", func(m *made) {
			m.handshake()
			m.segment(c, ack, 1, 1, 1000, "data")
			m.segment(s, ack, 1, 5, 1000, "")
			m.segment(c, ack, 1, 1, 1000, "data")
		}, "sent again for nothing: it was acknowledged before"},
		{"a FIN again", func(m *made) {
			m.handshake()
			m.segment(c, fin, 1, 1, 1000, "")
			m.now = m.now.Add(time.Second)
			m.segment(c, fin, 1, 1, 1000, "")
		}, "FIN again by the timer"},
		{"a gap", func(m *made) {
			m.handshake()
			m.segment(c, ack, 1, 1, 1000, "data")
			m.segment(c, ack, 9, 1, 1000, "data")
		}, "something before it has not come here"},
		{"late, or not", func(m *made) {
			m.handshake()
			m.segment(c, ack, 5, 1, 1000, "behind")
			m.segment(c, ack, 1, 1, 1000, "data")
		}, "late, or sent again"},
		{"sent again, or late", func(m *made) {
			m.handshake()
			m.segment(c, ack, 5, 1, 1000, "behind")
			m.now = m.now.Add(time.Second)
			m.segment(c, ack, 1, 1, 1000, "data")
		}, "sent again, or late"},
		{"a duplicate ACK", func(m *made) {
			m.handshake()
			m.segment(c, ack, 1, 1, 1000, "")
		}, "duplicate ACK 1: something is missing before what came, or it came twice"},
		{"a duplicate ACK behind a gap", func(m *made) {
			m.handshake()
			m.segment(c, ack, 9, 1, 1000, "data")
			m.before = withSACK([2]uint32{c.isn + 9, c.isn + 13})
			m.segment(s, ack, 1, 1, 1000, "")
		}, "duplicate ACK 1: something is missing before what came"},
		{"a duplicate ACK of what came twice", func(m *made) {
			m.handshake()
			m.segment(c, ack, 1, 1, 1000, "data")
			m.segment(s, ack, 1, 5, 1000, "")
			m.segment(c, ack, 1, 1, 1000, "data")
			m.before = withSACK([2]uint32{c.isn + 1, c.isn + 5})
			m.segment(s, ack, 1, 5, 1000, "")
		}, "duplicate ACK 1: bytes came twice, says the receiver"},
		{"a duplicate ACK of what came twice, behind a gap", func(m *made) {
			m.handshake()
			m.segment(c, ack, 1, 1, 1000, "data")
			m.segment(s, ack, 1, 5, 1000, "")
			m.segment(c, ack, 1, 1, 1000, "data")
			m.before = withSACK([2]uint32{c.isn + 1, c.isn + 5}, [2]uint32{c.isn + 9, c.isn + 13})
			m.segment(s, ack, 1, 5, 1000, "")
		}, "duplicate ACK 1: something is missing before what came"},
		{"a simultaneous open", func(m *made) {
			m.segment(c, syn, 0, 0, 1000, "")
			m.segment(s, syn, 0, 0, 1000, "")
			m.segment(c, syn|ack, 0, 1, 1000, "")
		}, "both sides have called connect(): a simultaneous open"},
		{"an ACK of nothing that was seen", func(m *made) {
			m.handshake()
			m.segment(s, ack, 1, 500, 1000, "")
		}, "it acknowledges what was not captured"},
		{"a window of zero", func(m *made) {
			m.handshake()
			m.segment(s, ack, 1, 1, 0, "")
		}, "zero window: the server does not read"},
		{"a probe", func(m *made) {
			m.handshake()
			m.segment(s, ack, 1, 1, 0, "")
			m.segment(c, ack, 1, 1, 1000, "x")
		}, "zero-window probe: is there room again?"},
		{"the answer to a probe", func(m *made) {
			m.handshake()
			m.segment(s, ack, 1, 1, 0, "")
			m.segment(c, ack, 1, 1, 1000, "x")
			m.segment(s, ack, 1, 1, 0, "")
		}, "no room yet"},
		{"a window that opens", func(m *made) {
			m.handshake()
			m.segment(s, ack, 1, 1, 0, "")
			m.segment(s, ack, 1, 1, 500, "")
		}, "window update: there is room"},
		{"a window that is full", func(m *made) {
			m.handshake()
			m.segment(s, ack, 1, 1, 4, "")
			m.segment(c, ack, 1, 1, 1000, "data")
		}, "window full: the sender must wait"},
		{"a keep-alive", func(m *made) {
			m.handshake()
			m.segment(c, ack, 0, 1, 1000, "")
		}, "keep-alive: are you still there?"},
		{"its answer", func(m *made) {
			m.handshake()
			m.segment(s, ack, 1, 1, 1000, "")
			m.segment(c, ack, 0, 1, 1000, "")
			m.segment(s, ack, 1, 1, 1000, "")
		}, "still there"},
		{"refused", func(m *made) {
			m.segment(c, syn, 0, 0, 1000, "")
			m.segment(s, rst|ack, 0, 1, 0, "")
		}, "RST from the server: connection refused: nothing listens there, or a filter says so"},
		{"a foreign reset", func(m *made) {
			m.handshake()
			m.segment(foreign, rst|ack, 1, 1, 0, "")
		}, "a host between may have sent it"},
		{"a reset that does not fit", func(m *made) {
			m.handshake()
			m.segment(s, rst|ack, 500, 1, 0, "")
		}, "it has not the number that is expected, so its receiver may ignore it"},
		{"a second reset", func(m *made) {
			m.handshake()
			m.segment(s, rst|ack, 1, 1, 0, "")
			m.segment(s, rst|ack, 1, 1, 0, "")
		}, "RST once more, from the server"},
		{"an ICMP error", func(m *made) {
			m.write(udp(client, server, "question"))
			m.icmp(3, 3, udp(client, server, "question"))
		}, "client ××ICMP××××××××××××××××× server    ICMP: port unreachable: nothing listens there, says 198.51.100.7"},
		{"datagrams", func(m *made) { m.write(udp(client, server, "question")) }, `length 8  "question"`},
	} {
		m := newMade(t)
		k.play(m)
		var last string
		for _, row := range rows(t, m.file(), new(watch.Diagram)) {
			if strings.Contains(row, " client ") && strings.HasPrefix(row, "#") {
				last = row
			}
		}
		if !strings.Contains(last, k.want) {
			t.Errorf("%s: %s; want %q", k.name, last, k.want)
		}
	}
}

// Of what a capture does not tell by itself.
func TestMeaningsOfEvidence(t *testing.T) {
	t.Parallel()
	for _, k := range []struct {
		e    flow.Event
		want string
	}{
		{flow.Event{Marks: flow.Duplicate}, "the same packet twice: doubled on its way, or by the capture"},
		{flow.Event{Marks: flow.OutOfOrder, Evidence: flow.SentEarlier}, "late: overtaken by what was sent after it"},
		{flow.Event{Marks: flow.Retransmission | flow.Fast, Evidence: flow.BytesSeen, Cause: flow.CauseACKs}, "sent again (fast): the ACKs had asked for it"},
		{flow.Event{Marks: flow.Retransmission, Evidence: flow.SentLater}, "sent again: the first was lost before it came here"},
		{flow.Event{Marks: flow.DuplicateSACK}, "bytes came twice, says the receiver"},
	} {
		k.e.Kind, k.e.Flow, k.e.Packet = flow.Segment, new(flow.Flow), &packet.Packet{TCP: packet.TCPHeader{Flags: packet.ACK}}
		if got := watch.Meaning(&k.e); got != k.want {
			t.Errorf("got %q, want %q", got, k.want)
		}
	}
	e := flow.Event{Kind: flow.ICMPError, From: trace.Server, Packet: &packet.Packet{IP: packet.IPHeader{Version: 4}, ICMP: packet.ICMPHeader{Type: 3, Code: 13}}}
	if got := watch.Meaning(&e); got != "ICMP: prohibited by a filter, says the server's host" {
		t.Error(got)
	}
}

func TestICMPMeaning(t *testing.T) {
	t.Parallel()
	for _, k := range []struct {
		version uint8
		h       packet.ICMPHeader
		want    string
	}{
		{4, packet.ICMPHeader{Type: 3, Code: 1}, "ICMP: host unreachable"},
		{4, packet.ICMPHeader{Type: 3, Code: 4, MTU: 1400}, "ICMP: packet too big: at most 1400 bytes"},
		{4, packet.ICMPHeader{Type: 11}, "ICMP: time exceeded: too many hops, or fragments missing"},
		{4, packet.ICMPHeader{Type: 5, Code: 1}, "ICMP: redirect: there is a better route"},
		{4, packet.ICMPHeader{Type: 3, Code: 99}, "ICMP: type 3, code 99"},
		{6, packet.ICMPHeader{Type: 1, Code: 4}, "ICMP: port unreachable: nothing listens there"},
		{6, packet.ICMPHeader{Type: 2, MTU: 1280}, "ICMP: packet too big: at most 1280 bytes"},
		{6, packet.ICMPHeader{Type: 3}, "ICMP: time exceeded: too many hops, or fragments missing"},
		{6, packet.ICMPHeader{Type: 4}, "ICMP: type 4, code 0"},
	} {
		if got := watch.ICMPMeaning(k.version, &k.h); got != k.want {
			t.Errorf("%d %+v: %q, want %q", k.version, k.h, got, k.want)
		}
	}
}

func TestDuration(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		0: "0 ns", 999: "999 ns", 1000: "1.00 µs", 41_300 * time.Microsecond: "41.3 ms", 1020 * time.Millisecond: "1.02 s",
		9_996 * time.Microsecond: "10.0 ms", 90 * time.Minute: "5400 s", -2 * time.Second: "-2.00 s", 99_960 * time.Microsecond: "100 ms",
	} {
		if got := watch.Duration(d); got != want {
			t.Errorf("%d ns: %q, want %q", d, got, want)
		}
	}
}

// What is recorded is what was shown, with comments; and to record it again changes
// nothing.
func TestRecorder(t *testing.T) {
	t.Parallel()
	m := newMade(t)
	m.write(udp(client, netip.MustParseAddrPort("9.9.9.9:53"), "not asked for"))
	m.before = func(p *pcap.Packet) { p.Direction, p.Comments = packet.Outbound, []string{"somebody's own"} }
	m.echo()
	filter, _ := watch.ParseFilter("15213")
	record := func(file []byte) []byte {
		var out bytes.Buffer
		watched(t, file, &watch.Config{Filter: filter, View: watch.NewRecorder(pcap.NewWriter(&out, nil))})
		return out.Bytes()
	}
	first := record(m.file())
	r, err := pcap.NewReader(bytes.NewReader(first))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for p, err := r.Next(); err == nil; p, err = r.Next() {
		got = append(got, fmt.Sprintf("%v %v %s", p.Direction, p.Comments, p.Interface.Name+"/"+p.Interface.Filter))
	}
	want := []string{
		"out [somebody's own SYN: connect()] tun0/tcp",
		" [the server's kernel accepts] tun0/tcp",
		" [connected: connect() returns, accept() can return] tun0/tcp",
		" [] tun0/tcp", " [] tun0/tcp",
		" [FIN: close() or shutdown(), the client will send no more] tun0/tcp",
		" [FIN: close() or shutdown(), the server will send no more either] tun0/tcp",
		" [both directions are closed] tun0/tcp",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s", strings.Join(got, "\n"))
	}
	if s := r.Interfaces()[0].Statistics; s == nil || s.Delivered != 8 || !s.Start.Equal(began.Add(time.Millisecond)) {
		t.Errorf("%+v", s)
	}
	if second := record(first); !bytes.Equal(first, second) {
		t.Errorf("recorded again it is %d bytes, and was %d", len(second), len(first))
	}
	a, b := rows(t, first, new(watch.Diagram)), rows(t, m.file(), new(watch.Diagram))
	if len(a) != len(b)-5 { // the heading, row and sum of what was not asked for
		t.Errorf("%d rows of %d", len(a), len(b))
	}
}

// What fails while it is shown, or written, ends it.
func TestErrors(t *testing.T) {
	t.Parallel()
	m := newMade(t)
	m.echo()
	for name, v := range map[string]watch.View{
		"a view": broken{}, "views": watch.Views(nil, broken{}, &watch.JSONView{W: io.Discard}),
		"a closed output": &watch.Diagram{W: closedWriter{}}, "JSON": &watch.JSONView{W: closedWriter{}},
		"a full disk": watch.NewRecorder(pcap.NewWriter(closedWriter{}, nil)),
	} {
		r, _ := pcap.NewReader(bytes.NewReader(m.file()))
		if _, err := watch.Watch(t.Context(), watch.File(r), &watch.Config{View: v}); !errors.Is(err, errBroken) {
			t.Errorf("%s: %v", name, err)
		}
	}
	slow := &closesLater{after: 1} // the file's heading is written, the rest is not
	big := newMade(t)
	for range 100 {
		big.write(udp(client, server, strings.Repeat("x", 1400)))
	}
	r, _ := pcap.NewReader(bytes.NewReader(big.file()))
	if _, err := watch.Watch(t.Context(), watch.File(r), &watch.Config{View: watch.NewRecorder(pcap.NewWriter(slow, nil))}); !errors.Is(err, errBroken) {
		t.Errorf("a disk that fills up: %v", err)
	}
	if watch.Views(nil, nil) != nil {
		t.Error("no views are a view")
	}
	cut := m.file()[:len(m.file())-10]
	r, _ = pcap.NewReader(bytes.NewReader(cut))
	sum, err := watch.Watch(t.Context(), watch.File(r), nil)
	if _, ok := errors.AsType[*pcap.TruncatedError](err); !ok || sum.Shown != 7 {
		t.Errorf("a file cut short: %v, %+v", err, sum)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r, _ = pcap.NewReader(bytes.NewReader(m.file()))
	if sum, err := watch.Watch(ctx, watch.File(r), nil); err != nil || sum.Packets != 0 {
		t.Errorf("when nobody wants it: %v, %+v", err, sum)
	}
}

type closedWriter struct{}

func (closedWriter) Write([]byte) (int, error) { return 0, errBroken }

// closesLater takes some writes, and then none.
type closesLater struct{ after int }

func (c *closesLater) Write(p []byte) (int, error) {
	if c.after--; c.after < 0 {
		return 0, errBroken
	}
	return len(p), nil
}

// A live source has nothing to say for a while; then only time goes by, and connections
// that have ended are told of.
func TestLiveSource(t *testing.T) {
	t.Parallel()
	m := newMade(t)
	m.echo()
	r, _ := pcap.NewReader(bytes.NewReader(m.file()))
	var ended []string
	src := &pausing{Source: watch.File(r), pauses: 3}
	sum, err := watch.Watch(t.Context(), src, &watch.Config{
		View: viewFunc(func(e *watch.Event) error {
			if e.Type == watch.FlowEnded {
				ended = append(ended, fmt.Sprint(src.pauses))
			}
			return nil
		}),
		Flow: flow.Config{Ended: func(*flow.Flow) { ended = append(ended, "first") }},
	})
	if err != nil || !slices.Equal(ended, []string{"first", "1"}) {
		t.Errorf("%v, %v", ended, err)
	}
	if text := watch.CaptureSummary(sum); !strings.HasSuffix(text, ", 3 dropped by the capture, 4 unproved: not shown to be yours\n") {
		t.Error(text)
	}
}

// pausing is a source that has pauses of half a second at its end.
type pausing struct {
	watch.Source
	pauses int
	now    time.Time
}

func (p *pausing) Next() (*watch.Packet, error) {
	k, err := p.Source.Next()
	if err != nil && p.pauses > 0 {
		if p.now.IsZero() {
			p.now = p.Source.Now()
		}
		p.pauses--
		p.now = p.now.Add(500 * time.Millisecond)
		return nil, nil
	}
	return k, err
}

func (p *pausing) Now() time.Time { return p.now }

func (p *pausing) Losses() watch.Losses { return watch.Losses{Dropped: 3, Unproved: 4} }

type viewFunc func(*watch.Event) error

func (f viewFunc) Show(e *watch.Event) error { return f(e) }
