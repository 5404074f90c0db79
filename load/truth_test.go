package load

import (
	"math"
	"net"
	"slices"
	"sync/atomic"
	"testing"
	"time"
)

// stalling echoes, and stops once, at message number at, for a time; stalled is how long
// it really was.
func stalling(at int, stop time.Duration, stalled *atomic.Int64) func(net.Conn) {
	return func(c net.Conn) {
		buf := make([]byte, 64)
		for n := 0; ; n++ {
			k, err := c.Read(buf)
			if err != nil {
				return
			}
			if n == at {
				from := time.Now()
				<-time.After(stop)
				stalled.Store(int64(time.Since(from)))
			}
			c.Write(buf[:k])
		}
	}
}

// A server that stops for S seconds in the middle of T seconds at R messages a second: a
// message that is due u after it has stopped is answered S-u later, and the time that the
// server needs for those that were due before it: R·u messages, s each. So its latency is
// L(u) = S - u(1-Rs), and of all messages the part u/T has more than L. The quantile q is
// then L = S - (1-q)·T·(1-Rs), as long as that is above what a message takes otherwise.
//
// Who counts from the actual sending sees one message that took S, and the others, which
// could not be sent meanwhile, as if nothing had happened.
func TestStalledServerIsSeenAsItIs(t *testing.T) { // not beside others, which would stop it too
	for _, tt := range []struct {
		stop, length time.Duration
		rate         float64
	}{
		{200 * time.Millisecond, time.Second, 250},
		{400 * time.Millisecond, 1200 * time.Millisecond, 250},
		{300 * time.Millisecond, time.Second, 600},
	} {
		if !slices.ContainsFunc(make([]int, tries), func(int) bool { return stallIsSeen(t, tt.stop, tt.length, tt.rate) }) {
			t.Errorf("stop %v of %v at %.0f/s: the report is wrong each time", tt.stop, tt.length, tt.rate)
		}
	}
}

// tries is how often what others on the machine can disturb is tried.
const tries = 6

// stallIsSeen makes one run against a server that stops, and reports whether the report
// says what arithmetic does.
func stallIsSeen(t *testing.T, stop, length time.Duration, rate float64) (right bool) {
	t.Helper()
	var stalled atomic.Int64
	at := int(rate * (length - stop).Seconds() / 2)
	r := mustRun(t, Plan{Target: serve(t, stalling(at, stop, &stalled)), Pace: Constant(rate), Duration: length})
	clean(t, r, int64(math.Round(rate*length.Seconds())))
	n := float64(r.Service.TotalCount())
	s := (r.Service.Mean()*n - float64(stalled.Load())) / (n - 1) / 1e9
	right = true
	for _, q := range []float64{90, 95, 99} {
		least, most := quantileOf(&stalled, q, length, rate, 0), quantileOf(&stalled, q, length, rate, 2*s)
		got := r.Quantile(q).Seconds()
		t.Logf("stop %v of %v at %.0f/s: p%v is %.4f s, arithmetic says %.4f to %.4f s; service says %v",
			stop, length, rate, q, got, least, most, time.Duration(r.Service.ValueAtQuantile(q)))
		right = right && got > 0.97*least-1/rate && got < 1.03*most+1/rate
	}
	if service := time.Duration(r.Service.ValueAtQuantile(99)); service > r.Quantile(99)/5 {
		t.Logf("service time says %v at p99, which nobody who counts from the sending would see", service)
		right = false
	}
	return right
}

// honest makes runs until there is one of which the report does not say that the tool was
// the limit: on a machine that others use too, that is said, and rightly.
func honest(t *testing.T, run func() *Report) *Report {
	t.Helper()
	for range tries {
		r := run()
		if r.Verdict.Limit != LimitClient {
			return r
		}
		t.Logf("once more: %+v", r.Verdict)
	}
	t.Fatal("this machine has no processor to spare: nothing can be measured")
	return nil
}

// quantileOf is the arithmetic: what a message costs the server, s, is not the same for
// all, so it is done for none, and for twice the mean.
func quantileOf(stalled *atomic.Int64, q float64, length time.Duration, rate, s float64) float64 {
	return float64(stalled.Load())/1e9 - (1-q/100)*length.Seconds()*(1-rate*s)
}

// Messages come when they are due: so many, in that time, none before.
func TestRateIsKept(t *testing.T) {
	for _, pace := range []Pacer{Constant(1000), Poisson(1000), Ramp{500 * time.Millisecond, Constant(1000)}} {
		r := mustRun(t, Plan{Target: serve(t, echo), Conns: 4, Pace: pace, Duration: time.Second})
		want := 0
		for s := pace.Schedule(0); s.Next() < time.Second; {
			want++
		}
		clean(t, r, int64(want))
		if r.Elapsed < 950*time.Millisecond || r.Elapsed > 2*time.Second {
			t.Errorf("%T took %v", pace, r.Elapsed)
		}
	}
}

// Who was the limit: a server that takes two milliseconds, and a tool that does.
func TestVerdictOfRealRuns(t *testing.T) { // not beside others, which would take the processor
	slow := serve(t, func(c net.Conn) {
		buf := make([]byte, 64)
		for {
			k, err := c.Read(buf)
			if err != nil {
				return
			}
			<-time.After(2 * time.Millisecond)
			c.Write(buf[:k])
		}
	})
	if r := honest(t, func() *Report { return mustRun(t, Plan{Target: slow, Conns: 4, Duration: 300 * time.Millisecond}) }); r.Verdict.Limit != LimitServer {
		t.Errorf("a slow server: %+v, busy %.2f, starved %v", r.Verdict, r.Testimony.Busy, r.Starved)
	}
	busy := func() {
		for from := time.Now(); time.Since(from) < 2*time.Millisecond; {
		}
	}
	r := mustRun(t, Plan{Target: serve(t, echo), Conns: 4, Duration: 300 * time.Millisecond, slow: busy})
	if r.Verdict.Limit != LimitClient {
		t.Errorf("a slow tool: %+v, busy %.2f", r.Verdict, r.Testimony.Busy)
	}
	r = mustRun(t, Plan{Target: serve(t, echo), Conns: 4, Duration: 300 * time.Millisecond, Pace: Constant(2000), slow: busy})
	if r.Verdict.Limit != LimitClient {
		t.Errorf("a slow tool in an open loop: %+v, busy %.2f", r.Verdict, r.Testimony.Busy)
	}
	if f := r.Percentile(r.Latency, 50); f.Withheld == "" {
		t.Errorf("a latency that is the tool's own was told: %v", f)
	}
}
