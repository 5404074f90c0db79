package load

import (
	"math"
	"slices"
	"testing"
	"time"
)

func take(s Schedule, n int) []time.Duration {
	var all []time.Duration
	for range n {
		all = append(all, s.Next())
	}
	return all
}

func TestConstantDoesNotDrift(t *testing.T) {
	t.Parallel()
	s := Constant(3).Schedule(1)
	at := take(s, 3_000_001)
	if at[0] != 0 || at[3] != time.Second || at[3_000_000] != 1_000_000*time.Second {
		t.Errorf("%v, %v, %v", at[0], at[3], at[3_000_000])
	}
}

// Poisson arrivals: the gaps' mean and their spread are those of the exponential
// distribution, and the same seed makes the same gaps.
func TestPoisson(t *testing.T) {
	t.Parallel()
	const n, rate = 200_000, 1000.0
	at := take(Poisson(rate).Schedule(7), n)
	sum, squares, before := 0.0, 0.0, time.Duration(0)
	for _, a := range at {
		gap := (a - before).Seconds() * rate
		if gap < 0 {
			t.Fatalf("a gap of %v", gap)
		}
		sum += gap
		squares += gap * gap
		before = a
	}
	mean, variance := sum/n, squares/n-sum/n*sum/n
	if math.Abs(mean-1) > 0.01 || math.Abs(variance-1) > 0.03 {
		t.Errorf("mean %v and variance %v, want 1 and 1", mean, variance)
	}
	if again := take(Poisson(rate).Schedule(7), n); !slices.Equal(at, again) {
		t.Error("the same seed made another schedule")
	}
	if other := take(Poisson(rate).Schedule(8), 10); slices.Equal(at[:10], other) {
		t.Error("another seed made the same schedule")
	}
}

func TestSteps(t *testing.T) {
	t.Parallel()
	s := Steps{Steps: []Step{{10, time.Second}, {0, time.Second}, {100, time.Second}}}
	at := take(s.Schedule(0), 111)
	if at[9] != 900*time.Millisecond || at[10] != 2*time.Second || at[11] != 2010*time.Millisecond || at[109] != 2990*time.Millisecond || at[110] != end {
		t.Errorf("%v", at)
	}
	if s.Rate() != 100 || s.Length() != 3*time.Second {
		t.Errorf("rate %v, length %v", s.Rate(), s.Length())
	}
	random := Steps{Steps: []Step{{1000, time.Second}, {1000, time.Second}}, Arrivals: func(r float64) Pacer { return Poisson(r) }}
	all := take(random.Schedule(3), 3000)
	n := slices.Index(all, end)
	if n < 1800 || n > 2200 || !slices.IsSorted(all) {
		t.Errorf("%d arrivals in two steps of 1000", n)
	}
}

// A ramp of ten seconds to 100/s has half as many as the full rate would have, and goes
// on at that rate.
func TestRamp(t *testing.T) {
	t.Parallel()
	r := Ramp{10 * time.Second, Constant(100)}
	at := take(r.Schedule(0), 1000)
	half := 0
	for _, a := range at {
		if a < 10*time.Second {
			half++
		}
	}
	if half != 500 || at[600] != 11*time.Second || !slices.IsSorted(at) || r.Rate() != 100 {
		t.Errorf("%d in the ramp, number 600 at %v", half, at[600])
	}
	if early := slices.IndexFunc(at, func(a time.Duration) bool { return a > 5*time.Second }); early != 126 { // 500 × (5/10)², and the one at 0
		t.Errorf("%d in the first half of the ramp, want 126", early)
	}
	if s := (Ramp{time.Second, Steps{Steps: []Step{{10, time.Second}}}}).Schedule(0); take(s, 11)[10] != end {
		t.Error("what ends does not end behind a ramp")
	}
}

// The feeds of all workers and targets together are the schedule: each message once, the
// targets by their weights.
func TestFeedsAreTheSchedule(t *testing.T) {
	t.Parallel()
	p := &Plan{Pace: Poisson(1000), Count: 1000, Targets: []Target{{Weight: 3}, {Weight: 1}, {Weight: 1}}}
	var all []time.Duration
	for target, want := range []int{600, 200, 200} {
		n := 0
		for worker := range 3 {
			for f := newFeed(p, target, 3, worker); f.next != end; f.advance() {
				all = append(all, f.next)
				n++
			}
		}
		if n != want {
			t.Errorf("target %d has %d of 1000 messages, want %d", target, n, want)
		}
	}
	slices.Sort(all)
	if !slices.Equal(all, take(Poisson(1000).Schedule(0), 1000)) {
		t.Error("the feeds are not the schedule")
	}
	p.Count, p.Duration = 0, time.Second
	for f := newFeed(p, 0, 1, 0); f.next != end; f.advance() {
		if f.next >= time.Second {
			t.Fatalf("a message is due at %v, after the end", f.next)
		}
	}
}

func TestShare(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		total         int
		weights, want []int
	}{
		{10, []int{1}, []int{10}},
		{8, []int{3, 1}, []int{6, 2}},
		{2, []int{1000, 1}, []int{1, 1}},
		{7, []int{1, 1, 1}, []int{3, 2, 2}},
	} {
		if got := share(tt.total, tt.weights); !slices.Equal(got, tt.want) {
			t.Errorf("share(%d, %v) = %v, want %v", tt.total, tt.weights, got, tt.want)
		}
	}
}
