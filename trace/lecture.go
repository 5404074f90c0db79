package trace

import (
	"cmp"
	"fmt"
	"io"

	"yodel/internal/escape"
)

// A LectureLog is a Sink that writes the lines which the lecture's echo server prints:
//
//	server connected to localhost (127.0.0.1), port 51234
//	server received 12 bytes
//
// Put a [Namer] in front of it for the names; without one, the address stands in for
// the name, as it does for a client that has none. Text of a peer's is escaped.
type LectureLog struct{ box outbox }

// NewLectureLog returns a LectureLog to w. Close writes what may still wait; it does
// not close w.
func NewLectureLog(w io.Writer) *LectureLog {
	l := &LectureLog{}
	l.box.init(w, 0, func(b []byte, lost int64, why error) []byte {
		return fmt.Appendf(b, "%s\n", escape.String(lostText(lost, why)))
	})
	return l
}

// Emit writes a line for an Accept and for a Message.
func (l *LectureLog) Emit(e *Event) {
	switch e.Op {
	case Accept:
		if e.Err == nil {
			addr := e.Remote.Addr().String()
			l.box.end(fmt.Appendf(l.box.begin(), "server connected to %s (%s), port %d\n",
				cmp.Or(escape.StringN(e.Name, logTextMax), addr), addr, e.Remote.Port()))
		}
	case Message:
		l.box.end(fmt.Appendf(l.box.begin(), "server received %d bytes\n", e.Bytes))
	}
}

// Close writes the lines that wait. It returns an error if any was lost.
func (l *LectureLog) Close() error { return l.box.close() }
