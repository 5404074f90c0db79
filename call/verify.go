package call

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"
)

// Verified says how much Verify has found right.
type Verified struct {
	Sent  int64 // bytes that were sent
	Right int64 // bytes that came back as they had to
	Took  time.Duration
}

// String returns for example "12 bytes sent, 12 came back right, in 1.2ms".
func (v Verified) String() string {
	return fmt.Sprintf("%s sent, %d came back right, in %v", count(v.Sent, "byte"), v.Right, v.Took.Round(time.Microsecond))
}

// Verify sends in and checks, byte by byte, that the peer answers with the same, or
// with the same in upper case (Config.Upper). At the end of in it ends our direction;
// the peer must then end its own, so that nothing more can come. It sends and checks at
// the same time, at most one MiB ahead of the answers, and stops at the first byte that
// is wrong. A peer that answers only when it has heard more than that much stops the
// conversation, which then times out.
//
// Over datagrams each line is sent as in [Pipe], one at a time, and its answer, a
// datagram too, waited for.
//
// The error is a [*MismatchError], a [*LostError], an [*ExtraError], a
// [*TimeoutError], or one of [Pipe]'s. What was found right before is returned with it.
func Verify(ctx context.Context, conn net.Conn, in io.Reader, cfg *Config) (Verified, error) {
	x := begin(ctx, conn, cfg.clone(), checkTimeout)
	v := &verifier{sender: newSender(x, x.source(in)), window: newWindow(windowSize)}
	v.due = v.expect
	began := time.Now()
	var err error
	if x.packets {
		err = v.datagrams()
	} else {
		err = x.converse(v.sender, v.check, false)
	}
	err = x.end(v.explain(err))
	return Verified{Sent: x.sent.Load(), Right: v.right, Took: time.Since(began)}, err
}

type verifier struct {
	*sender
	window *window
	upper  []byte // the sender's own memory
	right  int64
}

// expect notes the answer to data, which is about to be sent.
func (v *verifier) expect(data []byte) error {
	return v.window.put(v.x.ctx, v.answerTo(data))
}

func (v *verifier) answerTo(data []byte) []byte {
	if !v.x.cfg.Upper {
		return data
	}
	v.upper = append(v.upper[:0], data...)
	for i, b := range v.upper {
		if 'a' <= b && b <= 'z' {
			v.upper[i] = b - 'a' + 'A'
		}
	}
	return v.upper
}

// check reads the answers until the peer's end.
func (v *verifier) check() error {
	buf := make([]byte, chunkSize)
	for {
		n, err := v.x.Read(buf)
		if err := v.compare(buf[:n]); err != nil {
			return err
		}
		switch {
		case err == io.EOF && v.window.end() > 0:
			return &LostError{}
		case err == io.EOF: // right so far; what is still to be sent will be lost
			return nil
		case err != nil:
			return err
		}
	}
}

func (v *verifier) compare(p []byte) error {
	equal, want, due := v.window.take(p)
	v.right += int64(equal)
	switch {
	case equal == len(p):
		return nil
	case due:
		return &MismatchError{Offset: v.right, Want: want, Got: p[equal]}
	}
	return newExtra(v.right, p[equal:])
}

// datagrams sends and checks one datagram after the other.
func (v *verifier) datagrams() error {
	defer v.src.stop()
	buf := make([]byte, chunkSize)
	for {
		data, err := v.src.next(v.x.ctx)
		if err := v.datagram(data, buf); err != nil {
			return err
		}
		switch {
		case err == io.EOF:
			v.ended = true
			return nil
		case v.x.ctx.Err() != nil:
			return context.Cause(v.x.ctx)
		case err != nil:
			return inputError(err)
		}
	}
}

// datagram sends data and checks the answer, for which it has buf.
func (v *verifier) datagram(data, buf []byte) error {
	if len(data) == 0 {
		return nil
	}
	if err := v.send(data); err != nil {
		return v.account(err)
	}
	wait := v.x.cfg.wait()
	n, err := v.x.readWithin(wait, buf)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return &LostError{Err: &TimeoutError{After: wait, Until: "no datagram came"}}
	}
	if err != nil {
		return v.account(err)
	}
	if err := v.compare(buf[:n]); err != nil {
		return err
	}
	if v.x.sent.Load() > v.right {
		return &LostError{Err: errShort}
	}
	return nil
}

var errShort = errors.New("the datagram was too short")

// explain adds to err what it cannot know.
func (v *verifier) explain(err error) error {
	left := max(v.x.sent.Load()+v.unsent-v.right, 0)
	switch e := err.(type) {
	case *LostError:
		e.Received, e.Missing = v.right, left
	case *TimeoutError:
		if left > 0 {
			return fmt.Errorf("%w; %s not answered", e, count(left, "byte"))
		}
		return fmt.Errorf("%w; all is right so far, but the peer has not ended its direction", e)
	}
	return err
}
