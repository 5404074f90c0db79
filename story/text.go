package story

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"yodel/trace"
	"yodel/watch"
)

// Widths of a text, in characters.
const (
	NarrowWidth  = 80
	WideWidth    = 120
	timeWidth    = 10
	defaultLines = 60
)

// A TextView writes stories for people: three columns on one time line, client's calls,
// wire and server's calls; then the sum and the verdict. All of it is safe to print.
type TextView struct {
	W io.Writer

	// Width is how many characters a line has at most; zero: 80, which is the least.
	Width int

	// Rows is how many rows of a story are shown at most, those in the middle are left
	// out; zero: 60, negative: all.
	Rows int

	// Brief leaves the rows out.
	Brief bool
}

// Show writes a story. It returns the error of W.
func (v *TextView) Show(s *Story) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s, seen at %s, began %s\n", s.Network, s.pairText(), s.Evidence.where(), s.Start.Format("2006-01-02 15:04:05.000000 UTC"))
	if !v.Brief && len(s.Rows) > 0 {
		v.table(&b, s)
	}
	b.WriteString(s.sumText() + "\n")
	wrap(&b, v.width(), "verdict: "+string(s.Verdict), "; "+s.Why)
	for _, text := range s.ToTell {
		wrap(&b, v.width(), "to tell:", " "+text)
	}
	for _, text := range s.Notes {
		wrap(&b, v.width(), "note:", " "+text)
	}
	_, err := v.W.Write(b.Bytes())
	return err
}

func (e Evidence) where() string {
	switch e {
	case Both:
		return "both ends"
	case ClientOnly:
		return "the client's end only (one-sided)"
	case ServerOnly:
		return "the server's end only (one-sided)"
	}
	return "a place that is not known"
}

func (v *TextView) width() int { return max(v.Width, NarrowWidth) }

// columns returns how wide the calls and the wire are.
func (v *TextView) columns() (calls, wire int) {
	room := v.width() - timeWidth - 4
	calls = room * 3 / 10
	return calls, room - 2*calls
}

func (v *TextView) table(b *bytes.Buffer, s *Story) {
	calls, wire := v.columns()
	fmt.Fprintf(b, "%*s  %s %s %s\n", timeWidth, "ms", pad("client", calls), centre("wire", wire), "server")
	rows, skipAt, skipped := v.rows(s.Rows)
	for i, r := range rows {
		if i == skipAt && skipped > 0 {
			fmt.Fprintf(b, "%*s  (%d rows left out)\n", timeWidth, "…", skipped)
		}
		left, right := "", ""
		switch {
		case r.Call == "":
		case r.Side == trace.Server:
			right = r.Call
		default:
			left = r.Call
		}
		line := fmt.Sprintf("%*s  %s %s %s", timeWidth, millis(r.At), pad(left, calls), pad(r.arrow(wire), wire), cut(right, calls))
		b.WriteString(strings.TrimRight(line, " ") + "\n")
	}
}

// rows returns the rows that are shown, and before which one how many are left out.
func (v *TextView) rows(all []Row) (rows []Row, skipAt, skipped int) {
	most := v.Rows
	if most == 0 {
		most = defaultLines
	}
	if most < 0 || len(all) <= most {
		return all, 0, 0
	}
	half := most / 2
	rows = append(rows, all[:half]...)
	return append(rows, all[len(all)-(most-half):]...), half, len(all) - most
}

// arrow draws a packet: from whom to whom, and whether it came.
func (r *Row) arrow(width int) string {
	if r.Wire == "" {
		return ""
	}
	text := r.Wire + r.remark()
	text = cut(text, width-4)
	line := strings.Repeat("─", max(width-3-utf8.RuneCountInString(text), 0))
	if r.Side == trace.Server {
		head := "◀"
		if r.Lost {
			head = "✗"
		}
		return head + line + " " + text
	}
	head := "▶"
	if r.Lost {
		head = "✗"
	}
	return text + " " + line + head
}

func (r *Row) remark() string {
	switch {
	case r.Alien:
		return ", which nobody has sent"
	case r.Lost:
		return ", lost"
	case r.Again:
		return ", again"
	case r.Seen == Both && r.Came-r.At >= time.Millisecond:
		return ", " + millis(r.Came-r.At) + " ms"
	}
	return ""
}

func millis(d time.Duration) string { return fmt.Sprintf("%.3f", float64(d)/1e6) }

func pad(s string, width int) string {
	s = cut(s, width)
	return s + strings.Repeat(" ", max(width-utf8.RuneCountInString(s), 0))
}

func centre(s string, width int) string {
	return pad(strings.Repeat(" ", max((width-len(s))/2, 0))+s, width)
}

func cut(s string, width int) string {
	if utf8.RuneCountInString(s) <= width {
		return s
	}
	r := []rune(s)
	return string(r[:max(width-1, 0)]) + "…"
}

// wrap writes text in lines of at most width characters, the later ones indented.
func wrap(b *bytes.Buffer, width int, head, text string) {
	words := strings.Fields(head + text)
	column := 0
	for i, w := range words {
		n := utf8.RuneCountInString(w)
		switch {
		case i == 0:
		case column+1+n > width:
			b.WriteString("\n  ")
			column = 2
		default:
			b.WriteByte(' ')
			column++
		}
		b.WriteString(w)
		column += n
	}
	b.WriteByte('\n')
}

// Sum returns the parts that are not zero, in the order of a round trip.
func (s *Story) Sum() []Part {
	p := &s.Parts
	var parts []Part
	for _, x := range []Part{
		{HeldByClient, p.Client},
		{HeldThere, p.NetworkThere},
		{HeldInQueue, p.AcceptQueue},
		{HeldByHandler, p.Handler},
		{HeldByServer, p.Server},
		{HeldBack, p.NetworkBack},
		{HeldUnseen, p.NotSeen},
	} {
		if x.Took > 0 {
			parts = append(parts, x)
		}
	}
	return parts
}

// A Part is how long one holder had the connection.
type Part struct {
	Holder Holder
	Took   time.Duration
}

// sumText is the sum: 41.0 ms = client 0.1 + network there 0.3 + …
func (s *Story) sumText() string {
	var parts []string
	for _, p := range s.Sum() {
		parts = append(parts, fmt.Sprintf("%s %.1f", p.Holder, float64(p.Took)/1e6))
	}
	if len(parts) == 0 {
		return "nothing could be measured"
	}
	text := fmt.Sprintf("%.1f ms = %s", float64(s.Parts.Total())/1e6, strings.Join(parts, " + "))
	if s.OffsetKnown && s.Evidence == Both && s.OffsetError > 0 {
		text += fmt.Sprintf("\nthe server's clock is ahead by %s ± %s; there and back are right to ± %s",
			signed(s.Offset), watch.Duration(s.OffsetError), watch.Duration(s.Error))
	}
	return text
}

func signed(d time.Duration) string {
	if d < 0 {
		return "−" + watch.Duration(-d)
	}
	return watch.Duration(d)
}

// ShowNotes writes what is to be known of the sources.
func (v *TextView) ShowNotes(t *Telling) error {
	var b bytes.Buffer
	for _, n := range t.Notes {
		wrap(&b, v.width(), "note:", " "+n)
	}
	if t.More > 0 {
		wrap(&b, v.width(), "note:", fmt.Sprintf(" %d more connections are not told: say which ones are of interest", t.More))
	}
	if len(t.Stories) == 0 {
		b.WriteString("no TCP connection was found\n")
	}
	_, err := v.W.Write(b.Bytes())
	return err
}
