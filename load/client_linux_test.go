package load

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"golang.org/x/sys/unix"

	"yodel/sock"
	"yodel/yodeltest"
)

// build compiles a C program of bench/c and returns its path.
func build(t testing.TB, source string) string {
	t.Helper()
	yodeltest.NeedProgram(t, "gcc")
	out := filepath.Join(t.TempDir(), source)
	if p, err := exec.Command("gcc", "-O2", "-o", out, "../bench/c/"+source+".c").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, p)
	}
	return out
}

// plainServer starts the plain C server.
func plainServer(t testing.TB) (at sock.Address, pid int) {
	t.Helper()
	cmd := exec.Command(build(t, "epoll"), "-e")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	at = sock.Address{Network: "tcp", Host: "127.0.0.1"}
	if _, err := fmt.Fscanf(out, "port %d", &at.Port); err != nil {
		t.Fatal(err)
	}
	return at, cmd.Process.Pid
}

// plainClient runs the plain C client for rounds of so many milliseconds, whenever it is
// told to, and says how many messages a second of its own processor time it has moved.
type plainClient struct {
	in  io.Writer
	out *bufio.Reader
}

func startPlainClient(t testing.TB, at sock.Address, pid int, ms time.Duration) *plainClient {
	t.Helper()
	cmd := exec.Command(build(t, "client"), "-n", "100", "-s", "64", "-t", fmt.Sprint(ms.Milliseconds()), fmt.Sprintf("%d:%d", at.Port, pid))
	in, _ := cmd.StdinPipe()
	out, _ := cmd.StdoutPipe()
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		cmd.Wait()
	})
	c := &plainClient{in, bufio.NewReader(out)}
	if _, err := c.out.ReadString('\n'); err != nil { // ready
		t.Fatal(err)
	}
	return c
}

func (c *plainClient) round(t testing.TB) float64 {
	t.Helper()
	fmt.Fprintln(c.in)
	line, err := c.out.ReadBytes('\n')
	var r struct {
		Messages float64 `json:"messages"`
		NS       float64 `json:"client_ns"`
	}
	if err == nil {
		err = json.Unmarshal(line, &r)
	}
	if err != nil || r.NS == 0 {
		t.Fatalf("%v: %s", err, line)
	}
	return r.Messages / r.NS * 1e9
}

// BenchmarkAgainstC has this package and the plain C client take turns at the same
// server: 100 connections, 64 bytes, every byte compared. It reports verified echoes per
// second of the client's own processor time, and the median of the ratios of two turns in
// a row. Nothing else should run: go test -run=- -bench=AgainstC -benchtime=10x ./load
func BenchmarkAgainstC(b *testing.B) {
	for _, driver := range []string{"", Epoll} {
		b.Run("by="+cmp.Or(driver, "first-choice"), func(b *testing.B) { againstC(b, driver) })
	}
}

func againstC(b *testing.B, driver string) {
	const round = time.Second
	at, pid := plainServer(b)
	c := startPlainClient(b, at, pid, round)
	var ours, theirs, ratios []float64
	for b.Loop() {
		its := c.round(b)
		r, err := Run(b.Context(), Plan{Target: at, Conns: 100, Duration: round, Threads: 1, Driver: driver})
		if err != nil || r.Failures() > 0 {
			b.Fatal(err, r.FirstError())
		}
		mine := float64(r.Verified) / r.CPU.Seconds()
		ours, theirs, ratios = append(ours, mine), append(theirs, its), append(ratios, mine/its)
	}
	b.ReportMetric(middle(ours), "echoes/cpu-s")
	b.ReportMetric(middle(theirs), "c-echoes/cpu-s")
	b.ReportMetric(middle(ratios), "of-c")
}

func middle(list []float64) float64 { return slices.Sorted(slices.Values(list))[len(list)/2] }

// BenchmarkAwake has a client that sleeps while it waits and one that stays awake take turns with
// the plain server, one message at a time, and reports the medians of their p50, and of the ratios.
// Nothing else should run: go test -run=- -bench=Awake -benchtime=10x ./load
func BenchmarkAwake(b *testing.B) {
	at, _ := plainServer(b)
	p50 := func(awake bool) float64 {
		r, err := Run(b.Context(), Plan{Target: at, Duration: time.Second, Awake: awake})
		if err != nil || r.Failures() > 0 {
			b.Fatal(err, r.FirstError())
		}
		return float64(r.Latency.ValueAtQuantile(50)) / 1e3
	}
	var asleep, awake, ratios []float64
	for b.Loop() {
		x, y := p50(false), p50(true)
		asleep, awake, ratios = append(asleep, x), append(awake, y), append(ratios, y/x)
	}
	b.ReportMetric(middle(asleep), "asleep-p50-µs")
	b.ReportMetric(middle(awake), "awake-p50-µs")
	b.ReportMetric(middle(ratios), "of-asleep")
}

// BenchmarkLateness is 20,000 messages a second in runs of a quarter of a second: how late the
// tool is with them; and how late a thread is that does nothing but sleep until the same times.
// A processor that the machine's host gives to others is not idle: what is "undisturbed" is of the
// runs in which the kernel counts no such time, and "undisturbed-runs" is which part these are.
// Nothing else should run: go test -run=- -bench=Lateness -benchtime=40x ./load
func BenchmarkLateness(b *testing.B) {
	const rate, length = 20000, 250 * time.Millisecond
	at, _ := plainServer(b)
	var whole, sleeper lateRuns
	for b.Loop() {
		stolen := stolenTime()
		h := waitOnly(b, time.Second/rate, length)
		sleeper.add(h, stolenTime() == stolen)
		stolen = stolenTime()
		r, err := Run(b.Context(), Plan{Target: at, Conns: 100, Pace: Constant(rate), Duration: length, Threads: 1})
		if err != nil || r.Verified != rate/4 {
			b.Fatal(err, r.Counts, r.FirstError())
		}
		whole.add(r.Lateness, stolenTime() == stolen)
	}
	whole.report(b, "")
	sleeper.report(b, "sleeper's-")
}

// lateRuns is what several runs say of lateness: all of them, and those that were not disturbed.
type lateRuns struct {
	all, undisturbed *hdrhistogram.Histogram
	runs, left       int
}

func (l *lateRuns) add(h *hdrhistogram.Histogram, undisturbed bool) {
	if l.all == nil {
		l.all, l.undisturbed = newHistogram(), newHistogram()
	}
	l.runs++
	l.all.Merge(h)
	if undisturbed {
		l.left++
		l.undisturbed.Merge(h)
	}
}

func (l *lateRuns) report(b *testing.B, whose string) {
	for _, q := range []float64{50, 99} {
		b.ReportMetric(float64(l.all.ValueAtQuantile(q))/1e3, fmt.Sprintf("%sp%g-µs", whose, q))
		b.ReportMetric(float64(l.undisturbed.ValueAtQuantile(q))/1e3, fmt.Sprintf("%sundisturbed-p%g-µs", whose, q))
	}
	b.ReportMetric(float64(l.left)/float64(l.runs), whose+"undisturbed-runs")
}

// waitOnly returns how late a thread is that waits for every gap's end with a timerfd.
func waitOnly(b *testing.B, gap, length time.Duration) *hdrhistogram.Histogram {
	b.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_CLOEXEC)
	if err != nil {
		b.Fatal(err)
	}
	defer unix.Close(fd)
	var late histogram
	from, rang := time.Now(), make([]byte, 8)
	for at := gap; at < length; at += gap {
		for left := at - time.Since(from); left > 0; left = at - time.Since(from) {
			unix.TimerfdSettime(fd, 0, &unix.ItimerSpec{Value: unix.NsecToTimespec(int64(left))}, nil)
			unix.Read(fd, rang)
		}
		late.record(int64(time.Since(from) - at))
	}
	return late.export()
}
