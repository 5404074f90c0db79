package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"yodel/call"
	"yodel/load"
)

// tryJSON is one try of a search; docs/json.md describes it.
type tryJSON struct {
	Type    string  `json:"type"`
	Time    string  `json:"time"`
	Asked   float64 `json:"rate_asked"`
	Rate    float64 `json:"rate"`
	Kept    bool    `json:"kept"`
	Why     string  `json:"why"`
	Verdict string  `json:"verdict"`
}

// A searching is a search under way.
type searching struct {
	*loading
	load.Search
	bound    load.Bound
	arrivals func(float64) load.Pacer
	best     *load.Report // of the highest rate that kept the bound; nil: none did
	ownLimit bool         // at a rate that missed it, this program was the limit
}

// searchTimes is how many times as long as the bound a try must be: a server that bears a tenth less
// than it gets is then behind by the bound when the try ends.
const searchTimes = 10

// search makes runs until it knows the highest rate that keeps the bound.
func (l *loading) search(ctx context.Context) error {
	bound, err := load.ParseBound(l.loadFlags.search)
	if err != nil {
		return usagef("--search: %w", err)
	}
	if !bound.Below || bound.Figure == "rate" {
		return usagef("--search %v: a bound is what must not grow with the rate, as p99<5ms or errors<1", bound)
	}
	arrivals, err := l.arrival()
	if err != nil {
		return usageError{err}
	}
	if err := l.tryFor(bound); err != nil {
		return err
	}
	l.plan.Drain = max(2*bound.Time(), 200*time.Millisecond) // what takes longer has missed it
	s := &searching{loading: l, Search: load.Search{From: 1000}, bound: bound, arrivals: arrivals}
	if l.rate > 0 {
		s.From = float64(l.rate)
	}
	for rate, ok := s.Next(); ok; rate, ok = s.Next() {
		if err := s.try(ctx, rate); err != nil {
			return err
		}
	}
	return s.found()
}

// tryFor says how long each try is.
func (l *loading) tryFor(bound load.Bound) error {
	long := searchTimes * bound.Time()
	if l.plan.Duration == 0 {
		l.plan.Duration = max(3*time.Second, long)
	}
	if l.plan.Duration < long {
		return usagef("--duration %v: too short for --search %v: a server that can't follow falls behind little by little, and %v are needed to see it", l.plan.Duration, bound, long)
	}
	return nil
}

// try makes one run.
func (s *searching) try(ctx context.Context, rate float64) error {
	s.plan.Pace = s.arrivals(rate)
	r, err := load.Run(ctx, s.plan)
	if err != nil {
		return asUsage(err)
	}
	s.shown.done()
	s.metrics.finish(r)
	if err := interruption(ctx); err != nil {
		return errors.Join(err, s.found())
	}
	if r.Failures() > 0 && r.Answered() == 0 {
		return s.judge(r)
	}
	holds, known, why := s.bound.Holds(r)
	if !known && s.best == nil {
		return &wrongError{fmt.Sprintf("cannot tell whether %.4g/s keeps %v: %s; a longer --duration, or another first --rate, may", rate, s.bound, why), call.StatusFailed}
	}
	kept := holds && r.KeptRate() && r.Failures() == 0 && !s.behind(r)
	if kept {
		s.best = r
	} else {
		s.ownLimit = r.Verdict.Limit == load.LimitClient
	}
	if holds && !kept {
		why += fmt.Sprintf(", but only %.0f/s were answered", r.Rate())
	}
	s.tried(rate, r, kept, why)
	s.Tried(rate, kept)
	return nil
}

// behind reports whether answers still came when all should long have been there. A twentieth is
// what a search leaves open, too.
func (s *searching) behind(r *load.Report) bool {
	return r.Elapsed-r.Plan.Duration > s.bound.Time()+r.Plan.Duration/20
}

func (s *searching) tried(rate float64, r *load.Report, kept bool, why string) {
	if s.json {
		printJSON(s.out, tryJSON{"try", time.Now().UTC().Format(time.RFC3339Nano), rate, r.Rate(), kept, why, r.Verdict.Text})
		return
	}
	word := "missed"
	if kept {
		word = "kept"
	}
	fmt.Fprintf(s.out, "%9.0f/s  %-6s  %s\n", rate, word, why)
}

// found says what the search has come to, and shows the report of the best run.
func (s *searching) found() error {
	kept, missed := s.Found()
	if s.best == nil {
		return &wrongError{fmt.Sprintf("no rate keeps %v: not even %.1f/s", s.bound, missed), call.StatusWrong}
	}
	if !s.json {
		fmt.Fprintf(s.out, "\nThe highest rate that keeps %v is %.0f/s", s.bound, kept)
		if missed > 0 {
			fmt.Fprintf(s.out, "; %.0f/s does not", missed)
		}
		if s.ownLimit {
			fmt.Fprint(s.out, ", but there this program was the limit, so the server may bear more")
		}
		fmt.Fprint(s.out, ".\n\n")
	}
	if err := s.show(s.best); err != nil {
		return err
	}
	return s.keeps(s.best)
}
