package main

import (
	"flag"
	"io"
	"net"
	"slices"
	"testing"
	"time"

	"yodel/load"
	"yodel/sock"
)

var recordPairs = flag.Int("record.pairs", 30, "how many times what recording costs is measured")

// BenchmarkRecordingCost compares the processor time of servers that record for yodel story
// last, and that do not, one after the other in turns: per echo on a connection that
// stays, and per connection of one echo. Recording may cost 3 % of an echo.
//
//	go test -run '^$' -bench RecordingCost -benchtime 1x -v ./cmd/yodel
func BenchmarkRecordingCost(t *testing.B) {
	env := []string{"XDG_STATE_HOME=" + t.TempDir()}
	with := serveWith(t, env, "echo@127.0.0.1:0")
	without := serveWith(t, env, "--no-record", "echo@127.0.0.1:0")
	for _, work := range []struct {
		name string
		most float64
		do   func(testing.TB, *running) int64
	}{
		{"an echo", 1.03, echoes},
		{"a connection of one echo", 0, calls},
	} {
		var ratios []float64
		var spent [2]time.Duration
		for i := range *recordPairs {
			var cost [2]time.Duration
			for j := range 2 {
				which := (i + j) % 2
				s := []*running{without, with}[which]
				before := cpuOf(t, s.cmd.Process.Pid)
				n := work.do(t, s)
				cost[which] = (cpuOf(t, s.cmd.Process.Pid) - before) / time.Duration(n)
			}
			ratios = append(ratios, float64(cost[1])/float64(cost[0]))
			spent[0] += cost[0]
			spent[1] += cost[1]
		}
		slices.Sort(ratios)
		median := ratios[len(ratios)/2]
		n := time.Duration(*recordPairs)
		t.Logf("%s: %v without, %v with: %+.1f %% (median of %d pairs; half of them between %+.1f %% and %+.1f %%)", work.name, spent[0]/n, spent[1]/n,
			100*median-100, len(ratios), 100*ratios[len(ratios)/4]-100, 100*ratios[len(ratios)*3/4]-100)
		if work.most > 0 && median > work.most {
			t.Errorf("%s costs %.1f %% more when it is recorded", work.name, 100*median-100)
		}
	}
}

func echoes(t testing.TB, s *running) int64 {
	t.Helper()
	at, err := sock.ParseAddress(s.address(0))
	if err != nil {
		t.Fatal(err)
	}
	r, err := load.Run(t.Context(), load.Plan{Target: at, Conns: 4, Count: 8000, Duration: 10 * time.Second})
	if err != nil || r.Verified == 0 {
		t.Fatal(err, r)
	}
	return r.Verified
}

func calls(t testing.TB, s *running) int64 {
	t.Helper()
	const n = 500
	b := make([]byte, 64)
	for range n {
		c, err := net.Dial("tcp", s.address(0))
		if err != nil {
			t.Fatal(err)
		}
		c.Write(b)
		io.ReadFull(c, b)
		c.Close()
	}
	return n
}
