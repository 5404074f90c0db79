package trace

import (
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"yodel/internal/escape"
)

const (
	writeDelay   = 100 * time.Millisecond
	traceVersion = 1
)

// A Writer is a Sink that writes a trace file: a header line, and one line of JSON
// for each event. [Reader] reads it back.
//
//	{"type":"accept","time":"2025-06-01T12:00:00.000000001Z","mono_ns":7219000001,
//	 "conn":"0f31c9aa-3","side":"server","fd":4,"network":"tcp","service":"echo",
//	 "local":"127.0.0.1:7","remote":"127.0.0.1:51234","took_us":12.345}
//
// (on one line). The fields are those of [Event]: type is the Op; time is UTC;
// mono_ns is CLOCK_MONOTONIC in nanoseconds on Linux, so that the events of two
// programs on a host can be put in order (elsewhere it counts from the start of the
// process); took_us is in microseconds, with three decimals; bytes, in and out are
// numbers. Zero fields are left out, except where zero says something: bytes of a
// read, write or message, in and out of a close. A Time that is zero becomes the time
// of writing.
//
// All text in it is safe to print: a control character, an invalid byte or a
// backslash of a peer's stands as a Go escape (\x1b, \\), and its backslash is
// doubled once more by JSON. Reader gives the original back.
//
// The header has type "trace", version, program, pid and clock. The mono_ns of two
// files can be compared if and only if their clock is the same.
//
// Events are written within 100 ms, by a goroutine that is there only while some are
// waiting. Up to 1 MiB waits; near that, Emit waits for the writing to catch up, but
// for 50 ms at most, and once for each write that hangs. What did not fit (a line of
// more than 256 KiB never does) or could not be written is counted, see Lost, and a
// line of type "lost" tells of it once writing works again. A program that is killed
// loses the last 100 ms.
type Writer struct {
	box   outbox
	clock clock
}

// NewWriter returns a Writer of a trace file to w. Close must be called at the end;
// it does not close w.
func NewWriter(w io.Writer) *Writer {
	t := NewLines(w)
	t.box.end(t.appendHeader(t.box.begin()))
	return t
}

// NewLines is NewWriter without the header, for programs that write lines of other
// kinds too.
func NewLines(w io.Writer) *Writer {
	t := &Writer{clock: newClock()}
	t.box.init(w, writeDelay, t.appendLost)
	return t
}

// Emit adds a line. It is safe for concurrent use.
func (t *Writer) Emit(e *Event) { t.box.end(t.appendEvent(t.box.begin(), e)) }

// Flush waits until all events so far are written. It returns an error if any
// event was lost since the beginning.
func (t *Writer) Flush() error {
	t.box.flush()
	return t.box.err()
}

// Close is Flush for the last time: what is emitted later is lost.
func (t *Writer) Close() error { return t.box.close() }

// Lost returns how many events were not written, or not wholly.
func (t *Writer) Lost() int64 { return t.box.lostLines() }

func (t *Writer) appendHeader(b []byte) []byte {
	b = t.appendStart(b, Header, time.Now(), 0)
	b = appendInt(b, `,"version":`, traceVersion)
	b = appendText(b, `,"program":"`, filepath.Base(os.Args[0]))
	b = appendInt(b, `,"pid":`, int64(os.Getpid()))
	b = appendText(b, `,"clock":"`, hostClock())
	return append(b, '}', '\n')
}

func (t *Writer) appendLost(b []byte, lost int64, why error) []byte {
	return t.appendEvent(b, &Event{Op: Lost, Text: lostText(lost, why)})
}

func lostText(lost int64, why error) string {
	return strconv.FormatInt(lost, 10) + " events lost: " + why.Error()
}

// appendStart appends what every line begins with.
func (t *Writer) appendStart(b []byte, op Op, at time.Time, mono int64) []byte {
	if at.IsZero() {
		at = time.Now()
	}
	if mono == 0 {
		mono = t.clock.at(at)
	}
	b = append(b, `{"type":"`...)
	b = appendEscaped(b, string(op))
	b = append(b, `","time":"`...)
	b = appendTime(b, at)
	b = append(b, '"')
	return appendInt(b, `,"mono_ns":`, mono)
}

func (t *Writer) appendEvent(b []byte, e *Event) []byte {
	b = t.appendStart(b, e.Op, e.Time, e.Mono)
	b = appendConn(b, e.Conn)
	b = appendText(b, `,"side":"`, string(e.Side))
	b = appendNonZero(b, `,"fd":`, int64(e.FD))
	b = appendText(b, `,"network":"`, e.Network)
	b = appendText(b, `,"service":"`, e.Service)
	b = appendAddrPort(b, `,"local":"`, e.Local)
	b = appendAddrPort(b, `,"remote":"`, e.Remote)
	b = appendText(b, `,"path":"`, e.Path)
	b = appendText(b, `,"name":"`, e.Name)
	b = appendCount(b, `,"bytes":`, int64(e.Bytes), e.Op == Read || e.Op == Write || e.Op == Message)
	b = appendCount(b, `,"in":`, e.In, e.Op == Close)
	b = appendCount(b, `,"out":`, e.Out, e.Op == Close)
	b = appendMicros(b, `,"took_us":`, e.Took)
	b = appendMicros(b, `,"queued_us":`, e.Queued)
	b = appendSum(b, e.TCP)
	b = appendText(b, `,"text":"`, e.Text)
	if e.Err != nil {
		b = appendText(b, `,"error":"`, errorText(e.Err))
	}
	return append(b, '}', '\n')
}

// errorText returns the error's text, which must not be empty: an error is one.
func errorText(err error) string {
	if s := err.Error(); s != "" {
		return s
	}
	return "error"
}

// In what follows, key is all that stands before the value: `,"fd":`, and with the
// quote where the value is text.

func appendInt(b []byte, key string, n int64) []byte {
	return strconv.AppendInt(append(b, key...), n, 10)
}

func appendNonZero(b []byte, key string, n int64) []byte { return appendCount(b, key, n, false) }

// appendCount leaves a zero out unless it says something.
func appendCount(b []byte, key string, n int64, zeroToo bool) []byte {
	if n == 0 && !zeroToo {
		return b
	}
	return appendInt(b, key, n)
}

func appendText(b []byte, key, s string) []byte {
	if s == "" {
		return b
	}
	return append(appendEscaped(append(b, key...), s), '"')
}

func appendConn(b []byte, id ConnID) []byte {
	if id.IsZero() {
		return b
	}
	b, _ = id.AppendText(append(b, `,"conn":"`...))
	return append(b, '"')
}

func appendAddrPort(b []byte, key string, a netip.AddrPort) []byte {
	if !a.IsValid() {
		return b
	}
	if a.Addr().Zone() != "" { // any text
		return appendText(b, key, a.String())
	}
	return append(a.AppendTo(append(b, key...)), '"')
}

// appendSum appends what the kernel knew.
func appendSum(b []byte, s *TCPSum) []byte {
	if s == nil {
		return b
	}
	b = appendInt(b, `,"tcp":{"resent":`, int64(s.Resent))
	b = appendMicros(b, `,"rtt_us":`, s.RTT)
	b = appendMicros(b, `,"min_rtt_us":`, s.MinRTT)
	return append(b, '}')
}

// appendMicros appends d in microseconds with three decimals: exactly.
func appendMicros(b []byte, key string, d time.Duration) []byte {
	if d == 0 {
		return b
	}
	b = append(b, key...)
	ns := uint64(d)
	if d < 0 {
		b, ns = append(b, '-'), -ns
	}
	b = strconv.AppendUint(b, ns/1000, 10)
	return appendDigits(append(b, '.'), ns%1000, 3)
}

// appendTime appends t as RFC 3339 has it, in UTC, always with nine decimals.
func appendTime(b []byte, t time.Time) []byte {
	b = t.UTC().AppendFormat(b, time.RFC3339) // a fast path of package time
	b[len(b)-1] = '.'                         // in place of Z
	return append(appendDigits(b, uint64(t.Nanosecond()), 9), 'Z')
}

func appendDigits(b []byte, n uint64, digits int) []byte {
	at := len(b)
	b = append(b, "000000000"[:digits]...)
	for i := at + digits - 1; i >= at; i-- {
		b[i] = byte('0' + n%10)
		n /= 10
	}
	return b
}

// appendEscaped appends s in its escaped form as the inside of a JSON string.
func appendEscaped(b []byte, s string) []byte {
	if isPlain(s) {
		return append(b, s...)
	}
	at := len(b)
	b = escape.Append(b, []byte(s))
	return quoteInPlace(b, at)
}

// isPlain reports whether s needs neither escapes nor quoting.
func isPlain(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c >= utf8.RuneSelf-1 || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}

// quoteInPlace puts a backslash before each quote and backslash of b[at:]. There is
// nothing else in escaped text that JSON wants quoted.
func quoteInPlace(b []byte, at int) []byte {
	more := 0
	for _, c := range b[at:] {
		if c == '"' || c == '\\' {
			more++
		}
	}
	from := len(b) - 1
	for range more {
		b = append(b, 0)
	}
	for to := len(b) - 1; from < to; from, to = from-1, to-1 {
		b[to] = b[from]
		if b[from] == '"' || b[from] == '\\' {
			to--
			b[to] = '\\'
		}
	}
	return b
}

// plainText undoes appendEscaped, JSON's quoting aside. A backslash that begins no
// escape, as other programs may write it, stays.
func plainText(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	b := make([]byte, 0, len(s))
	for s != "" {
		r, wide, tail, err := strconv.UnquoteChar(s, 0)
		switch {
		case err != nil:
			b, s = append(b, s[0]), s[1:]
			continue
		case wide:
			b = utf8.AppendRune(b, r)
		default:
			b = append(b, byte(r))
		}
		s = tail
	}
	return string(b)
}
