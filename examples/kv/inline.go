package main

import (
	"bytes"
	"encoding/hex"
)

// inline parses a command that is a line of words with spaces between them. A word, or
// a part of one, may be quoted: in double quotes \n, \r, \t, \b, \a and \xHH stand for
// a byte and a backslash for what is behind it, in single quotes only \' does.
func (p *parser) inline(data []byte) (words [][]byte, used int, err error) {
	end := bytes.IndexByte(data[:min(len(data), maxInline)], '\n')
	switch {
	case end < 0 && len(data) >= maxInline:
		return nil, 0, errLongInline
	case end < 0:
		return nil, 0, nil
	}
	p.size = end + 1
	if err := p.splitLine(bytes.TrimSuffix(data[:end], []byte("\r"))); err != nil {
		return nil, 0, err
	}
	return p.words, end + 1, nil
}

// splitLine sets p.words to the words of line. They lie in p.text, because what is
// quoted is longer on the line than in the word.
func (p *parser) splitLine(line []byte) error {
	if cap(p.text) < len(line) {
		p.text = make([]byte, 0, len(line)) // so that words do not move
	}
	p.text = p.text[:0]
	for rest := trimSpace(line); len(rest) > 0; rest = trimSpace(rest) {
		if len(p.words) == maxWords {
			return errManyWords
		}
		begin := len(p.text)
		var ok bool
		if rest, ok = p.word(rest); !ok {
			return errQuotes
		}
		if len(p.text)-begin > p.maxValue {
			return errLongInline
		}
		p.words = append(p.words, p.text[begin:])
	}
	return nil
}

// word appends the word that line begins with to p.text and returns what is behind it.
func (p *parser) word(line []byte) (rest []byte, ok bool) {
	for len(line) > 0 && !isSpace(line[0]) {
		switch line[0] {
		case '"':
			return p.quoted(line[1:], '"')
		case '\'':
			return p.quoted(line[1:], '\'')
		}
		p.text = append(p.text, line[0])
		line = line[1:]
	}
	return line, true
}

// quoted is word for what is behind an opening quote. The closing one ends the word.
func (p *parser) quoted(line []byte, quote byte) (rest []byte, ok bool) {
	for len(line) > 0 {
		if line[0] == quote {
			rest = line[1:]
			return rest, len(rest) == 0 || isSpace(rest[0])
		}
		b, n := unescape(line, quote)
		p.text = append(p.text, b)
		line = line[n:]
	}
	return nil, false
}

// unescape returns the byte that the first n bytes of line stand for.
func unescape(line []byte, quote byte) (b byte, n int) {
	if line[0] != '\\' || len(line) < 2 || quote == '\'' && line[1] != '\'' {
		return line[0], 1
	}
	if line[1] == 'x' && len(line) >= 4 {
		var hexed [1]byte
		if _, err := hex.Decode(hexed[:], line[2:4]); err == nil {
			return hexed[0], 4
		}
	}
	if i := bytes.IndexByte([]byte("nrtba"), line[1]); i >= 0 {
		return "\n\r\t\b\a"[i], 2
	}
	return line[1], 2
}

func trimSpace(line []byte) []byte { return bytes.TrimLeft(line, " \t\r\v\f") }

func isSpace(b byte) bool { return len(trimSpace([]byte{b})) == 0 }
