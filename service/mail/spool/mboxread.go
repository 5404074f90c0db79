package spool

import (
	"bufio"
	"io"
	"strings"
)

// An mboxReader reads the messages of an mbox file, one after the other. A message
// begins with a line "From …" that is the first of the file or has an empty line in
// front. What stands before the first one is no message and is skipped.
type mboxReader struct {
	r     *bufio.Reader
	un    unquoter
	out   []byte // of the present message, not handed out yet
	blank []byte // an empty line that may be the end of the message
	free  bool   // the next line may be a separator: the one before is empty, or there is none
	mid   bool   // the next byte is not the first of a line
	ended bool   // the message has
}

func newMboxReader(r io.Reader) *mboxReader {
	return &mboxReader{r: bufio.NewReaderSize(r, 32<<10), free: true, ended: true}
}

// next goes to the next message and returns what its separator says behind "From ", at
// most 1,000 bytes of it. At the end of the file the error is io.EOF.
func (m *mboxReader) next() (string, error) {
	if _, err := io.Copy(io.Discard, m); err != nil {
		return "", err
	}
	for !m.atSeparator() {
		if err := m.skipLine(); err != nil {
			return "", err
		}
	}
	line, err := m.separator()
	m.un, m.out, m.blank, m.mid, m.free, m.ended = unquoter{}, m.out[:0], nil, false, false, false
	return line, err
}

// atSeparator reports whether what comes is a separator.
func (m *mboxReader) atSeparator() bool {
	if !m.free || m.mid {
		return false
	}
	word, _ := m.r.Peek(len(fromWord))
	return string(word) == fromWord
}

func (m *mboxReader) separator() (string, error) {
	var line strings.Builder
	for {
		piece, err := m.r.ReadSlice('\n')
		if room := 1000 - line.Len(); room > 0 {
			line.Write(piece[:min(len(piece), room)])
		}
		if err == bufio.ErrBufferFull {
			continue
		}
		if err == io.EOF {
			err = nil // a separator and nothing behind it
		}
		return strings.TrimSpace(strings.TrimPrefix(line.String(), fromWord)), err
	}
}

// skipLine skips a line, or a piece of one, that is of no message.
func (m *mboxReader) skipLine() error {
	piece, err := m.r.ReadSlice('\n')
	if len(piece) > 0 {
		m.free = !m.mid && isBlank(piece)
		m.mid = piece[len(piece)-1] != '\n'
		return nil
	}
	return err
}

func isBlank(line []byte) bool { return string(line) == "\n" || string(line) == "\r\n" }

// Read reads the text of the message that next has gone to.
func (m *mboxReader) Read(p []byte) (int, error) {
	for len(m.out) == 0 {
		if m.ended {
			return 0, io.EOF
		}
		m.out = m.out[:0]
		if err := m.fill(); err != nil {
			return 0, err
		}
	}
	n := copy(p, m.out)
	m.out = m.out[n:]
	return n, nil
}

// fill adds a line, or a piece of one, to what is to be handed out.
func (m *mboxReader) fill() error {
	if m.atSeparator() {
		m.ended = true
		return nil
	}
	piece, err := m.r.ReadSlice('\n')
	if len(piece) == 0 {
		if err == io.EOF {
			m.ended, err = true, nil
			m.out = m.un.release(m.out)
		}
		return err
	}
	m.out = append(m.out, m.blank...)
	m.blank = nil
	m.free = !m.mid && isBlank(piece)
	m.mid = piece[len(piece)-1] != '\n'
	if m.free {
		m.blank = append([]byte(nil), piece...)
		return nil
	}
	m.out = m.un.append(m.out, piece)
	return nil
}
