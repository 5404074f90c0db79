package call

import (
	"bytes"
	"io"
	"unicode/utf8"

	"yodel/internal/escape"
)

// A Screen is a writer for what a person looks at: it passes a peer's text on to a
// terminal so that the terminal obeys none of it. Control characters, invalid UTF-8 and
// all that could not be seen are escaped as Go writes them (\x1b, \u202e). Newlines and
// tabs stay, CR LF becomes a newline, and so does a backslash stay: what needs to be
// exact is for a file, or for a [TextView].
//
// Text may be cut into writes anywhere: the beginning of a character, or a CR, waits
// for the next write or for Flush.
type Screen struct {
	w    io.Writer
	tail []byte // not shown yet: at most three bytes
	buf  []byte
}

// NewScreen returns a Screen that writes to w.
func NewScreen(w io.Writer) *Screen { return &Screen{w: w} }

// Write shows p. It returns len(p), or the error of the writer below.
func (s *Screen) Write(p []byte) (int, error) {
	text := p
	if len(s.tail) > 0 {
		text = append(s.tail, p...)
	}
	whole := len(text) - unfinished(text)
	err := s.show(text[:whole])
	s.tail = append([]byte(nil), text[whole:]...)
	if err != nil {
		return 0, err
	}
	return len(p), nil
}

// Flush shows what waits for more.
func (s *Screen) Flush() error {
	tail := s.tail
	s.tail = nil
	return s.show(tail)
}

func (s *Screen) show(text []byte) error {
	if len(text) == 0 {
		return nil
	}
	s.buf = appendShown(s.buf[:0], text)
	_, err := s.w.Write(s.buf)
	return err
}

// unfinished returns how many bytes at the end of text can only be judged when more is
// known.
func unfinished(text []byte) int {
	if bytes.HasSuffix(text, []byte{'\r'}) {
		return 1
	}
	for n := 1; n < utf8.UTFMax && n <= len(text); n++ {
		last := text[len(text)-n:]
		if utf8.RuneStart(last[0]) {
			if utf8.FullRune(last) {
				return 0
			}
			return n
		}
	}
	return 0
}

// appendShown appends text, safe for a terminal, to dst.
func appendShown(dst, text []byte) []byte {
	for len(text) > 0 {
		n := bytes.IndexAny(text, "\n\t\r\\")
		if n < 0 {
			return escape.Append(dst, text)
		}
		dst = escape.Append(dst, text[:n])
		switch {
		case text[n] != '\r':
			dst = append(dst, text[n])
		case n+1 == len(text) || text[n+1] != '\n': // else the newline is next
			dst = append(dst, `\r`...)
		}
		text = text[n+1:]
	}
	return dst
}
