package pcap

import (
	"context"
	"errors"
	"io"
	"time"
)

// DefaultPoll is how often [Follow] looks for more.
const DefaultPoll = 100 * time.Millisecond

// Follow returns a reader of what another program is still writing: where r ends, it
// waits for more, and looks again after each poll (0: [DefaultPoll]). When ctx is done it
// ends with io.EOF, so that a Reader hands out what is there.
//
// A file that is made shorter meanwhile, or is replaced by another one of its name, is
// not noticed.
func Follow(ctx context.Context, r io.Reader, poll time.Duration) io.Reader {
	if poll <= 0 {
		poll = DefaultPoll
	}
	return &follower{ctx, r, poll}
}

type follower struct {
	ctx  context.Context
	r    io.Reader
	poll time.Duration
}

// Read implements io.Reader.
func (f *follower) Read(p []byte) (int, error) {
	for {
		n, err := f.r.Read(p)
		if n > 0 || len(p) == 0 || err != nil && !errors.Is(err, io.EOF) {
			return n, drop(err, n)
		}
		if !f.wait() {
			return 0, io.EOF
		}
	}
}

// drop leaves an end away that came with bytes: there may be more behind it.
func drop(err error, n int) error {
	if n > 0 && errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// wait waits until it is time to look again; more is false when nobody wants to know.
func (f *follower) wait() (more bool) {
	timer := time.NewTimer(f.poll)
	defer timer.Stop()
	select {
	case <-f.ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
