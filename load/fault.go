package load

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
)

// Class is what kind of error ended a connection, or befell a message.
type Class string

// The classes of errors.
const (
	Refused    Class = "refused"     // the connection could not be made
	Timeout    Class = "timeout"     // no connection, or no answer, in Plan.Timeout
	ResetClass Class = "reset"       // the peer reset the connection
	EarlyClose Class = "early-close" // the peer ended the connection between two answers
	Truncated  Class = "truncated"   // the peer ended within an answer; a datagram came back shorter
	Corrupt    Class = "corrupt"     // bytes came back changed
	Lost       Class = "lost"        // bytes in the middle did not come back, later ones did
	Duplicated Class = "duplicated"  // bytes came back twice
	Spliced    Class = "spliced"     // bytes of another connection came back
	Unasked    Class = "unasked"     // more came back than was sent
	Status     Class = "status"      // HTTP: a status that is not 200
	NoPort     Class = "no-port"     // here: no free port to call from
	NoFile     Class = "no-file"     // here: no free descriptor
	Other      Class = "other"
)

// Wrong reports whether the class says that an answer was wrong, and not that there was
// none.
func (c Class) Wrong() bool {
	switch c {
	case Corrupt, Lost, Duplicated, Spliced, Unasked, Truncated, Status:
		return true
	}
	return false
}

// A Fault is an answer that was wrong: the first byte of a connection that is not what
// it must be, and what that is a sign of.
type Fault struct {
	Class  Class
	Conn   int   // which connection, from 0
	Offset int64 // which byte of what it has received, from 0
	Want   byte
	Got    byte

	// Bytes is how many bytes were lost, or came twice, or were changed; 0: not known.
	Bytes int64

	// FromConn and FromOffset say whose bytes came instead, for Spliced.
	FromConn   int
	FromOffset int64
}

// Error names the byte, and says what has happened to it.
func (f *Fault) Error() string {
	at := fmt.Sprintf("connection %d, byte %d", f.Conn, f.Offset)
	switch f.Class {
	case Truncated:
		if f.Bytes == 0 {
			return fmt.Sprintf("%s: the answer ends here, and is not whole", at)
		}
		return fmt.Sprintf("%s: the answer ends here, %d bytes are missing", at, f.Bytes)
	case Unasked:
		return fmt.Sprintf("%s: 0x%02x came, and nothing more was to come", at, f.Got)
	}
	seen := fmt.Sprintf("%s: 0x%02x came back, must be 0x%02x", at, f.Got, f.Want)
	switch {
	case f.Class == Lost:
		return fmt.Sprintf("%s: %d bytes are lost here, what follows is right", seen, f.Bytes)
	case f.Class == Duplicated:
		return fmt.Sprintf("%s: %d bytes came a second time", seen, f.Bytes)
	case f.Class == Spliced:
		return fmt.Sprintf("%s: these are connection %d's, byte %d on", seen, f.FromConn, f.FromOffset)
	case f.Bytes > 0:
		return fmt.Sprintf("%s: %d bytes are changed, what follows is right", seen, f.Bytes)
	}
	return seen
}

const (
	enough      = 64   // bytes after a wrong one that tell what has happened
	searchRange = 4096 // how far a few bytes are looked for
)

// diagnose says what has happened to a connection that got what differs, from its first
// byte on, from what stands at position at of its stream. conns is how many connections
// there are.
func diagnose(s stream, at int64, got []byte, conns int) *Fault {
	f := &Fault{Class: Corrupt, Conn: s.conn, Offset: at, Got: got[0], Want: s.byteAt(at)}
	for i := 0; i+s.wordLength() <= len(got); i++ {
		if conn, from, ok := s.locate(got[i:], conns); ok {
			f.found(s, got[:i], at+int64(i), conn, from)
			return f
		}
	}
	f.search(s, got)
	return f
}

// found says what follows from bytes at here that belong elsewhere; before are those
// that came between the first wrong one and them.
func (f *Fault) found(s stream, before []byte, here int64, conn int, from int64) {
	if conn != s.conn {
		other := s
		other.conn = conn
		for i := len(before) - 1; i >= 0 && from > 0 && before[i] == other.byteAt(from-1); i-- {
			from--
		}
		f.Class, f.FromConn, f.FromOffset = Spliced, conn, from
		return
	}
	f.moved(from - here)
	if f.Class == Corrupt {
		f.Bytes = changed(s, before, f.Offset)
	}
}

// moved says what follows from the stream going on so many bytes later than it should.
func (f *Fault) moved(by int64) {
	switch {
	case by > 0:
		f.Class, f.Bytes = Lost, by
	case by < 0:
		f.Class, f.Bytes = Duplicated, -by
	}
}

// changed counts the bytes that are not what they must be.
func changed(s stream, got []byte, at int64) int64 {
	n := int64(0)
	for i, b := range got {
		if s.byteAt(at+int64(i)) != b {
			n++
		}
	}
	return n
}

// search looks for bytes that are too few to tell where they belong, near where they
// are.
func (f *Fault) search(s stream, got []byte) {
	if n := changed(s, got, f.Offset); n*2 <= int64(len(got)) || len(got) < 3 {
		f.Bytes = n
		return
	}
	for by := int64(1); by <= searchRange; by++ {
		for _, d := range []int64{by, -by} {
			if f.Offset+d >= 0 && s.differ(got, f.Offset+d) == len(got) {
				f.moved(d)
				return
			}
		}
	}
}

// classOf says which class an error is of.
func classOf(err error) Class {
	var fault *Fault
	var status *StatusError
	switch {
	case errors.As(err, &fault):
		return fault.Class
	case errors.As(err, &status):
		return Status
	case errors.Is(err, errUnasked):
		return Unasked
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ENOENT):
		return Refused
	case errors.Is(err, syscall.EADDRNOTAVAIL), errors.Is(err, syscall.EADDRINUSE):
		return NoPort
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		return NoFile
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded), errors.Is(err, syscall.ETIMEDOUT):
		return Timeout
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, syscall.ECONNABORTED):
		return ResetClass
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return EarlyClose
	}
	return Other
}
