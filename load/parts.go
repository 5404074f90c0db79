package load

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// A Part is one of several runs that together are a Plan: each takes its share of the
// connections, the messages and the rate, and names its connections as no other does. The
// zero Part is all of it.
type Part struct{ Which, Of int }

// take makes p its part.
func (p *Plan) take() error {
	which, of := p.Part.Which, p.Part.Of
	switch {
	case of <= 1:
		p.Part = Part{0, 1}
		return nil
	case which < 0 || which >= of:
		return fmt.Errorf("part %d of %d: they count from 0", which, of)
	case p.Conns < of*len(p.Targets):
		return fmt.Errorf("%d connections for %d processes: each needs at least %d", p.Conns, of, len(p.Targets))
	case p.Count > 0 && p.Count < int64(of):
		return fmt.Errorf("%d messages for %d processes: each needs at least one", p.Count, of)
	}
	p.Conns = (p.Conns - which + of - 1) / of
	if p.Count > 0 {
		p.Count = (p.Count - int64(which) + int64(of) - 1) / int64(of)
	}
	return nil
}

// Check says what is wrong with a plan.
func (p Plan) Check() error {
	if err := p.complete(); err != nil {
		return fmt.Errorf("load: %w", err)
	}
	return nil
}

// thin is a part of a schedule.
type thin struct {
	Schedule
	part Part
	n    int
}

// Next implements Schedule.
func (t *thin) Next() time.Duration {
	for {
		at, mine := t.Schedule.Next(), t.n == t.part.Which
		t.n = (t.n + 1) % t.part.Of
		if mine || at == end {
			return at
		}
	}
}

// A Partial is the report of a Part, in a form that JSON can have.
type Partial struct {
	Began   time.Time
	Elapsed time.Duration
	Stopped bool
	Threads int
	Counts
	Histograms []string // of Times, in their order
	Errors     map[Class]int64
	Examples   map[Class]string
	Targets    []PartialTarget
	Slowest    []Slow
	Series     []Point
	Testimony  Testimony
	Refusal    string
}

// A PartialTarget is a TargetReport.
type PartialTarget struct {
	Counts
	Errors  map[Class]int64
	Latency string
}

func (t *Times) all() []**hdrhistogram.Histogram {
	return []**hdrhistogram.Histogram{&t.Latency, &t.Service, &t.Lateness, &t.Name, &t.Connect, &t.TLS, &t.FirstByte}
}

// Partial returns r so that Merge can take it.
func (r *Report) Partial() *Partial {
	p := &Partial{
		Began: r.Began, Elapsed: r.Elapsed, Stopped: r.Stopped, Threads: r.Plan.Threads, Counts: r.Counts, Errors: r.Errors,
		Examples: make(map[Class]string), Slowest: r.Slowest, Series: r.Series, Testimony: r.Testimony,
	}
	for _, h := range r.Times.all() {
		p.Histograms = append(p.Histograms, EncodeHistogram(*h))
	}
	for c, err := range r.Examples {
		p.Examples[c] = err.Error()
	}
	for _, t := range r.Targets {
		p.Targets = append(p.Targets, PartialTarget{Counts: t.Counts, Errors: t.Errors, Latency: EncodeHistogram(t.Latency)})
	}
	if r.Refusal != nil {
		p.Testimony.Refusal, p.Refusal = nil, r.Refusal.Error()
	}
	return p
}

// EncodeHistogram returns h in HdrHistogram's compressed form (V2), as base64.
func EncodeHistogram(h *hdrhistogram.Histogram) string {
	text, err := h.Encode(hdrhistogram.V2CompressedEncodingCookieBase)
	if err != nil { // it has counts that no recording makes
		return ""
	}
	return string(text)
}

// Merge returns the report of a plan from those of all its parts.
func Merge(plan Plan, parts []*Partial) (*Report, error) {
	if err := plan.complete(); err != nil {
		return nil, fmt.Errorf("load: %w", err)
	}
	r := &Report{
		Plan: plan, Times: new(times).export(), Errors: make(map[Class]int64), Examples: make(map[Class]error),
		Testimony: Testimony{Busy: -1, Starved: -1},
	}
	r.Plan.Threads = 0
	if len(plan.Targets) > 1 {
		for _, t := range plan.Targets {
			r.Targets = append(r.Targets, TargetReport{Target: t, Errors: make(map[Class]int64), Latency: newHistogram()})
		}
	}
	for i, p := range parts {
		if err := r.add(p); err != nil {
			return nil, fmt.Errorf("load: part %d of %d: %w", i, len(parts), err)
		}
	}
	r.Slowest = slowestOf(r.Slowest)
	r.Verdict = judge(r)
	return r, nil
}

// add adds a part.
func (r *Report) add(p *Partial) error {
	if r.Began.IsZero() || p.Began.Before(r.Began) {
		r.Began = p.Began
	}
	r.Elapsed = max(r.Elapsed, p.Elapsed)
	r.Stopped = r.Stopped || p.Stopped
	r.Plan.Threads += p.Threads
	r.Counts.Add(&p.Counts)
	r.Slowest = append(r.Slowest, p.Slowest...)
	r.Series = addSeries(r.Series, p.Series)
	r.Testimony.add(&p.Testimony, p.Refusal)
	for c, n := range p.Errors {
		r.Errors[c] += n
		r.Examples[c] = cmp.Or[error](r.Examples[c], &toldError{c, p.Examples[c]})
	}
	all := r.Times.all()
	if len(p.Histograms) != len(all) || len(p.Targets) != len(r.Targets) {
		return errors.New("it is of another plan")
	}
	for i, t := range p.Targets {
		r.Targets[i].Counts.Add(&t.Counts)
		for c, n := range t.Errors {
			r.Targets[i].Errors[c] += n
		}
		if err := mergeInto(r.Targets[i].Latency, t.Latency); err != nil {
			return err
		}
	}
	for i, h := range all {
		if err := mergeInto(*h, p.Histograms[i]); err != nil {
			return err
		}
	}
	return nil
}

func mergeInto(h *hdrhistogram.Histogram, text string) error {
	from, err := DecodeHistogram(text)
	if err == nil {
		h.Merge(from)
	}
	return err
}

// addSeries adds points of the same times: of latencies it keeps the worst part's.
func addSeries(sum, part []Point) []Point {
	for i, p := range part {
		if i == len(sum) {
			sum = append(sum, p)
			continue
		}
		s := &sum[i]
		s.Rate += p.Rate
		s.P50, s.P99, s.Max = max(s.P50, p.P50), max(s.P99, p.P99), max(s.Max, p.Max)
		s.Errors += p.Errors
	}
	return sum
}

func (t *Testimony) add(p *Testimony, refusal string) {
	names := strings.FieldsFunc(t.Driver+","+p.Driver, func(r rune) bool { return r == ',' })
	slices.Sort(names)
	t.Driver = strings.Join(slices.Compact(names), ",")
	if refusal != "" && t.Refusal == nil {
		t.Refusal = errors.New(refusal)
	}
	t.Busy, t.Stolen, t.Starved = max(t.Busy, p.Busy), max(t.Stolen, p.Stolen), max(t.Starved, p.Starved)
	t.CPU += p.CPU
	t.Awake += p.Awake
	t.Pauses += p.Pauses
	t.Paused += p.Paused
	t.LongestPause = max(t.LongestPause, p.LongestPause)
	t.Retransmits += p.Retransmits
	t.Drops += p.Drops
	if p.MinRTT > 0 && (t.MinRTT == 0 || p.MinRTT < t.MinRTT) {
		t.MinRTT = p.MinRTT
	}
}

// toldError is an error that another process has met.
type toldError struct {
	class Class
	text  string
}

func (e *toldError) Error() string { return e.text }

// Is reports whether the error is of target's class.
func (e *toldError) Is(target error) bool {
	var told *toldError
	return !errors.As(target, &told) && e.class != Other && classOf(target) == e.class
}
