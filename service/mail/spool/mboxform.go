package spool

import (
	"bufio"
	"bytes"
	"io"
	"strings"
	"time"
)

// writeMbox writes a message as it stands in an mbox file: the line that separates it
// from the one before, its text with lines quoted, and an empty line.
func writeMbox(w *bufio.Writer, from string, at time.Time, text io.Reader) error {
	w.WriteString(fromLine(from, at))
	q := quoter{w: w}
	if _, err := io.Copy(&q, text); err != nil {
		return err
	}
	return q.end()
}

// fromLine returns the separator: the sender, and when the message came, in UTC.
func fromLine(from string, at time.Time) string {
	if from == "" {
		from = "MAILER-DAEMON"
	}
	from = strings.Map(func(r rune) rune {
		if r <= ' ' { // readers take it for the end of the address, also within quotes
			return '_'
		}
		return r
	}, from)
	return "From " + from + " " + at.UTC().Format(time.ANSIC) + "\n"
}

const fromWord = "From "

// A quoter writes lines to w and puts ">" before those that begin with "From ", or with
// that behind any number of ">" (mboxrd). How its input is cut does not matter. An
// error of w's is reported by its Flush.
type quoter struct {
	w    *bufio.Writer
	held int  // so many bytes of fromWord have come, perhaps behind ">", and were not written
	rest bool // what comes is no beginning of a line any more
	open bool // the last byte was not a newline
}

// Write implements io.Writer.
func (q *quoter) Write(p []byte) (int, error) {
	total := len(p)
	for len(p) > 0 {
		switch {
		case q.rest:
			n := lineLength(p)
			q.w.Write(p[:n])
			q.open = p[n-1] != '\n'
			q.rest = q.open
			p = p[n:]
			continue
		case p[0] == fromWord[q.held]:
			if q.held++; q.held == len(fromWord) {
				q.w.WriteByte('>')
				q.release()
			}
		case q.held == 0 && p[0] == '>':
			q.w.WriteByte('>')
		default:
			q.release()
			continue
		}
		q.open = true
		p = p[1:]
	}
	return total, nil
}

// lineLength returns how many bytes of p, which is not empty, belong to its first line.
func lineLength(p []byte) int {
	if n := bytes.IndexByte(p, '\n') + 1; n > 0 {
		return n
	}
	return len(p)
}

// release writes what was held back: the line goes on.
func (q *quoter) release() {
	q.w.WriteString(fromWord[:q.held])
	q.held, q.rest = 0, true
}

// end ends the last line, if it is open, and adds the empty one.
func (q *quoter) end() error {
	q.release()
	if q.open {
		q.w.WriteByte('\n')
	}
	return q.w.WriteByte('\n')
}

// An unquoter takes back what a quoter has done.
type unquoter struct {
	arrow bool // one ">" was held back
	held  int
	rest  bool
}

// append appends p, which may be cut anywhere, to dst.
func (u *unquoter) append(dst, p []byte) []byte {
	for len(p) > 0 {
		switch {
		case u.rest:
			n := lineLength(p)
			dst = append(dst, p[:n]...)
			u.rest = p[n-1] != '\n'
			p = p[n:]
			continue
		case p[0] == fromWord[u.held]:
			if u.held++; u.held == len(fromWord) {
				u.arrow = false // it was put there
				dst = u.release(dst)
			}
		case u.held == 0 && p[0] == '>' && !u.arrow:
			u.arrow = true
		case u.held == 0 && p[0] == '>':
			dst = append(dst, '>')
		default:
			dst = u.release(dst)
			continue
		}
		p = p[1:]
	}
	return dst
}

// release appends what was held back.
func (u *unquoter) release(dst []byte) []byte {
	if u.arrow {
		dst = append(dst, '>')
	}
	dst = append(dst, fromWord[:u.held]...)
	u.arrow, u.held, u.rest = false, 0, true
	return dst
}
