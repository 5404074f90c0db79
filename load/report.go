package load

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// A Report is what a run came to.
type Report struct {
	Plan    Plan
	Began   time.Time
	Elapsed time.Duration // from when sending began to the last answer; of an open loop, or with errors, Plan.Duration at least, or until it ended
	Stopped bool          // the run was ended early

	Counts
	Times

	// Errors counts what went wrong by class; Examples has one of each.
	Errors   map[Class]int64
	Examples map[Class]error

	// Targets are the parts of several targets.
	Targets []TargetReport

	Slowest []Slow
	Series  []Point
	Testimony
	Verdict Verdict
}

// A TargetReport is what one of several targets came to.
type TargetReport struct {
	Target
	Counts
	Errors  map[Class]int64
	Latency *hdrhistogram.Histogram
}

// report sums the run up.
func (r *run) report(ctx context.Context, before observed) *Report {
	all := r.sums.all
	last := max(all.last, r.zero)
	if all.Answered() == 0 {
		last = r.now()
	}
	if p := &r.plan; p.Duration > 0 && (p.Count == 0 || all.Due < p.Count) && (p.Pace != nil || len(all.errors) > 0) {
		last = max(last, r.lasted()) // in that time messages were due, or waited for in vain
	}
	for _, t := range r.sums.targets {
		all.name.merge(&t.name)
	}
	rep := &Report{
		Plan: r.plan, Began: r.base.Add(time.Duration(r.zero)), Elapsed: time.Duration(last - r.zero),
		Stopped: ctx.Err() != nil,
		Counts:  all.Counts, Times: all.times.export(), Errors: all.errors, Examples: all.first,
		Slowest: slowestOf(all.slow), Series: r.series.points,
	}
	rep.Plan.Threads = len(r.drivers)
	if len(r.targets) > 1 {
		for i, t := range r.sums.targets {
			rep.Targets = append(rep.Targets, TargetReport{Target: r.targets[i].Target, Counts: t.Counts, Errors: t.errors, Latency: t.latency.export()})
		}
	}
	rep.Testimony = r.testimony(before, rep.Elapsed)
	rep.Verdict = judge(rep)
	return rep
}

// lasted is when a run with a duration was over: at its end, if an open loop has come to it.
func (r *run) lasted() int64 {
	for _, d := range r.drivers {
		for _, g := range d.counts().groups {
			if g.feed == nil || g.feed.next != end {
				return min(r.until, r.now())
			}
		}
	}
	return r.until
}

// Open reports whether it was an open loop.
func (r *Report) Open() bool { return r.Plan.Pace != nil }

// Rate returns the messages that were answered rightly, a second.
func (r *Report) Rate() float64 { return r.perSecond(float64(r.Answered())) }

// Throughput returns the bytes a second, both ways.
func (r *Report) Throughput() (out, in float64) {
	return r.perSecond(float64(r.BytesOut)), r.perSecond(float64(r.BytesIn))
}

func (r *Report) perSecond(n float64) float64 {
	if r.Elapsed <= 0 {
		return 0
	}
	return n / r.Elapsed.Seconds()
}

// Failures is how many errors there were.
func (r *Report) Failures() int64 {
	sum := int64(0)
	for _, n := range r.Errors {
		sum += n
	}
	return sum
}

// FirstError returns one of the errors, of the class that weighs most; nil: there was
// none.
func (r *Report) FirstError() error {
	for _, c := range classes {
		if err := r.Examples[c]; err != nil {
			return err
		}
	}
	return nil
}

// classes are all, in the order in which they are shown.
var classes = []Class{
	Corrupt, Lost, Duplicated, Spliced, Truncated, Unasked, Status,
	Refused, ResetClass, EarlyClose, Timeout, NoPort, NoFile, Other,
}

// Classes returns the classes of r's errors, the wrong answers first.
func (r *Report) Classes() []Class {
	return slices.DeleteFunc(slices.Clone(classes), func(c Class) bool { return r.Errors[c] == 0 })
}

// Quantiles are those that are reported, in percent.
var Quantiles = []float64{50, 90, 99, 99.9}

// Quantile returns the latency below which q percent of the messages were. A message
// that was never answered rightly counts as slower than all others.
func (r *Report) Quantile(q float64) time.Duration {
	d, _ := r.quantile(r.Latency, q)
	return d
}

// unanswered is how many messages were due, and have no latency: no right answer came, or none. (What was under way
// when somebody stopped the run says nothing.)
func (r *Report) unanswered() int64 {
	return max(r.Due-r.Unfinished, r.Sent-r.Unfinished+r.Unsent) - r.Latency.TotalCount()
}

// quantile returns the quantile q of h among all messages; false if it is one of those
// that were never answered rightly. Other histograms than of messages' answers lack none.
func (r *Report) quantile(h *hdrhistogram.Histogram, q float64) (time.Duration, bool) {
	n := h.TotalCount()
	total := n
	if h == r.Latency || h == r.Service {
		total += max(r.unanswered(), 0)
	}
	rank := int64(math.Ceil(q / 100 * float64(total)))
	if n == 0 {
		return 0, false
	}
	if rank > n {
		return time.Duration(h.Max()), false
	}
	return time.Duration(h.ValueAtQuantile(100 * float64(rank) / float64(n))), true
}

// A Figure is a quantile, or why there is none.
type Figure struct {
	Value    time.Duration
	Withheld string // why it would not be honest; empty: it is
}

// fewest is how many messages must lie above a quantile for it to be told.
const fewest = 10

// Percentile returns a quantile of one of r's histograms, q in percent, 100 for the longest;
// or why it is withheld.
func (r *Report) Percentile(h *hdrhistogram.Histogram, q float64) Figure {
	n := h.TotalCount()
	value, answered := r.quantile(h, q)
	switch {
	case n == 0:
		return Figure{Withheld: "nothing was answered"}
	case !answered && q == 100:
		return Figure{Value: value, Withheld: fmt.Sprintf("%d messages have no right answer: the longest time is not known", r.unanswered())}
	case !answered:
		return Figure{Withheld: fmt.Sprintf("%d of %d messages have no right answer: p%s is one of them", r.unanswered(), n+r.unanswered(), digits(q))}
	case q < 100 && float64(n)*(1-q/100) < fewest-1e-6*fewest:
		return Figure{Withheld: fmt.Sprintf("not enough samples for p%s: %d, and %.0f are needed", digits(q), n, math.Ceil(fewest/(1-q/100)-1e-6))}
	}
	if h == r.Latency && r.Open() && r.occupied() >= saturated {
		return Figure{Withheld: fmt.Sprintf("the tool was occupied %.0f %% of the time: %s would be its own figure", 100*r.occupied(), nameOf(q))}
	}
	if late, ok := r.late(h, q); ok && late*2 > value {
		return Figure{Withheld: fmt.Sprintf("the tool itself was up to %v late at %s: it would be its own figure", Round(late), nameOf(q))}
	}
	return Figure{Value: value}
}

// late returns how late the tool was at a quantile, where that is in h.
func (r *Report) late(h *hdrhistogram.Histogram, q float64) (time.Duration, bool) {
	if h != r.Latency || !r.Open() || r.Lateness.TotalCount() == 0 {
		return 0, false
	}
	return time.Duration(r.Lateness.ValueAtQuantile(q)), true
}

// nameOf is what a percentile is called.
func nameOf(q float64) string {
	if q == 100 {
		return "the longest"
	}
	return "p" + digits(q)
}

// digits writes 99.9 as 99.9 and 99 as 99.
func digits(q float64) string { return fmt.Sprintf("%.4g", q) }

// Round returns d with three digits, which is what a histogram knows.
func Round(d time.Duration) time.Duration {
	unit := time.Duration(1)
	for d/unit >= 1000 {
		unit *= 10
	}
	return d.Round(unit)
}
