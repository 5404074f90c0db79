package call

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"yodel/sock"
	"yodel/trace"
	"yodel/yodeltest"
)

// noon is when the examples' calls begin.
var noon = time.Date(2026, time.January, 2, 12, 0, 0, 0, time.UTC)

func after(us int64) time.Time { return noon.Add(time.Duration(us) * time.Microsecond) }

// aCall is all that can happen in one call.
func aCall() []*Event {
	id := trace.ConnID{Run: 0x0f31c9aa, Seq: 17}
	local, remote := netip.MustParseAddrPort("192.0.2.1:51213"), netip.MustParseAddrPort("192.0.2.2:7")
	events := []*Event{
		{Type: Connecting, Time: after(0), Remote: remote},
		{
			Type: Connected, Time: after(1500), Local: local, Remote: remote,
			Phases: sock.Phases{Resolve: time.Millisecond, Connect: 400500 * time.Nanosecond},
		},
		{Type: Sent, Time: after(2000), Data: []byte("hello\nthere")},
		{Type: Received, Time: after(2100), Data: []byte("HELLO\nTHERE\x1b[2J\xff\u202e 0123456789abcdef\r\n"), Offset: 0},
		{Type: Sent, Time: after(2200), Data: []byte("!"), Offset: 11},
		{Type: Shutdown, Time: after(2300)},
		{Type: EOF, Time: after(2400)},
		{Type: Closed, Time: after(2500), End: trace.EndPeer, In: 40, Out: 12, Late: 1, Took: time.Millisecond},
		{Type: Checked, Time: after(2600), Verified: Verified{Sent: 12, Right: 5, Took: time.Second}, Err: &MismatchError{5, 'a', 'b'}},
	}
	for _, e := range events {
		e.Conn, e.Target, e.Network = id, target, "tcp"
	}
	return events
}

func shown(t *testing.T, v View, b *bytes.Buffer, events []*Event) string {
	t.Helper()
	for _, e := range events {
		if err := v.Show(e); err != nil {
			t.Fatal(err)
		}
	}
	return b.String()
}

func wantText(t *testing.T, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestStatusView(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	wantText(t, shown(t, &StatusView{W: &b, EscapeKey: true}, &b, aCall()), `Trying 192.0.2.2...
Connected to server.example.
Socket pair (192.0.2.1:51213, 192.0.2.2:7).
Escape character is '^]'.
Connection closed by peer; 12 bytes sent, 40 received, in 1ms.
1 byte sent after the peer had ended its direction: whether that was read cannot be told.
`)
}

func TestStatusViewOtherWays(t *testing.T) {
	t.Parallel()
	unix := sock.Address{Network: "unix", Path: "/run/\x1b.sock"}
	tests := map[string]Event{
		"Trying /run/\\x1b.sock...\n":              {Type: Connecting, Network: "unix", Target: unix, Path: unix.Path},
		"Trying server.example:7...\n":             {Type: Connecting, Network: "tcp", Target: target},
		"Connected to /run/\\x1b.sock.\n":          {Type: Connected, Network: "unix", Target: unix, Path: unix.Path},
		"Connected to :7.\n":                       {Type: Connected, Network: "tcp", Target: sock.Address{Port: 7}},
		"Sending to server.example.\n":             {Type: Connected, Network: "udp", Target: target},
		"Done; 0 bytes sent, 0 received, in 0s.\n": {Type: Closed, Network: "udp", Target: target, End: trace.EndHere},
		"": {Type: Sent, Data: []byte("not shown")},
		"Connection reset by peer; 0 bytes sent, 0 received, in 12.3ms.\n":                {Type: Closed, End: trace.EndReset, Err: io.EOF, Took: 12345 * time.Microsecond},
		"Connection ended: peer vanished; 0 bytes sent, 0 received, in 1m2.3s.\n":         {Type: Closed, End: trace.EndVanished, Took: 62345 * time.Millisecond},
		"Connection ended: fault: bad \\x1b thing; 0 bytes sent, 0 received, in 123µs.\n": {Type: Closed, End: trace.EndFault, Err: errors.New("bad \x1b thing"), Took: 123456 * time.Nanosecond},
	}
	for want, e := range tests {
		var b bytes.Buffer
		wantText(t, shown(t, &StatusView{W: &b}, &b, []*Event{&e}), want)
	}
	if err := (&StatusView{W: &failAfter{0}}).Show(&Event{Type: Connected}); err != nil {
		t.Errorf("a closed stderr ends the call: %v", err)
	}
}

func TestTextViewPlain(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	wantText(t, shown(t, &TextView{W: &b}, &b, aCall()), `> hello\n
> there
< HELLO\n
< THERE\x1b[2J\xff\u202e 0123456789abcdef\r\n
> !
`)
}

func TestTextViewTime(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	wantText(t, shown(t, &TextView{W: &b, Time: true}, &b, aCall()), `  0.000000 * connecting 192.0.2.2
  0.001500 * connected server.example
  0.002000 > hello\n
  0.002000 > there
  0.002100 < HELLO\n
  0.002100 < THERE\x1b[2J\xff\u202e 0123456789abcdef\r\n
  0.002200 > !
  0.002300 * shutdown
  0.002400 * eof
  0.002500 * closed by peer
  0.002600 * verified: wrong answer: byte at offset 5 is 0x62 (b), expected 0x61 (a)
`)
}

func TestTextViewHex(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	wantText(t, shown(t, &TextView{W: &b, Hex: true}, &b, aCall()), `> 00000000  68 65 6c 6c 6f 0a 74 68  65 72 65                 |hello.there|
< 00000000  48 45 4c 4c 4f 0a 54 48  45 52 45 1b 5b 32 4a ff  |HELLO.THERE.[2J.|
< 00000010  e2 80 ae 20 30 31 32 33  34 35 36 37 38 39 61 62  |... 0123456789ab|
< 00000020  63 64 65 66 0d 0a                                 |cdef..|
> 0000000b  21                                                |!|
`)
	b.Reset()
	wantText(t, shown(t, &TextView{W: &b, Hex: true, Time: true}, &b, aCall()[2:3]),
		"  0.000000 > 00000000  68 65 6c 6c 6f 0a 74 68  65 72 65                 |hello.there|\n")
}

func TestJSONView(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	got := shown(t, &JSONView{&b}, &b, aCall())
	wantText(t, got, `{"type":"connecting","time":"2026-01-02T12:00:00.000000000Z","conn":"0f31c9aa-17","target":"server.example:7","network":"tcp","remote":"192.0.2.2:7"}
{"type":"connected","time":"2026-01-02T12:00:00.001500000Z","conn":"0f31c9aa-17","target":"server.example:7","network":"tcp","local":"192.0.2.1:51213","remote":"192.0.2.2:7","resolve_us":1000.000,"connect_us":400.500}
{"type":"sent","time":"2026-01-02T12:00:00.002000000Z","conn":"0f31c9aa-17","offset":0,"data":"aGVsbG8KdGhlcmU="}
{"type":"received","time":"2026-01-02T12:00:00.002100000Z","conn":"0f31c9aa-17","offset":0,"data":"SEVMTE8KVEhFUkUbWzJK/+KAriAwMTIzNDU2Nzg5YWJjZGVmDQo="}
{"type":"sent","time":"2026-01-02T12:00:00.002200000Z","conn":"0f31c9aa-17","offset":11,"data":"IQ=="}
{"type":"shutdown","time":"2026-01-02T12:00:00.002300000Z","conn":"0f31c9aa-17"}
{"type":"eof","time":"2026-01-02T12:00:00.002400000Z","conn":"0f31c9aa-17"}
{"type":"closed","time":"2026-01-02T12:00:00.002500000Z","conn":"0f31c9aa-17","end":"closed by peer","in":40,"out":12,"late":1,"took_us":1000.000}
{"type":"verified","time":"2026-01-02T12:00:00.002600000Z","conn":"0f31c9aa-17","out":12,"right":5,"took_us":1000000.000,"error":"wrong answer: byte at offset 5 is 0x62 (b), expected 0x61 (a)","status":6}
`)
	for line := range strings.Lines(got) {
		if !json.Valid([]byte(line)) {
			t.Errorf("not JSON: %s", line)
		}
	}
}

func TestJSONViewFailure(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	e := &Event{Type: Failed, Time: noon, Target: sock.Address{Network: "unix", Path: "/a\x1bb"}, Err: op("connect", refusedErrnos[0])}
	wantText(t, shown(t, &JSONView{&b}, &b, []*Event{e}),
		`{"type":"failed","time":"2026-01-02T12:00:00.000000000Z","target":"unix:/a\\x1bb","error":"connect tcp: connect: connection refused","status":3}`+"\n")
}

func TestViewsOfAnEventWithoutTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) { // where the clock begins with 2000
		var b bytes.Buffer
		text := &TextView{W: &b, Time: true}
		text.Show(&Event{Type: Shutdown})
		time.Sleep(time.Second)
		text.Show(&Event{Type: EOF})
		(&JSONView{&b}).Show(&Event{Type: EOF})
		wantText(t, b.String(), `  0.000000 * shutdown
  1.000000 * eof
{"type":"eof","time":"2000-01-01T00:00:01.000000000Z"}
`)
	})
}

func TestViews(t *testing.T) {
	t.Parallel()
	if Views() != nil || Views(nil, nil) != nil {
		t.Error("a View of nothing costs something")
	}
	var b bytes.Buffer
	both := Views(&StatusView{W: &b}, nil, &TextView{W: &b})
	if !both.Payload() || Views(&StatusView{W: &b}).Payload() {
		t.Error("Payload is wrong")
	}
	wantText(t, shown(t, both, &b, aCall()[1:3]), "Connected to server.example.\nSocket pair (192.0.2.1:51213, 192.0.2.2:7).\n> hello\\n\n> there\n")
	broken := Views(&TextView{W: &failAfter{0}}, &TextView{W: &b})
	b.Reset()
	if err := broken.Show(aCall()[4]); !errors.Is(err, errBroken) || b.String() != "> !\n" {
		t.Errorf("error %v, and the other View shows %q", err, b.String())
	}
}

// rec is a View that keeps all events.
type rec struct {
	payload bool
	events  []Event
}

func (r *rec) Payload() bool { return r.payload }

func (r *rec) Show(e *Event) error {
	c := *e
	c.Data = bytes.Clone(e.Data)
	r.events = append(r.events, c)
	return nil
}

func (r *rec) types() string {
	var types []string
	for _, e := range r.events {
		types = append(types, string(e.Type))
	}
	return strings.Join(types, " ")
}

func TestRecorder(t *testing.T) {
	t.Parallel()
	view := &rec{payload: true}
	conn := serve(t, echo)
	r := Record(conn, target, view)
	in := allBytes(300_000)
	var out bytes.Buffer
	if err := Pipe(within(t), r, bytes.NewReader(in), &out, nil); err != nil {
		t.Fatal(err)
	}
	var sent, received []byte
	for i, e := range view.events {
		if e.Conn != r.ID() || e.Target != target || e.Network != "tcp" || e.Time.IsZero() {
			t.Fatalf("event %d: %+v", i, e)
		}
		switch e.Type {
		case Sent:
			if e.Offset != int64(len(sent)) {
				t.Errorf("sent %d bytes, and the next are at %d", len(sent), e.Offset)
			}
			sent = append(sent, e.Data...)
		case Received:
			if e.Offset != int64(len(received)) {
				t.Errorf("received %d bytes, and the next are at %d", len(received), e.Offset)
			}
			received = append(received, e.Data...)
			if len(received) > len(sent) {
				t.Errorf("event %d: an echo of %d bytes before %d were sent", i, len(received), len(sent))
			}
		}
	}
	if !bytes.Equal(sent, in) || !bytes.Equal(received, in) {
		t.Errorf("sent %d, received %d of %d bytes", len(sent), len(received), len(in))
	}
	first, last := view.events[0], view.events[len(view.events)-1]
	if first.Type != Connected || first.Local.String() != conn.LocalAddr().String() || first.Remote.String() != conn.RemoteAddr().String() {
		t.Errorf("first %+v", first)
	}
	if last.Type != Closed || last.In != 300_000 || last.Out != 300_000 || last.End != trace.EndHere || last.Took <= 0 || last.Late != 0 {
		t.Errorf("last %+v", last)
	}
	if !strings.HasSuffix(view.types(), " shutdown eof closed") && !strings.Contains(view.types(), " shutdown received") {
		t.Errorf("events %s", view.types())
	}
}

func TestRecorderWithoutPayload(t *testing.T) {
	t.Parallel()
	view := &rec{}
	if err := Pipe(within(t), Record(serve(t, echo), target, view), strings.NewReader("x"), io.Discard, nil); err != nil {
		t.Fatal(err)
	}
	if got := view.types(); got != "connected shutdown eof closed" {
		t.Errorf("events %s", got)
	}
	if err := Pipe(within(t), Record(serve(t, echo), target, nil), strings.NewReader("x"), io.Discard, nil); err != nil {
		t.Errorf("without a View: %v", err)
	}
}

func TestRecorderKnowsASockConn(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	view := &rec{}
	to := sock.Address{Network: "tcp", Host: "127.0.0.1", Port: uint16(l.Addr().(*net.TCPAddr).Port)}
	conn, err := sock.Dial(within(t), to, &sock.Options{Sink: Attempts(view, to)})
	if err != nil {
		t.Fatal(err)
	}
	if err := ConnectOnly(Record(conn, to, view)); err != nil {
		t.Fatal(err)
	}
	if got := view.types(); got != "connecting connected closed" {
		t.Fatalf("events %s", got)
	}
	for _, e := range view.events {
		if e.Conn != conn.ID() || e.Target != to {
			t.Errorf("%+v", e)
		}
	}
	if e := view.events[1]; e.Phases.Connect <= 0 || e.Network != "tcp" {
		t.Errorf("%+v", e)
	}
	if Attempts(nil, to) != nil {
		t.Error("attempts without a View cost something")
	}
}

func TestRecorderCountsWhatWasSentTooLate(t *testing.T) {
	t.Parallel()
	view := &rec{}
	conn := pair(t, func(c *yodeltest.Conn) { c.CloseWrite(); io.ReadAll(c) })
	r := Record(conn, target, view)
	io.WriteString(r, "in time")
	r.Read(make([]byte, 1))
	io.WriteString(r, "late")
	r.Close()
	if e := view.events[len(view.events)-1]; e.Late != 4 || e.Out != 11 || e.End != trace.EndPeer {
		t.Errorf("%+v", e)
	}
}

// A peer that does not read what we send, but speaks: its words must show although the
// write is under way, and the write must go on.
func TestRecorderShowsAPeerThatDoesNotRead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		view := &rec{payload: true}
		client, server := (&yodeltest.Net{Buffer: 10}).Pipe()
		r := Record(client, target, view)
		began := time.Now()
		wrote := make(chan struct{})
		go func() {
			io.WriteString(r, strings.Repeat("x", 100))
			close(wrote)
		}()
		synctest.Wait() // the write is under way
		io.WriteString(server, "stop it")
		if n, err := r.Read(make([]byte, 100)); n != 7 || err != nil {
			t.Errorf("read %d, %v", n, err)
		}
		if took := time.Since(began); took != answerGrace {
			t.Errorf("the read took %v", took)
		}
		if got := view.types(); got != "connected received" {
			t.Errorf("events %s", got)
		}
		io.ReadFull(server, make([]byte, 100))
		<-wrote
		if got := view.types(); got != "connected received sent" {
			t.Errorf("events %s", got)
		}
		r.Close()
		server.Close()
	})
}

// An answer comes after what it answers, however fast it is.
func TestRecorderKeepsTheOrder(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		view := &rec{payload: true}
		client, server := new(yodeltest.Net).Pipe()
		slow := &slowReturn{Conn: client, release: make(chan struct{})}
		r := Record(slow, target, view)
		go io.WriteString(r, "ask") // the peer has it; Write does not return yet
		io.ReadFull(server, make([]byte, 3))
		io.WriteString(server, "answer")
		time.AfterFunc(time.Millisecond, func() { close(slow.release) })
		r.Read(make([]byte, 100))
		if got := view.types(); got != "connected sent received" {
			t.Errorf("events %s", got)
		}
		if view.events[1].Time.After(view.events[2].Time) {
			t.Error("the times are in another order than the events")
		}
		r.Close()
		server.Close()
	})
}

// slowReturn is a connection whose Write returns late.
type slowReturn struct {
	net.Conn
	release chan struct{}
}

func (s *slowReturn) Write(p []byte) (int, error) {
	n, err := s.Conn.Write(p)
	<-s.release
	return n, err
}

func TestRecorderViewFails(t *testing.T) {
	t.Parallel()
	for name, limit := range map[string]int{"at once": 0, "at what is sent": 9, "at what is received": 19} {
		conn := pair(t, onMemory(upperPeer))
		r := Record(conn, target, &TextView{W: &failAfter{limit}})
		in, feed := io.Pipe()
		go io.WriteString(feed, "hello\n")
		err := Pipe(within(t), r, in, io.Discard, nil)
		feed.Close()
		if wantStatus[*OutputError](t, err, StatusFailed); !errors.Is(err, errBroken) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A failure that no Read or Write meets is told at the end.
	conn := pair(t, func(c *yodeltest.Conn) { io.ReadAll(c) })
	r := Record(conn, target, &JSONView{&failAfter{0}})
	err := Pipe(within(t), r, strings.NewReader(""), io.Discard, nil)
	wantStatus[*OutputError](t, err, StatusFailed)
}
