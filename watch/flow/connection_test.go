package flow_test

import (
	"net/netip"
	"testing"
	"time"

	"yodel/trace"
	"yodel/watch/flow"
	"yodel/watch/packet"
)

func TestHandshakeAndClose(t *testing.T) {
	t.Parallel()
	k := newTalk(t, nil)
	for i, step := range []struct {
		from     trace.Side
		flags    packet.TCPFlags
		seq, ack int64
		payload  string
		state    flow.State
		end      flow.Ending
	}{
		{c, packet.SYN, 0, 0, "", flow.SYNSent, flow.Unanswered},
		{s, packet.SYN | packet.ACK, 0, 1, "", flow.SYNReceived, flow.Open},
		{c, ack, 1, 1, "", flow.Established, flow.Open},
		{c, ack, 1, 1, "hello\n", flow.Established, flow.Open},
		{s, ack, 1, 7, "HELLO\n", flow.Established, flow.Open},
		{c, fin, 7, 7, "", flow.HalfClosed, flow.HalfClosedClient},
		{s, ack, 7, 8, "", flow.HalfClosed, flow.HalfClosedClient},
		{s, ack, 7, 8, "more", flow.HalfClosed, flow.HalfClosedClient},
		{s, fin, 11, 8, "", flow.Closing, flow.ClosedByClient},
		{c, ack, 8, 12, "", flow.Closed, flow.ClosedByClient},
	} {
		var before flow.State
		e := k.send(step.from, step.flags, step.seq, step.ack, step.payload)
		if e.From != step.from || e.State != step.state || e.Flow.State != step.state || e.Flow.Ending() != step.end || e.Was > e.State && e.Was != flow.NotTCP {
			t.Errorf("step %d: from %s, %v after %v, %q; want %s, %v, %q", i, e.From, e.State, e.Was, e.Flow.Ending(), step.from, step.state, step.end)
		}
		if before = e.Was; i > 0 && before == flow.NotTCP {
			t.Errorf("step %d: it was not TCP", i)
		}
		if e.Seq != step.seq || e.End != step.seq+int64(len(step.payload))+flagsLength(step.flags) || step.flags.Has(packet.ACK) && e.Ack != step.ack {
			t.Errorf("step %d: numbers %d, %d, %d", i, e.Seq, e.End, e.Ack)
		}
		want(t, e, "")
	}
	k.tracker.Close()
	if len(k.ended) != 1 {
		t.Fatalf("%d flows ended", len(k.ended))
	}
	f := k.ended[0]
	ms := func(n int) time.Time { return began.Add(time.Duration(n) * time.Millisecond) }
	if f.Pair.String() != "(192.0.2.1:51213, 192.0.2.2:80)" || f.Guessed || f.Network != "tcp" || f.Number != 1 || f.ID.IsZero() || f.Evicted ||
		!f.SYN.Equal(ms(1)) || !f.LastSYN.Equal(ms(1)) || !f.SYNACK.Equal(ms(2)) || !f.Handshake.Equal(ms(3)) || f.InitialRTT != 2*time.Millisecond ||
		!f.First.Equal(ms(1)) || !f.Last.Equal(ms(10)) || f.ClosedBy != c || f.Reset != nil || f.Packets() != 10 {
		t.Errorf("%+v", f)
	}
	for _, side := range []trace.Side{c, s} {
		h := f.Half(side)
		if h.Packets != 5 || h.Bytes != map[trace.Side]int64{c: 6, s: 10}[side] || h.Stream != h.Bytes || h.Missing != 0 || !h.FIN || h.TTL != 64 || h.ISN != k.isn[side] || h.MSS != 0 {
			t.Errorf("%s: %+v", side, h)
		}
	}
	// SYN 1 ms, data 1 ms, FIN 1 ms.
	if r := f.Client.RTT; r.Count != 3 || r.Min != time.Millisecond || r.Max != time.Millisecond || r.Mean() != time.Millisecond {
		t.Errorf("round trips %+v", r)
	}
}

func flagsLength(f packet.TCPFlags) (n int64) {
	if f.Has(packet.SYN) {
		n++
	}
	if f.Has(packet.FIN) {
		n++
	}
	return n
}

// What a SYN tells is kept; scales count only if both sides have them.
func TestWindows(t *testing.T) {
	t.Parallel()
	k := newTalk(t, nil)
	mss := func(p *packet.Packet) {
		p.TCP.Options |= packet.HasMSS | packet.HasSACKPermitted | packet.HasTimestamps
		p.TCP.MSS = 1460
	}
	if e := k.send(c, packet.SYN, 0, 0, "", scale(7), window(64240), mss); e.Window != 64240 {
		t.Errorf("the window of a SYN is %d", e.Window)
	}
	if e := k.send(s, packet.SYN|packet.ACK, 0, 1, "", scale(3), window(100)); e.Window != 100 {
		t.Errorf("the window of a SYN, ACK is %d", e.Window)
	}
	if e := k.send(c, ack, 1, 1, "", window(10)); e.Window != 10<<7 {
		t.Errorf("the client's window is %d", e.Window)
	}
	if e := k.send(s, ack, 1, 1, "", window(10)); e.Window != 10<<3 {
		t.Errorf("the server's window is %d", e.Window)
	}
	if h := k.tracker; h.Len() != 1 {
		t.Errorf("%d flows", h.Len())
	}
	k.tracker.Close()
	if f := k.ended[0]; f.Client.MSS != 1460 || !f.Client.SACK || !f.Client.Timestamps || f.Client.WindowScale != 7 || f.Server.WindowScale != 3 || f.Server.SACK {
		t.Errorf("%+v", f.Client)
	}
	for name, scales := range map[string][2][]change{"the client alone": {{scale(7)}, nil}, "the server alone": {nil, {scale(7)}}, "none": {nil, nil}} {
		k := newTalk(t, nil)
		k.send(c, packet.SYN, 0, 0, "", scales[0]...)
		k.send(s, packet.SYN|packet.ACK, 0, 1, "", scales[1]...)
		a := k.send(c, ack, 1, 1, "", window(10)).Window
		if b := k.send(s, ack, 1, 1, "", window(11)).Window; a != 10 || b != 11 {
			t.Errorf("%s scales: windows %d and %d", name, a, b)
		}
	}
	k = newTalk(t, nil) // without a SYN nobody knows
	if e := k.send(c, ack, 1, 1, ""); e.Window != -1 {
		t.Errorf("without a SYN the window is %d", e.Window)
	}
}

func TestResets(t *testing.T) {
	t.Parallel()
	for _, step := range []struct {
		name string
		play func(k *talk) *flow.Event
		why  flow.ResetWhy
		end  flow.Ending
	}{
		{"a port at which nothing listens", func(k *talk) *flow.Event {
			k.send(c, packet.SYN, 0, 0, "")
			return k.send(s, packet.RST|ack, 0, 1, "")
		}, flow.ResetRefused, flow.Refused},
		{"a client that knows of nothing", func(k *talk) *flow.Event {
			k.send(c, packet.SYN, 0, 0, "")
			k.send(s, packet.SYN|ack, 0, 1, "")
			return k.send(c, packet.RST, 1, 0, "")
		}, flow.ResetAbandoned, flow.ResetByClient},
		{"bytes came after close()", func(k *talk) *flow.Event {
			k.handshake()
			k.send(s, fin, 1, 1, "")
			k.send(c, ack, 1, 2, "late")
			return k.send(s, packet.RST, 2, 0, "")
		}, flow.ResetAfterClose, flow.ResetByServer},
		{"the server's host has started anew", func(k *talk) *flow.Event {
			k.handshake()
			k.send(c, ack, 1, 1, "are you there?")
			return k.send(s, packet.RST, 1, 0, "")
		}, flow.ResetNoConnection, flow.ResetByServer},
		{"an abort", func(k *talk) *flow.Event {
			k.handshake()
			k.send(c, ack, 1, 1, "unread")
			return k.send(s, packet.RST|ack, 1, 7, "")
		}, flow.ResetAborted, flow.ResetByServer},
		{"with a number that fits nothing", func(k *talk) *flow.Event {
			k.handshake()
			k.send(c, ack, 1, 1, "hello")
			return k.send(s, packet.RST, 500, 0, "")
		}, flow.ResetUnknown, flow.ResetByServer},
	} {
		k := newTalk(t, nil)
		e := step.play(k)
		r := e.Flow.Reset
		if r == nil || r.Why != step.why || r.Number != e.Number || r.From != e.From || e.Flow.Ending() != step.end || e.State != flow.WasReset || !e.Marks.Has(flow.Reset) {
			t.Errorf("%s: %+v, %q", step.name, r, e.Flow.Ending())
			continue
		}
		if r.Exact != (step.why != flow.ResetUnknown) || r.OtherTTL {
			t.Errorf("%s: %+v", step.name, r)
		}
		if e := k.send(e.From, packet.RST, 1, 0, ""); e.Flow.Reset != r { // the first one is kept
			t.Errorf("%s: %+v", step.name, e.Flow.Reset)
		}
	}
}

// A RST that comes from another distance than the rest of its sender's packets is said to.
func TestForeignReset(t *testing.T) {
	t.Parallel()
	k := newTalk(t, nil)
	k.handshake()
	if e := k.send(s, packet.RST|ack, 1, 1, "", ttl(61)); !e.Flow.Reset.OtherTTL || e.Flow.Server.TTL != 64 {
		t.Errorf("%+v", e.Flow.Reset)
	}
}

// After both sides have closed, a RST changes nothing.
func TestResetAfterTheEnd(t *testing.T) {
	t.Parallel()
	k := newTalk(t, nil)
	k.handshake()
	k.send(c, fin, 1, 1, "")
	k.send(s, fin, 1, 2, "")
	k.send(c, ack, 2, 2, "")
	if e := k.send(s, packet.RST, 2, 0, ""); e.State != flow.Closed || e.Flow.Ending() != flow.ClosedByClient || e.Flow.Reset == nil {
		t.Errorf("%v, %q", e.State, e.Flow.Ending())
	}
}

// Numbers do not wrap around, neither at 2^32 nor after many times that.
func TestNumbersDoNotWrap(t *testing.T) {
	t.Parallel()
	for _, isn := range []uint32{1<<32 - 1, 1<<32 - 5, 1<<31 - 3} {
		k := newTalk(t, nil)
		k.isn[c], k.isn[s] = isn, isn/2
		k.handshake()
		for i := range int64(40) {
			at := 1 + 4*i
			want(t, k.send(c, ack, at, 1, "data"), "")
			e := k.send(s, ack, 1, at+4, "")
			if e.Ack != at+4 || e.RTT != time.Millisecond || e.Acked != e.Number-1 {
				t.Fatalf("ISN %d: %+v", isn, e)
			}
			want(t, e, "")
		}
	}
	k := newTalk(t, nil)
	k.handshake()
	const big = 1 << 20
	large := func(p *packet.Packet) { p.Length = big }
	for i := range int64(10_000) { // 10 GB
		at := 1 + big*i
		if e := k.send(c, ack, at, 1, "", large); e.Seq != at || e.End != at+big || e.Marks&^flow.WindowFull != 0 {
			t.Fatalf("%+v", e)
		}
		k.send(s, ack, 1, at+big, "")
	}
	k.tracker.Close()
	if got := k.ended[0].Client.Stream; got != 10_000*big {
		t.Errorf("a stream of %d bytes", got)
	}
}

// What began before the capture: the first byte that is seen has number 1.
func TestJoined(t *testing.T) {
	t.Parallel()
	k := newTalk(t, nil)
	e := k.send(s, ack, 5000, 700, "hello") // port 80, so it is the server
	if e.From != s || e.State != flow.Joined || !e.Flow.Guessed || e.Seq != 1 || e.Ack != 1 || e.Flow.Ending() != flow.Open {
		t.Errorf("%+v", e)
	}
	want(t, e, "")
	if e = k.send(c, ack, 700, 5005, "hi"); e.Seq != 1 || e.Ack != 6 || e.Flow.Client.ISN != k.isn[c]+699 {
		t.Errorf("%+v", e)
	}
	want(t, e, "")
	want(t, k.send(s, ack, 4000, 702, "x"), "retransmission spurious_retransmission") // of before the capture: no evidence
	if e = k.send(c, fin, 702, 5005, ""); e.State != flow.HalfClosed {
		t.Errorf("%v", e.State)
	}

	k = newTalk(t, nil) // the client's SYN was not captured, the answer was
	if e := k.send(s, packet.SYN|ack, 0, 1, ""); e.From != s || e.State != flow.SYNReceived || e.Flow.Guessed {
		t.Errorf("%+v", e)
	}
	if e := k.send(c, ack, 1, 1, ""); e.State != flow.Established || e.Flow.InitialRTT != 0 {
		t.Errorf("%+v", e)
	}

	k = newTalk(t, &flow.Config{Listens: func(a netip.AddrPort) bool { return a == client }})
	if e := k.send(c, ack, 1, 1, "x"); e.From != s || e.Flow.Pair.Server != client {
		t.Errorf("who listens is the %s", e.From)
	}
}

// A connection between the same sockets as an earlier one is another one.
func TestPortsReused(t *testing.T) {
	t.Parallel()
	k := newTalk(t, nil)
	k.handshake()
	first := k.send(c, ack, 1, 1, "first").Flow
	k.isn[c] += 12345
	e := k.send(c, packet.SYN, 0, 0, "")
	if e.Flow == first || e.Flow.Number != 2 || e.State != flow.SYNSent || len(k.ended) != 1 || k.ended[0] != first || e.Seq != 0 {
		t.Errorf("%+v", e.Flow)
	}
	want(t, e, "reused_ports")
	want(t, k.after(time.Second).send(c, packet.SYN, 0, 0, ""), "retransmission (bytes_seen)")
	k.send(s, packet.RST|ack, 0, 1, "")
	if e := k.send(c, packet.SYN, 0, 0, ""); e.Flow.Number != 3 { // the same number, after an end
		t.Errorf("%+v", e.Flow)
	}
	k = newTalk(t, nil)
	k.send(s, packet.RST, 1, 0, "") // nothing is known of the client's numbers
	if e := k.send(c, packet.SYN, 0, 0, ""); e.Flow.Number != 1 {
		t.Errorf("%+v", e.Flow)
	}
}

// What is late of an earlier connection between the same sockets changes nothing.
func TestLateOfAnEarlierConnection(t *testing.T) {
	t.Parallel()
	k := newTalk(t, nil)
	k.send(c, packet.SYN, 0, 0, "", scale(2))
	e := k.send(s, ack, 777_000, -555_000, "hello")
	if e.State != flow.SYNSent || e.Ack != -555_000 {
		t.Errorf("%+v", e)
	}
	e = k.send(c, packet.RST, -555_000, 0, "")
	if e.State != flow.SYNSent || e.Flow.Reset != nil || e.Seq != -555_000 {
		t.Errorf("%v %+v", e.State, e.Flow.Reset)
	}
	e = k.send(s, packet.SYN|ack, 0, 1, "", scale(2))
	if e.State != flow.SYNReceived || e.Seq != 0 {
		t.Errorf("%+v", e)
	}
	want(t, e, "")
	if e = k.send(c, ack, 1, 1, ""); e.State != flow.Established || e.Window != 4000 {
		t.Errorf("%+v", e)
	}
	want(t, k.send(s, ack, 1, 1, "hello"), "")
	want(t, k.send(c, ack, 1, 6, ""), "")
}

func TestSYNAgain(t *testing.T) {
	t.Parallel()
	k := newTalk(t, nil)
	k.send(c, packet.SYN, 0, 0, "")
	e := k.after(time.Second).send(c, packet.SYN, 0, 0, "")
	want(t, e, "retransmission (bytes_seen)")
	if e.Cause != flow.CauseTimer || e.Earlier != 1 || e.Waited != 1001*time.Millisecond || !e.Flow.LastSYN.Equal(e.Time) || e.Flow.SYN.Equal(e.Time) {
		t.Errorf("%+v", e)
	}
	if e := k.send(s, packet.SYN|ack, 0, 1, ""); !e.Ambiguous || e.RTT != 0 || e.Acked != 0 {
		t.Errorf("which SYN is meant is not known: %+v", e)
	}
	if e := k.send(c, ack, 1, 1, ""); e.Flow.InitialRTT != 2*time.Millisecond {
		t.Errorf("%v", e.Flow.InitialRTT)
	}
}
