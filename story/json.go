package story

import (
	"encoding/json"
	"io"
	"strconv"
	"time"

	"yodel/trace"
)

// A JSONView writes stories as lines of JSON: each row, then the verdict. docs/json.md
// has the fields.
type JSONView struct{ W io.Writer }

// micros is a duration that is written in microseconds with three decimals.
type micros time.Duration

func (m micros) MarshalJSON() ([]byte, error) {
	return strconv.AppendFloat(nil, float64(m)/1e3, 'f', 3, 64), nil
}

// rowLine is a line of type call or packet.
type rowLine struct {
	Type string       `json:"type"`
	Time string       `json:"time"`
	Conn trace.ConnID `json:"conn,omitzero"`
	At   micros       `json:"at_us"`
	Side trace.Side   `json:"side,omitempty"`
	Text string       `json:"text"`
	Seen Evidence     `json:"seen,omitempty"`
	Way  *micros      `json:"way_us,omitempty"`

	Again bool `json:"again,omitzero"`
	Lost  bool `json:"lost,omitzero"`
	Alien bool `json:"never_sent,omitzero"`
}

// verdictLine is a line of type verdict.
type verdictLine struct {
	Type     string       `json:"type"`
	Time     string       `json:"time"`
	Conn     trace.ConnID `json:"conn,omitzero"`
	Network  string       `json:"network"`
	Client   string       `json:"client,omitempty"`
	Server   string       `json:"server,omitempty"`
	Verdict  Verdict      `json:"verdict"`
	Evidence Evidence     `json:"evidence"`
	Why      string       `json:"why"`
	ToTell   []string     `json:"to_tell,omitempty"`
	Notes    []string     `json:"notes,omitempty"`
	Total    micros       `json:"total_us"`
	Parts    partsLine    `json:"parts_us"`
	Offset   *micros      `json:"offset_us,omitempty"`
	OffsetBy *micros      `json:"offset_error_us,omitempty"`
	Error    micros       `json:"error_us"`
}

type partsLine struct {
	Client  micros `json:"client"`
	There   micros `json:"network_there"`
	Queue   micros `json:"accept_queue"`
	Handler micros `json:"handler"`
	Back    micros `json:"network_back"`
	Server  micros `json:"server,omitzero"`
	NotSeen micros `json:"not_seen,omitzero"`
}

// Show writes the lines of a story. It returns the error of W.
func (v *JSONView) Show(s *Story) error {
	enc := json.NewEncoder(v.W)
	enc.SetEscapeHTML(false)
	for i := range s.Rows {
		if err := enc.Encode(s.rowLine(&s.Rows[i])); err != nil {
			return err
		}
	}
	return enc.Encode(s.verdictLine())
}

func timeText(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000000000Z") }

func (s *Story) rowLine(r *Row) *rowLine {
	l := &rowLine{
		Type: "packet", Time: timeText(s.Start.Add(r.At)), Conn: s.Conn, At: micros(r.At), Side: r.Side,
		Text: r.Wire, Seen: r.Seen, Again: r.Again, Lost: r.Lost, Alien: r.Alien,
	}
	if r.Call != "" {
		l.Type, l.Text = "call", r.Call
	}
	if r.Seen == Both && r.Wire != "" {
		way := micros(r.Came - r.At)
		l.Way = &way
	}
	return l
}

func (s *Story) verdictLine() *verdictLine {
	p := &s.Parts
	l := &verdictLine{
		Type: "verdict", Time: timeText(s.Start), Conn: s.Conn, Network: s.Network, Verdict: s.Verdict, Evidence: s.Evidence,
		Why: s.Why, ToTell: s.ToTell, Notes: s.Notes, Total: micros(p.Total()), Error: micros(s.Error),
		Parts: partsLine{
			micros(p.Client), micros(p.NetworkThere), micros(p.AcceptQueue), micros(p.Handler), micros(p.NetworkBack),
			micros(p.Server), micros(p.NotSeen),
		},
	}
	if s.Pair.Client.IsValid() {
		l.Client = s.Pair.Client.String()
	}
	if s.Pair.Server.IsValid() {
		l.Server = s.Pair.Server.String()
	}
	if s.OffsetKnown {
		offset, wrong := micros(s.Offset), micros(s.OffsetError)
		l.Offset, l.OffsetBy = &offset, &wrong
	}
	return l
}
