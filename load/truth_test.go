package load

import (
	"fmt"
	"io"
	"math"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// A stop is a server's that echoes, and stops once, at message number at, for a time. It keeps
// by its own clock what is true: when it answered each message, and for how long it stood still.
type stop struct {
	at       int
	length   time.Duration
	answered []time.Time // by message; whose connection it is has ended when they are read
	stood    time.Duration
	over     chan struct{}
}

func (s *stop) serve(c net.Conn) {
	defer close(s.over)
	buf := make([]byte, 64)
	for {
		if _, err := io.ReadFull(c, buf); err != nil {
			return
		}
		if len(s.answered) == s.at {
			from := time.Now()
			<-time.After(s.length)
			s.stood = time.Since(from)
		}
		s.answered = append(s.answered, time.Now())
		c.Write(buf)
	}
}

// truth returns how long after it was due each message was answered, the shortest time first.
func (s *stop) truth(began time.Time, rate float64) []time.Duration {
	var list []time.Duration
	for due := Constant(rate).Schedule(0); len(list) < len(s.answered); {
		list = append(list, s.answered[len(list)].Sub(began.Add(due.Next())))
	}
	slices.Sort(list)
	return list
}

// step returns how long the server has needed for each of those that had waited, on average.
func (s *stop) step(began time.Time, rate float64) time.Duration {
	last, n := s.answered[s.at], 0
	for i, at := range s.answered[s.at+1:] {
		if due := began.Add(time.Duration(float64(s.at+1+i) / rate * 1e9)); due.After(last) {
			break // it had nothing to do when this was due
		}
		last = at
		n++
	}
	return last.Sub(s.answered[s.at]) / time.Duration(max(n, 1))
}

// A server that stops for S seconds in the middle of T seconds at R messages a second: a
// message that is due u after it has stopped is answered S-u later, and the time that the
// server needs for those that were due before it: R·u messages, s each. So its latency is
// L(u) = S - u(1-Rs), and of all messages the part u/T has more than L. The quantile q is
// then L = S - (1-q)·T·(1-Rs), as long as that is above what a message takes otherwise.
//
// Who counts from the actual sending sees one message that took S, and the others, which
// could not be sent meanwhile, as if nothing had happened.
//
// S and s are what the server has measured. When it sent each answer it knows too, so what the
// report says can't be less than that, and not more but for single messages that were on their
// way when the tool was interrupted: that holds on any machine. The arithmetic above holds where
// the server does what it assumes, which is seen from what the server knows, not from the report.
func TestStalledServerIsSeenAsItIs(t *testing.T) { // not beside others, which would stop it too
	for _, tt := range []struct {
		stop, length time.Duration
		rate         float64
	}{
		{time.Second, 2 * time.Second, 100},
		{500 * time.Millisecond, 2 * time.Second, 200},
		{800 * time.Millisecond, 1600 * time.Millisecond, 400},
		{600 * time.Millisecond, time.Second, 50},
	} {
		t.Run(fmt.Sprintf("%v of %v at %v", tt.stop, tt.length, tt.rate), func(t *testing.T) {
			t.Parallel() // beside each other they have little to do
			stallIsSeen(t, tt.stop, tt.length, tt.rate)
		})
	}
}

func stallIsSeen(t *testing.T, length, run time.Duration, rate float64) {
	t.Helper()
	s := &stop{at: int(rate * (run - length).Seconds() / 2), length: length, over: make(chan struct{})}
	r := mustRun(t, Plan{Target: serve(t, s.serve), Pace: Constant(rate), Duration: run})
	<-s.over
	n := int(math.Round(rate * run.Seconds()))
	clean(t, r, int64(n))
	truth := s.truth(r.Began, rate)
	step := s.step(r.Began, rate)
	const exact = 0.001 // of a histogram
	for _, q := range []float64{90, 95, 99} {
		rank := int(math.Ceil(q / 100 * float64(n)))
		got, least, most := r.Quantile(q), truth[rank-1], truth[min(rank+1, n-1)]
		says := s.stood.Seconds() - (1-q/100)*run.Seconds()*(1-rate*step.Seconds())
		t.Logf("stood still for %v: p%v is %v, the server's clock says %v, arithmetic %.4f s; service says %v",
			s.stood, q, got, least, says, time.Duration(r.Service.ValueAtQuantile(q)))
		if got.Seconds() < least.Seconds()*(1-exact) || got.Seconds() > most.Seconds()*1.03 {
			t.Errorf("p%v is %v, and the server knows of %v", q, got, least)
		}
		if far := func(d time.Duration, part float64) bool { return math.Abs(d.Seconds()-says) > part*says+1/rate }; far(got, 0.03) && !far(least, 0.02) {
			t.Errorf("p%v is %v, arithmetic says %.4f s", q, got, says)
		}
	}
	if longest := time.Duration(r.Service.Max()); longest.Seconds() < s.stood.Seconds()*(1-exact) {
		t.Errorf("the longest service time is %v, the server stood still for %v", longest, s.stood)
	}
	if service, latency := longer(r.Service, length/2), longer(r.Latency, length/2); service != 1 || float64(latency) < 0.9*rate*length.Seconds()/2 {
		t.Errorf("%d service times and %d latencies are longer than half of the stop", service, latency)
	}
}

// longer returns how many of h are longer than d.
func longer(h *hdrhistogram.Histogram, d time.Duration) (n int64) {
	for _, bar := range h.Distribution() {
		if bar.From > int64(d) {
			n += bar.Count
		}
	}
	return n
}

// honest makes runs until there is one of which the report does not say that the tool was
// the limit; nil: it is said of all, for want of a processor, and on such a machine rightly.
func honest(t *testing.T, run func() *Report) *Report {
	t.Helper()
	for range 3 {
		r := run()
		if r.Verdict.Limit != LimitClient || r.starvation()+r.stolen() < hungry/2 {
			return r
		}
		t.Logf("once more: %+v", r.Verdict)
	}
	return nil
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
	if r := honest(t, func() *Report { return mustRun(t, Plan{Target: slow, Conns: 4, Duration: 300 * time.Millisecond}) }); r != nil && r.Verdict.Limit != LimitServer {
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
