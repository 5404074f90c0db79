package flow_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"yodel/watch/flow"
)

// The marks, one by one; the names are tshark's, and tshark agrees (see the scenes).
func TestMarks(t *testing.T) {
	t.Parallel()
	k := newTalk(t, nil)
	k.handshake()
	k.send(c, ack, 1, 1, "aaaa")
	want(t, k.send(c, ack, 9, 1, "cccc"), "lost_segment")
	want(t, k.send(s, ack, 1, 5, ""), "")
	for i := range 3 {
		e := k.send(s, ack, 1, 5, "", k.sack(s, 9, 13))
		if want(t, e, "duplicate_ack"); e.DupACK != i+1 {
			t.Errorf("duplicate ACK %d is number %d", i+1, e.DupACK)
		}
	}
	e := k.send(c, ack, 5, 1, "bbbb")
	if want(t, e, "retransmission fast_retransmission"); e.Cause != flow.CauseACKs || e.Earlier != 0 {
		t.Errorf("%+v", e)
	}
	want(t, k.send(s, ack, 1, 13, ""), "")
	e = k.send(c, ack, 9, 1, "cccc")
	want(t, e, "retransmission spurious_retransmission (bytes_seen)")
	want(t, k.send(s, ack, 1, 13, "", k.sack(s, 9, 13)), "duplicate_ack duplicate_sack")
	e = k.send(s, ack, 1, 13, "", k.sack(s, 20, 22, 18, 25))
	if want(t, e, "duplicate_ack duplicate_sack"); e.DupACK != 2 {
		t.Errorf("%+v", e)
	}
	want(t, k.send(s, ack, 1, 20, ""), "ack_lost_segment")
	want(t, k.send(s, ack, 1, 20, "", window(2000)), "window_update")
	want(t, k.send(s, ack, 1, 20, "", window(0)), "zero_window")
	k.after(3 * time.Second)
	want(t, k.send(c, ack, 13, 1, "x"), "zero_window_probe")
	want(t, k.send(s, ack, 1, 20, "", window(0)), "zero_window zero_window_probe_ack")
	e = k.send(s, ack, 1, 20, "", window(500))
	if want(t, e, "window_update"); e.Flow.Server.ZeroWindow != 3003*time.Millisecond {
		t.Errorf("the window was zero for %v", e.Flow.Server.ZeroWindow)
	}
}

// A probe whose byte is taken.
func TestProbeIsTaken(t *testing.T) {
	t.Parallel()
	k := newTalk(t, nil)
	k.handshake()
	k.send(c, ack, 1, 1, "aaaa")
	k.send(s, ack, 1, 5, "", window(0))
	want(t, k.send(c, ack, 5, 1, "b"), "zero_window_probe")
	want(t, k.send(s, ack, 1, 6, "", window(0)), "zero_window zero_window_probe_ack")
	want(t, k.send(c, ack, 6, 1, "c"), "zero_window_probe")
	want(t, k.send(s, ack, 1, 7, "", window(9)), "window_update")
	want(t, k.send(c, ack, 7, 1, "dd"), "")
	want(t, k.send(c, ack, 8, 1, "dee"), "") // its first byte may have been a probe's
}

// Linux asks in another form.
func TestProbeOfLinux(t *testing.T) {
	t.Parallel()
	k := newTalk(t, nil)
	k.handshake()
	k.send(c, ack, 1, 1, "aaaa")
	k.send(s, ack, 1, 5, "", window(0))
	e := k.send(c, ack, 4, 1, "")
	if want(t, e, "zero_window_probe (window_was_zero)"); e.Rules != flow.KeepAlive {
		t.Errorf("by rule %v", e.Rules)
	}
	want(t, k.send(s, ack, 1, 5, "", window(0)), "zero_window zero_window_probe_ack (window_was_zero)")
}

func TestKeepAlive(t *testing.T) {
	t.Parallel()
	k := newTalk(t, nil)
	k.handshake()
	k.send(c, ack, 1, 1, "aaaa")
	k.send(s, ack, 1, 5, "")
	want(t, k.send(c, ack, 4, 1, ""), "keep_alive")
	want(t, k.send(s, ack, 1, 5, ""), "keep_alive_ack")
	want(t, k.send(c, ack, 4, 1, "a"), "keep_alive") // with the last byte once more
}

func TestWindowFull(t *testing.T) {
	t.Parallel()
	k := newTalk(t, nil)
	k.handshake()
	k.send(s, ack, 1, 1, "", window(2)) // 8 bytes
	want(t, k.send(c, ack, 1, 1, "aaaa"), "")
	want(t, k.send(c, ack, 5, 1, "bbbb"), "window_full")
}

// A segment that fills a gap was late, or was sent again. Timestamps tell, and so do
// identifications that count.
func TestLateOrSentAgain(t *testing.T) {
	t.Parallel()
	for _, step := range []struct {
		name          string
		first, behind []change
		want          string
	}{
		{"nothing tells", nil, nil, "out_of_order"},
		{"an older timestamp", []change{stamp(5)}, []change{stamp(6)}, "out_of_order (sent_earlier)"},
		{"a newer timestamp", []change{stamp(7)}, []change{stamp(6)}, "retransmission (sent_later)"},
		{"timestamps that wrap around", []change{stamp(1<<32 - 1)}, []change{stamp(3)}, "out_of_order (sent_earlier)"},
		{"the same tick", []change{stamp(6)}, []change{stamp(6)}, "out_of_order"},
		{"the same tick, an older identification", []change{stamp(6), id(199)}, []change{stamp(6), id(200)}, "out_of_order (sent_earlier)"},
		{"a newer identification", []change{id(201)}, []change{id(200)}, "retransmission (sent_later)"},
	} {
		k := newTalk(t, nil)
		k.handshake()
		at := int64(1)
		for i := range uint32(20) { // the client's identifications count up
			k.send(c, ack, at, 1, "data", id(100+4*i))
			at += 4
		}
		k.send(c, ack, at+4, 1, "late", step.behind...)
		e := k.send(c, ack, at, 1, "gap!", step.first...)
		if want(t, e, step.want); t.Failed() {
			t.Fatal(step.name)
		}
		k.tracker.Close()
		if got := k.ended[0].Client.Missing; got != 0 {
			t.Errorf("%s: %d bytes are missing", step.name, got)
		}
	}
}

// Identifications that are chosen by chance tell nothing.
func TestIdentificationsByChance(t *testing.T) {
	t.Parallel()
	k := newTalk(t, nil)
	k.handshake()
	at := int64(1)
	for i := range uint32(40_000) {
		k.send(c, ack, at, 1, "data", id(1+i*40_503%65_535))
		at += 4
	}
	k.send(c, ack, at+4, 1, "late", id(200))
	want(t, k.send(c, ack, at, 1, "gap!", id(100)), "out_of_order")
}

// The very same packet twice is no retransmission, and no duplicate ACK.
func TestSamePacket(t *testing.T) {
	t.Parallel()
	k := newTalk(t, nil)
	k.handshake()
	k.send(c, ack, 1, 1, "data", id(7))
	want(t, k.send(c, ack, 1, 1, "data", id(7)), "duplicate (same_packet)")
	want(t, k.send(c, ack, 1, 1, "data", id(8)), "retransmission (bytes_seen)")
	k.send(s, ack, 1, 5, "", id(3))
	want(t, k.send(s, ack, 1, 5, "", id(3)), "duplicate (same_packet)")
	want(t, k.send(s, ack, 1, 5, "", id(4)), "duplicate_ack")
}

// What was sent within the first round trip is out of order by the rule; if each of its
// bytes was there before, it is not.
func TestSentAgainSoon(t *testing.T) {
	t.Parallel()
	k := newTalk(t, nil)
	k.handshake() // 2 ms
	k.send(c, ack, 1, 1, "aaaa")
	k.send(c, ack, 5, 1, "bbbb")
	e := k.send(c, ack, 1, 1, "aaaa")
	if want(t, e, "retransmission (bytes_seen)"); e.Rules != flow.OutOfOrder || e.Cause != flow.CauseUnknown || e.Earlier != 4 || e.Waited != 2*time.Millisecond {
		t.Errorf("%+v", e)
	}
	k.tracker.Close()
	f := k.ended[0]
	if f.Client.Marks.Of(flow.Retransmission) != 1 || f.Client.Marks.Of(flow.OutOfOrder) != 0 || f.Client.ByRule.Of(flow.OutOfOrder) != 1 {
		t.Errorf("%v %v", f.Client.Marks, f.Client.ByRule)
	}
}

// Holes of which there are too many are forgotten, but not as missing bytes.
func TestManyHoles(t *testing.T) {
	t.Parallel()
	k := newTalk(t, nil)
	k.handshake()
	for i := range int64(200) {
		k.send(c, ack, 1+10*i, 1, "12345")
	}
	k.after(time.Second)
	for _, step := range []struct {
		seq     int64
		payload string
		want    string
	}{
		{1 + 5, "67890", "retransmission"},                       // forgotten: nobody knows
		{1 + 10*190, "12345", "retransmission (bytes_seen)"},     // known
		{1 + 10*190 + 6, "78", "retransmission"},                 // in the middle of a hole
		{1 + 10*190 + 8, "9", "retransmission"},                  // the beginning of what is left
		{1 + 10*190 + 9, "0", "retransmission"},                  // its end
		{1 + 10*190 + 5, "6", "retransmission"},                  // the rest
		{1 + 10*190 + 5, "67890", "retransmission (bytes_seen)"}, // all
		{1 + 10*192 + 9, "0", "retransmission"},                  // the end of another one
		{1 + 10*195, strings.Repeat("x", 25), "retransmission"},  // two and a half
		{1 + 10*195 + 5, strings.Repeat("x", 20), "retransmission (bytes_seen)"},
	} {
		want(t, k.send(c, ack, step.seq, 1, step.payload), step.want)
	}
	want(t, k.send(s, ack, 1, 1+10*199, ""), "ack_lost_segment") // the others
	want(t, k.send(s, ack, 1, 1+10*199+5, ""), "")
	k.tracker.Close()
	if f := k.ended[0]; f.Client.Stream != 10*199+5 || f.Client.Missing != 199*5-5-1-10 {
		t.Errorf("a stream of %d bytes, %d missing", f.Client.Stream, f.Client.Missing)
	}
}

// SACK tells that a segment is missing, and then that it is not.
func TestAskedForBySACK(t *testing.T) {
	t.Parallel()
	k := newTalk(t, nil)
	k.handshake()
	for i := range int64(5) {
		k.send(c, ack, 1+4*i, 1, "data")
	}
	k.send(s, ack, 1, 1, "", k.sack(s, 9, 13))
	if e := k.send(c, ack, 5, 1, "data"); e.Cause != flow.CauseACKs {
		t.Errorf("%+v", e)
	}
	if e := k.send(c, ack, 9, 1, "data"); e.Cause != flow.CauseUnknown {
		t.Errorf("the receiver has it: %+v", e)
	}
	if e := k.send(c, ack, 13, 1, "data"); e.Cause != flow.CauseUnknown {
		t.Errorf("nothing behind it was told of: %+v", e)
	}
}

// RTT: of segments in any order, and not of those that were sent twice.
func TestRoundTrips(t *testing.T) {
	t.Parallel()
	k := newTalk(t, nil)
	k.handshake() // 1, 2, 3 ms
	k.send(c, ack, 1, 1, "aaaa")
	k.send(c, ack, 9, 1, "cccc")
	k.send(c, ack, 5, 1, "bbbb")
	if e := k.send(s, ack, 1, 9, ""); e.RTT != time.Millisecond || e.Acked != 6 {
		t.Errorf("%+v", e)
	}
	if e := k.send(s, ack, 1, 13, ""); e.RTT != 3*time.Millisecond || e.Acked != 5 {
		t.Errorf("%+v", e)
	}
	k.send(c, ack, 13, 1, "dddd")
	k.send(c, ack, 17, 1, "eeee")
	k.send(c, ack, 13, 1, "ddddeeee")
	if e := k.send(s, ack, 1, 21, ""); !e.Ambiguous || e.RTT != 0 {
		t.Errorf("%+v", e)
	}
	k.send(c, ack, 21, 1, "ffff")
	if e := k.send(s, ack, 1, 23, ""); e.Ambiguous || e.Acked != 0 { // the middle of a segment
		t.Errorf("%+v", e)
	}
	k.send(c, ack, 25, 1, "gggg")
	k.after(-time.Second) // the clock was set back
	if e := k.send(s, ack, 1, 29, ""); e.Acked != 0 || e.RTT != 0 {
		t.Errorf("%+v", e)
	}
	var none flow.RTT
	if none.Mean() != 0 {
		t.Error("a mean of nothing")
	}
}

// Of very many segments under way each one is measured.
func TestManyUnderWay(t *testing.T) {
	t.Parallel()
	k := newTalk(t, nil)
	k.handshake()
	for i := range int64(300) {
		k.send(c, ack, 1+4*i, 1, "data")
	}
	for i := range int64(300) {
		if e := k.send(s, ack, 1, 5+4*i, ""); e.Acked != 4+i || e.RTT != 300*time.Millisecond {
			t.Fatalf("ACK %d: %+v", i, e)
		}
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	all := flow.Marks(1<<18 - 1)
	if names := all.Names(); len(names) != 18 || names[0] != "retransmission" || names[17] != "reset" || slices.Contains(names, "") {
		t.Errorf("%q", names)
	}
	if s := (flow.Marks(1) << 20).String(); s != "unknown" {
		t.Error(s)
	}
	for range all.All() {
		break
	}
	var counts flow.Counts
	counts.Add(flow.Reset | flow.Fast)
	if counts.Of(flow.Reset) != 1 || counts.Of(0) != 0 || counts.Of(flow.Reset|flow.Fast) != 0 || counts.Of(1<<25) != 0 {
		t.Errorf("%v", counts)
	}
	for m, n := range counts.All() {
		if m != flow.Fast || n != 1 {
			t.Errorf("%v %d", m, n)
		}
		break
	}
	if !flow.Evidence(3).Has(flow.BytesSeen) || flow.Evidence(1).Has(3) {
		t.Error("Has does not want all")
	}
	got := fmt.Sprint(flow.Joined, flow.SYNSent, flow.SYNReceived, flow.Established, flow.HalfClosed, flow.Closing, flow.Closed, flow.WasReset, flow.NotTCP,
		flow.Segment, flow.Datagram, flow.ICMPError, flow.CauseACKs, flow.CauseTimer, flow.CauseUnknown, flow.ResetAborted, flow.ResetUnknown)
	if got != "joined syn_sent syn_received established half_closed closing closed reset  segment datagram icmp acks timer  aborted " {
		t.Errorf("%q", got)
	}
}
