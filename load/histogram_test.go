package load

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// What is counted here is what the library would have counted, to the cell.
func TestHistogramIsTheLibrarys(t *testing.T) {
	t.Parallel()
	values := []int64{-5, 0, 1, 2, 1023, 1024, 2047, 2048, 2049, 4095, 4096, longest - 1, longest, longest + 1}
	rng := rand.New(rand.NewPCG(1, 2))
	for range 20000 {
		values = append(values, rng.Int64N(longest)>>rng.IntN(42))
	}
	var half [2]histogram
	want := newHistogram()
	for i, v := range values {
		half[i%2].record(v)
		want.RecordValue(min(max(v, 1), longest))
	}
	sum := histogram{}
	sum.merge(&half[0])
	sum.merge(&half[1])
	got := sum.export()
	if !slices.Equal(got.Export().Counts, want.Export().Counts) || got.TotalCount() != int64(len(values)) ||
		got.Max() != want.Max() || got.ValueAtQuantile(99) != want.ValueAtQuantile(99) {
		t.Errorf("%d values, p99 %d, longest %d; the library has %d, %d, %d", got.TotalCount(), got.ValueAtQuantile(99), got.Max(),
			want.TotalCount(), want.ValueAtQuantile(99), want.Max())
	}
	sum.reset()
	sum.record(7)
	if got := sum.export(); got.TotalCount() != 1 || got.Max() != 7 {
		t.Errorf("after a reset and one value: %d of them, the longest %d", got.TotalCount(), got.Max())
	}
}

// To count costs no memory, however long a run is.
func TestCountingAllocatesNothing(t *testing.T) {
	y, sum := newTally(), newTally()
	n := int64(0)
	count := func() {
		for range 1000 {
			n += 977
			y.answered(slot{intended: n, sent: n + n%50}, n+n%1_000_000, true)
		}
		sum.merge(y)
		y.reset()
	}
	count()
	if allocated := testing.AllocsPerRun(100, count); allocated > 0 {
		t.Errorf("%v allocations for each thousand messages", allocated)
	}
}

func BenchmarkRecord(b *testing.B) {
	var h histogram
	n := int64(1)
	for b.Loop() {
		n = (n*48271 + 11) % 1_000_000_000
		h.record(n)
	}
}
