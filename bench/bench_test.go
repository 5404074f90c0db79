package main

import (
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"yodel/yodeltest"
)

func TestQuantile(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		list    []float64
		q, want float64
	}{
		{[]float64{3}, 0.5, 3},
		{[]float64{3, 1, 2}, 0.5, 2},
		{[]float64{4, 1, 2, 3}, 0.5, 2.5},
		{[]float64{0, 10}, 0.25, 2.5},
		{[]float64{0, 10}, 1, 10},
	} {
		if got := quantile(tt.list, tt.q); got != tt.want {
			t.Errorf("quantile(%v, %v) = %v, want %v", tt.list, tt.q, got, tt.want)
		}
	}
}

// Ratios are taken turn by turn: what slows both down in a turn does not count.
func TestRatiosAreOfPairs(t *testing.T) {
	t.Parallel()
	r := &result{names: [2]string{"reference", "mine"}}
	for i, slow := range []int{1, 10, 2} {
		r.turns[0] = append(r.turns[0], turn{Messages: 1000, Wall: 1e6, CPU: 2e6 * slow, Machine: 10e6 * slow, P50: 1, P99: float64(i + 1), P999: 1})
		r.turns[1] = append(r.turns[1], turn{Messages: 1000, Wall: 1e6, CPU: 1e6 * slow, Machine: 5e6 * slow, P50: 1, P99: float64(i + 1), P999: 1, Client: 1e6, Waited: 1e5})
	}
	r.resident = [2]int{1 << 20, 3 << 20}
	want := "| mine | 2.00 ×0.50 | **2.00** (2.00–2.00) | 10.0 ×0.50 | 1000000 ×1.00 | 1 ×1.00 | 2 ×1.00 | 1 ×1.00 | 3.0 ×3.00 | client busy |\n"
	if got := r.row(); got != want {
		t.Errorf("got  %swant %s", got, want)
	}
}

func TestReadCSV(t *testing.T) {
	t.Parallel()
	tr := turn{Messages: 1000}
	text := `"test","rps","avg_latency_ms","min_latency_ms","p50_latency_ms","p95_latency_ms","p99_latency_ms","max_latency_ms"
"GET","50000.00","0.511","0.144","0.503","0.671","0.959","2.647"
`
	if err := tr.readCSV(text, time.Minute); err != nil || tr.P50 != 503 || tr.P99 != 959 || tr.P999 != 2647 || tr.Wall != 20e6 {
		t.Errorf("%+v, %v", tr, err)
	}
	for _, bad := range []string{"", "x", "a,b\nc,d\n", strings.Replace(text, "50000.00", "many", 1)} {
		if tr.readCSV(bad, time.Minute) == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func TestParse(t *testing.T) {
	t.Parallel()
	set, err := parse([]string{"-conns", "1,10000", "-sizes", "4096", "-bulk=false"})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := set.loads(), []load{{1, 4096, 1}, {1, 4096, 16}, {10000, 4096, 1}}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	for _, bad := range []string{"0", "-1", "x", "1,,x"} {
		if _, err := parse([]string{"-conns", bad}); err == nil {
			t.Errorf("-conns %s was taken", bad)
		}
	}
	if _, err := chosen([]string{"C epoll", "nosuch"}); err == nil {
		t.Error("a server that does not exist was chosen")
	}
	if list, err := chosen([]string{"gnet"}); err != nil || len(list) != 2 || list[0].name != contestants[0].name {
		t.Errorf("%v, %v", list, err)
	}
}

// stageFor returns a stage on which programs in C can be built, until the test ends.
func stageFor(t *testing.T) *stage {
	t.Helper()
	yodeltest.NeedProgram(t, "cc")
	s, err := newStage(t.Context())
	if err != nil {
		yodeltest.Skip(t, err.Error(), "run it where a process may use two processors, and write to TMPDIR")
	}
	t.Cleanup(s.close)
	return s
}

// A turn of two servers, and some idle connections, for real.
func TestBench(t *testing.T) {
	t.Parallel()
	s := stageFor(t)
	var out strings.Builder
	if err := s.machine(&out); err != nil {
		t.Error(err)
	}
	set := &settings{rounds: 1, turn: 5 * time.Millisecond, only: []string{"yodel epoll"}, conns: []int{3}, sizes: []int{64}, depths: []int{2}, idle: 20, idleTime: time.Minute, engine: "epoll"}
	if err := s.table(set, &out); err != nil {
		t.Error(err)
	}
	if err := s.idle(set, &out, io.Discard); err != nil {
		t.Error(err)
	}
	for _, want := range []string{
		"Machine: ", "### 3 connections, 64 bytes, 2 in flight each\n", "\n| C epoll | ", "\n| yodel epoll | ",
		"20 connections over 1 server processes; fs.file-max is ", "\n20 connections are open after ",
		"each of the 20 connections has echoed in ", " messages, all of them right",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, &out)
		}
	}
}

// Opening idle connections stops when its time is over, and says how there is more.
func TestIdleStops(t *testing.T) {
	t.Parallel()
	r := &idleRun{stage: &stage{ctx: t.Context()}, until: time.Now().Add(-time.Second), say: io.Discard, out: io.Discard}
	if err := r.openAll([]int{1}); err == nil || !strings.Contains(err.Error(), "-idle-time") || r.open != 0 {
		t.Errorf("%v, with %d open", err, r.open)
	}
}

func TestKernelUse(t *testing.T) {
	t.Parallel()
	u, err := readKernelUse()
	if err != nil || u.slab == 0 || u.available == 0 || u.files == 0 {
		t.Fatalf("%+v, %v", u, err)
	}
	more := u
	more.slab += 20_000
	more.available -= 30_000
	if text := more.since(u, 10); !strings.Contains(text, "grown by 2000 bytes") || !strings.Contains(text, "shrunk by 3000,") {
		t.Error(text)
	}
	if _, err := kibOf("/proc/meminfo", "NoSuchField:"); err == nil {
		t.Error("a field that does not exist was read")
	}
}

// What the kernel says and is not understood is told, not taken for none.
func TestKernelUseIsNotGuessed(t *testing.T) {
	t.Parallel()
	const stat = "sockets: used 9\nTCP: inuse 1 orphan 0 tw 2 alloc 30 mem 4\nUDP: inuse 0 mem 0\n"
	if sockets, buffers, err := readSockstat(stat); sockets != 30 || buffers != 4*os.Getpagesize() || err != nil {
		t.Errorf("%d, %d, %v", sockets, buffers, err)
	}
	for _, bad := range []string{"", "TCP: inuse 1\n", strings.Replace(stat, "30", "many", 1), strings.Replace(stat, "mem 4", "mem x", 1)} {
		if _, _, err := readSockstat(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
	file := filepath.Join(t.TempDir(), "file-nr")
	for text, want := range map[string]int{"96\t0\t100\n": 96, "7\n": 7, "": -1, "x\t1\n": -1, "\t": -1} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if n, err := firstNumber(file); (err != nil) != (want < 0) || err == nil && n != want {
			t.Errorf("%q: %d, %v", text, n, err)
		}
	}
	if _, err := firstNumber("/no/such/file"); err == nil {
		t.Error("a file that is not there was read")
	}
	if err := os.WriteFile(file, []byte("Slab: many kB\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := kibOf(file, "Slab:"); err == nil || !strings.Contains(err.Error(), "Slab:") {
		t.Errorf("many kB were taken: %v", err)
	}
}
