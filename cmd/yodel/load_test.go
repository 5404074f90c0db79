package main

import (
	"bytes"
	"encoding/json"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"yodel/load"
	"yodel/yodeltest"
)

// Ctrl-C ends a run, whose report says what was done.
func TestLoadInterrupted(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		yodeltest.Skip(t, "on Windows a signal can't be sent to one process", "run it elsewhere")
	}
	s := serve(t, "echo@127.0.0.1:0")
	p := start(t, racing(t), "load", s.address(0), "--duration", "1h", "--rate", "500")
	p.await(t, &p.err, ` 2 s .*verified`)
	p.signal(t, os.Interrupt)
	if status := p.wait(t); status != 130 {
		t.Errorf("status %d", status)
	}
	for _, want := range []string{"open loop at 500/s", "messages", "latency", "- the run was ended early"} {
		if !strings.Contains(p.out.String(), want) {
			t.Errorf("no %q in the report:\n%s", want, p.out.String())
		}
	}
}

// While a run is under way its sums can be asked for.
func TestLoadMetrics(t *testing.T) {
	t.Parallel()
	s := serve(t, "echo@127.0.0.1:0")
	const at = "127.0.0.1:0"
	m := &loadMetrics{}
	a, err := newAdmin(t.Context(), at, m)
	if err != nil {
		t.Fatal(err)
	}
	defer a.close()
	go a.serve()
	l := &loading{loadFlags: &loadFlags{}, metrics: m, std: std{out: io.Discard, err: io.Discard}, shown: noProgress{}}
	targets, err := parseTargets([]string{s.address(0)})
	if err != nil {
		t.Fatal(err)
	}
	l.plan = load.Plan{Targets: targets, Count: 300}
	if err := l.once(t.Context()); err != nil {
		t.Fatal(err)
	}
	answer, err := http.Get("http://" + a.listener.Addr().String() + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`yodel_load_messages_total{result="verified"} 300`, `yodel_load_bytes_total{direction="in"} 19200`,
		`yodel_load_connections_total 1`, `yodel_load_latency_seconds{quantile="0.99"}`, `yodel_load_answers_per_second`,
	} {
		if !bytes.Contains(text, []byte(want)) {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
}

// At a terminal there is one line, written over and over, with the latencies as bars.
func TestLiveProgress(t *testing.T) {
	t.Parallel()
	h := hdrhistogram.New(1, int64(time.Hour), 3)
	for i := range int64(1000) {
		h.RecordValue(10_000 + i*i)
	}
	var out bytes.Buffer
	v := &liveProgress{w: &out}
	v.progress(&load.Progress{
		Elapsed: 3 * time.Second, Rate: 1234, Counts: load.Counts{Verified: 99, Lost: 2}, Recent: h,
		Errors: map[load.Class]int64{load.Timeout: 2},
	})
	v.done()
	for _, want := range []string{"\r\x1b[K   3 s", "1234/s", "verified 99", "lost 2", "timeout 2", "█", "10µs"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in %q", want, out.String())
		}
	}
	if bars(hdrhistogram.New(1, 10, 1)) != "" {
		t.Error("bars of nothing")
	}
}

// Several processes share a plan, and their report is one.
func TestLoadInParts(t *testing.T) {
	t.Parallel()
	s := serve(t, "echo@127.0.0.1:0")
	p := start(t, racing(t), "load", s.address(0), "--procs", "3", "--conns", "7", "--count", "1000", "--json", "--fail-if", "lost>0", "--weights", "1")
	if status := p.wait(t); status != 0 {
		t.Fatalf("status %d: %s", status, p.err.String())
	}
	d, err := load.ReadDocument(strings.NewReader(p.out.String()))
	if err != nil {
		t.Fatal(err)
	}
	if d.Verified != 1000 || d.Connections != 7 || d.Conns != 7 || d.Latency == nil || len(d.Histograms) == 0 || d.Tool.Driver == "" {
		t.Errorf("%+v", d)
	}
	p = start(t, racing(t), "load", s.address(0), "--procs", "3", "--conns", "2")
	if status := p.wait(t); status != 2 || strings.Count(p.err.String(), "each needs") != 1 {
		t.Errorf("two connections for three: status %d: %s", status, p.err.String())
	}
}

// Ctrl-C ends all of them, and the report says what they have done.
func TestLoadInPartsInterrupted(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		yodeltest.Skip(t, "on Windows a signal can't be sent to one process", "run it elsewhere")
	}
	s := serve(t, "echo@127.0.0.1:0")
	p := start(t, racing(t), "load", s.address(0), "--procs", "2", "--conns", "4", "--duration", "1h")
	p.await(t, &p.err, ` 1 s .*verified`)
	p.signal(t, os.Interrupt)
	if status := p.wait(t); status != 130 {
		t.Errorf("status %d: %s", status, p.err.String())
	}
	for _, want := range []string{"4 connections made", "- the run was ended early"} {
		if !strings.Contains(p.out.String(), want) {
			t.Errorf("no %q in the report:\n%s", want, p.out.String())
		}
	}
}

// A process that is gone ends the run.
func TestLoadPartThatIsGone(t *testing.T) {
	t.Parallel()
	q := &parting{loading: &loading{loadFlags: &loadFlags{procs: 2}}, parts: []*part{{}}}
	if err := q.take(partEvent{over: true, err: io.ErrUnexpectedEOF}); err == nil || !strings.Contains(err.Error(), "process 1 of 2 has ended without a report") {
		t.Errorf("%v", err)
	}
}

// overloaded echoes, and while more than so many messages come in 50 ms it takes 100 ms for each.
type overloaded struct {
	most int

	mu    sync.Mutex
	from  time.Time // of the present 50 ms
	n     int
	until time.Time // it is slow
}

func (o *overloaded) serve(c net.Conn) {
	defer c.Close()
	buf := make([]byte, 64)
	for {
		if _, err := io.ReadFull(c, buf); err != nil {
			return
		}
		if o.isSlow(time.Now()) {
			<-time.After(100 * time.Millisecond)
		}
		c.Write(buf)
	}
}

func (o *overloaded) isSlow(now time.Time) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if now.Sub(o.from) > 50*time.Millisecond {
		o.from, o.n = now, 0
	}
	if o.n++; o.n > o.most {
		o.until = now.Add(100 * time.Millisecond)
	}
	return now.Before(o.until)
}

// A search finds the rate that a server bears, to its step, or less where the machine bears less:
// never more.
func TestLoadSearch(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	o := &overloaded{most: 50} // 1,000 a second
	go func() {
		for c, err := l.Accept(); err == nil; c, err = l.Accept() {
			go o.serve(c)
		}
	}()
	p := start(t, racing(t), "load", l.Addr().String(), "--search", "p90<50ms", "--rate", "400", "--duration", "500ms", "--conns", "8", "--json")
	status := p.wait(t)
	var tries []tryJSON
	kept, missed := 0.0, math.Inf(1)
	for line := range strings.Lines(p.out.String()) {
		var try tryJSON
		if err := json.Unmarshal([]byte(line), &try); err != nil {
			t.Fatal(err)
		}
		switch {
		case try.Type != "try":
			continue
		case try.Kept:
			kept = max(kept, try.Asked)
		default:
			missed = min(missed, try.Asked)
		}
		tries = append(tries, try)
	}
	if kept == 0 {
		t.Logf("this machine bears no rate at all now: status %d, %s", status, p.err.String())
		return
	}
	d, err := load.ReadDocument(strings.NewReader(p.out.String()))
	if err != nil || status != 0 || d.Asked != kept {
		t.Fatalf("status %d, %v, the report is of %v/s", status, err, d)
	}
	if kept > 1100 || missed < kept || missed > kept*1.06 {
		t.Errorf("%v/s is kept and %v/s is missed by a server that bears 1000/s: %+v", kept, missed, tries)
	}
}
