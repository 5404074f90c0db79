package small

import (
	"io"

	"yodel"
	"yodel/rio"
)

// defaultLineMax is the lecture's MAXLINE.
const defaultLineMax = 8192

// linesPerStep bounds what one Step does and reports, however short the lines.
const linesPerStep = 128

// Upper is the lecture's server: it sends each line back with a to z as A to Z. It
// works byte by byte: every other byte stays what it is, the parts of "ß" and "ı",
// NUL and all that is not text included, so lengths never change. It answers when a
// line is whole, when the peer ends in the middle of one, or when LineMax bytes of
// it have come; a longer line comes back in pieces, and whole. It reports each
// line or piece as a message.
//
// It has no RFC and no datagram form; the lecture runs it on TCP port 15213.
type Upper struct {
	// LineMax is how many bytes of a line are answered at once, its newline
	// included. 0 or less: 8,192, as the lecture has it. An engine keeps a
	// bounded number of unused bytes, and must keep this many.
	LineMax int
}

var _ yodel.Service = Upper{}

// Open returns the session of one connection.
func (u Upper) Open(yodel.Peer) yodel.Session {
	if u.LineMax <= 0 {
		return upperSession{lineMax: defaultLineMax}
	}
	return upperSession{lineMax: u.LineMax}
}

type upperSession struct{ lineMax int }

// Step answers the lines that are there, as many as there is room for.
func (s upperSession) Step(in yodel.Input, out *yodel.Out) (used int, err error) {
	eof := in.Kind == yodel.EOF
	for range linesPerStep {
		if out.Room() == 0 {
			return used, nil
		}
		n, end := rio.Split(in.Data[used:], s.lineMax, eof)
		if end == rio.More {
			break
		}
		toUpper(out.Extend(n), in.Data[used:])
		out.Heard(n)
		used += n
	}
	if eof && used == len(in.Data) {
		return used, io.EOF
	}
	return used, nil
}

// upperTable has the upper case of each byte. A look-up takes the same time for all
// text; a comparison of each byte is slower where letters and spaces mix, since no
// processor foresees them. It is never written to.
var upperTable = makeUpperTable()

func makeUpperTable() (table [256]byte) {
	for i := range table {
		table[i] = byte(i)
	}
	for b := 'a'; b <= 'z'; b++ {
		table[b] -= 'a' - 'A'
	}
	return table
}

// toUpper fills dst from the beginning of src.
func toUpper(dst, src []byte) {
	src = src[:len(dst)]
	for i, b := range src {
		dst[i] = upperTable[b]
	}
}
