package mail

import (
	"bytes"
	"strings"
)

// receivedMax is how many Received lines a message may have. One that has more goes in
// circles (RFC 5321, 6.3).
const receivedMax = 50

// A body takes a message out of what follows DATA, up to the line that has only a dot. It
// does no I/O. Only CR LF ends a line, and so only CR LF dot CR LF ends the message,
// whatever it has; how it is cut on its way does not matter.
type body struct {
	lineMax int
	maxSize int64 // 0: no bound

	size     int64 // so far, without the dots that were doubled
	mid      bool  // the next byte is not the first of a line
	inText   bool  // the header has ended
	received int   // Received lines
	wrong    reply // the first thing that is wrong with it
}

// next takes a line, or a piece of one that is too long, from the beginning of data,
// which has all bytes that were not used yet, and which it may write to. It returns the
// line as it is to be stored, ending in LF and without the doubled dot: a part of data;
// nil if nothing is to be stored. used is 0 when more bytes are needed.
func (b *body) next(data []byte) (line []byte, used int, end bool) {
	i := bytes.IndexByte(data, '\n')
	if i < 0 {
		return nil, b.skipLong(data), false
	}
	used, line = i+1, data[:i+1]
	first := !b.mid
	whole := i > 0 && data[i-1] == '\r'
	b.mid = !whole
	if first && string(line) == ".\r\n" {
		return nil, used, true
	}
	b.judge(line, whole)
	if b.wrong.code != 0 {
		return nil, used, false
	}
	if line[0] == '.' { // RFC 5321, 4.5.2
		line = line[1:]
	}
	b.grow(len(line))
	line = line[:len(line)-1]
	line[len(line)-1] = '\n'
	b.lookAt(line)
	return line, used, false
}

// skipLong uses what can't become a line of the length that is allowed, except for a CR
// at its end, which may be half of what ends it.
func (b *body) skipLong(data []byte) int {
	if len(data) < b.lineMax {
		return 0
	}
	b.fault(replyLongLine)
	b.mid = true
	if data[len(data)-1] == '\r' {
		return len(data) - 1
	}
	return len(data)
}

func (b *body) fault(r reply) {
	if b.wrong.code == 0 {
		b.wrong = r
	}
}

// judge looks for what must not be in a line: whole says that it ends in CR LF.
func (b *body) judge(line []byte, whole bool) {
	switch {
	case len(line) > b.lineMax:
		b.fault(replyLongLine)
	case !whole, bytes.IndexByte(line[:len(line)-2], '\r') >= 0, bytes.IndexByte(line, 0) >= 0:
		b.fault(replyDisarray)
	}
}

func (b *body) grow(n int) {
	b.size += int64(n)
	if b.maxSize > 0 && b.size > b.maxSize {
		b.fault(replyTooLarge)
	}
}

// lookAt counts Received lines.
func (b *body) lookAt(line []byte) {
	const name = "received:"
	switch {
	case b.inText:
	case len(line) == 1:
		b.inText = true
	case len(line) > len(name) && strings.EqualFold(string(line[:len(name)]), name):
		if b.received++; b.received > receivedMax {
			b.fault(replyLoop)
		}
	}
}
