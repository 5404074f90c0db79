package load

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"yodel/sock"
)

// The parts of a plan are all of it, each message and each connection once: whatever it is.
func TestPartsAreTheWhole(t *testing.T) {
	t.Parallel()
	other := serveAt(t, sock.Address{Network: "tls", Host: "127.0.0.1"}, echo)
	for name, plan := range map[string]Plan{
		"closed":      {Conns: 7, Count: 100},
		"open":        {Conns: 7, Count: 100, Pace: Poisson(2000)},
		"two targets": {Conns: 8, Count: 99, Pace: Constant(2000), Targets: []Target{{Address: serve(t, echo), Weight: 2}, {Address: other}}},
	} {
		plan.Target, plan.TLS = serve(t, echo), insecure
		var parts []*Partial
		numbers := make(map[int]bool)
		for i := range 3 {
			p := plan
			p.Part = Part{i, 3}
			opened := false
			p.Opened = func() { opened = true }
			r := mustRun(t, p)
			for _, s := range r.Slowest {
				if s.Conn%3 != i && p.Conns > 0 {
					t.Errorf("%s: part %d has connection %d", name, i, s.Conn)
				}
				numbers[s.Conn] = true
			}
			if !opened {
				t.Errorf("%s: nobody was told that all is open", name)
			}
			parts = append(parts, carried(t, r.Partial()))
		}
		r, err := Merge(plan, parts)
		if err != nil {
			t.Fatal(err)
		}
		adds(t, r)
		clean(t, r, plan.Count)
		if r.Connections != int64(plan.Conns) || r.Latency.TotalCount() != plan.Count || len(numbers) < 4 || r.Driver == "" || r.Document().Conns != plan.Conns {
			t.Errorf("%s: %d connections, %d latencies, %v, by %s", name, r.Connections, r.Latency.TotalCount(), numbers, r.Driver)
		}
		if len(plan.Targets) == 2 && (len(r.Targets) != 2 || r.Targets[0].Verified+r.Targets[1].Verified != 99) {
			t.Errorf("%s: %+v", name, r.Targets)
		}
	}
}

// carried is p when it has been JSON.
func carried(t *testing.T, p *Partial) *Partial {
	t.Helper()
	text, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	var q Partial
	if err := json.Unmarshal(text, &q); err != nil {
		t.Fatal(err)
	}
	return &q
}

func TestPartsOfASchedule(t *testing.T) {
	t.Parallel()
	var all, parts []time.Duration
	for s := Poisson(1000).Schedule(5); len(all) < 300; {
		all = append(all, s.Next())
	}
	for i := range 3 {
		s := &thin{Schedule: Poisson(1000).Schedule(5), part: Part{i, 3}}
		for range 100 {
			parts = append(parts, s.Next())
		}
	}
	slices.Sort(parts)
	if !slices.Equal(all, parts) {
		t.Error("three parts are not the schedule")
	}
	ended := &thin{Schedule: Steps{Steps: []Step{{Rate: 10, For: time.Second}}}.Schedule(0), part: Part{2, 3}}
	for range 3 {
		ended.Next()
	}
	if at := ended.Next(); at != end {
		t.Errorf("after the end comes %v", at)
	}
}

// What another process says is added; its errors are of the class that they were.
func TestMerge(t *testing.T) {
	t.Parallel()
	plan := Plan{Target: sock.Address{Network: "tcp", Port: 7}, Count: 10}
	part := made(4, func(r *Report) {
		r.Errors[Refused], r.Examples[Refused] = 2, syscall.ECONNREFUSED
		r.Refusal = errors.ErrUnsupported
		r.Series = []Point{{Rate: 5, P99: 3, Errors: 1}}
		r.Testimony.CPU, r.MinRTT, r.Driver = 2, 3, Epoll
	}).Partial()
	longer := carried(t, part)
	longer.Series = append(longer.Series, Point{Rate: 1})
	longer.Testimony.Driver, longer.Testimony.MinRTT = Uring, 2
	r, err := Merge(plan, []*Partial{carried(t, part), longer})
	if err != nil {
		t.Fatal(err)
	}
	if r.Verified != 8 || r.Latency.TotalCount() != 8 || r.Errors[Refused] != 4 || !errors.Is(r.FirstError(), syscall.ECONNREFUSED) ||
		errors.Is(r.FirstError(), syscall.ECONNRESET) || r.Refusal == nil || r.CPU != 4 || r.MinRTT != 2 || r.Driver != "epoll,uring" {
		t.Errorf("%+v %v %+v", r.Counts, r.Errors, r.Testimony)
	}
	if len(r.Series) != 2 || r.Series[0].Rate != 10 || r.Series[0].P99 != 3 || r.Series[0].Errors != 2 {
		t.Errorf("%+v", r.Series)
	}
	for _, bad := range []*Partial{{}, {Histograms: make([]string, 7)}, {Histograms: slices.Repeat([]string{"x"}, 7)}} {
		if _, err := Merge(plan, []*Partial{bad}); err == nil || !strings.Contains(err.Error(), "part 0 of 1") {
			t.Errorf("%+v: %v", bad, err)
		}
	}
	for _, bad := range []Part{{3, 3}, {-1, 2}, {0, 20}} {
		p := plan
		p.Conns, p.Part = 5, bad
		if p.Check() == nil {
			t.Errorf("part %v was taken", bad)
		}
	}
}
