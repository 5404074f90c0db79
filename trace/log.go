package trace

import (
	"io"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"yodel/internal/escape"
)

// logTextMax bounds each text that a Log shows, in bytes of its escaped form.
const logTextMax = 512

// A Log is a Sink that writes a line for people when a connection comes, when it
// ends, and when one is not served:
//
//	0f31c9aa-3 echo connected from localhost (127.0.0.1), port 51234
//	0f31c9aa-3 echo closed by peer: 12 bytes in, 12 out, 1.2 s
//	0f31c9aa-4 echo connected from 127.0.0.1, port 51236
//	0f31c9aa-4 echo fault: 12 bytes in, 0 out, 35 ms: no space left on device
//	0f31c9aa-5 echo connected on unix:/run/echo.sock
//	0f31c9aa-6 echo refused 192.0.2.7, port 4711: address denied
//	echo accept failed: too many open files
//	0f31c9aa-3 echo note: said by the Text of a Note event
//
// A line begins with the connection's name and the service, where they are known. The
// host's name is there if it was looked up, see [Namer]. After the time comes the error,
// where the end was none of the usual ones. Times are cut, not rounded: "0.3 ms",
// "35 ms", "1.2 s", "2 min 5 s", "3 h 20 min".
//
// Of refusals, of failures to accept and of notes one line a second is written; how
// many more there were is said at the end of that second:
//
//	refused 311 more
//	accept failed 12 times more
//	3 more notes
//
// Text of a peer's is escaped, and a space in a host's name is \x20, so that it cannot
// pass for another part of the line. A slow w holds up nobody, as with [Writer]; lines
// that could not be written are counted, and told by a line once w takes lines again:
//
//	12 events lost: they came faster than they could be written
type Log struct {
	box      outbox
	refusals sampler
	failures sampler
	notes    sampler
}

// NewLog returns a Log to w. Close writes what may still wait; it does not close w.
func NewLog(w io.Writer) *Log {
	l := &Log{}
	l.box.init(w, 0, func(b []byte, lost int64, why error) []byte {
		return append(escape.Append(b, []byte(lostText(lost, why))), '\n')
	})
	l.refusals.rest = func(n int) { l.line("refused " + strconv.Itoa(n) + " more") }
	l.failures.rest = func(n int) { l.line("accept failed " + strconv.Itoa(n) + " times more") }
	l.notes.rest = func(n int) { l.line(strconv.Itoa(n) + " more notes") }
	return l
}

// Emit writes a line, if e is of a kind that has one.
func (l *Log) Emit(e *Event) {
	switch e.Op {
	case Accept:
		if e.Err == nil {
			l.box.end(appendAccept(l.box.begin(), e))
		} else if l.failures.take() {
			l.box.end(appendFailure(l.box.begin(), e))
		}
	case Close:
		l.box.end(appendClose(l.box.begin(), e))
	case Refuse:
		if l.refusals.take() {
			l.box.end(appendRefuse(l.box.begin(), e))
		}
	case Note:
		if l.notes.take() {
			l.box.end(appendNote(l.box.begin(), e))
		}
	}
}

func (l *Log) line(s string) { l.box.end(append(append(l.box.begin(), s...), '\n')) }

// Flush waits until all lines so far are written. It returns an error if any was
// lost since the beginning.
func (l *Log) Flush() error {
	l.box.flush()
	return l.box.err()
}

// Close is Flush for the last time: lines that come later are lost.
func (l *Log) Close() error {
	l.refusals.stop()
	l.failures.stop()
	l.notes.stop()
	return l.box.close()
}

// Lost returns how many lines were not written, or not wholly.
func (l *Log) Lost() int64 { return l.box.lostLines() }

func appendAccept(b []byte, e *Event) []byte {
	b = appendWho(b, e)
	if !e.Remote.IsValid() {
		return append(appendPlace(append(b, "connected on "...), e), '\n')
	}
	b = append(b, "connected from "...)
	if e.Name == "" {
		return append(appendPeer(b, e.Remote), '\n')
	}
	name := escape.StringN(e.Name, logTextMax)
	b = append(b, strings.ReplaceAll(name, " ", `\x20`)...)
	b = append(b, " ("...)
	b = appendShown(b, e.Remote.Addr().String())
	b = append(b, "), port "...)
	return append(strconv.AppendUint(b, uint64(e.Remote.Port()), 10), '\n')
}

func appendFailure(b []byte, e *Event) []byte {
	b = append(appendWho(b, e), "accept failed: "...)
	return append(appendShown(b, e.Err.Error()), '\n')
}

func appendRefuse(b []byte, e *Event) []byte {
	b = append(appendWho(b, e), "refused "...)
	if e.Remote.IsValid() {
		b = appendPeer(b, e.Remote)
	} else {
		b = appendPlace(b, e)
	}
	return append(appendShown(append(b, ": "...), e.Text), '\n')
}

func appendNote(b []byte, e *Event) []byte {
	return append(appendShown(append(appendWho(b, e), "note: "...), e.Text), '\n')
}

func appendClose(b []byte, e *Event) []byte {
	b = appendShown(appendWho(b, e), e.Text)
	b = append(b, ": "...)
	b = append(strconv.AppendInt(b, e.In, 10), " bytes in, "...)
	b = append(strconv.AppendInt(b, e.Out, 10), " out, "...)
	b = appendSpan(b, e.Took)
	if e.Err != nil && e.Text != EndReset && e.Text != EndVanished { // those say it all
		b = appendShown(append(b, ": "...), e.Err.Error())
	}
	return append(b, '\n')
}

// appendWho appends what most lines begin with.
func appendWho(b []byte, e *Event) []byte {
	if !e.Conn.IsZero() {
		b, _ = e.Conn.AppendText(b)
		b = append(b, ' ')
	}
	if e.Service != "" {
		b = append(appendShown(b, e.Service), ' ')
	}
	return b
}

func appendPeer(b []byte, a netip.AddrPort) []byte {
	b = appendShown(b, a.Addr().String())
	b = append(b, ", port "...)
	return strconv.AppendUint(b, uint64(a.Port()), 10)
}

// appendPlace appends where it happened when the peer has no address.
func appendPlace(b []byte, e *Event) []byte {
	b = appendShown(b, e.Network)
	if e.Path == "" {
		return b
	}
	return appendShown(append(b, ':'), e.Path)
}

func appendShown(b []byte, s string) []byte { return append(b, escape.StringN(s, logTextMax)...) }

// appendSpan appends d as people say it.
func appendSpan(b []byte, d time.Duration) []byte {
	switch {
	case d < 10*time.Millisecond:
		return appendTenths(b, d, time.Millisecond, " ms")
	case d < time.Second:
		return appendWhole(b, d, time.Millisecond, " ms")
	case d < time.Minute:
		return appendTenths(b, d, time.Second, " s")
	case d < time.Hour:
		b = appendWhole(b, d, time.Minute, " min ")
		return appendWhole(b, d%time.Minute, time.Second, " s")
	}
	b = appendWhole(b, d, time.Hour, " h ")
	return appendWhole(b, d%time.Hour, time.Minute, " min")
}

func appendWhole(b []byte, d, unit time.Duration, name string) []byte {
	return append(strconv.AppendInt(b, int64(d/unit), 10), name...)
}

func appendTenths(b []byte, d, unit time.Duration, name string) []byte {
	b = append(strconv.AppendInt(b, int64(d/unit), 10), '.')
	return append(strconv.AppendInt(b, int64(d%unit/(unit/10)), 10), name...)
}

// sampler lets one line a second through and counts the rest.
type sampler struct {
	rest func(n int) // writes how many more there were

	mu    sync.Mutex
	quiet *time.Timer // ends the second; nil if no line was let through in the last one
	held  int
}

// take reports whether a line may be written now.
func (s *sampler) take() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.quiet == nil {
		s.quiet = time.AfterFunc(time.Second, s.next)
		return true
	}
	s.held++
	return false
}

// next ends a second. The line about the rest, if there is one, begins another.
func (s *sampler) next() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.quiet == nil { // stopped meanwhile
		return
	}
	if s.held == 0 {
		s.quiet = nil
		return
	}
	s.quiet.Reset(time.Second)
	s.tell()
}

func (s *sampler) tell() {
	s.rest(s.held)
	s.held = 0
}

// stop writes what is left to write.
func (s *sampler) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.quiet != nil {
		s.quiet.Stop()
		s.quiet = nil
	}
	if s.held > 0 {
		s.tell()
	}
}
