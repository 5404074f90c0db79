package trace

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"yodel/internal/escape"
)

// MaxLine is the longest line that a Reader takes, in bytes, its newline included.
// A [Writer] writes none of more than a quarter of that.
const MaxLine = 1 << 20

// A FileHeader is what the first line of a trace file says.
type FileHeader struct {
	Version int    // of the format: 1
	Program string // the program's name; text that anyone may have written
	PID     int
	Time    time.Time // when the Writer was made
	Mono    int64     // the monotonic clock at Time, in nanoseconds

	// Clock names the clock of mono_ns. The Mono of events from two files can be
	// compared if and only if it is the same, and not empty.
	Clock string
}

// A LineError is a line that cannot be understood. The Reader stands behind it: the
// next call of Next goes on with the next line.
type LineError struct {
	Line int // from 1
	Err  error
}

// Error names the line and what is wrong with it, in at most 300 bytes of text that is
// safe to print.
func (e *LineError) Error() string {
	return fmt.Sprintf("trace: line %d: %s", e.Line, escape.StringN(e.Err.Error(), 256))
}

// Unwrap returns what is wrong.
func (e *LineError) Unwrap() error { return e.Err }

var (
	// ErrLineTooLong reports a line of more than MaxLine bytes.
	ErrLineTooLong = errors.New("line too long")

	errNoType = errors.New(`no "type"`)
)

// A Reader reads events from a trace file, or from any lines of JSON that use the
// same fields, such as those of a command's --json.
type Reader struct {
	r      *bufio.Reader
	long   []byte // holds a line that is longer than r's buffer
	line   int
	header FileHeader
	err    error // no line follows
}

// NewReader returns a Reader of r.
func NewReader(r io.Reader) *Reader { return &Reader{r: bufio.NewReaderSize(r, 64<<10)} }

// Header returns what the last header line said that Next has returned; the zero
// FileHeader if there was none. A file that was appended to has several.
func (r *Reader) Header() FileHeader { return r.header }

// Line returns the number, from 1, of the line that Next has just returned.
func (r *Reader) Line() int { return r.line }

// Next returns the next line as an Event. Lines of unknown types are returned too, with
// their type as the Op; unknown fields and blank lines are left out. At the end it
// returns [io.EOF], and for a line that cannot be understood a [*LineError]: one that
// a killed program left unfinished wraps [io.ErrUnexpectedEOF]. Any other error is
// that of reading, and the next call returns it again.
func (r *Reader) Next() (Event, error) {
	for r.err == nil {
		text, err := r.read()
		if text = bytes.TrimSpace(text); len(text) == 0 && err == nil {
			continue
		}
		var e Event
		if err == nil {
			e, err = r.parse(text)
		}
		if err != nil {
			return Event{}, &LineError{r.line, err}
		}
		return e, nil
	}
	return Event{}, r.err
}

// read returns the next line, which is valid until the next call. It sets r.err if
// none follows. Its own error is ErrLineTooLong.
func (r *Reader) read() ([]byte, error) {
	r.line++
	text, err := r.r.ReadSlice('\n')
	if err != bufio.ErrBufferFull {
		r.setErr(err)
		return text, nil
	}
	r.long = append(r.long[:0], text...)
	tooLong := false
	for err == bufio.ErrBufferFull {
		text, err = r.r.ReadSlice('\n')
		if tooLong = tooLong || len(r.long)+len(text) > MaxLine; !tooLong {
			r.long = append(r.long, text...)
		}
	}
	r.setErr(err)
	if tooLong {
		return nil, fmt.Errorf("%w: the most is %d bytes", ErrLineTooLong, MaxLine)
	}
	return r.long, nil
}

func (r *Reader) setErr(err error) {
	if err != nil && err != io.EOF {
		err = fmt.Errorf("trace: read line %d: %w", r.line, err)
	}
	r.err = err
}

// parse returns the event of a line.
func (r *Reader) parse(text []byte) (Event, error) {
	var l line
	if err := json.Unmarshal(text, &l); err != nil {
		var syntax *json.SyntaxError
		if r.err != nil && errors.As(err, &syntax) {
			return Event{}, fmt.Errorf("%w: the line has no end", io.ErrUnexpectedEOF)
		}
		return Event{}, err
	}
	switch Op(l.Type) {
	case "":
		return Event{}, errNoType
	case Header:
		if err := r.parseHeader(text, &l); err != nil {
			return Event{}, err
		}
	}
	return l.event(), nil
}

func (r *Reader) parseHeader(text []byte, l *line) error {
	var h struct {
		Version int      `json:"version"`
		Program safeText `json:"program"`
		PID     int      `json:"pid"`
		Clock   safeText `json:"clock"`
	}
	if err := json.Unmarshal(text, &h); err != nil {
		return err
	}
	if h.Version != traceVersion {
		return fmt.Errorf("a trace file of version %d: this program reads version %d", h.Version, traceVersion)
	}
	r.header = FileHeader{h.Version, string(h.Program), h.PID, l.Time.UTC(), l.Mono, string(h.Clock)}
	return nil
}

// line is a line as JSON has it.
type line struct {
	Type    safeText  `json:"type"`
	Time    time.Time `json:"time"`
	Mono    int64     `json:"mono_ns"`
	Conn    ConnID    `json:"conn"`
	Side    safeText  `json:"side"`
	FD      int       `json:"fd"`
	Network safeText  `json:"network"`
	Service safeText  `json:"service"`
	Local   addrText  `json:"local"`
	Remote  addrText  `json:"remote"`
	Path    safeText  `json:"path"`
	Name    safeText  `json:"name"`
	Bytes   int       `json:"bytes"`
	In      int64     `json:"in"`
	Out     int64     `json:"out"`
	Took    micros    `json:"took_us"`
	Queued  micros    `json:"queued_us"`
	TCP     *tcpText  `json:"tcp"`
	Text    safeText  `json:"text"`
	Error   safeText  `json:"error"`
}

func (l *line) event() Event {
	e := Event{
		Conn: l.Conn, Op: Op(l.Type), Side: Side(l.Side),
		Time: l.Time.UTC(), Mono: l.Mono, Took: time.Duration(l.Took),
		FD: l.FD, Network: string(l.Network), Service: string(l.Service),
		Local: netip.AddrPort(l.Local), Remote: netip.AddrPort(l.Remote),
		Path: string(l.Path), Name: string(l.Name),
		Bytes: l.Bytes, In: l.In, Out: l.Out, Text: string(l.Text),
	}
	e.Queued = time.Duration(l.Queued)
	if l.TCP != nil {
		e.TCP = &TCPSum{time.Duration(l.TCP.RTT), time.Duration(l.TCP.MinRTT), l.TCP.Resent}
	}
	if l.Error != "" {
		e.Err = errors.New(string(l.Error))
	}
	return e
}

// tcpText is a TCPSum as JSON has it.
type tcpText struct {
	RTT    micros `json:"rtt_us"`
	MinRTT micros `json:"min_rtt_us"`
	Resent int    `json:"resent"`
}

// safeText is text that was escaped.
type safeText string

func (t *safeText) UnmarshalText(b []byte) error {
	*t = safeText(plainText(string(b)))
	return nil
}

// addrText is an address and port; empty text is none.
type addrText netip.AddrPort

func (a *addrText) UnmarshalText(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	return (*netip.AddrPort)(a).UnmarshalText([]byte(plainText(string(b))))
}

// micros is a duration that JSON has as a number of microseconds.
type micros time.Duration

func (m *micros) UnmarshalJSON(b []byte) error {
	s := string(b)
	if s == "null" { // as package json has it
		return nil
	}
	whole, decimals, _ := strings.Cut(s, ".")
	if len(decimals) <= 3 { // as Writer writes it: exact
		ns, err := strconv.ParseInt(whole+decimals+"000"[len(decimals):], 10, 64)
		if err == nil {
			*m = micros(ns)
			return nil
		}
	}
	us, err := strconv.ParseFloat(s, 64)
	if err != nil || math.Abs(us) >= math.MaxInt64/1000 {
		return fmt.Errorf("%s is no duration in microseconds", s)
	}
	*m = micros(math.Round(us * 1000))
	return nil
}
