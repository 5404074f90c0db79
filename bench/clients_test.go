package main

import (
	"strings"
	"testing"
	"time"
)

func TestReadClients(t *testing.T) {
	t.Parallel()
	for name, said := range map[string]string{
		"C epoll client": "ready\n{\"messages\":1000,\"wall_ns\":20000000,\"p50_us\":3,\"p99_us\":4}\n",
		"yodel load": `{"type":"progress"}
{"type":"report","verified":1000,"elapsed_us":20000,"latency_us":{"p50":3,"p99":4}}
`,
		"fortio v1.66.5": `{"RetCodes":{"OK":1000},"ActualDuration":20000000,"DurationHistogram":{"Percentiles":[{"Percentile":50,"Value":3e-6},{"Value":4e-6},{"Value":5e-6}]}}`,
	} {
		for _, c := range callers {
			if c.name != name {
				continue
			}
			var tr turn
			if err := c.read([]byte(said), &tr); err != nil || tr.Messages != 1000 || tr.Wall != 20e6 || tr.P50 < 2.9 || tr.P99 > 4.1 {
				t.Errorf("%s: %+v, %v", name, tr, err)
			}
			for _, bad := range []string{"", "x", `{"verified":1,"corrupt":1,"RetCodes":{"OK":1,"lost":1}}`, "ready\n"} {
				if c.read([]byte(bad), &tr) == nil {
					t.Errorf("%s: %q was taken", name, bad)
				}
			}
		}
	}
}

// What a client's row says are ratios of turns beside each other.
func TestClientRow(t *testing.T) {
	t.Parallel()
	var mine, c, fortio []turn
	for _, slow := range []int{1, 10, 2} {
		mine = append(mine, turn{Messages: 1000, Wall: 1e7, Client: 1e6 * slow, P50: 5, P99: 6})
		c = append(c, turn{Messages: 1000, Wall: 1e7, Client: 2e6 * slow})
		fortio = append(fortio, turn{Messages: 500, Wall: 1e7, Client: 2e6 * slow})
	}
	want := "| mine | 2.00 | **2.00** (2.00–2.00) | **4.00** (4.00–4.00) | 100000 | 5 | 6 |  |\n"
	if got := clientRow("mine", mine, c, fortio); got != want {
		t.Errorf("got  %swant %s", got, want)
	}
}

// A turn of the C client and of yodel's, for real.
func TestClients(t *testing.T) {
	t.Parallel()
	s := stageFor(t)
	v, err := s.serve(contestants[1])
	if err != nil {
		t.Fatal(err)
	}
	defer v.stop()
	for i := range callers[:2] {
		tr, err := s.call(&callers[i], v, load{conns: 3, size: 64, depth: 1}, 20*time.Millisecond)
		if err != nil || tr.Messages < 3 || tr.own() <= 0 || tr.P50 <= 0 {
			t.Errorf("%s: %+v, %v", callers[i].name, tr, err)
		}
	}
	bad := caller{name: "a client that fails", source: "c/client.c", args: func(*server, load, time.Duration) []string { return []string{"-x"} }}
	if _, err := s.call(&bad, v, load{}, 0); err == nil || !strings.Contains(err.Error(), "exit status") {
		t.Errorf("a client that fails: %v", err)
	}
}
