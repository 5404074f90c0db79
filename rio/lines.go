package rio

import (
	"bytes"
	"errors"
	"io"
)

// MaxLine is the bound of a line in bytes that the lecture uses (its MAXLINE) and
// that a program without a reason for another one should.
const MaxLine = 8192

// Mode says what becomes of an overlong line.
type Mode uint8

// The modes. The package comment describes them.
const (
	SplitLong  Mode = iota // hand it out in pieces
	RefuseLong             // report ErrTooLong and throw it away
)

// ErrTooLong reports a line longer than its bound. That line is thrown away up to
// and with its newline, as its bytes come in: what is read next, line or not,
// begins on a line boundary. No other line is affected.
var ErrTooLong = errors.New("rio: line too long")

// Lines takes lines out of bytes that its user holds. It does no I/O and keeps no
// bytes, so a session can have one as a field. It may be copied.
type Lines struct {
	Max  int  // bound of a line in bytes, newline included; must be positive
	Mode Mode // what becomes of an overlong line; zero: SplitLong

	skipping bool // within a line that was refused
}

// Next takes the first line out of data, which holds all bytes that came and were
// not used yet. eof says that nothing comes behind them. It returns
//
//   - a line, or a piece of one, of at most Max bytes: a part of data, its newline
//     included, never empty;
//   - nil, nil when it needs more bytes than these;
//   - nil, ErrTooLong for a line that is refused, when its bound is reached;
//   - nil, io.EOF at the end of input.
//
// In each case the first used bytes of data are done with: the line, or what was
// thrown away of a refused one. The rest must be offered again. Next panics if
// Max is not positive.
func (l *Lines) Next(data []byte, eof bool) (line []byte, used int, err error) {
	return l.next(data, 0, eof)
}

// next is Next where data[:known] is known to hold no newline.
func (l *Lines) next(data []byte, known int, eof bool) (line []byte, used int, err error) {
	if l.skipping {
		used = l.skip(data)
		data = data[used:]
	}
	n, end := split(data, known, l.Max, eof)
	switch {
	case end == Long && l.Mode == RefuseLong:
		return nil, used + n + l.skip(data[n:]), ErrTooLong
	case end != More:
		return data[:n:n], used + n, nil
	case eof:
		return nil, used, io.EOF
	}
	return nil, used, nil
}

// skip returns how many bytes of data belong to the refused line.
func (l *Lines) skip(data []byte) int {
	i := bytes.IndexByte(data, '\n')
	l.skipping = i < 0
	if l.skipping {
		return len(data)
	}
	return i + 1
}
