package call

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"regexp"
	"time"

	"yodel/rio"
)

const (
	maxExpectLine = 64 << 10
	heardBytes    = 200 // kept for errors
)

// Expect plays a script. All that the peer sends goes to out as it comes. At the end of
// the script the connection is closed, whatever else the peer may have to say.
//
// The error is a [*StepError] that wraps what went wrong: a [*MismatchError],
// [*LineError] or [*ExtraError] for what comes next and is wrong; a [*TimeoutError] for a
// step that took too long; an [*UnmetError] if the peer ended its direction while
// something was expected; a [*BrokenError] or [*OutputError].
func Expect(ctx context.Context, conn net.Conn, script *Script, out io.Writer, cfg *Config) error {
	c := cfg.clone()
	def := c.timeout(checkTimeout)
	c.Timeout = -1 // each step has its own
	x := begin(ctx, conn, c, 0)
	p := &performance{x: x, out: out}
	p.in = x.lineReader(hearing{p}, maxExpectLine)
	for _, s := range script.steps {
		if err := p.play(s, def); err != nil {
			return x.end(err)
		}
	}
	return x.end(flush(out))
}

// A performance is a script being played.
type performance struct {
	x     *exchange
	in    *rio.Reader // what the peer has sent, from where the script stands
	out   io.Writer
	used  int64  // bytes of it that the steps have used
	heard []byte // the last that came
}

// hearing reads from the connection and shows what comes.
type hearing struct{ *performance }

func (h hearing) Read(p []byte) (int, error) {
	n, err := h.x.Read(p)
	if n > 0 {
		h.keep(p[:n])
		if _, err := h.out.Write(p[:n]); err != nil {
			return 0, &OutputError{err} // no step goes on with it
		}
	}
	return n, err
}

// keep keeps the last bytes that came.
func (p *performance) keep(b []byte) {
	if over := len(p.heard) + len(b) - heardBytes; over > 0 {
		p.heard = append(p.heard[:0], p.heard[min(over, len(p.heard)):]...)
	}
	p.heard = append(p.heard, b[max(len(b)-heardBytes, 0):]...)
}

// play does one step. def bounds it, unless the script has said something else; 0 is
// no bound.
func (p *performance) play(s step, def time.Duration) error {
	limit := def
	if s.timeout != 0 {
		limit = max(s.timeout, 0)
	}
	p.x.setDeadline(p.x.conn.SetDeadline, limit)
	err := s.do(p)
	switch {
	case err == nil:
		return nil
	case p.x.ctx.Err() != nil: // the user's doing, not the step's
		return context.Cause(p.x.ctx)
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = &TimeoutError{After: limit}
	case err == io.EOF:
		err = &UnmetError{}
	}
	return &StepError{File: s.file, Line: s.line, Step: s.text, Heard: p.heard, Err: err}
}

// read returns the next byte.
func (p *performance) read() (byte, error) {
	var b [1]byte
	if _, err := p.in.Read(b[:]); err != nil {
		return 0, err
	}
	p.used++
	return b[0], nil
}

// readLine returns the next line without its end.
func (p *performance) readLine() ([]byte, error) {
	line, err := p.in.ReadLine()
	if err != nil {
		return nil, err
	}
	p.used += int64(len(line))
	return rio.Trim(line), nil
}

func (p *performance) send(s string) error {
	_, err := p.x.Write([]byte(s))
	return err
}

func (p *performance) close() error { return p.x.finishSending() }

func (p *performance) expectText(f *finder) error {
	for state := 0; state < len(f.text); {
		b, err := p.read()
		if err != nil {
			return err
		}
		state = f.next(state, b)
	}
	return nil
}

func (p *performance) expectLine(re *regexp.Regexp) error {
	for {
		line, err := p.readLine()
		if err != nil {
			return err
		}
		if re.Match(line) {
			return nil
		}
	}
}

func (p *performance) expectEOF() error {
	for {
		if _, err := p.readLine(); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
	}
}

func (p *performance) nextText(text string) error {
	for i := range len(text) {
		offset := p.used
		b, err := p.read()
		if err != nil {
			return err
		}
		if b != text[i] {
			return &MismatchError{Offset: offset, Want: text[i], Got: b}
		}
	}
	return nil
}

func (p *performance) nextLine(re *regexp.Regexp) error {
	line, err := p.readLine()
	if err != nil || re.Match(line) {
		return err
	}
	return &LineError{Pattern: re.String(), Line: append([]byte(nil), line[:min(len(line), shownBytes)]...)}
}

func (p *performance) nextEOF() error {
	var b [shownBytes]byte
	n, err := p.in.Read(b[:])
	if err == io.EOF {
		return nil
	} else if err != nil {
		return err
	}
	return newExtra(p.used, b[:n])
}

// A finder finds a text in a stream, in memory that does not depend on the stream
// (Knuth, Morris, Pratt).
type finder struct {
	text string
	back []int // back[n]: what is still a match when byte n does not
}

func newFinder(text string) *finder {
	f := &finder{text, make([]int, len(text))}
	for i := 1; i < len(text); i++ {
		n := f.back[i-1]
		if i > 1 {
			n = f.next(n, text[i-1])
		}
		f.back[i] = n
	}
	return f
}

// next returns how much of the text is matched when b follows where state bytes were.
func (f *finder) next(state int, b byte) int {
	for {
		if f.text[state] == b {
			return state + 1
		}
		if state == 0 {
			return 0
		}
		state = f.back[state]
	}
}
