package load

import (
	"fmt"
	"html/template"
	"io"
	"math"
	"strings"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// WriteHTML writes r as one page that needs nothing else: tables, and charts of the
// course of the run and of how latency is distributed. It follows the reader's choice of
// light or dark.
func WriteHTML(w io.Writer, r *Report) error {
	d := r.Document()
	return page.Execute(w, struct {
		*Document
		Title  string
		Facts  [][2]string
		Rows   []row
		Charts []chart
	}{d, "yodel load " + strings.Join(d.Targets, " "), facts(r), rows(r), charts(r)})
}

// A row is one line of the table of times.
type row struct {
	Name  string
	Cells []string
}

// Cell returns a figure as people read it; a dash if it is withheld.
func (f Figure) Cell() string {
	if f.Withheld != "" {
		return "–"
	}
	return Round(f.Value).String()
}

// rows are the percentiles of all times that were measured.
func rows(r *Report) []row {
	var all []row
	for _, h := range r.Histograms() {
		c := row{Name: h.Name}
		for _, q := range append(append([]float64{}, Quantiles...), 100) {
			c.Cells = append(c.Cells, r.Percentile(h.Histogram, q).Cell())
		}
		all = append(all, c)
	}
	return all
}

// A NamedHistogram is one of a report's, and what it is of.
type NamedHistogram struct {
	Name string
	*hdrhistogram.Histogram
}

// Histograms returns those that have something in them, latency first.
func (r *Report) Histograms() []NamedHistogram {
	var all []NamedHistogram
	for _, h := range []NamedHistogram{
		{"latency", r.Latency},
		{"service", r.Service},
		{"lateness", r.Lateness},
		{"name", r.Name},
		{"connect", r.Connect},
		{"tls", r.TLS},
		{"first byte", r.FirstByte},
	} {
		if h.TotalCount() > 0 {
			all = append(all, h)
		}
	}
	return all
}

// facts are the sums, in the order in which they are shown.
func facts(r *Report) [][2]string {
	out, in := r.Throughput()
	all := [][2]string{
		{"rate", fmt.Sprintf("%.0f/s", r.Rate())},
		{"time", Round(r.Elapsed).String()},
		{"sent", fmt.Sprint(r.Sent)},
		{"verified", fmt.Sprint(r.Verified)},
		{"corrupt", fmt.Sprint(r.Corrupt)},
		{"lost", fmt.Sprint(r.Lost)},
		{"not sent", fmt.Sprint(r.Unsent)},
		{"bytes/s out", Metric(out)},
		{"bytes/s in", Metric(in)},
	}
	for _, c := range r.Classes() {
		all = append(all, [2]string{"errors: " + string(c), fmt.Sprint(r.Errors[c])})
	}
	return all
}

// Metric writes 12300000 as 12.3 M.
func Metric(n float64) string {
	for _, unit := range []string{"", "k", "M"} {
		if n < 1000 {
			return fmt.Sprintf("%.3g %s", n, unit)
		}
		n /= 1000
	}
	return fmt.Sprintf("%.3g G", n)
}

// A chart is one picture.
type chart struct {
	Title, Note string
	Picture     template.HTML // made here, of numbers
}

const (
	wide, high       = 720.0, 240.0
	left, low, right = 64.0, 28.0, 24.0
)

// An axis maps values to a length; on a logarithmic one, by their logarithm.
type axis struct {
	from, to float64
	log      bool
}

func (a axis) at(v float64) float64 {
	if a.log {
		return (math.Log(max(v, a.from)) - math.Log(a.from)) / (math.Log(a.to) - math.Log(a.from))
	}
	return (v - a.from) / (a.to - a.from)
}

// ticks are where an axis has its marks.
func (a axis) ticks() []float64 {
	var all []float64
	if a.log {
		for v := math.Pow(10, math.Floor(math.Log10(a.from))); v <= a.to*1.001; v *= 10 {
			if v >= a.from*0.999 {
				all = append(all, v)
			}
		}
		return all
	}
	step := math.Pow(10, math.Floor(math.Log10((a.to-a.from)/4)))
	for _, times := range []float64{2, 2.5, 2} { // 1, 2, 5, 10
		if (a.to-a.from)/step > 5 {
			step *= times
		}
	}
	if a.to-a.from >= 1 { // errors, seconds, answers: there are no halves
		step = max(step, 1)
	}
	for v := math.Ceil(a.from/step) * step; v <= a.to; v += step {
		all = append(all, v)
	}
	return all
}

// A line is one curve.
type line struct {
	name string
	x, y []float64
}

// draw draws curves, each in its own colour, with names that stand on their own.
func draw(x, y axis, xText, yText func(float64) string, lines []line) template.HTML {
	var b strings.Builder
	fmt.Fprintf(&b, `<svg viewBox="0 0 %g %g" role="img">`, wide, high)
	px := func(v float64) float64 { return left + x.at(v)*(wide-left-right) }
	py := func(v float64) float64 { return 22 + (1-y.at(v))*(high-22-low) }
	for _, t := range y.ticks() {
		fmt.Fprintf(&b, `<line class="grid" x1="%g" x2="%g" y1="%.1f" y2="%.1f"/><text x="%g" y="%.1f" text-anchor="end">%s</text>`,
			left, wide-right, py(t), py(t), left-6, py(t)+4, yText(t))
	}
	for _, t := range x.ticks() {
		fmt.Fprintf(&b, `<text x="%.1f" y="%g" text-anchor="middle">%s</text>`, px(t), high-8, xText(t))
	}
	for i, l := range lines {
		fmt.Fprintf(&b, `<polyline class="c%d" points="`, i)
		for j := range l.x {
			fmt.Fprintf(&b, "%.1f,%.1f ", px(l.x[j]), py(l.y[j]))
		}
		fmt.Fprintf(&b, `"/><text class="k%d" x="%g" y="14">%s</text>`, i, left+float64(i)*90, l.name)
	}
	b.WriteString("</svg>")
	return template.HTML(b.String())
}

func seconds(v float64) string { return fmt.Sprintf("%.4g s", v) }

func number(v float64) string { return fmt.Sprintf("%.4g", v) }

func timeText(us float64) string { return Round(time.Duration(us * 1e3)).String() }

// charts draws what there is to draw.
func charts(r *Report) []chart {
	var all []chart
	if len(r.Series) >= 2 {
		all = append(all, overTime(r)...)
	}
	if r.Latency.TotalCount() > 1 {
		all = append(all, byPercentile(r))
	}
	return all
}

// overTime draws latency, rate and errors by the time of the run.
func overTime(r *Report) []chart {
	p50, p99, most := line{name: "p50"}, line{name: "p99"}, line{name: "longest"}
	rate, errs := line{name: "answers/s"}, line{name: "errors"}
	highest, shortest, longest, worst := 1.0, math.Inf(1), 1.0, 1.0
	for _, p := range r.Series {
		at := p.At.Seconds()
		rate.x, rate.y = append(rate.x, at), append(rate.y, p.Rate)
		errs.x, errs.y = append(errs.x, at), append(errs.y, float64(p.Errors))
		highest, worst = max(highest, p.Rate), max(worst, float64(p.Errors))
		if p.P50 == 0 {
			continue
		}
		for l, v := range map[*line]time.Duration{&p50: p.P50, &p99: p.P99, &most: p.Max} {
			l.x, l.y = append(l.x, at), append(l.y, micros(v))
		}
		shortest, longest = min(shortest, micros(p.P50)), max(longest, micros(p.Max))
	}
	x := axis{from: 0, to: r.Series[len(r.Series)-1].At.Seconds()}
	all := []chart{{"Rate over time", "", draw(x, axis{to: highest * 1.05}, seconds, number, []line{rate})}}
	if r.Failures() > 0 {
		all = append(all, chart{"Errors over time", "", draw(x, axis{to: worst * 1.05}, seconds, number, []line{errs})})
	}
	if len(p50.x) > 0 {
		y := decades(shortest, longest)
		all = append([]chart{{"Latency over time", "From when a message was due. The scale is logarithmic.", draw(x, y, seconds, timeText, []line{p50, p99, most})}}, all...)
	}
	return all
}

// decades is a logarithmic axis that holds both.
func decades(from, to float64) axis {
	a := axis{math.Pow(10, math.Floor(math.Log10(from))), math.Pow(10, math.Ceil(math.Log10(to))), true}
	if a.from == a.to {
		a.to *= 10
	}
	return a
}

// byPercentile draws latency, and service time, by how many messages took longer.
func byPercentile(r *Report) chart {
	n := float64(r.Latency.TotalCount())
	y := decades(max(micros(time.Duration(r.Latency.Min())), 0.1), micros(time.Duration(r.Latency.Max())))
	y.from = min(y.from, decades(max(micros(time.Duration(r.Service.Min())), 0.1), 1e9).from)
	curve := func(name string, h *hdrhistogram.Histogram) line {
		l := line{name: name}
		for rarity := 1.0; rarity <= n; rarity *= 1.2 {
			l.x = append(l.x, rarity)
			l.y = append(l.y, micros(time.Duration(h.ValueAtQuantile(100*(1-1/rarity)))))
		}
		return l
	}
	x := axis{from: 1, to: max(n, 10), log: true}
	percent := func(rarity float64) string { return fmt.Sprintf("%.7g %%", 100*(1-1/rarity)) }
	return chart{
		"Latency by percentile", "Latency counts from when a message was due, service time from when it was sent.",
		draw(x, y, percent, timeText, []line{curve("latency", r.Latency), curve("service", r.Service)}),
	}
}

var page = template.Must(template.New("report").Funcs(template.FuncMap{"took": timeText}).Parse(`<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{.Title}}</title>
<style>
:root { color-scheme: light dark; --fg: #1b1f24; --bg: #fff; --dim: #59636e; --grid: #d8dee4; --c0: #0b62c4; --c1: #b35900; --c2: #b3261e }
@media (prefers-color-scheme: dark) {
:root { --fg: #e6edf3; --bg: #12161c; --dim: #9aa5b1; --grid: #2c343e; --c0: #6cb0ff; --c1: #ffb15c; --c2: #ff8b82 } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--fg); background: var(--bg); max-width: 60rem; margin: 0 auto; padding: 1rem }
h1 { font-size: 1.3rem; overflow-wrap: anywhere } h2 { font-size: 1.05rem; margin: 1.6rem 0 .3rem }
.verdict { font-size: 1.1rem; border-left: 4px solid var(--c0); padding: .2rem .8rem; margin: 1rem 0 }
.limit-client { border-color: var(--c2) } .limit-network { border-color: var(--c1) }
.dim, figcaption, p.note { color: var(--dim) }
.scroll { overflow-x: auto } table { border-collapse: collapse; font-variant-numeric: tabular-nums }
td, th { padding: .15rem .8rem .15rem 0; text-align: right; white-space: nowrap } td:first-child, th:first-child { text-align: left }
dl { display: grid; grid-template-columns: repeat(auto-fill, minmax(9rem, 1fr)); gap: .6rem; margin: 0 } dt { color: var(--dim) } dd { margin: 0; font-variant-numeric: tabular-nums }
svg { width: 100%; min-width: 34rem; height: auto } figure { margin: 0; overflow-x: auto } svg text { font-size: 11px; fill: var(--dim) } .grid { stroke: var(--grid) }
polyline { fill: none; stroke-width: 1.8 } .c0 { stroke: var(--c0) } .c1 { stroke: var(--c1) } .c2 { stroke: var(--c2) }
svg .k0 { fill: var(--c0) } svg .k1 { fill: var(--c1) } svg .k2 { fill: var(--c2) }
@media (max-width: 30rem) { td, th { padding-right: .45rem } table { font-size: .85rem } svg { min-width: 0 } svg text { font-size: 18px } }
</style></head><body>
<h1>{{.Title}}</h1>
<p class="dim">{{.Time}} · {{.Loop}} loop{{if .Asked}} at {{printf "%.0f" .Asked}}/s{{end}} · {{.Conns}} connections{{if .Size}} · {{.Size}} bytes{{end}}{{if gt .Pipeline 1}} · {{.Pipeline}} under way on each{{end}}{{if .NoVerify}} · not verified{{end}}</p>
<p class="verdict limit-{{.Limit}}">{{.Verdict}}</p>
{{with .Reasons}}<ul>{{range .}}<li>{{.}}</li>{{end}}</ul>{{end}}
<dl>{{range .Facts}}<div><dt>{{index . 0}}</dt><dd>{{index . 1}}</dd></div>{{end}}</dl>
<h2>Times</h2>
<div class="scroll"><table><tr><th></th><th>p50</th><th>p90</th><th>p99</th><th>p99.9</th><th>longest</th></tr>
{{range .Rows}}<tr><td>{{.Name}}</td>{{range .Cells}}<td>{{.}}</td>{{end}}</tr>{{end}}</table></div>
{{with .Withheld}}<p class="note">Withheld:{{range $figure, $why := .}} {{$figure}}: {{$why}}.{{end}}</p>{{end}}
{{range .Charts}}<h2>{{.Title}}</h2><figure>{{.Picture}}{{with .Note}}<figcaption>{{.}}</figcaption>{{end}}</figure>{{end}}
{{with .Examples}}<h2>Errors</h2><ul>{{range $class, $text := .}}<li>{{$class}}: {{$text}}</li>{{end}}</ul>{{end}}
{{with .PerTarget}}<h2>Targets</h2><div class="scroll"><table><tr><th>target</th><th>weight</th><th>sent</th><th>verified</th><th>corrupt</th><th>lost</th></tr>
{{range .}}<tr><td>{{.Target}}</td><td>{{.Weight}}</td><td>{{.Sent}}</td><td>{{.Verified}}</td><td>{{.Corrupt}}</td><td>{{.Lost}}</td></tr>{{end}}</table></div>{{end}}
{{with .Slowest}}<h2>Slowest</h2><div class="scroll"><table><tr><th>latency</th><th>service</th><th>due at</th><th>connection</th><th>message</th></tr>
{{range .}}<tr><td>{{took .Latency}}</td><td>{{took .Service}}</td><td>{{took .At}}</td><td>{{.Conn}}</td><td>{{.Message}}</td></tr>{{end}}</table></div>{{end}}
</body></html>
`))
