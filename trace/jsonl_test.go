package trace_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"yodel/trace"
	"yodel/yodeltest"
)

var noon = time.Date(2025, 6, 1, 12, 0, 0, 1, time.UTC)

// full is an event with all fields set.
func full() trace.Event {
	return trace.Event{
		Conn: trace.ConnID{Run: 0x0f31c9aa, Seq: 3}, Op: trace.Write, Side: trace.Server,
		Time: noon, Took: 12345, FD: 4, Network: "tcp", Service: "echo",
		Local:  netip.MustParseAddrPort("127.0.0.1:7"),
		Remote: netip.MustParseAddrPort("[fe80::1%eth0]:51234"),
		Path:   "@name", Name: "localhost", Bytes: 12, In: 1 << 40, Out: -1,
		Text: "hi there", Err: errors.New("broken pipe"), Mono: 7219000001,
	}
}

// written returns what a Writer without a header makes of events.
func written(t *testing.T, events ...trace.Event) string {
	t.Helper()
	var buf bytes.Buffer
	w := trace.NewLines(&buf)
	for _, e := range events {
		w.Emit(&e)
	}
	if err := w.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	return buf.String()
}

// readAll returns the events of a trace file.
func readAll(t *testing.T, file string) []trace.Event {
	t.Helper()
	r := trace.NewReader(strings.NewReader(file))
	var all []trace.Event
	for {
		e, err := r.Next()
		if err == io.EOF {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, e)
	}
}

func TestWriterLine(t *testing.T) {
	t.Parallel()
	const want = `{"type":"write","time":"2025-06-01T12:00:00.000000001Z","mono_ns":7219000001,` +
		`"conn":"0f31c9aa-3","side":"server","fd":4,"network":"tcp","service":"echo",` +
		`"local":"127.0.0.1:7","remote":"[fe80::1%eth0]:51234","path":"@name","name":"localhost",` +
		`"bytes":12,"in":1099511627776,"out":-1,"took_us":12.345,"text":"hi there","error":"broken pipe"}` + "\n"
	check(t, "line", written(t, full()), want)
}

func TestWriterLeavesZeroesOut(t *testing.T) {
	t.Parallel()
	start := `"time":"2025-06-01T12:00:00.000000001Z","mono_ns":1`
	for op, rest := range map[trace.Op]string{
		trace.Note:    `}`,
		trace.EOF:     `}`,
		trace.Read:    `,"bytes":0}`,
		trace.Write:   `,"bytes":0}`,
		trace.Message: `,"bytes":0}`,
		trace.Close:   `,"in":0,"out":0}`,
	} {
		want := `{"type":"` + string(op) + `",` + start + rest + "\n"
		check(t, string(op), written(t, trace.Event{Op: op, Time: noon, Mono: 1}), want)
	}
}

func TestTookIsExact(t *testing.T) {
	t.Parallel()
	for took, want := range map[time.Duration]string{
		1: "0.001", -5: "-0.005", 999: "0.999", 1000: "1.000", -1234567: "-1234.567",
		math.MaxInt64: "9223372036854775.807", math.MinInt64: "-9223372036854775.808",
	} {
		line := written(t, trace.Event{Op: trace.Note, Took: took})
		if !strings.Contains(line, `"took_us":`+want+`}`) {
			t.Errorf("%d ns: %s, want %s", took, line, want)
		}
		check(t, "read back", readAll(t, line)[0].Took, took)
	}
}

var hostile = []string{
	"plain", `a "quoted" \ one`, "\x1b]0;owned\a", "hi\r\nlevel=info", "\x00\x7f", "\xff\xc3(", "\u009b31m", "exe\u202egpj",
	"Grüße 日本語 😀", "\ufffd", `\x41`, `\\`, "\u2028", `"`, "{}", "\ufeff", strings.Repeat(`"\`, 100),
}

func TestTextSurvives(t *testing.T) {
	t.Parallel()
	for _, s := range hostile {
		e := trace.Event{
			Op: trace.Op(s), Side: trace.Side(s), Network: s, Service: s, Path: s, Name: s, Text: s,
			Err: errors.New(s), Time: noon, Mono: 1,
		}
		line := written(t, e)
		checkSafeLine(t, line)
		checkSame(t, readAll(t, line)[0], e)
	}
}

// checkSafeLine checks that a line may be printed, also when JSON's quoting is undone.
func checkSafeLine(t *testing.T, line string) {
	t.Helper()
	if !strings.HasSuffix(line, "}\n") || strings.Count(line, "\n") != 1 || !json.Valid([]byte(line)) {
		t.Errorf("not one line of JSON: %q", line)
	}
	var fields map[string]any
	if err := json.Unmarshal([]byte(line), &fields); err != nil {
		t.Errorf("%q: %v", line, err)
	}
	for key, v := range fields {
		s, _ := v.(string)
		if i := strings.IndexFunc(s, func(r rune) bool { return r < ' ' || 0x7f <= r && r < 0xa0 || r == 0x202e || r == 0x2028 }); i >= 0 || !utf8.ValidString(s) {
			t.Errorf("%s is %q, not safe to print", key, s)
		}
	}
}

func checkSame(t *testing.T, got, want trace.Event) {
	t.Helper()
	if (got.Err == nil) != (want.Err == nil) || got.Err != nil && got.Err.Error() != want.Err.Error() {
		t.Errorf("error %v, want %v", got.Err, want.Err)
	}
	got.Err, want.Err = nil, nil
	if !got.Time.Equal(want.Time) {
		t.Errorf("time %v, want %v", got.Time, want.Time)
	}
	got.Time, want.Time = time.Time{}, time.Time{}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("\ngot  %+v\nwant %+v", got, want)
	}
}

func FuzzRoundTrip(f *testing.F) {
	for i, s := range hostile {
		f.Add(s, s, int64(i), uint16(i), []byte{127, 0, 0, byte(i)})
	}
	f.Add("read", "", int64(-1), uint16(80), []byte("0123456789abcdef"))
	f.Fuzz(func(t *testing.T, a, b string, n int64, port uint16, ip []byte) {
		if a == "" {
			a = "x" // a line without a type is none
		}
		addr, _ := netip.AddrFromSlice(ip)
		if addr.Is6() && !addr.Is4In6() {
			addr = addr.WithZone(strings.ToValidUTF8(b, ""))
		}
		e := trace.Event{
			Conn: trace.ConnID{Run: uint32(n), Seq: uint64(n)}, Op: trace.Op(a), Side: trace.Side(b),
			Time: noon.Add(time.Duration(n) / 4), Mono: max(n, 1), Took: time.Duration(n), FD: int(port),
			Network: b, Service: a, Path: b, Name: a, Bytes: int(n), In: n, Out: ^n, Text: b,
		}
		if addr.IsValid() {
			e.Local = netip.AddrPortFrom(addr, port)
			e.Remote = e.Local
			if _, err := netip.ParseAddrPort(e.Local.String()); err != nil {
				return // a zone that package netip does not read back
			}
		}
		if a != b {
			e.Err = errors.New(a)
		}
		if a == string(trace.Header) {
			return // lacks a version
		}
		line := written(t, e)
		checkSafeLine(t, line)
		checkSame(t, readAll(t, line)[0], e)
	})
}

func TestZeroTimeIsNowAndMonoRuns(t *testing.T) {
	t.Parallel()
	before := time.Now()
	w := full()
	w.Time, w.Mono = time.Time{}, 0
	got := readAll(t, written(t, w))[0]
	if got.Time.Before(before.Round(0)) || got.Time.After(time.Now()) {
		t.Errorf("time %v, want about %v", got.Time, before)
	}

	now := time.Now()
	all := readAll(t, written(t,
		trace.Event{Op: trace.Note, Time: now}, trace.Event{Op: trace.Note, Time: now.Add(1234 * time.Nanosecond)}))
	check(t, "between two events", all[1].Mono-all[0].Mono, 1234)
}

func TestErrorWithoutText(t *testing.T) {
	t.Parallel()
	got := readAll(t, written(t, trace.Event{Op: trace.Connect, Err: errors.New("")}))[0]
	if got.Err == nil || got.Err.Error() != "error" {
		t.Errorf("error %v, want one", got.Err)
	}
}

func TestHeader(t *testing.T) {
	t.Parallel()
	var buf bytes.Buffer
	trace.NewWriter(&buf).Close()
	checkSafeLine(t, buf.String())
	r := trace.NewReader(&buf)
	e, err := r.Next()
	if err != nil || e.Op != trace.Header || e.Mono == 0 {
		t.Errorf("first line: %+v, %v", e, err)
	}
	h := r.Header()
	check(t, "version", h.Version, 1)
	check(t, "program", h.Program, filepath.Base(os.Args[0]))
	check(t, "pid", h.PID, os.Getpid())
	check(t, "mono", h.Mono, e.Mono)
	check(t, "time", h.Time, e.Time)
	kind := "host "
	if runtime.GOOS != "linux" {
		kind = "process "
	}
	if !strings.HasPrefix(h.Clock, kind) {
		t.Errorf("clock %q, want one that begins with %q", h.Clock, kind)
	}
}

// TestClockIsShared writes one trace file in another process, between two in this one.
func TestClockIsShared(t *testing.T) {
	if os.Getenv("TRACE_TEST_CHILD") != "" {
		trace.NewWriter(os.Stdout).Close()
		os.Exit(0)
	}
	t.Parallel()
	yodeltest.NeedLinux(t) // only there processes share a monotonic clock
	header := func(b []byte) trace.FileHeader {
		r := trace.NewReader(bytes.NewReader(b))
		if _, err := r.Next(); err != nil {
			t.Fatal(err)
		}
		return r.Header()
	}
	var before, after bytes.Buffer
	trace.NewWriter(&before).Close()
	child := exec.Command(os.Args[0], "-test.run=^TestClockIsShared$")
	child.Env = append(os.Environ(), "TRACE_TEST_CHILD=1")
	out, err := child.Output()
	if err != nil {
		t.Fatal(err)
	}
	trace.NewWriter(&after).Close()
	a, b, c := header(before.Bytes()), header(out), header(after.Bytes())
	if a.Clock != b.Clock || b.Clock != c.Clock {
		t.Errorf("clocks %q, %q, %q are one", a.Clock, b.Clock, c.Clock)
	}
	if a.Mono >= b.Mono || b.Mono >= c.Mono {
		t.Errorf("%d, %d, %d are in order", a.Mono, b.Mono, c.Mono)
	}
	if a.PID == b.PID {
		t.Errorf("both have pid %d", a.PID)
	}
}

func TestWriterTakesEventsFromAll(t *testing.T) {
	t.Parallel()
	var buf bytes.Buffer
	w := trace.NewWriter(&buf)
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for j := range 500 {
				w.Emit(&trace.Event{Op: trace.Read, Bytes: i, In: int64(j + 1)})
			}
		})
	}
	all.Wait()
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	seen := make([]int64, 8)
	for _, e := range readAll(t, buf.String())[1:] {
		if e.In != seen[e.Bytes]+1 {
			t.Fatalf("of %d, event %d follows %d", e.Bytes, e.In, seen[e.Bytes])
		}
		seen[e.Bytes]++
	}
	check(t, "events of each", fmt.Sprint(seen), "[500 500 500 500 500 500 500 500]")
}

func TestWriterDoesNotAllocate(t *testing.T) {
	w := trace.NewLines(io.Discard)
	defer w.Close()
	e := full()
	e.Remote = netip.MustParseAddrPort("[2001:db8::7]:51234") // a zone costs an allocation
	e.Name = "Grüße\x1b\xff\""
	e.Mono = 0
	w.Emit(&e)
	n := testing.AllocsPerRun(1000, func() { w.Emit(&e) })
	check(t, "allocations", n, 0)
}

func BenchmarkWriter(b *testing.B) {
	read := trace.Event{
		Conn: trace.NewID(), Op: trace.Read, Side: trace.Server, Time: time.Now(), Service: "echo", Bytes: 12, In: 12,
	}
	whole := full()
	whole.Time, whole.Mono = time.Now(), 0
	whole.Remote = netip.MustParseAddrPort("[2001:db8::7]:51234")
	odd := whole
	odd.Name = "Grüße\x1b"
	for name, e := range map[string]trace.Event{"read": read, "all fields": whole, "escaped": odd} {
		b.Run(name, func(b *testing.B) {
			w := trace.NewLines(io.Discard)
			defer w.Close()
			b.ReportAllocs()
			for b.Loop() {
				w.Emit(&e)
			}
			b.ReportMetric(float64(w.Lost()), "lost")
		})
	}
}
