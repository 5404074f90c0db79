package faults

import (
	"flag"
	"strings"
	"sync/atomic"
	"testing"

	"yodel/yodeltest/programs"
)

var all = flag.Bool("faults.all", false, "play every row of the table, and not a sample")

// Every row is a server of its own, run for real: those of the sample, or all. Under -short
// it is every twentieth.
func TestFaults(t *testing.T) {
	rows := table()
	if !*all {
		rows = sample(rows)
	}
	if err := checkTable(rows); err != nil {
		t.Fatal(err)
	}
	programs.NeedTracing(t)
	program(t)
	var played, hits atomic.Int64
	t.Cleanup(func() {
		t.Logf("%d runs of %d, %d faults", played.Load(), len(rows), hits.Load())
		if n := played.Load(); n < leastRuns && !testing.Short() && !filtered() {
			t.Errorf("%d runs were made; there must be %d", n, leastRuns)
		}
	})
	for i, row := range rows {
		if testing.Short() && i%20 != 0 {
			continue
		}
		t.Run(row.name(), func(t *testing.T) {
			t.Parallel()
			hits.Add(int64(playRow(t, row)))
			played.Add(1)
		})
	}
}

// filtered reports whether -run or -skip leaves rows out.
func filtered() bool {
	for _, name := range []string{"test.run", "test.skip"} {
		if f := flag.Lookup(name); f != nil && strings.Contains(f.Value.String(), "/") {
			return true
		}
	}
	return false
}
