package load

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// A Bound is a condition on a figure of a report: p99<5ms, errors>0.
type Bound struct {
	Figure string  // p50, p90, p99, p99.9, max, rate, errors, corrupt, lost
	Below  bool    // the figure is to be below Limit, or else above it
	Limit  float64 // nanoseconds for a time, a second for a rate
}

// figures are what a Bound may be about; true: it is a time.
var figures = map[string]bool{
	"p50": true, "p90": true, "p99": true, "p99.9": true, "max": true,
	"rate": false, "errors": false, "corrupt": false, "lost": false,
}

// ParseBound reads for example p99<5ms, rate>10k or errors>0. p999 is another way to
// write p99.9.
func ParseBound(s string) (Bound, error) {
	i := strings.IndexAny(s, "<>")
	if i < 0 {
		return Bound{}, fmt.Errorf("%q has neither < nor >: write for example p99<5ms", s)
	}
	b := Bound{Figure: strings.TrimSpace(s[:i]), Below: s[i] == '<'}
	if b.Figure == "p999" {
		b.Figure = "p99.9"
	}
	isTime, known := figures[b.Figure]
	if !known {
		return Bound{}, fmt.Errorf("there is no figure %q; there are p50, p90, p99, p99.9, max, rate, errors, corrupt and lost", b.Figure)
	}
	text := strings.TrimSpace(s[i+1:])
	if !isTime {
		n, err := ParseNumber(text)
		b.Limit = n
		return b, err
	}
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 {
		return Bound{}, fmt.Errorf("%q is not a time above 0: write for example 5ms", text)
	}
	b.Limit = float64(d)
	return b, nil
}

// Time returns the limit of a time; 0 for what is none.
func (b Bound) Time() time.Duration {
	if !figures[b.Figure] {
		return 0
	}
	return time.Duration(b.Limit)
}

// String returns what ParseBound reads.
func (b Bound) String() string {
	sign := ">"
	if b.Below {
		sign = "<"
	}
	if figures[b.Figure] {
		return b.Figure + sign + time.Duration(b.Limit).String()
	}
	return b.Figure + sign + strconv.FormatFloat(b.Limit, 'f', -1, 64)
}

// Holds reports whether the condition is true of r, and why. A figure that is withheld
// makes no condition true: then known is false.
func (b Bound) Holds(r *Report) (holds, known bool, why string) {
	value, withheld := b.of(r)
	if withheld != "" {
		return false, false, fmt.Sprintf("%s is not known: %s", b.Figure, withheld)
	}
	shown := strconv.FormatFloat(value, 'f', -1, 64)
	switch {
	case figures[b.Figure]:
		shown = Round(time.Duration(value)).String()
	case b.Figure == "rate":
		shown = strconv.FormatFloat(value, 'f', 1, 64)
	}
	holds = value > b.Limit
	if b.Below {
		holds = value < b.Limit
	}
	return holds, true, fmt.Sprintf("%s is %s", b.Figure, shown)
}

func (b Bound) of(r *Report) (value float64, withheld string) {
	switch b.Figure {
	case "rate":
		return r.Rate(), ""
	case "errors":
		return float64(r.Failures()), ""
	case "corrupt":
		return float64(r.Corrupt), ""
	case "lost":
		return float64(r.Lost), ""
	}
	q := 100.0
	if b.Figure != "max" {
		q, _ = strconv.ParseFloat(b.Figure[1:], 64)
	}
	f := r.Percentile(r.Latency, q)
	return float64(f.Value), f.Withheld
}

// ParseNumber reads a number that is not negative: 250, 1.5k, 2M.
func ParseNumber(s string) (float64, error) {
	digits, times := s, 1.0
	switch {
	case strings.HasSuffix(s, "k"):
		digits, times = s[:len(s)-1], 1e3
	case strings.HasSuffix(s, "M"):
		digits, times = s[:len(s)-1], 1e6
	}
	n, err := strconv.ParseFloat(digits, 64)
	if err != nil || n < 0 || math.IsInf(n, 0) || math.IsNaN(n) || strings.ContainsAny(digits, "xXpP_") {
		return 0, fmt.Errorf("%q is not a number: write for example 250, 1.5k or 2M", s)
	}
	return n * times, nil
}

// A Search looks for the highest rate that keeps a condition: it doubles until one does
// not, and then halves the distance, until it knows the rate to a twentieth. The zero
// Search is not one: set From.
type Search struct {
	From float64 // the first rate that is tried
	Most float64 // no rate above it is tried; 0: maxRate

	kept, missed float64 // the highest that kept it, the lowest that did not; 0: none
	tries        int
}

const (
	closeEnough = 1.05
	mostTries   = 40
)

// Next returns the rate to try next; false if the search is over.
func (s *Search) Next() (rate float64, ok bool) {
	most := s.Most
	setDefault(&most, maxRate)
	switch {
	case s.tries >= mostTries || s.missed > 0 && s.missed < 1 || s.kept >= most:
		return 0, false
	case s.kept == 0 && s.missed == 0:
		return min(s.From, most), true
	case s.missed == 0:
		return min(2*s.kept, most), true
	case s.kept == 0:
		return s.missed / 2, true
	case s.missed/s.kept <= closeEnough:
		return 0, false
	}
	return math.Sqrt(s.kept * s.missed), true
}

// Tried says whether the rate kept the condition.
func (s *Search) Tried(rate float64, kept bool) {
	s.tries++
	switch {
	case kept:
		s.kept = max(s.kept, rate)
	case s.missed == 0 || rate < s.missed:
		s.missed = rate
	}
}

// Found returns the highest rate that kept the condition, and the lowest that did not; 0
// where there is none.
func (s *Search) Found() (kept, missed float64) { return s.kept, s.missed }
