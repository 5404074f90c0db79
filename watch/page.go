package watch

import (
	_ "embed" // for the style of the page
	"fmt"
	"html/template"
	"io"
	"strings"
	"time"

	"yodel/internal/escape"
	"yodel/trace"
	"yodel/watch/flow"
)

//go:embed page.css
var style string

// Bounds of a page. What comes later is counted.
const (
	pageFlows = 500  // connections
	pageRows  = 5000 // packets, of all connections together
	pageText  = 160  // bytes of a packet's escaped payload
)

// A Page is a View that writes one page of HTML at the end: a sequence diagram and the sum
// of each flow. The page needs nothing else: no script, no other file; its content
// security policy allows its own style sheet alone. What packets say is escaped, as text
// and as HTML. It has 500 flows and 5,000 packets at most, and says how many more there
// were.
type Page struct {
	W     io.Writer
	About string // what was watched: one sentence

	flows []*pageFlow
	known map[int64]*pageFlow // by the flow's number
	rows  int
	more  int64 // packets that are not on the page
	began time.Time
}

// pageFlow is a flow on a page.
type pageFlow struct {
	Flow  *flow.Flow
	Owner string
	Rows  []pageRow
	More  int64 // packets of it that are not on the page
}

// pageRow is a packet on a page.
type pageRow struct {
	At      string // seconds since the first packet
	Class   string // who has sent it, and how remarkable it is
	Label   string // flags
	Numbers string
	Meaning string
	Payload string
}

// Show takes an event; with the last one it writes the page.
func (p *Page) Show(e *Event) error {
	switch e.Type {
	case FlowEnded:
	case Ended:
		return p.write(e.Sum)
	default:
		p.packet(e)
	}
	return nil
}

func (p *Page) packet(e *Event) {
	if p.known == nil {
		p.known, p.began = map[int64]*pageFlow{}, e.Time
	}
	f := p.known[e.Flow.Number]
	if f == nil {
		if len(p.flows) >= pageFlows {
			p.more++
			return
		}
		f = &pageFlow{Flow: e.Flow, Owner: escape.StringN(e.Packet.Owner, 64)}
		p.flows = append(p.flows, f)
		p.known[e.Flow.Number] = f
	}
	if p.rows >= pageRows {
		f.More++
		p.more++
		return
	}
	p.rows++
	f.Rows = append(f.Rows, p.row(e))
}

func (p *Page) row(e *Event) pageRow {
	w := e.What
	r := pageRow{
		At:    fmt.Sprintf("%.6f", e.Time.Sub(p.began).Seconds()),
		Class: pageClass(w), Label: label(w), Numbers: Numbers(w), Meaning: Meaning(w),
	}
	if payload := w.Packet.Payload; len(payload) > 0 && w.Kind != flow.ICMPError {
		r.Payload = Payload(payload, pageText)
		if len(payload) < w.Length || len(r.Payload) > pageText {
			r.Payload += fmt.Sprintf(" … %d bytes", w.Length)
		}
	}
	return r
}

// pageClass says how a packet looks.
func pageClass(e *flow.Event) string {
	class := "none"
	switch e.From {
	case trace.Client:
		class = "c"
	case trace.Server:
		class = "s"
	}
	const bad = flow.Retransmission | flow.Spurious | flow.Fast | flow.OutOfOrder | flow.LostSegment | flow.DuplicateACK |
		flow.ZeroWindow | flow.ZeroWindowProbe | flow.WindowFull | flow.Duplicate | flow.AckedUnseen
	switch {
	case e.Kind == flow.ICMPError || e.Marks&flow.Reset != 0:
		class += " bad"
	case e.Marks&bad != 0:
		class += " odd"
	}
	return class
}

// Ending says how the flow ended.
func (f *pageFlow) Ending() string {
	if f.Flow.Network == "udp" {
		return "datagrams, for " + ending(f.Flow)
	}
	return ending(f.Flow)
}

// Lines are its sum.
func (f *pageFlow) Lines() []string {
	_, rest, _ := strings.Cut(FlowSummary(f.Flow), "\n")
	return strings.Split(strings.ReplaceAll(strings.TrimSpace(rest), "\n   ", "\n"), "\n")
}

// Anchor is its name on the page.
func (f *pageFlow) Anchor() string { return fmt.Sprintf("flow%d", f.Flow.Number) }

// Failed tells that it did not end as it should.
func (f *pageFlow) Failed() bool {
	return f.Flow.Reset != nil || f.Flow.Ending() == flow.Unanswered || f.Flow.Ending() == flow.Refused
}

type pageData struct {
	Style  template.CSS
	Policy string
	About  string
	Sum    string
	When   string
	Flows  []*pageFlow
	More   int64
	Less   int64 // flows that are not on the page
}

func (p *Page) write(s *Sum) error {
	when := ""
	if !s.First.IsZero() {
		when = s.First.UTC().Format("2006-01-02 15:04:05 UTC")
	}
	return page.Execute(p.W, pageData{
		Style: template.CSS(style), Policy: escape.PagePolicy(style), About: p.About,
		Sum: strings.TrimSpace(CaptureSummary(s)), When: when,
		Flows: p.flows, More: p.more, Less: s.Flows - int64(len(p.flows)),
	})
}

var page = template.Must(template.New("page").Parse(`<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{{.Policy}}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>yodel watch</title>
<style>{{.Style}}</style>
</head>
<body>
<header>
<h1>What went over the wire</h1>
<p class="soft">{{.About}}{{if .When}}, from {{.When}}{{end}}<br>{{.Sum}}</p>
{{if or .More .Less}}<p class="note">{{if .Less}}{{.Less}} connections and {{end}}{{.More}} packets are not on this page.</p>
{{end}}</header>
{{if gt (len .Flows) 1}}<nav><ol>
{{range .Flows}}<li><a href="#{{.Anchor}}"><b>{{.Flow.Network}}</b> {{.Flow.Pair}}</a> <span class="soft">{{.Ending}}</span></li>
{{end}}</ol></nav>
{{end}}<main>
{{range .Flows}}<article id="{{.Anchor}}">
<h2><span class="soft">#{{.Flow.Number}} {{.Flow.Network}}</span> <span class="client">{{.Flow.Pair.Client}}</span> <span class="soft">to</span> <span class="server">{{.Flow.Pair.Server}}</span></h2>
{{if .Owner}}<p class="soft">of {{.Owner}}</p>
{{end}}<p class="end{{if .Failed}} bad{{end}}">{{.Ending}}</p>
<ul class="sum">{{range .Lines}}<li>{{.}}</li>{{end}}</ul>
<table>
<thead><tr><th class="t">seconds</th><th class="w"><span class="client">client</span><span class="server">server</span></th><th class="m">what it means</th></tr></thead>
<tbody>
{{range .Rows}}<tr class="{{.Class}}"><td class="t">{{.At}}</td><td class="w"><div class="p"><i></i><b>{{.Label}}</b><i></i></div><div class="n">{{.Numbers}}</div></td><td class="m">{{if .Meaning}}<p>{{.Meaning}}</p>{{end}}{{if .Payload}}<code>{{.Payload}}</code>{{end}}</td></tr>
{{end}}{{if .More}}<tr class="gap"><td colspan="3">{{.More}} more packets</td></tr>
{{end}}</tbody></table>
</article>
{{else}}<p>No packets.</p>
{{end}}</main>
</body>
</html>
`))
