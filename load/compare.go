package load

import (
	"fmt"
	"math"

	"github.com/HdrHistogram/hdrhistogram-go"

	"yodel/internal/escape"
)

// An Interval is an estimate and its 95 % confidence interval.
type Interval struct{ Low, Value, High float64 }

// A Difference is one figure of two runs.
type Difference struct {
	Figure string
	Unit   string // "µs", "/s"
	A, B   Interval
	Change float64 // of B over A: 0.1 is a tenth more

	// Verdict is "better", "worse" or "same": the last if the intervals overlap.
	Verdict string

	// Regression is set if it is worse by more than the tolerance.
	Regression bool
}

// Compare compares two runs figure by figure. A regression is a change for the worse
// that is greater than tolerance (0.05 is a twentieth), and that is surely none of chance.
//
// The interval of a rate is from the points of the run's course (Student's t), that of a
// percentile from the order of its samples. Neither knows what differs between one run
// and the next on the same machine: for that, repeat both.
func Compare(a, b *Document, tolerance float64) ([]Difference, error) {
	all := []Difference{{Figure: "rate", Unit: "/s", A: a.rate(), B: b.rate()}}
	for _, name := range []string{"latency", "service"} {
		ha, err := a.histogram(name)
		if err != nil {
			return nil, fmt.Errorf("the first run: %w", err)
		}
		hb, err := b.histogram(name)
		if err != nil {
			return nil, fmt.Errorf("the second run: %w", err)
		}
		for _, q := range Quantiles {
			if enoughFor(ha, q) && enoughFor(hb, q) && a.withheld(name, q) == "" && b.withheld(name, q) == "" {
				all = append(all, Difference{Figure: name + " p" + digits(q), Unit: "µs", A: interval(ha, q), B: interval(hb, q)})
			}
		}
	}
	for i := range all {
		all[i].judge(i == 0, tolerance)
	}
	return all, nil
}

// withheld is why a run has not told a percentile; empty: it has.
func (d *Document) withheld(name string, q float64) string {
	return d.Withheld[withheldKey(name, q)]
}

// Notes returns what a reader of a comparison must know, in sentences: which percentiles one
// of the runs has withheld, though there were answers enough, and in what the plans differ.
func Notes(a, b *Document) []string {
	var notes []string
	for i, d := range []*Document{a, b} {
		for _, name := range []string{"latency", "service"} {
			h, err := d.histogram(name)
			for _, q := range Quantiles {
				if why := d.withheld(name, q); why != "" && err == nil && enoughFor(h, q) {
					notes = append(notes, fmt.Sprintf("%s p%s is not compared: of %c, %s", name, digits(q), 'A'+rune(i), escape.String(why)))
				}
			}
		}
	}
	for _, f := range []struct {
		name string
		a, b any
	}{
		{"loop", a.Loop, b.Loop},
		{"rate_asked", a.Asked, b.Asked},
		{"conns", a.Conns, b.Conns},
		{"pipeline", a.Pipeline, b.Pipeline},
		{"size", a.Size, b.Size},
		{"new_conns", a.NewConns, b.NewConns},
		{"upper", a.Upper, b.Upper},
		{"no_verify", a.NoVerify, b.NoVerify},
		{"reconnect", a.Reconnect, b.Reconnect},
		{"errors", a.failures(), b.failures()},
		{"limit", a.Limit, b.Limit},
	} {
		if f.a != f.b {
			notes = append(notes, escape.String(fmt.Sprintf("%s: %v of A, %v of B", f.name, f.a, f.b)))
		}
	}
	return notes
}

// failures is how many errors there were.
func (d *Document) failures() (sum int64) {
	for _, n := range d.Errors {
		sum += n
	}
	return sum
}

func enoughFor(h *hdrhistogram.Histogram, q float64) bool {
	return float64(h.TotalCount())*(1-q/100) >= fewest-1e-6*fewest
}

// judge sets the verdict.
func (d *Difference) judge(moreIsBetter bool, tolerance float64) {
	if d.A.Value > 0 {
		d.Change = d.B.Value/d.A.Value - 1
	}
	more, less := d.B.Low > d.A.High, d.B.High < d.A.Low
	switch {
	case !more && !less:
		d.Verdict = "same"
	case more == moreIsBetter:
		d.Verdict = "better"
	default:
		d.Verdict = "worse"
		d.Regression = math.Abs(d.Change) > tolerance
	}
}

// interval returns a percentile in microseconds. How many samples lie below the true one
// is binomial, and by the normal approximation within 1.96 standard deviations.
func interval(h *hdrhistogram.Histogram, q float64) Interval {
	n, p := float64(h.TotalCount()), q/100
	spread := 1.96 * math.Sqrt(n*p*(1-p))
	at := func(rank float64) float64 {
		return float64(h.ValueAtQuantile(100*min(max(rank/n, 1/n), 1))) / 1e3
	}
	return Interval{Low: at(math.Floor(n*p - spread)), Value: at(n * p), High: at(math.Ceil(n*p + spread))}
}

// rate returns messages a second. Without points of which there are three at least, its
// interval is that of counting (Poisson's).
func (d *Document) rate() Interval {
	var rates []float64
	for _, p := range d.Series {
		if p.For > 0.5e6 {
			rates = append(rates, p.Rate)
		}
	}
	n := float64(len(rates))
	if n < 3 {
		half := 0.0
		if d.Elapsed > 0 {
			half = 1.96 * math.Sqrt(max(float64(d.Verified+d.Unverified), 0)) / d.Elapsed * 1e6
		}
		return Interval{d.Rate - half, d.Rate, d.Rate + half}
	}
	mean, squares := 0.0, 0.0
	for _, r := range rates {
		mean += r / n
	}
	for _, r := range rates {
		squares += (r - mean) * (r - mean)
	}
	half := student(len(rates)-1) * math.Sqrt(squares/(n-1)/n)
	return Interval{d.Rate - half, d.Rate, d.Rate + half}
}

// student returns the 97.5th percentile of Student's t with so many degrees of freedom
// (a table to 10, and beyond it the first terms of Fisher's expansion).
func student(degrees int) float64 {
	table := []float64{12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228}
	if degrees <= len(table) {
		return table[max(degrees, 1)-1]
	}
	const z = 1.959964
	n := float64(degrees)
	return z + (z*z*z+z)/(4*n) + (5*z*z*z*z*z+16*z*z*z+3*z)/(96*n*n)
}
