package load

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"

	"yodel/sock"
)

// made returns the report of a closed loop of n messages that took 1 ms to 2 ms each.
func made(n int, change func(*Report)) *Report {
	r := &Report{
		Plan:    Plan{Targets: []Target{{Address: sock.Address{Network: "tcp", Host: "a.example", Port: 7}, Weight: 1}}, Conns: 1, Pipeline: 1, Size: 64},
		Elapsed: time.Duration(max(n, 1)) * time.Millisecond, Times: new(times).export(),
		Errors: map[Class]int64{}, Examples: map[Class]error{}, Testimony: Testimony{Busy: 0.3, Starved: 0},
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for range n {
		took := int64(1e6 + rng.Float64()*1e6)
		r.Latency.RecordValue(took)
		r.Service.RecordValue(took)
	}
	r.Due, r.Sent, r.Received, r.Verified = int64(n), int64(n), int64(n), int64(n)
	if change != nil {
		change(r)
	}
	r.Verdict = judge(r)
	return r
}

func open20k(r *Report) { r.Plan.Pace = Constant(1000) }

func TestVerdicts(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		what   string
		n      int
		change func(*Report)
		limit  Limit
		says   string
	}{
		{"time to spare", 20000, nil, LimitServer, "time to spare"},
		{"nothing came", 0, nil, LimitUnknown, "nothing was answered"},
		{"few", 500, nil, LimitServer, "not enough samples for p99.9: 500, and 10000 are needed"},
		{"a busy loop", 20000, func(r *Report) { r.Testimony.Busy = 0.97 }, LimitClient, "client was the limit above 1000/s"},
		{"no processor", 20000, func(r *Report) { r.Starved = 10 * time.Second }, LimitClient, "waited for a processor 50 %"},
		{"no ports", 20000, func(r *Report) { r.Errors[NoPort] = 3 }, LimitClient, "no free port"},
		{"no descriptors", 20000, func(r *Report) { r.Errors[NoFile] = 3 }, LimitClient, "no free descriptor"},
		{"late", 20000, func(r *Report) {
			open20k(r)
			for range 20000 {
				r.Lateness.RecordValue(5e6)
			}
		}, LimitClient, "more than 5ms late"},
		{"an open loop in time", 20000, open20k, LimitServer, "time to spare"},
		{"a busy open loop", 20000, func(r *Report) { open20k(r); r.Testimony.Busy = 0.95 }, LimitClient, "occupied 95 % of the time: p50 would be its own figure"},
		{"segments sent again", 20000, func(r *Report) { r.Retransmits = 500 }, LimitNetwork, "500 segments again"},
		{"a long way", 20000, func(r *Report) { r.MinRTT = 1400 * time.Microsecond }, LimitNetwork, "1.4ms"},
		{"a short way", 20000, func(r *Report) { r.MinRTT = 40 * time.Microsecond }, LimitServer, "time to spare"},
		{"not compared", 20000, func(r *Report) { r.Plan.NoVerify = true }, LimitServer, "not compared"},
		{"stopped", 20000, func(r *Report) { r.Stopped = true }, LimitServer, "ended early"},
		{"never sent", 20000, func(r *Report) { open20k(r); r.Unsent = 900; r.Due += 900 }, LimitServer, "900 messages were due and not sent"},
		{"collected garbage", 20000, func(r *Report) { r.LongestPause = 9 * time.Millisecond }, LimitServer, "9ms"},
		{"full buffers", 20000, func(r *Report) { r.Drops = 4 }, LimitServer, "4 datagrams"},
	} {
		r := made(tt.n, tt.change)
		said := r.Verdict.Text + "; " + strings.Join(r.Verdict.Reasons, "; ")
		if r.Verdict.Limit != tt.limit || !strings.Contains(said, tt.says) {
			t.Errorf("%s: %s: %s; want %s and %q", tt.what, r.Verdict.Limit, said, tt.limit, tt.says)
		}
	}
}

// Where goroutines do all, the whole process's time says whether it could have done more.
func TestTestimonyOfGoroutines(t *testing.T) {
	t.Parallel()
	procs := time.Duration(runtime.GOMAXPROCS(0))
	before := observed{at: time.Unix(1000, 0), waited: time.Second}
	after := observed{at: time.Unix(1010, 0), waited: time.Second + 4*time.Second*procs}
	r := made(20000, func(r *Report) {
		r.Elapsed = 10 * time.Second
		r.Testimony = Testimony{Driver: Goroutines, Busy: -1, Starved: -1, CPU: 6 * time.Second * procs}
		r.ofGoroutines(&before, &after)
	})
	if r.Busy != 0.6 || r.Starved != 4*time.Second || r.Verdict.Limit != LimitClient || r.Verdict.Reasons[0] != "it was at work, or waited for a processor, 100 % of the time" {
		t.Errorf("busy %v, starved %v: %+v", r.Busy, r.Starved, r.Verdict)
	}
	unknown := Testimony{Driver: Goroutines, Busy: -1, Starved: -1}
	if unknown.ofGoroutines(&before, &after); unknown.Busy != -1 || unknown.Starved != -1 {
		t.Errorf("%+v", unknown)
	}
	over := mustRun(t, Plan{Target: serveAt(t, sock.Address{Network: "tls", Host: "127.0.0.1"}, echo), TLS: insecure, Count: 100})
	if known := cpuTime() > 0; known != (over.Busy > 0) {
		t.Errorf("a run over TLS was busy %v", over.Busy)
	}
}

// What was never answered is slower than all that was.
func TestQuantilesCountTheUnanswered(t *testing.T) {
	t.Parallel()
	r := made(9900, func(r *Report) { r.Sent, r.Due, r.Lost = 10000, 10000, 100 })
	if f := r.Percentile(r.Latency, 99.9); !strings.Contains(f.Withheld, "100 of 10000 messages have no right answer") {
		t.Errorf("p99.9 of a hundredth lost: %+v", f)
	}
	if f := r.Percentile(r.Latency, 99); f.Withheld != "" || f.Value != time.Duration(r.Latency.Max()) {
		t.Errorf("p99 of a hundredth lost: %+v, want the longest, %v", f, time.Duration(r.Latency.Max()))
	}
	if f := r.Percentile(r.Latency, 100); f.Withheld == "" {
		t.Errorf("the longest of what was not all answered: %+v", f)
	}
	if r.Connect.RecordValue(1000); r.Percentile(r.Connect, 100).Withheld != "" {
		t.Errorf("the one connection: %+v", r.Percentile(r.Connect, 100))
	}
	whole := made(9900, nil)
	if f := whole.Percentile(whole.Latency, 100); f.Withheld != "" || f.Cell() == "–" {
		t.Errorf("%+v", f)
	}
	stopped := made(9900, func(r *Report) { r.Sent, r.Due, r.Unfinished = 10000, 10000, 100 })
	if f := stopped.Percentile(stopped.Latency, 99.9); strings.Contains(f.Withheld, "never") {
		t.Errorf("what was under way at the end: %+v", f)
	}
}

func TestBounds(t *testing.T) {
	t.Parallel()
	r := made(20000, func(r *Report) { r.Errors[Timeout], r.Corrupt, r.Lost, r.Sent, r.Due = 2, 1, 3, 20003, 20003 })
	for text, want := range map[string]bool{
		"p99<5ms": true, "p99>5ms": false, " p50 < 1ms": false, "p99.9<1h": true, "p999<1h": true,
		"rate>900": true, "rate<1k": false, "rate<0.002M": true, "errors>1": true, "errors>2": false, "corrupt>0": true, "lost<3": false,
	} {
		b, err := ParseBound(text)
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		if holds, known, why := b.Holds(r); holds != want || !known {
			t.Errorf("%q is %v, %v: %s", text, holds, known, why)
		}
		if again, err := ParseBound(b.String()); err != nil || again != b {
			t.Errorf("%q is written %q, which is read as %v, %v", text, b, again, err)
		}
	}
	b, _ := ParseBound("max<1h")
	if holds, known, why := b.Holds(r); holds || known || !strings.Contains(why, "not known") {
		t.Errorf("the longest of what was not all answered: %v, %v, %s", holds, known, why)
	}
	for _, text := range []string{"", "p99", "p98<5ms", "p99<5", "p99<-5ms", "p99<0s", "rate<x", "rate<-1", "rate<1e999", "errors>0x10", "errors>NaN"} {
		if b, err := ParseBound(text); err == nil {
			t.Errorf("%q is read as %v", text, b)
		}
	}
}

func FuzzParseBound(f *testing.F) {
	f.Add("p99<5ms")
	f.Add("rate>10k")
	f.Fuzz(func(t *testing.T, text string) {
		b, err := ParseBound(text)
		if err != nil {
			return
		}
		if again, err := ParseBound(b.String()); err != nil || again != b {
			t.Errorf("%q is %v, written %q, read as %v, %v", text, b, b.String(), again, err)
		}
	})
}

// A search finds the edge, wherever it is, and ends.
func TestSearch(t *testing.T) {
	t.Parallel()
	for _, edge := range []float64{0.5, 3, 999, 1000, 12345, 5e6, math.Inf(1)} {
		s := Search{From: 1000, Most: 8e6}
		tries := 0
		for rate, ok := s.Next(); ok; rate, ok = s.Next() {
			s.Tried(rate, rate <= edge)
			tries++
		}
		kept, missed := s.Found()
		switch {
		case edge < 1:
			if kept != 0 || missed >= 1 {
				t.Errorf("edge %v: %v and %v", edge, kept, missed)
			}
		case math.IsInf(edge, 1):
			if kept != 8e6 || missed != 0 {
				t.Errorf("no edge: %v and %v", kept, missed)
			}
		case kept > edge || missed <= edge || missed/kept > 1.05:
			t.Errorf("edge %v: %v and %v", edge, kept, missed)
		}
		if tries > mostTries {
			t.Errorf("edge %v: %d tries", edge, tries)
		}
	}
}

func TestDocument(t *testing.T) {
	t.Parallel()
	r := made(5000, func(r *Report) {
		open20k(r)
		r.Errors[Corrupt] = 1
		r.Examples[Corrupt] = &Fault{Class: Corrupt, Got: 1, Want: 2}
		r.Examples[Other] = errors.New("\x1b[2J")
		r.Targets = []TargetReport{{Target: r.Plan.Targets[0], Latency: newHistogram()}}
		r.Slowest = []Slow{{Latency: time.Second, Conn: 3}}
		r.Series = []Point{{At: time.Second, For: time.Second, Rate: 10, P50: 1000, P99: 2000, Max: 3000}, {At: 2 * time.Second, For: time.Second}}
	})
	text, err := json.Marshal(r.Document())
	if err != nil {
		t.Fatal(err)
	}
	d, err := ReadDocument(bytes.NewReader(append([]byte(`{"type":"progress"}`+"\n"), text...)))
	if err != nil {
		t.Fatal(err)
	}
	if d.Verified != 5000 || d.Loop != "open" || d.Asked != 1000 || d.Latency.P99 == nil || d.Latency.P999 != nil || d.Withheld["latency_us.p999"] == "" {
		t.Errorf("%s", text)
	}
	h, err := d.histogram("latency")
	if err != nil || h.TotalCount() != 5000 || h.ValueAtQuantile(50) != r.Latency.ValueAtQuantile(50) {
		t.Errorf("%v, %v", h, err)
	}
	if strings.Contains(string(text), "\x1b") {
		t.Error("an error's text is not escaped")
	}
	for _, bad := range []string{"", "{}", `{"type":"progress"}`, "nonsense", strings.Repeat("x", maxDocument+1)} {
		if _, err := ReadDocument(strings.NewReader(bad)); err == nil {
			t.Errorf("%.20q was read", bad)
		}
	}
	for _, bad := range []string{"", "x", "AAAA", "HISTFAAAAAB42pNpmSzMwMDAxAABzFCaEUoz2X+AsAA="} {
		d.Histograms["latency"] = bad
		if h, err := d.histogram("latency"); err == nil && h.TotalCount() == 5000 {
			t.Errorf("%q was decoded", bad)
		}
	}
	var page bytes.Buffer
	if err := WriteHTML(&page, r); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"Latency by percentile", "Rate over time", "prefers-color-scheme: dark", "a.example:7", "Withheld", "<svg"} {
		if !strings.Contains(page.String(), want) {
			t.Errorf("the page has no %q", want)
		}
	}
	if strings.Contains(page.String(), "http://") || strings.Contains(page.String(), "https://") || strings.Contains(page.String(), "NaN") {
		t.Error("the page needs something else, or has a figure that is none")
	}
	if err := WriteHTML(&page, made(0, nil)); err != nil {
		t.Error(err)
	}
}

func FuzzReadDocument(f *testing.F) {
	text, _ := json.Marshal(made(100, nil).Document())
	f.Add(text)
	f.Add([]byte(`{"type":"report","histograms":{"latency":"HISTFAAAAAB42pNpmSzMwMDAxAABzFCaEUoz2X+AsAA="}}`))
	f.Fuzz(func(t *testing.T, p []byte) {
		d, err := ReadDocument(bytes.NewReader(p))
		if err == nil {
			Compare(d, d, 0.05)
		}
	})
}

func TestCompare(t *testing.T) {
	t.Parallel()
	series := func(rate float64) []Point {
		var all []Point
		for i := range 10 {
			all = append(all, Point{At: time.Duration(i+1) * time.Second, For: time.Second, Rate: rate + float64(i%3)})
		}
		return all
	}
	a := made(20000, func(r *Report) { r.Series = series(1000) }).Document()
	same := made(20000, func(r *Report) { r.Series = series(1000) }).Document()
	slower := made(20000, func(r *Report) {
		r.Series, r.Elapsed = series(500), 40*time.Second
		r.Latency = newHistogram()
		for i := range int64(20000) {
			r.Latency.RecordValue(2e6 + i*100)
		}
	}).Document()
	verdicts := func(a, b *Document, tolerance float64) map[string]Difference {
		all, err := Compare(a, b, tolerance)
		if err != nil {
			t.Fatal(err)
		}
		m := map[string]Difference{}
		for _, d := range all {
			if d.A.Low > d.A.Value || d.A.Value > d.A.High {
				t.Errorf("%+v is no interval", d.A)
			}
			m[d.Figure] = d
		}
		return m
	}
	for figure, d := range verdicts(a, same, 0.05) {
		if d.Verdict != "same" || d.Regression {
			t.Errorf("%s of the same: %+v", figure, d)
		}
	}
	worse := verdicts(a, slower, 0.05)
	if d := worse["latency p50"]; d.Verdict != "worse" || !d.Regression || d.Change < 0.5 {
		t.Errorf("%+v", d)
	}
	if d := worse["rate"]; d.Verdict != "worse" || !d.Regression {
		t.Errorf("%+v", d)
	}
	if d := verdicts(a, slower, 5)["latency p50"]; d.Verdict != "worse" || d.Regression {
		t.Errorf("within the tolerance: %+v", d)
	}
	if d := verdicts(slower, a, 0.05)["latency p50"]; d.Verdict != "better" || d.Regression {
		t.Errorf("%+v", d)
	}
	if notes := Notes(a, same); len(notes) != 0 {
		t.Errorf("of the same: %q", notes)
	}
	lossy := made(20000, func(r *Report) { r.Sent, r.Due, r.Lost, r.Plan.Conns = 30000, 30000, 10000, 7 }).Document()
	if _, compared := verdicts(a, lossy, 0.05)["latency p90"]; compared {
		t.Error("p90 was compared with one that is withheld")
	}
	if notes := strings.Join(Notes(a, lossy), "\n"); !strings.Contains(notes, "latency p90 is not compared: of B, 10000 of 30000") || !strings.Contains(notes, "conns: 1 of A, 7 of B") {
		t.Errorf("%s", notes)
	}
	few := made(20000, nil).Document()
	if i := few.rate(); i.High-i.Low > 0.1*i.Value || i.High <= i.Low {
		t.Errorf("without points: %+v", i)
	}
	if _, err := Compare(&Document{}, a, 0); err == nil {
		t.Error("a report without histograms was compared")
	}
	if _, err := Compare(a, &Document{}, 0); err == nil {
		t.Error("with a report without histograms was compared")
	}
	for n, want := range map[int]float64{1: 12.706, 10: 2.228, 20: 2.086, 60: 2.000} {
		if got := student(n); math.Abs(got-want) > 0.002 {
			t.Errorf("Student's t with %d degrees is %v, want %v", n, got, want)
		}
	}
}

// However long a run is, its course has no more than so many points, and loses nothing
// but the order of what is near.
func TestSeriesDoesNotGrow(t *testing.T) {
	t.Parallel()
	var s series
	s.began(0)
	messages := 0.0
	for i := range int64(2000) {
		y := newTally()
		y.Verified = 10
		y.errors[Timeout] = 1
		s.add((i+1)*int64(time.Second), y)
	}
	errs := int64(0)
	for _, p := range s.points {
		messages += p.Rate * p.For.Seconds()
		errs += p.Errors
	}
	if len(s.points) > mostPoints || math.Abs(messages-20000) > 50 || errs < 1990 {
		t.Errorf("%d points, %v messages, %d errors", len(s.points), messages, errs)
	}
}

func TestRound(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{123: "123ns", 123456: "123µs", 1234567890: "1.23s", 0: "0s"} {
		if got := Round(d).String(); got != want {
			t.Errorf("%d is %s, want %s", d, got, want)
		}
	}
}

func TestSources(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		network string
		n       int
		want    string
	}{
		{"127.0.0.0/8", 0, "127.0.0.1"},
		{"127.0.0.0/8", 300, "127.0.1.45"},
		{"10.0.0.7/32", 5, "10.0.0.7"},
		{"10.0.0.0/30", 0, "10.0.0.1"},
		{"10.0.0.0/30", 1, "10.0.0.2"},
		{"10.0.0.0/30", 2, "10.0.0.1"},
		{"10.0.0.4/31", 0, "10.0.0.4"},
		{"10.0.0.4/31", 1, "10.0.0.5"},
		{"fd00::/64", 65536, "fd00::1:1"},
	} {
		if got := nth(netip.MustParsePrefix(tt.network), tt.n); got.String() != tt.want {
			t.Errorf("%s, number %d: %v, want %s", tt.network, tt.n, got, tt.want)
		}
	}
}

func TestMetric(t *testing.T) {
	t.Parallel()
	for n, want := range map[float64]string{0: "0 ", 999: "999 ", 12300: "12.3 k", 1.5e6: "1.5 M", 2.5e10: "25 G"} {
		if got := Metric(n); got != want {
			t.Errorf("%v is %q, want %q", n, got, want)
		}
	}
}
