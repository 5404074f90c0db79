package watch_test

import (
	"encoding/json"
	"fmt"
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

// lines returns the JSON lines of a file. The names of connections are those of a run.
func lines(t *testing.T, file []byte) []string {
	t.Helper()
	var out strings.Builder
	id := trace.ConnID{Run: 1}
	watched(t, file, &watch.Config{View: &watch.JSONView{W: &out}, Flow: flow.Config{NewID: func() trace.ConnID { id.Seq++; return id }}})
	return strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
}

func TestJSON(t *testing.T) {
	t.Parallel()
	m := newMade(t)
	m.before = func(p *pcap.Packet) { p.Direction, p.Comments = packet.Outbound, []string{"<b>\x1b"} }
	m.handshake()
	m.segment(c, ack|packet.PSH, 1, 1, 1000, "hello\n")
	m.segment(s, ack, 1, 7, 1000, "")
	m.now = m.now.Add(300 * time.Millisecond)
	m.segment(c, ack|packet.PSH, 1, 1, 1000, "hello\n")
	m.segment(s, rst|ack, 1, 7, 0, "")
	m.write(udp(client, server, "?"))
	m.icmp(3, 4, udp(client, server, "?"))
	want := []string{
		`{"type":"segment","time":"2026-05-06T07:08:09.000000000Z","conn":"00000001-1","flow":1,"packet":1,"interface":"tun0","direction":"out","from":"client","client":"192.0.2.1:51213","server":"192.0.2.2:15213","flags":["SYN"],"seq":0,"window":1000,"length":0,"state":"syn_sent","meaning":"SYN: connect()","comments":["<b>\\x1b"]}`,
		`{"type":"segment","time":"2026-05-06T07:08:09.001000000Z","conn":"00000001-1","flow":1,"packet":2,"interface":"tun0","from":"server","client":"192.0.2.1:51213","server":"192.0.2.2:15213","flags":["SYN","ACK"],"seq":0,"ack":1,"window":1000,"length":0,"state":"syn_received","acked":1,"rtt_us":1000.000,"meaning":"the server's kernel accepts"}`,
		`{"type":"segment","time":"2026-05-06T07:08:09.002000000Z","conn":"00000001-1","flow":1,"packet":3,"interface":"tun0","from":"client","client":"192.0.2.1:51213","server":"192.0.2.2:15213","flags":["ACK"],"seq":1,"ack":1,"window":1000,"length":0,"state":"established","acked":2,"rtt_us":1000.000,"meaning":"connected: connect() returns, accept() can return"}`,
		`{"type":"segment","time":"2026-05-06T07:08:09.003000000Z","conn":"00000001-1","flow":1,"packet":4,"interface":"tun0","from":"client","client":"192.0.2.1:51213","server":"192.0.2.2:15213","flags":["PSH","ACK"],"seq":1,"ack":1,"window":1000,"length":6,"data":"aGVsbG8K","state":"established"}`,
		`{"type":"segment","time":"2026-05-06T07:08:09.004000000Z","conn":"00000001-1","flow":1,"packet":5,"interface":"tun0","from":"server","client":"192.0.2.1:51213","server":"192.0.2.2:15213","flags":["ACK"],"seq":1,"ack":7,"window":1000,"length":0,"state":"established","acked":4,"rtt_us":1000.000}`,
		`{"type":"segment","time":"2026-05-06T07:08:09.305000000Z","conn":"00000001-1","flow":1,"packet":6,"interface":"tun0","from":"client","client":"192.0.2.1:51213","server":"192.0.2.2:15213","flags":["PSH","ACK"],"seq":1,"ack":1,"window":1000,"length":6,"data":"aGVsbG8K","state":"established","marks":["retransmission","spurious_retransmission"],"evidence":["bytes_seen"],"cause":"timer","meaning":"sent again for nothing: it was acknowledged before"}`,
		`{"type":"segment","time":"2026-05-06T07:08:09.306000000Z","conn":"00000001-1","flow":1,"packet":7,"interface":"tun0","from":"server","client":"192.0.2.1:51213","server":"192.0.2.2:15213","flags":["RST","ACK"],"seq":1,"ack":7,"window":0,"length":0,"state":"reset","marks":["reset"],"acked":6,"rtt_us":1000.000,"meaning":"RST from the server: aborted: closed with bytes unread or with SO_LINGER 0, or given up by its kernel"}`,
		`{"type":"datagram","time":"2026-05-06T07:08:09.307000000Z","conn":"00000001-2","flow":2,"packet":8,"interface":"tun0","from":"client","client":"192.0.2.1:51213","server":"192.0.2.2:15213","length":1,"data":"Pw=="}`,
		`{"type":"icmp","time":"2026-05-06T07:08:09.308000000Z","conn":"00000001-2","flow":2,"packet":9,"interface":"tun0","client":"192.0.2.1:51213","server":"192.0.2.2:15213","icmp":{"by":"198.51.100.7","version":4,"type":3,"code":4,"mtu":1400},"meaning":"ICMP: packet too big: at most 1400 bytes, says 198.51.100.7"}`,
		`{"type":"flow","time":"2026-05-06T07:08:09.306000000Z","conn":"00000001-1","flow":1,"network":"tcp","client":"192.0.2.1:51213","server":"192.0.2.2:15213","began":"2026-05-06T07:08:09.000000000Z","took_us":306000.000,"state":"reset","ending":"reset by server","handshake_us":2000.000,"reset":{"from":"server","time":"2026-05-06T07:08:09.306000000Z","packet":7,"why":"aborted","exact":true},"from_client":{"packets":4,"bytes":12,"stream":6,"marks":[{"mark":"retransmission","count":1},{"mark":"spurious_retransmission","count":1}],"rtt":{"count":3,"min_us":1000.000,"mean_us":1000.000,"max_us":1000.000}},"from_server":{"packets":3,"bytes":0,"stream":0,"marks":[{"mark":"reset","count":1}],"rtt":{"count":1,"min_us":1000.000,"mean_us":1000.000,"max_us":1000.000}}}`,
		`{"type":"flow","time":"2026-05-06T07:08:09.308000000Z","conn":"00000001-2","flow":2,"network":"udp","client":"192.0.2.1:51213","server":"192.0.2.2:15213","began":"2026-05-06T07:08:09.307000000Z","took_us":1000.000,"icmp":{"count":1,"last":{"by":"198.51.100.7","version":4,"type":3,"code":4,"mtu":1400}},"from_client":{"packets":1,"bytes":1},"from_server":{"packets":0,"bytes":0}}`,
		`{"type":"capture","time":"2026-05-06T07:08:09.308000000Z","began":"2026-05-06T07:08:09.000000000Z","packets":9,"shown":9,"hidden":0,"other":0,"stray":0,"broken":0,"fragments":0,"joined":0,"unjoined":0,"dropped":0,"unproved":0,"flows":2,"evicted":0}`,
	}
	got := lines(t, m.file())
	for i := range max(len(got), len(want)) {
		if i >= len(got) || i >= len(want) || got[i] != want[i] {
			t.Errorf("line %d:\ngot  %s\nwant %s", i+1, append(got, "", "", "")[min(i, len(got))], append(want, "")[min(i, len(want))])
		}
	}
}

// Where a rule of thumb says something else, both are there.
func TestJSONRules(t *testing.T) {
	t.Parallel()
	m := newMade(t)
	m.handshake()
	m.segment(c, ack, 1, 1, 1000, "aaaa")
	m.segment(c, ack, 5, 1, 1000, "bbbb")
	m.segment(c, ack, 1, 1, 1000, "aaaa") // within the first round trip
	got := lines(t, m.file())
	if !strings.Contains(got[5], `"marks":["retransmission"],"rules":["out_of_order"],"evidence":["bytes_seen"],"earlier":4,"waited_us":2000.000`) {
		t.Error(got[5])
	}
	if !strings.Contains(got[6], `"marks":[{"mark":"retransmission","count":1}],"rules":[{"mark":"out_of_order","count":1}]`) {
		t.Error(got[6])
	}
}

// A capture without packets, or times, is one too.
func TestJSONOfNothing(t *testing.T) {
	t.Parallel()
	m := newMade(t)
	got := lines(t, m.file())
	if len(got) != 1 || strings.Contains(got[0], "began") {
		t.Errorf("%q", got)
	}
	m.segment(c, ack, 1, 1, 1000, "joined") // its window is not known
	if got := lines(t, m.file())[0]; strings.Contains(got, `"window"`) || !strings.Contains(got, `"state":"joined"`) {
		t.Error(got)
	}
	if got := rows(t, m.file(), new(watch.Diagram))[1]; !strings.Contains(got, "win 1000*") {
		t.Error(got)
	}
}

// Whatever a capture says, the lines are JSON, and have nothing raw in them.
func TestJSONIsSafe(t *testing.T) {
	t.Parallel()
	m := newMade(t)
	m.before = func(p *pcap.Packet) { p.Comments = []string{"\x1b\u202e\xff\"\\"} }
	m.handshake()
	for _, line := range lines(t, m.file()) {
		var v map[string]any
		if err := json.Unmarshal([]byte(line), &v); err != nil {
			t.Errorf("%v: %s", err, line)
		}
		if slices.ContainsFunc([]byte(line), func(b byte) bool { return b < ' ' || b >= 0x7f }) {
			t.Errorf("%q", line)
		}
		if _, ok := v["type"].(string); !ok {
			t.Error(fmt.Sprint(v))
		}
	}
}
