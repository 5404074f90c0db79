package small

import (
	"time"

	"yodel"
)

// Chargen sends the printable ASCII characters for as long as the peer reads:
// RFC 864, port 19, TCP and UDP. A line has 72 of them and CR LF, and each line
// begins one character further on, as the RFC suggests. What it hears it throws
// away. The end of the peer's direction does not end it: the RFC lets the user do
// that by ending the connection.
type Chargen struct{}

var (
	_ yodel.Service = Chargen{}
	_ yodel.Replier = Chargen{}
)

const (
	chargenFirst   = ' '
	chargenChars   = 95 // the printable ones, from space to tilde
	chargenColumns = 72
	chargenLine    = chargenColumns + len("\r\n")
	chargenMax     = 512 // RFC 864: so many characters in a datagram at most
)

// chargenPattern is the stream until it repeats: one line for each character to
// begin with. It is never written to.
var chargenPattern = makePattern()

func makePattern() []byte {
	pattern := make([]byte, 0, chargenChars*chargenLine)
	for first := range chargenChars {
		for column := range chargenColumns {
			pattern = append(pattern, byte(chargenFirst+(first+column)%chargenChars))
		}
		pattern = append(pattern, "\r\n"...)
	}
	return pattern
}

// Open returns the session of one connection.
func (Chargen) Open(yodel.Peer) yodel.Session { return new(chargenSession) }

type chargenSession struct{ at int } // the next byte in chargenPattern

// Step fills the room that there is. The engine calls again when there is more.
func (s *chargenSession) Step(in yodel.Input, out *yodel.Out) (used int, err error) {
	s.at = fillPattern(out.Extend(out.Room()), s.at)
	return len(in.Data), nil
}

// fillPattern fills dst with the stream from at on and returns where it goes on.
func fillPattern(dst []byte, at int) (next int) {
	for len(dst) > 0 {
		n := copy(dst, chargenPattern[at:])
		dst = dst[n:]
		at = (at + n) % len(chargenPattern)
	}
	return at
}

// Reply returns as many characters as the request had, but at least 18 and at most
// 512. The RFC wants a random number of them up to 512; the request is chance
// enough, and lets nobody be sent more than was paid for. The line to begin with
// changes every second.
func (Chargen) Reply(_ yodel.Peer, now time.Time, request, buf []byte) []byte {
	n := min(longestAnswer(request), chargenMax)
	answer := append(buf, make([]byte, n)...)
	fillPattern(answer[len(buf):], chargenLine*turn(now.Unix(), chargenChars))
	return answer
}

// turn returns i modulo n, from 0 to n-1 also for an i below 0.
func turn(i int64, n int) int {
	return int((i%int64(n) + int64(n)) % int64(n))
}
