package engine

import (
	"math/rand/v2"
	"net/netip"
	"runtime"
	"testing"
	"time"
)

// taken returns how many of n tries at the time now get a token.
func taken(r rate, b *bucket, now time.Duration, n int) (got int) {
	for range n {
		if r.has(b, now) {
			r.take(b, now)
			got++
		}
	}
	return got
}

func TestBucketHoldsOneSecond(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, 2, 3, 7, 100, 9_999, 10_000} {
		r, b := perSecond(n), &bucket{}
		for _, tt := range []struct {
			why  string
			at   time.Duration
			want int
		}{
			{"a new bucket is full", 0, n},
			{"at the same time it is empty", 0, 0},
			{"one comes back after its time", r.every, 1},
			{"in a second it is full again", r.every + time.Second, n},
			{"after an hour it is not fuller", time.Hour, n},
			{"a clock that went back gives none", time.Minute, 0},
		} {
			if got := taken(r, b, tt.at, 2*n+1); got != tt.want {
				t.Errorf("%d a second: %s: %d, want %d", n, tt.why, got, tt.want)
			}
		}
	}
}

// In any stretch of time t no more than n*(1+t) get through, however tries fall.
func TestBucketBound(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(1, 2))
	for range 50 {
		n := 1 + rng.IntN(1000)
		r, b := perSecond(n), &bucket{}
		now, got := time.Duration(0), 0
		for range 2000 {
			now += time.Duration(rng.ExpFloat64() * float64(time.Second) / float64(3*n))
			got += taken(r, b, now, 1)
		}
		// A period is rounded down to whole nanoseconds, so allow for one more.
		if most := float64(n)*(1+now.Seconds()) + 1; float64(got) > most {
			t.Errorf("%d a second: %d in %v, at most %.0f", n, got, now, most)
		}
	}
}

func TestBucketWithoutBound(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, -1, 2_000_000_000} {
		if got := taken(perSecond(n), &bucket{}, 0, 10_000); got != 10_000 {
			t.Errorf("%d a second: %d of 10000", n, got)
		}
	}
}

func TestBucketTakesBack(t *testing.T) {
	t.Parallel()
	r, b := perSecond(5), &bucket{}
	taken(r, b, 0, 5)
	r.giveBack(b)
	r.giveBack(b)
	if got := taken(r, b, 0, 5); got != 2 {
		t.Errorf("two were given back, %d could be taken", got)
	}
}

func TestSourcesAreBounded(t *testing.T) {
	t.Parallel()
	key := func(i byte) netip.AddrPort { return netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, i}), 0) }
	s := newSources(3)
	for i := range byte(3) {
		s.of(key(i)).full = time.Duration(i) + 1
	}
	s.of(key(0)) // now 1 is the one that was quiet longest
	s.of(key(3))
	for _, tt := range []struct {
		why  string
		key  byte
		want time.Duration
	}{
		{"it was heard lately and stays", 0, 1},
		{"it was heard after the one that went", 2, 3},
		{"it is new", 3, 0},
		{"it was quiet longest and was forgotten", 1, 0},
	} {
		if got := s.of(key(tt.key)).full; got != tt.want {
			t.Errorf("source %d: %s: %v, want %v", tt.key, tt.why, got, tt.want)
		}
	}
	for i := range byte(200) {
		s.of(key(i))
	}
	if len(s.by) != 3 || s.recent.Len() != 3 {
		t.Errorf("after 200 sources %d and %d are held, want 3", len(s.by), s.recent.Len())
	}
}

func TestSourcesTakeLessThanOneMiB(t *testing.T) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	s := newSources(4096)
	for i := range uint32(20_000) {
		s.of(netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 0))
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if n := int64(after.HeapAlloc) - int64(before.HeapAlloc); n > 1<<20 {
		t.Errorf("%d sources take %d bytes", len(s.by), n)
	}
	runtime.KeepAlive(s)
}

// An attacker who forges a new source for each datagram makes each one a new entry.
func TestSourcesDoNotAllocateWhenFull(t *testing.T) {
	s, i := newSources(64), uint32(0)
	next := func() {
		i++
		s.of(netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 0))
	}
	for range 1000 {
		next()
	}
	if n := testing.AllocsPerRun(2000, next); n > 0 {
		t.Errorf("%v allocations for a new source, want 0", n)
	}
}
