package load

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"yodel/internal/escape"
)

// A Document is a report as JSON: docs/json.md describes it. Times are in microseconds.
type Document struct {
	Type string `json:"type"` // "report"
	Time string `json:"time"` // when sending began

	Targets   []string `json:"targets"`
	Loop      string   `json:"loop"` // "open" or "closed"
	Asked     float64  `json:"rate_asked,omitempty"`
	Conns     int      `json:"conns"`
	Pipeline  int      `json:"pipeline"`
	Size      int      `json:"size"`
	Count     int64    `json:"count,omitempty"`
	Duration  float64  `json:"duration_us,omitempty"`
	Timeout   float64  `json:"timeout_us"`
	NewConns  bool     `json:"new_conns,omitempty"`
	Upper     bool     `json:"upper,omitempty"`
	NoVerify  bool     `json:"no_verify,omitempty"`
	Reconnect int      `json:"reconnect"`
	Seed      uint64   `json:"seed"`

	Elapsed float64 `json:"elapsed_us"`
	Stopped bool    `json:"stopped,omitempty"`

	Due         int64 `json:"due"`
	Sent        int64 `json:"sent"`
	Received    int64 `json:"received"`
	Verified    int64 `json:"verified"`
	Unverified  int64 `json:"unverified,omitempty"`
	Corrupt     int64 `json:"corrupt"`
	Lost        int64 `json:"lost"`
	Unsent      int64 `json:"unsent"`
	Unfinished  int64 `json:"unfinished"`
	Duplicated  int64 `json:"duplicated,omitempty"`
	Reordered   int64 `json:"reordered,omitempty"`
	Late        int64 `json:"late,omitempty"`
	Unknown     int64 `json:"unknown,omitempty"`
	BytesOut    int64 `json:"bytes_out"`
	BytesIn     int64 `json:"bytes_in"`
	Connections int64 `json:"connections"`
	Reconnects  int64 `json:"reconnects,omitempty"`

	Errors   map[Class]int64  `json:"errors"`
	Examples map[Class]string `json:"examples,omitempty"`

	Rate      float64           `json:"rate"`
	Latency   *Percentiles      `json:"latency_us,omitempty"`
	Service   *Percentiles      `json:"service_us,omitempty"`
	Lateness  *Percentiles      `json:"lateness_us,omitempty"`
	Name      *Percentiles      `json:"name_us,omitempty"`
	Connect   *Percentiles      `json:"connect_us,omitempty"`
	TLS       *Percentiles      `json:"tls_us,omitempty"`
	FirstByte *Percentiles      `json:"first_byte_us,omitempty"`
	Withheld  map[string]string `json:"withheld,omitempty"`

	Verdict string   `json:"verdict"`
	Limit   Limit    `json:"limit"`
	Reasons []string `json:"reasons,omitempty"`

	Tool       ToolDocument      `json:"tool"`
	PerTarget  []TargetDocument  `json:"per_target,omitempty"`
	Slowest    []SlowDocument    `json:"slowest,omitempty"`
	Series     []PointDocument   `json:"series,omitempty"`
	Histograms map[string]string `json:"histograms,omitempty"` // HdrHistogram, compressed (V2), base64
}

// Percentiles are those of one histogram; one that is withheld is left out.
type Percentiles struct {
	P50  *float64 `json:"p50,omitempty"`
	P90  *float64 `json:"p90,omitempty"`
	P99  *float64 `json:"p99,omitempty"`
	P999 *float64 `json:"p999,omitempty"`
	Max  *float64 `json:"max,omitempty"`
}

// A ToolDocument is what the tool says of itself.
type ToolDocument struct {
	Driver       string   `json:"driver"`            // what moved the bytes
	Refusal      string   `json:"refusal,omitempty"` // why it was no better one
	Busy         *float64 `json:"busy,omitempty"`
	Stolen       float64  `json:"stolen,omitempty"`
	Starved      *float64 `json:"starved_us,omitempty"`
	CPU          float64  `json:"cpu_us"`
	Awake        float64  `json:"awake_us"`
	Pauses       int64    `json:"gc_pauses"`
	Paused       float64  `json:"gc_paused_us"`
	LongestPause float64  `json:"gc_longest_us"`
	Retransmits  int64    `json:"retransmits"`
	MinRTT       float64  `json:"min_rtt_us,omitempty"`
	Drops        int64    `json:"drops,omitempty"`
}

// A TargetDocument is one of several targets.
type TargetDocument struct {
	Target   string          `json:"target"`
	Weight   int             `json:"weight"`
	Due      int64           `json:"due"`
	Sent     int64           `json:"sent"`
	Verified int64           `json:"verified"`
	Corrupt  int64           `json:"corrupt"`
	Lost     int64           `json:"lost"`
	Unsent   int64           `json:"unsent"`
	Errors   map[Class]int64 `json:"errors"`
}

// A SlowDocument is one of the slowest messages.
type SlowDocument struct {
	Latency float64 `json:"latency_us"`
	Service float64 `json:"service_us"`
	At      float64 `json:"at_us"` // when it was due, since the beginning
	Conn    string  `json:"conn,omitempty"`
	Number  int     `json:"number"`
	Message int64   `json:"message"`
}

// A PointDocument is a Point.
type PointDocument struct {
	At     float64 `json:"at_us"`
	For    float64 `json:"for_us"`
	Rate   float64 `json:"rate"`
	P50    float64 `json:"p50_us"`
	P99    float64 `json:"p99_us"`
	Max    float64 `json:"max_us"`
	Errors int64   `json:"errors"`
}

func micros(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 }

// Document returns r as JSON has it.
func (r *Report) Document() *Document {
	p := &r.Plan
	d := &Document{
		Type: "report", Time: r.Began.UTC().Format(time.RFC3339Nano),
		Loop: "closed", Conns: p.Conns, Pipeline: p.Pipeline, Size: p.Size, Count: p.Count, Duration: micros(p.Duration),
		Timeout: micros(p.Timeout), NewConns: p.NewConns, Upper: p.Upper, NoVerify: p.NoVerify, Reconnect: p.Reconnect, Seed: p.Seed,
		Elapsed: micros(r.Elapsed), Stopped: r.Stopped,
		Due: r.Due, Sent: r.Sent, Received: r.Received, Verified: r.Verified, Unverified: r.Unverified, Corrupt: r.Corrupt,
		Lost: r.Lost, Unsent: r.Unsent, Unfinished: r.Unfinished, Duplicated: r.DuplicatedDatagrams, Reordered: r.Reordered,
		Late: r.Late, Unknown: r.Unknown, BytesOut: r.BytesOut, BytesIn: r.BytesIn,
		Connections: r.Connections, Reconnects: r.Reconnects,
		Errors: r.Errors, Rate: r.Rate(), Withheld: make(map[string]string),
		Verdict: r.Verdict.Text, Limit: r.Verdict.Limit, Reasons: r.Verdict.Reasons,
		Tool: r.Testimony.document(), Histograms: make(map[string]string),
	}
	for _, t := range p.Targets {
		d.Targets = append(d.Targets, escape.String(t.Address.String()))
	}
	if r.Open() {
		d.Loop, d.Asked = "open", p.Pace.Rate()
	}
	if p.OnlyPages() {
		d.Size = 0 // a page is as long as its server makes it
	}
	d.times(r)
	d.parts(r)
	return d
}

func (t *Testimony) document() ToolDocument {
	d := ToolDocument{
		Driver: t.Driver, Stolen: t.Stolen, CPU: micros(t.CPU), Awake: micros(t.Awake), Pauses: t.Pauses, Paused: micros(t.Paused), LongestPause: micros(t.LongestPause),
		Retransmits: t.Retransmits, MinRTT: micros(t.MinRTT), Drops: t.Drops,
	}
	if t.Refusal != nil {
		d.Refusal = escape.String(t.Refusal.Error())
	}
	if t.Busy >= 0 {
		d.Busy = &t.Busy
	}
	if t.Starved >= 0 {
		starved := micros(t.Starved)
		d.Starved = &starved
	}
	return d
}

// times sets the percentiles and the histograms.
func (d *Document) times(r *Report) {
	for _, f := range []struct {
		name string
		h    *hdrhistogram.Histogram
		to   **Percentiles
		kept bool // the histogram is kept whole
	}{
		{"latency", r.Latency, &d.Latency, true},
		{"service", r.Service, &d.Service, true},
		{"lateness", r.Lateness, &d.Lateness, false},
		{"name", r.Name, &d.Name, false},
		{"connect", r.Connect, &d.Connect, false},
		{"tls", r.TLS, &d.TLS, false},
		{"first_byte", r.FirstByte, &d.FirstByte, false},
	} {
		if f.h.TotalCount() == 0 {
			continue
		}
		*f.to = d.percentiles(r, f.name, f.h, f.kept)
		if encoded, err := f.h.Encode(hdrhistogram.V2CompressedEncodingCookieBase); f.kept && err == nil {
			d.Histograms[f.name] = string(encoded)
		}
	}
}

func (d *Document) percentiles(r *Report, name string, h *hdrhistogram.Histogram, judged bool) *Percentiles {
	p := &Percentiles{}
	for q, to := range map[float64]**float64{50: &p.P50, 90: &p.P90, 99: &p.P99, 99.9: &p.P999, 100: &p.Max} {
		f := Figure{Value: time.Duration(h.ValueAtQuantile(q))}
		if judged {
			f = r.Percentile(h, q)
		}
		if f.Withheld != "" {
			d.Withheld[withheldKey(name, q)] = f.Withheld
			continue
		}
		v := micros(f.Value)
		*to = &v
	}
	return p
}

// withheldKey is the name of a percentile in Document.Withheld: latency_us.p999, latency_us.max.
func withheldKey(name string, q float64) string {
	if q == 100 {
		return name + "_us.max"
	}
	return name + "_us.p" + strings.ReplaceAll(digits(q), ".", "")
}

// parts sets what is a list.
func (d *Document) parts(r *Report) {
	d.Examples = make(map[Class]string)
	for c, err := range r.Examples {
		d.Examples[c] = escape.String(err.Error())
	}
	for _, t := range r.Targets {
		d.PerTarget = append(d.PerTarget, TargetDocument{
			Target: escape.String(t.Address.String()), Weight: t.Weight, Due: t.Due, Sent: t.Sent, Verified: t.Verified,
			Corrupt: t.Corrupt, Lost: t.Lost, Unsent: t.Unsent, Errors: t.Errors,
		})
	}
	for _, s := range r.Slowest {
		d.Slowest = append(d.Slowest, SlowDocument{
			Latency: micros(s.Latency), Service: micros(s.Service), At: micros(s.At), Conn: s.ID.String(), Number: s.Conn, Message: s.Message,
		})
	}
	for _, p := range r.Series {
		d.Series = append(d.Series, PointDocument{
			At: micros(p.At), For: micros(p.For), Rate: p.Rate, P50: micros(p.P50), P99: micros(p.P99), Max: micros(p.Max), Errors: p.Errors,
		})
	}
}

// maxDocument bounds a line that is read.
const maxDocument = 16 << 20

// ReadDocument reads the last report among lines of JSON.
func ReadDocument(r io.Reader) (*Document, error) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxDocument)
	var found *Document
	for n := 1; lines.Scan(); n++ {
		var d Document
		if err := json.Unmarshal(lines.Bytes(), &d); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		if d.Type == "report" {
			found = &d
		}
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	if found == nil {
		return nil, errors.New("there is no report in it: it is what yodel load --json prints")
	}
	return found, nil
}

// histogram decodes one of d's.
func (d *Document) histogram(name string) (h *hdrhistogram.Histogram, err error) {
	text, ok := d.Histograms[name]
	if !ok {
		return nil, fmt.Errorf("it has no histogram %q", name)
	}
	if h, err = DecodeHistogram(text); err != nil {
		return nil, fmt.Errorf("histogram %q: %w", name, err)
	}
	return h, nil
}

// DecodeHistogram undoes EncodeHistogram. It may be what a file says: nothing of it is
// believed.
func DecodeHistogram(text string) (h *hdrhistogram.Histogram, err error) {
	if _, err := base64.StdEncoding.DecodeString(text); err != nil {
		return nil, err
	}
	defer func() {
		if p := recover(); p != nil { // the decoder's, of bytes that no encoder makes
			h, err = nil, fmt.Errorf("%v", p)
		}
	}()
	return hdrhistogram.Decode([]byte(text))
}
