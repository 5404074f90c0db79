package story

import (
	_ "embed" // for the style of the page
	"fmt"
	"html/template"
	"io"
	"time"

	"yodel/internal/escape"
	"yodel/trace"
	"yodel/watch"
)

//go:embed page.css
var style string

// WritePage writes a telling as one page of HTML that needs nothing else: no script, no
// other file. Its content security policy allows its own style sheet alone. What the
// sources say is escaped, as text and as HTML.
func WritePage(w io.Writer, t *Telling) error {
	return page.Execute(w, pageData{template.CSS(style), escape.PagePolicy(style), t})
}

type pageData struct {
	Style  template.CSS
	Policy string
	Told   *Telling
}

var page = template.Must(template.New("page").Funcs(template.FuncMap{
	"bars": bars, "class": classOf, "ms": millis, "part": partText, "sum": (*Story).sumText, "pair": (*Story).pairText,
	"where": Evidence.where, "rows": pageRows, "took": watch.Duration,
}).Parse(`<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{{.Policy}}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>yodel story</title>
<style>{{.Style}}</style>
</head>
<body>
<h1>Who kept whom waiting</h1>
{{with .Told}}<p class="soft">{{len .Stories}} connection{{if ne (len .Stories) 1}}s{{end}}{{if .More}}, and {{.More}} more that are not told{{end}}. At each moment one of client, network and server has the connection, and the others wait for it.</p>
{{range .Notes}}<p class="notes">{{.}}</p>
{{end}}{{range .Stories}}<article>
<h2>{{pair .}}</h2>
<div class="soft">{{.Network}}, seen at {{where .Evidence}}, began {{.Start.Format "2006-01-02 15:04:05.000000 UTC"}}</div>
<p class="verdict">{{.Verdict}}</p>
<p class="why">{{.Why}}</p>
{{with .Sum}}<figure>
<svg class="bar" viewBox="0 0 1000 34" height="34" preserveAspectRatio="none" role="img" aria-label="who had the connection, in the course of time">{{end}}{{range bars .}}<rect class="{{.Class}}" x="{{.X}}" width="{{.Width}}" y="0" height="34"><title>{{.Title}}</title></rect>{{end}}{{with .Sum}}</svg>
<ul class="legend">{{range .}}<li><i class="{{class .Holder}}"></i>{{part .}}</li>{{end}}</ul>
</figure>
{{end}}<p class="soft">{{sum .}}</p>
{{range .ToTell}}<p class="notes">To tell more: {{.}}</p>
{{end}}{{range .Notes}}<p class="notes">{{.}}</p>
{{end}}{{with rows .}}<div class="scroll"><table>
<thead><tr><th>ms</th><th>client</th><th>wire</th><th>server</th></tr></thead>
<tbody>
{{range .}}{{if .Skipped}}<tr class="gap"><td colspan="4">{{.Skipped}} rows left out</td></tr>
{{else}}<tr><td class="t">{{ms .At}}</td><td class="call">{{.Left}}</td><td class="w">{{if .Wire}}<div class="p {{.Class}}"><span class="h">{{.Head}}</span><b>{{.Wire}}{{.Remark}}</b></div>{{end}}</td><td class="call">{{.Right}}</td></tr>
{{end}}{{end}}</tbody></table></div>{{end}}
</article>
{{end}}{{end}}</body>
</html>
`))

// bar is a piece of the time line, in thousandths of its length.
type bar struct {
	X, Width, Class, Title string
}

// bars draws the intervals. Those that are too short to be seen are joined with what
// follows them, so that a page has a few hundred at most.
func bars(s *Story) []bar {
	total := s.Parts.Total()
	if total <= 0 {
		return nil
	}
	var out []bar
	for _, i := range s.Intervals {
		x, width := 1000*float64(i.From)/float64(total), 1000*float64(i.To-i.From)/float64(total)
		if width < 0.5 {
			continue
		}
		title := fmt.Sprintf("%s: %s", i.Holder, watch.Duration(i.To-i.From))
		if i.Why != "" {
			title += ", " + i.Why
		}
		out = append(out, bar{fmt.Sprintf("%.2f", x), fmt.Sprintf("%.2f", width), classOf(i.Holder), title})
	}
	return out
}

func classOf(h Holder) string {
	return [...]string{"client", "there", "queue", "handler", "server", "back", "unseen"}[h]
}

func partText(p Part) string { return fmt.Sprintf("%s %s", p.Holder, watch.Duration(p.Took)) }

// pageRow is a row of the table.
type pageRow struct {
	At                        time.Duration
	Left, Right               string
	Wire, Remark, Class, Head string
	Skipped                   int
}

// pageLines is how many rows of a story a page shows.
const pageLines = 400

func pageRows(s *Story) []pageRow {
	v := TextView{Rows: pageLines}
	rows, skipAt, skipped := v.rows(s.Rows)
	var out []pageRow
	for i := range rows {
		if i == skipAt && skipped > 0 {
			out = append(out, pageRow{Skipped: skipped})
		}
		out = append(out, rows[i].onPage())
	}
	return out
}

func (r *Row) onPage() pageRow {
	p := pageRow{At: r.At, Wire: r.Wire, Class: "c", Head: "▶"}
	switch {
	case r.Call != "" && r.Side == trace.Server:
		p.Right = r.Call
	case r.Call != "":
		p.Left = r.Call
	default:
		p.Remark = r.remark()
	}
	if r.Side == trace.Server {
		p.Class, p.Head = "s", "◀"
	}
	if r.Lost || r.Alien {
		p.Class += " lost"
		p.Head = "✗"
	}
	return p
}
