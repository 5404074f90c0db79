package rio

import "bytes"

// End says how the bytes that Split found end.
type End uint8

// The ends.
const (
	More    End = iota // there is no line yet: wait for more bytes
	Newline            // a line, its newline included
	Last               // the last line of the input, without a newline
	Long               // max bytes without a newline: a piece of an overlong line
)

var endNames = [...]string{More: "more", Newline: "newline", Last: "last", Long: "long"}

// String returns the name of the end in lower case.
func (e End) String() string {
	if int(e) < len(endNames) {
		return endNames[e]
	}
	return "end?"
}

// Split returns the length n of the first line of data and how it ends. eof says
// that nothing comes behind data. A line has at most max bytes, its newline
// included, so where end is Long n is max. Where end is More n is 0: data has
// fewer than max bytes and no newline among them, and is empty if eof is set.
//
// The result for a stream does not depend on how it is cut into data, provided
// that what was not used is offered again with more behind it. Split looks at no
// more than max bytes. It panics if max is not positive.
func Split(data []byte, max int, eof bool) (n int, end End) {
	return split(data, 0, max, eof)
}

// split is Split where data[:known] is known to hold no newline.
func split(data []byte, known, max int, eof bool) (n int, end End) {
	if max <= 0 {
		panic("rio: the bound of a line must be positive")
	}
	if n := newline(data[known:], max-known); n > 0 {
		return known + n, Newline
	}
	switch {
	case len(data) >= max:
		return max, Long
	case eof && len(data) > 0:
		return len(data), Last
	}
	return 0, More
}

// newline returns the length of the line that ends within max bytes of data, 0 if
// none does. It is small, so that it is inlined.
func newline(data []byte, max int) int {
	return bytes.IndexByte(data[:min(len(data), max)], '\n') + 1
}

// Trim returns line without its newline: LF, or CR and LF. A CR elsewhere, and
// one at the end of a line without LF, is left alone.
func Trim(line []byte) []byte {
	n := len(line)
	if n == 0 || line[n-1] != '\n' {
		return line
	}
	if n > 1 && line[n-2] == '\r' {
		return line[:n-2]
	}
	return line[:n-1]
}
