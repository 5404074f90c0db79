package main

import (
	"bytes"
	"fmt"
	"strconv"
)

// Bounds of a command, beside limits.maxValue.
const (
	maxWords  = 1024     // words of a command; Redis has 1,048,576
	maxInline = 16 << 10 // bytes of an inline command with its newline; Redis has 65,536
	maxHeader = 32       // bytes of a line that tells a length, with its CR and LF

	// maxOverhead is by how many bytes all words of a command together may be longer
	// than the longest one may be.
	maxOverhead = 64 << 10
)

// gatherOver is how many bytes of an unfinished command are left with the engine, to
// be offered again. They are parsed again each time; beyond that the parser keeps what
// has come, because an engine keeps little.
const gatherOver = 1 << 10

// gatherGrowth is by how much the memory of a word that is being gathered grows when
// it is full: the more, the less is copied.
const gatherGrowth = 4

// A protocolError is what a peer did after which nobody knows where its next command
// begins.
type protocolError string

func (e protocolError) Error() string { return "Protocol error: " + string(e) }

// A parser takes commands out of the bytes of one connection: the arrays of bulk
// strings that programs send, and the lines that people type ("inline commands").
// An array that is there as a whole is parsed where it lies; a longer one is gathered,
// and each of its bytes looked at once.
type parser struct {
	maxValue   int // of a word, in bytes
	gatherOver int

	size int // of the last command, in bytes as it came

	words [][]byte
	text  []byte // of the words of an inline command
	given bool   // the last command was gathered: its words may be kept for good

	// An array that is being gathered.
	left  int      // words still to come, the present one included; 0: none is
	whole [][]byte // the words that are there, each in memory of its own
	sum   int      // of their lengths
	bulk  int      // length of the present word; -1: not known yet
	part  []byte   // what there is of it
}

func newParser(maxValue int) parser {
	return parser{maxValue: maxValue, gatherOver: gatherOver}
}

// next takes one command out of data, which holds all bytes that came and were not used
// yet. It returns the words of the command, valid until the next call of any method and,
// unless p.given is set, only as long as data is. Used bytes without words are a part of a command or one
// that has no words; no used bytes mean that more must come. After an error the parser
// is of no more use.
func (p *parser) next(data []byte) (words [][]byte, used int, err error) {
	p.words, p.given = p.words[:0], false
	switch {
	case p.left > 0:
		return p.gather(data)
	case len(data) == 0:
		return nil, 0, nil
	case data[0] != '*':
		return p.inline(data)
	}
	words, used, err = p.inPlace(data)
	if used == 0 && err == nil && len(data) > p.gatherOver {
		return p.beginGather(data)
	}
	return words, used, err
}

// gathering reports whether a part of a command is kept.
func (p *parser) gathering() bool { return p.left > 0 }

// forget lets go of what belongs to the last command: the memory that was lent for it,
// and what is too much for a connection to keep while it is at rest.
func (p *parser) forget() {
	clear(p.words[:cap(p.words)])
	if cap(p.words) > 64 {
		p.words = nil
	}
	if cap(p.text) > gatherOver {
		p.text = nil
	}
}

// inPlace parses an array that is there from its first byte to its last.
func (p *parser) inPlace(data []byte) (words [][]byte, used int, err error) {
	count, used, err := arrayHeader(data)
	if used == 0 || err != nil {
		return nil, 0, err
	}
	sum := 0
	for range count {
		length, n, err := p.bulkHeader(data[used:], sum)
		if n == 0 || err != nil {
			return nil, 0, err
		}
		begin := used + n
		end := begin + length
		if len(data) < end+2 {
			return nil, 0, nil
		}
		if data[end] != '\r' || data[end+1] != '\n' {
			return nil, 0, errNoNewline
		}
		p.words = append(p.words, data[begin:end])
		used = end + 2
		sum += length
	}
	p.size = used
	return p.words, used, nil
}

// beginGather begins to gather an array of which a part is there.
func (p *parser) beginGather(data []byte) (words [][]byte, used int, err error) {
	count, used, _ := arrayHeader(data) // inPlace has seen that it is good
	p.left, p.sum, p.bulk = count, 0, -1
	p.size = used
	words, n, err := p.gather(data[used:])
	return words, used + n, err
}

// gather takes what there is of an array; words is nil until it is whole.
func (p *parser) gather(data []byte) (words [][]byte, used int, err error) {
	for p.left > 0 {
		n, err := p.gatherPart(data[used:])
		if err != nil {
			return nil, used, err
		}
		if n == 0 {
			break
		}
		used += n
	}
	p.size += used
	if p.left > 0 {
		return nil, used, nil
	}
	p.words = append(p.words[:0], p.whole...)
	p.whole, p.given = nil, true
	return p.words, used, nil
}

// gatherPart takes one part of an array: the length of a word, some of its bytes, or
// the newline behind it.
func (p *parser) gatherPart(data []byte) (used int, err error) {
	if p.bulk < 0 {
		length, n, err := p.bulkHeader(data, p.sum)
		if n > 0 {
			p.bulk = length
		}
		return n, err
	}
	if missing := p.bulk - len(p.part); missing > 0 {
		piece := data[:min(missing, len(data))]
		p.keep(piece)
		return len(piece), nil
	}
	switch {
	case len(data) < 2:
		return 0, nil
	case data[0] != '\r' || data[1] != '\n':
		return 0, errNoNewline
	}
	p.whole = append(p.whole, p.part)
	p.sum += p.bulk
	p.bulk, p.part = -1, nil
	p.left--
	return 2, nil
}

// keep appends piece to the present word. The memory grows with what has come and not
// with what was promised; a whole word has no more than it needs.
func (p *parser) keep(piece []byte) {
	if now := len(p.part) + len(piece); now > cap(p.part) {
		grown := make([]byte, len(p.part), min(p.bulk, max(now, gatherGrowth*cap(p.part), gatherOver)))
		copy(grown, p.part)
		p.part = grown
	}
	p.part = append(p.part, piece...)
}

// arrayHeader parses the line "*COUNT" in front of an array. A count below 1 is an
// array without words. No used bytes mean that more must come.
func arrayHeader(data []byte) (count, used int, err error) {
	n, used, ok := header(data)
	switch {
	case used < 0:
		return 0, 0, errLongCount
	case used == 0:
		return 0, 0, nil
	case !ok || n > maxWords:
		return 0, 0, errBadCount
	}
	return int(max(n, 0)), used, nil
}

// bulkHeader parses the line "$LENGTH" in front of a word; the words before it have sum
// bytes. No used bytes mean that more must come.
func (p *parser) bulkHeader(data []byte, sum int) (length, used int, err error) {
	if len(data) > 0 && data[0] != '$' {
		return 0, 0, protocolError(fmt.Sprintf("expected '$', got %s", strconv.QuoteToASCII(string(data[:1]))))
	}
	n, used, ok := header(data)
	switch {
	case used < 0:
		return 0, 0, errLongLength
	case used == 0:
		return 0, 0, nil
	case !ok || n < 0 || n > int64(p.maxValue):
		return 0, 0, errBadLength
	case sum+int(n) > p.maxValue+maxOverhead:
		return 0, 0, errLongCommand
	}
	return int(n), used, nil
}

// What peers do wrong, most of it in Redis's words.
const (
	errNoNewline   = protocolError("expected CR and LF behind a bulk string")
	errLongCount   = protocolError("too big mbulk count string")
	errBadCount    = protocolError("invalid multibulk length")
	errLongLength  = protocolError("too big bulk count string")
	errBadLength   = protocolError("invalid bulk length")
	errLongCommand = protocolError("too big command")
	errLongInline  = protocolError("too big inline request")
	errManyWords   = protocolError("too many words")
	errQuotes      = protocolError("unbalanced quotes in request")
)

// header parses a line of one byte, which the caller knows, and a number. used is the
// line's length, 0 if more must come, -1 if it is too long.
func header(data []byte) (n int64, used int, ok bool) {
	if len(data) >= 4 && data[2] == '\r' && data[3] == '\n' { // most are "$3"
		d := data[1] - '0'
		return int64(d), 4, d <= 9
	}
	end := bytes.IndexByte(data[:min(len(data), maxHeader)], '\n')
	switch {
	case end < 0 && len(data) >= maxHeader:
		return 0, -1, false
	case end < 0:
		return 0, 0, false
	case end < 2 || data[end-1] != '\r':
		return 0, end + 1, false
	}
	n, ok = parseInt(data[1 : end-1])
	return n, end + 1, ok
}

// parseInt parses a number as Redis writes it: no sign but a minus, no zero in front, no
// space.
func parseInt(text []byte) (n int64, ok bool) {
	digits := bytes.TrimPrefix(text, []byte("-"))
	if len(digits) == 0 || len(digits) > 19 || digits[0] == '0' && len(text) > 1 {
		return 0, false
	}
	var sum uint64
	for _, b := range digits {
		if b < '0' || b > '9' {
			return 0, false
		}
		sum = 10*sum + uint64(b-'0') // 19 digits fit
	}
	if len(digits) < len(text) {
		return -int64(sum), sum <= 1<<63
	}
	return int64(sum), sum < 1<<63
}
