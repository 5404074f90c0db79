package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"yodel/internal/escape"
	"yodel/load"
)

// A progressView shows how far a run has come.
type progressView interface {
	progress(*load.Progress)

	// done makes room for the report.
	done()
}

// view returns what the flags and the terminal ask for.
func (l *loading) view() progressView {
	switch {
	case l.json:
		return jsonProgress{l.out}
	case l.quiet:
		return noProgress{}
	case isTerminal(l.err) && l.watch == 0:
		return &liveProgress{w: l.err}
	}
	return plainProgress{l.err}
}

type noProgress struct{}

func (noProgress) progress(*load.Progress) {}
func (noProgress) done()                   {}

// plainProgress prints a line.
type plainProgress struct{ w io.Writer }

func (v plainProgress) progress(p *load.Progress) { fmt.Fprintln(v.w, progressLine(p)) }
func (plainProgress) done()                       {}

// liveProgress writes over its line, and has the latencies of the last second behind it.
type liveProgress struct {
	w     io.Writer
	shown bool
}

func (v *liveProgress) progress(p *load.Progress) {
	v.shown = true
	fmt.Fprintf(v.w, "\r\x1b[K%s  %s", progressLine(p), bars(p.Recent))
}

func (v *liveProgress) done() {
	if v.shown {
		fmt.Fprint(v.w, "\r\x1b[K")
	}
}

func progressLine(p *load.Progress) string {
	line := fmt.Sprintf("%4.0f s  %9.0f/s", p.Elapsed.Seconds(), p.Rate)
	if p.Recent.TotalCount() > 0 {
		line += fmt.Sprintf("  p50 %v  p99 %v", load.Round(time.Duration(p.Recent.ValueAtQuantile(50))), load.Round(time.Duration(p.Recent.ValueAtQuantile(99))))
	}
	line += fmt.Sprintf("  verified %d", p.Counts.Verified)
	if p.Counts.Lost > 0 {
		line += fmt.Sprintf("  lost %d", p.Counts.Lost)
	}
	for _, c := range slices.Sorted(maps.Keys(p.Errors)) {
		line += fmt.Sprintf("  %s %d", c, p.Errors[c])
	}
	return line
}

// bars draws a histogram in one line: a bar for each doubling, from the shortest latency
// to the longest.
func bars(h *hdrhistogram.Histogram) string {
	if h.TotalCount() == 0 {
		return ""
	}
	from := int(math.Log2(float64(h.Min())))
	counts := make([]int64, int(math.Log2(float64(h.Max())))-from+1)
	for _, b := range h.Distribution() {
		if b.Count > 0 {
			counts[min(max(int(math.Log2(float64(max(b.From, 1))))-from, 0), len(counts)-1)] += b.Count
		}
	}
	const steps = "▁▂▃▄▅▆▇█"
	most := slices.Max(counts)
	var line strings.Builder
	for _, n := range counts {
		if n == 0 {
			line.WriteByte(' ')
			continue
		}
		line.WriteString(string([]rune(steps)[n*7/most]))
	}
	return load.Round(time.Duration(h.Min())).String() + " " + line.String() + " " + load.Round(time.Duration(h.Max())).String()
}

// jsonProgress prints a line of JSON.
type jsonProgress struct{ w io.Writer }

// progressJSON is such a line; docs/json.md describes it.
type progressJSON struct {
	Type     string               `json:"type"`
	Time     string               `json:"time"`
	Elapsed  float64              `json:"elapsed_us"`
	Rate     float64              `json:"rate"`
	Sent     int64                `json:"sent"`
	Verified int64                `json:"verified"`
	Corrupt  int64                `json:"corrupt"`
	Lost     int64                `json:"lost"`
	P50      float64              `json:"p50_us,omitempty"`
	P99      float64              `json:"p99_us,omitempty"`
	Errors   map[load.Class]int64 `json:"errors"`
}

func (v jsonProgress) progress(p *load.Progress) {
	line := progressJSON{
		Type: "progress", Time: time.Now().UTC().Format(time.RFC3339Nano), Elapsed: inMicros(int64(p.Elapsed)), Rate: p.Rate,
		Sent: p.Counts.Sent, Verified: p.Counts.Verified, Corrupt: p.Counts.Corrupt, Lost: p.Counts.Lost, Errors: p.Errors,
	}
	if p.Recent.TotalCount() > 0 {
		line.P50, line.P99 = inMicros(p.Recent.ValueAtQuantile(50)), inMicros(p.Recent.ValueAtQuantile(99))
	}
	printJSON(v.w, line)
}

func (jsonProgress) done() {}

func inMicros(ns int64) float64 { return float64(ns) / 1e3 }

func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// printReport prints a report on one screen.
func printReport(w io.Writer, r *load.Report) {
	fmt.Fprintf(w, "%s\n\n", planText(r))
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(tw, "\tsent\tverified\tcorrupt\tlost\tnot sent\tunfinished\t")
	fmt.Fprintf(tw, "messages\t%d\t%s\t%d\t%d\t%d\t%d\t\n", r.Sent, verifiedText(r), r.Corrupt, r.Lost, r.Unsent, r.Unfinished)
	tw.Flush()
	printTimes(w, r)
	printFlow(w, r)
	printErrors(w, r)
	fmt.Fprintf(w, "\nVerdict: %s\n", r.Verdict.Text)
	for _, reason := range r.Verdict.Reasons {
		fmt.Fprintf(w, "  - %s\n", reason)
	}
}

func verifiedText(r *load.Report) string {
	if r.Plan.NoVerify {
		return fmt.Sprintf("not compared: %d", r.Unverified)
	}
	return strconv.FormatInt(r.Verified, 10)
}

// planText says what was done.
func planText(r *load.Report) string {
	p := &r.Plan
	var words []string
	for _, t := range p.Targets {
		words = append(words, escape.String(t.Address.String()))
	}
	words = []string{strings.Join(words, " "), "closed loop"}
	if r.Open() {
		words[1] = fmt.Sprintf("open loop at %s/s", strconv.FormatFloat(math.Round(10*p.Pace.Rate())/10, 'f', -1, 64))
	}
	words = append(words, fmt.Sprintf("%d connections", p.Conns))
	if !p.OnlyPages() {
		words = append(words, fmt.Sprintf("%d bytes", p.Size))
	}
	plan := len(words)
	for text, said := range map[string]bool{
		"a connection for each message": p.NewConns,
		"never asleep":                  p.Awake,
		fmt.Sprintf("%d messages under way on each", p.Pipeline):     p.Pipeline > 1,
		fmt.Sprintf("broken ones made anew: %s", times(p.Reconnect)): p.Reconnect != 0,
	} {
		if said {
			words = append(words, text)
		}
	}
	slices.Sort(words[plan:])
	if p.NoVerify {
		return strings.Join(append(words, "nothing compared"), ", ")
	}
	return strings.Join(append(words, "every byte compared"), ", ")
}

func times(n int) string {
	if n < 0 {
		return "always"
	}
	return fmt.Sprintf("%d times", n)
}

func printTimes(w io.Writer, r *load.Report) {
	all := r.Histograms()
	if len(all) == 0 {
		return
	}
	fmt.Fprintln(w)
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(tw, "\tp50\tp90\tp99\tp99.9\tlongest\t")
	for _, h := range all {
		fmt.Fprintf(tw, "%s\t", h.Name)
		for _, q := range append(slices.Clone(load.Quantiles), 100) {
			fmt.Fprintf(tw, "%s\t", r.Percentile(h.Histogram, q).Cell())
		}
		fmt.Fprintln(tw)
	}
	tw.Flush()
}

// printFlow prints rates.
func printFlow(w io.Writer, r *load.Report) {
	out, in := r.Throughput()
	fmt.Fprintf(w, "\n%.0f answers/s in %v; %sB/s out, %sB/s in; %d connections made", r.Rate(), load.Round(r.Elapsed), load.Metric(out), load.Metric(in), r.Connections)
	if r.Reconnects > 0 {
		fmt.Fprintf(w, ", %d of them anew", r.Reconnects)
	}
	fmt.Fprintln(w)
	if r.DuplicatedDatagrams+r.Reordered+r.Late+r.Unknown > 0 {
		fmt.Fprintf(w, "datagrams: %d came twice, %d in another order, %d late, %d of nobody's\n", r.DuplicatedDatagrams, r.Reordered, r.Late, r.Unknown)
	}
	for _, t := range r.Targets {
		fmt.Fprintf(w, "  %s: %d sent, %d verified, %d corrupt, %d lost, %d not sent\n",
			escape.String(t.Address.String()), t.Sent, t.Verified, t.Corrupt, t.Lost, t.Unsent)
	}
}

func printErrors(w io.Writer, r *load.Report) {
	for _, c := range r.Classes() {
		fmt.Fprintf(w, "%s: %d, the first: %s\n", c, r.Errors[c], escape.String(r.Examples[c].Error()))
	}
}
