package flow_test

import (
	"encoding/csv"
	"errors"
	"io"
	"maps"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"yodel/watch/flow"
	"yodel/watch/packet"
	"yodel/watch/pcap"
	"yodel/yodeltest"
)

// sharkMarks are the fields of tshark that stand for our marks.
var sharkMarks = []struct {
	mark  flow.Marks
	field string
}{
	{flow.Retransmission, "tcp.analysis.retransmission"},
	{flow.Fast, "tcp.analysis.fast_retransmission"},
	{flow.Spurious, "tcp.analysis.spurious_retransmission"},
	{flow.OutOfOrder, "tcp.analysis.out_of_order"},
	{flow.LostSegment, "tcp.analysis.lost_segment"},
	{flow.DuplicateACK, "tcp.analysis.duplicate_ack"},
	{flow.ZeroWindow, "tcp.analysis.zero_window"},
	{flow.ZeroWindowProbe, "tcp.analysis.zero_window_probe"},
	{flow.ZeroWindowProbeACK, "tcp.analysis.zero_window_probe_ack"},
	{flow.WindowUpdate, "tcp.analysis.window_update"},
	{flow.WindowFull, "tcp.analysis.window_full"},
	{flow.KeepAlive, "tcp.analysis.keep_alive"},
	{flow.KeepAliveACK, "tcp.analysis.keep_alive_ack"},
	{flow.PortsReused, "tcp.analysis.reused_ports"},
	{flow.Reset, "tcp.flags.reset"},
}

// sharkRow is what tshark says of a segment.
type sharkRow struct {
	stream, acked, dupACK int64
	marks                 flow.Marks
	rtt, initial          time.Duration
	seq, ack              int64
}

// sharkRows has them by the number of the packet.
type sharkRows map[int64]sharkRow

// shark has tshark analyse captures of raw IP. To begin takes it longer than to read them, so
// they are joined into one, in dir, each with addresses of its own.
func shark(t *testing.T, dir string, files []string) map[string]sharkRows {
	t.Helper()
	joined := filepath.Join(dir, "joined.pcapng")
	parts := concatenate(t, joined, files)
	rows := readShark(t, joined)
	all := make(map[string]sharkRows)
	frame := int64(0)
	for i, file := range files {
		of, first := make(sharkRows), frame
		lowest := int64(math.MaxInt64)
		for range parts[i] {
			frame++
			if r, ok := rows[frame]; ok {
				lowest = min(lowest, r.stream)
			}
		}
		for n, number := range parts[i] {
			r, ok := rows[first+int64(n)+1]
			if !ok {
				continue
			}
			r.stream -= lowest
			if r.acked != 0 {
				r.acked = parts[i][r.acked-first-1]
			}
			of[number] = r
		}
		all[file] = of
	}
	return all
}

// concatenate writes the packets of captures to one, but for ICMP, and returns which number each
// had, file by file.
func concatenate(t *testing.T, to string, files []string) (numbers [][]int64) {
	t.Helper()
	out, err := os.Create(to)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	w := pcap.NewWriter(out, nil)
	device, _ := w.AddInterface(&pcap.Interface{LinkType: packet.Raw})
	for i, file := range files {
		var of []int64
		eachPacket(t, file, func(k *pcap.Packet) {
			if !move(k.Data, byte(i+1)) {
				return
			}
			of = append(of, k.Number)
			w.WritePacket(device, k)
		})
		numbers = append(numbers, of)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	return numbers
}

// move gives both hosts of a packet other addresses. It returns false for ICMP, which
// quotes them.
func move(ip []byte, to byte) bool {
	switch {
	case len(ip) >= 20 && ip[0]>>4 == 4 && ip[9] != 1:
		ip[14], ip[18] = to, to
	case len(ip) >= 40 && ip[0]>>4 == 6 && ip[6] != 58:
		ip[13], ip[29] = to, to
	default:
		return false
	}
	return true
}

// eachPacket calls f for each packet of a capture, which is lent.
func eachPacket(t *testing.T, file string, f func(*pcap.Packet)) {
	t.Helper()
	in, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	r, err := pcap.NewReader(in)
	if err != nil {
		t.Fatal(err)
	}
	for {
		k, err := r.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		f(k)
	}
}

// readShark has tshark analyse a file.
func readShark(t *testing.T, file string) sharkRows {
	t.Helper()
	fields := []string{
		"frame.number", "tcp.stream", "tcp.analysis.acks_frame", "tcp.analysis.ack_rtt",
		"tcp.analysis.initial_rtt", "tcp.seq", "tcp.ack", "tcp.analysis.duplicate_ack_num",
	}
	at := len(fields)
	for _, m := range sharkMarks {
		fields = append(fields, m.field)
	}
	args := []string{"-n", "-r", file, "-Y", "tcp && !icmp && !icmpv6", "-T", "fields", "-E", "separator=,", "-E", "occurrence=f"}
	for _, f := range fields {
		args = append(args, "-e", f)
	}
	out, err := exec.Command(yodeltest.NeedProgram(t, "tshark"), args...).Output()
	if err != nil {
		t.Fatalf("tshark: %v", err)
	}
	records, err := csv.NewReader(strings.NewReader(string(out))).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	rows := make(sharkRows)
	for _, rec := range records {
		r := sharkRow{
			stream: number(t, rec[1]), acked: number(t, rec[2]), rtt: seconds(t, rec[3]), initial: seconds(t, rec[4]),
			seq: number(t, rec[5]), ack: number(t, rec[6]), dupACK: number(t, rec[7]),
		}
		for i, m := range sharkMarks {
			if v := rec[at+i]; v != "" && v != "0" {
				r.marks |= m.mark
			}
		}
		rows[number(t, rec[0])] = r
	}
	return rows
}

func number(t *testing.T, s string) int64 {
	t.Helper()
	if s == "" {
		return 0
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func seconds(t *testing.T, s string) time.Duration {
	t.Helper()
	if s == "" {
		return 0
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil {
		t.Fatal(err)
	}
	return time.Duration(math.Round(f * 1e9))
}

// agreement is what came of a comparison.
type agreement struct {
	segments int
	flows    map[int64]*flow.Flow
	sum      flow.Counts // of all flows
	evidence map[string]int
}

func newAgreement() *agreement {
	return &agreement{flows: make(map[int64]*flow.Flow), evidence: make(map[string]int)}
}

// agree analyses a file and holds each segment against what tshark says of it: the same
// connection, numbers, marks, round-trip times.
func agree(t *testing.T, file string, all sharkRows) *agreement {
	t.Helper()
	rows := maps.Clone(all)
	a := newAgreement()
	differ := 0
	a.each(t, file, func(e *flow.Event) {
		row, ok := rows[e.Number]
		if !ok {
			t.Errorf("packet %d: not TCP, says tshark", e.Number)
			return
		}
		delete(rows, e.Number)
		if differ < 20 && !a.same(t, e, row) {
			differ++
		}
	})
	for n := range rows {
		t.Errorf("packet %d: TCP, says tshark, and we say it is not", n)
	}
	a.perConnection(t, all)
	a.log(t)
	return a
}

// each calls f for each segment in a file.
func (a *agreement) each(t *testing.T, file string, f func(*flow.Event)) {
	t.Helper()
	tracker := flow.New(&flow.Config{Ended: func(f *flow.Flow) { a.flows[f.Number] = f }})
	defer tracker.Close()
	var p packet.Packet
	eachPacket(t, file, func(k *pcap.Packet) {
		if err := p.Decode(k.Interface.LinkType, k.Data, k.Length); err != nil {
			t.Errorf("packet %d: %v", k.Number, err)
		}
		if e := tracker.Add(k.Number, k.Time, &p); e != nil && e.Kind == flow.Segment {
			a.segments++
			a.sum.Add(e.Marks)
			for _, name := range e.Evidence.Names() {
				a.evidence[name]++
			}
			f(e)
		}
	})
}

// same holds a segment against a row of tshark's.
func (a *agreement) same(t *testing.T, e *flow.Event, row sharkRow) bool {
	t.Helper()
	ok := true
	fail := func(format string, args ...any) {
		t.Helper()
		t.Errorf("packet %d: "+format, append([]any{e.Number}, args...)...)
		ok = false
	}
	if e.Rules != row.marks {
		fail("marks by rule %q, tshark has %q", e.Rules, row.marks)
	}
	if added := e.Marks &^ e.Rules &^ (flow.DuplicateSACK | flow.AckedUnseen); (added != 0 || e.Rules&^e.Marks != 0) != (e.Evidence != 0) && e.Evidence != flow.BytesSeen && e.Evidence != flow.SentLater && e.Evidence != flow.SentEarlier {
		fail("marks %q, by rule %q, with the evidence %q", e.Marks, e.Rules, e.Evidence.Names())
	}
	if e.Flow.Number != row.stream+1 {
		fail("flow %d, tshark has stream %d", e.Flow.Number, row.stream)
	}
	if uint32(e.Seq) != uint32(row.seq) || e.Ack >= 0 && uint32(e.Ack) != uint32(row.ack) { // tshark's wrap around
		fail("numbers %d and %d, tshark has %d and %d", e.Seq, e.Ack, row.seq, row.ack)
	}
	if int64(e.DupACK) != row.dupACK {
		fail("duplicate ACK number %d, tshark has %d", e.DupACK, row.dupACK)
	}
	if row.initial != 0 && !e.Flow.Handshake.IsZero() && e.Flow.InitialRTT != row.initial {
		fail("initial round trip %v, tshark has %v", e.Flow.InitialRTT, row.initial)
	}
	if e.Ambiguous != (e.Acked == 0 && row.acked != 0) || !e.Ambiguous && (e.Acked != row.acked || e.RTT != row.rtt) {
		fail("round trip %v from packet %d (ambiguous: %v), tshark has %v from %d", e.RTT, e.Acked, e.Ambiguous, row.rtt, row.acked)
	}
	return ok
}

// perConnection holds the sums of each connection against tshark's.
func (a *agreement) perConnection(t *testing.T, rows sharkRows) {
	t.Helper()
	sums := make(map[int64]*flow.Counts)
	for _, r := range rows {
		if sums[r.stream+1] == nil {
			sums[r.stream+1] = new(flow.Counts)
		}
		sums[r.stream+1].Add(r.marks)
	}
	for n, f := range a.flows {
		for _, m := range sharkMarks {
			if sums[n] == nil {
				continue // UDP
			}
			if got, want := f.Client.ByRule.Of(m.mark)+f.Server.ByRule.Of(m.mark), sums[n].Of(m.mark); got != want {
				t.Errorf("flow %d: %d of %v, tshark has %d", n, got, m.mark, want)
			}
		}
	}
}

// log says what was seen.
func (a *agreement) log(t *testing.T) {
	t.Helper()
	var all []string
	for m, n := range a.sum.All() {
		all = append(all, strconv.FormatInt(n, 10)+" "+m.String())
	}
	t.Logf("%d flows, %d segments: %s; evidence: %v", len(a.flows), a.segments, strings.Join(all, ", "), a.evidence)
}
