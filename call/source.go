package call

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"yodel/rio"
)

// MaxDatagram is the most bytes that a UDP datagram over IPv4 carries: 65,535 less the
// headers (RFC 768, RFC 791 §3.1).
const MaxDatagram = 65507

// A source hands out what is to be sent, piece by piece. What it reads from may block
// for ever, so that is done on a goroutine of its own, and who waits for a piece can
// stop waiting. It reads only when it is asked to: a prompt appears when it is due,
// and nothing is read that is not wanted.
type source struct {
	from any // what is read from
	ask  chan struct{}
	got  chan piece    // has room for one, so that an abandoned read can end
	done chan struct{} // closed when the goroutine has ended
}

type piece struct {
	data []byte
	err  error
}

// newSource returns a source of what read returns: data, or an error, io.EOF at the
// end, or both. The data must be valid until the next call. stop must follow.
func newSource(from any, read func() ([]byte, error)) *source {
	s := &source{
		from: from,
		ask:  make(chan struct{}),
		got:  make(chan piece, 1),
		done: make(chan struct{}),
	}
	go func() {
		defer close(s.done)
		for range s.ask {
			data, err := read()
			s.got <- piece{data, err}
		}
	}()
	return s
}

// next returns the next piece, or the cause of ctx if that ends before. After that it
// must not be called again.
func (s *source) next(ctx context.Context) ([]byte, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	s.ask <- struct{}{}
	select {
	case p := <-s.got:
		return p.data, p.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// stop ends the goroutine: at once if no read is under way, or if what is read from
// can be told to stop; else when the read returns.
func (s *source) stop() {
	close(s.ask)
	from, ok := s.from.(interface{ SetReadDeadline(time.Time) error })
	if ok && from.SetReadDeadline(longAgo) == nil {
		<-s.done
		from.SetReadDeadline(time.Time{})
	}
}

// byteSource hands out the bytes of in as they come.
func byteSource(in io.Reader) *source {
	buf := make([]byte, chunkSize)
	return newSource(in, func() ([]byte, error) {
		n, err := in.Read(buf)
		return buf[:n], err
	})
}

// typedSource hands out lines, each with its newline.
func typedSource(lines Lines) *source {
	var from any = lines
	if l, ok := lines.(*lineReader); ok {
		from = l.src
	}
	return newSource(from, func() ([]byte, error) {
		line, err := lines.ReadLine()
		if err == nil {
			line += "\n"
		}
		return []byte(line), err
	})
}

// datagramSource hands out the lines of in, which must fit into datagrams.
func datagramSource(in io.Reader) *source {
	lines, n := rio.NewReader(in, MaxDatagram, rio.RefuseLong), 0
	return newSource(in, func() ([]byte, error) {
		n++
		line, err := lines.ReadLine()
		if errors.Is(err, rio.ErrTooLong) {
			err = fmt.Errorf("line %d is too long for a datagram, which carries at most %d bytes", n, MaxDatagram)
		}
		return line, err
	})
}
