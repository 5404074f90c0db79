package sock

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"time"
)

// ErrOutrun is the error of an attempt to connect that was given up because
// another address had answered first.
var ErrOutrun = errors.New("given up: another address answered first")

// attemptDelay is the time from one attempt to the next (RFC 8305 §5).
const attemptDelay = 250 * time.Millisecond

// maxTargets bounds how many addresses are tried: a name server may send thousands.
const maxTargets = 16

// interleave orders addresses so that the families take turns, beginning with that
// of the first (RFC 8305 §4). Within a family the resolver's order stays: it is
// that of RFC 6724.
func interleave(addrs []netip.Addr) []netip.Addr {
	var first, second []netip.Addr
	for _, a := range addrs {
		if a.Is4() == addrs[0].Is4() {
			first = append(first, a)
		} else {
			second = append(second, a)
		}
	}
	mixed := make([]netip.Addr, 0, len(addrs))
	for len(first) > 0 && len(second) > 0 {
		mixed = append(mixed, first[0], second[0])
		first, second = first[1:], second[1:]
	}
	return append(append(mixed, first...), second...)
}

type connectFunc func(context.Context, netip.AddrPort) (net.Conn, error)

// race tries the targets (RFC 8305 §5) and returns the first connection, nil if
// there is none, and the attempts that were begun. When it returns all of them have
// ended and all connections but one are closed.
func race(ctx context.Context, targets []netip.AddrPort, connect connectFunc) (net.Conn, []Attempt) {
	if len(targets) == 1 { // nothing to race: no goroutine either
		began := time.Now()
		c, err := connect(ctx, targets[0])
		return c, []Attempt{{Addr: targets[0], Took: time.Since(began), Err: err}}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	r := &runner{
		ctx: ctx, giveUp: func() { cancel(ErrOutrun) }, connect: connect,
		left: targets, results: make(chan result),
	}
	r.start()
	timer := time.NewTimer(attemptDelay)
	defer timer.Stop()
	for r.running > 0 {
		select {
		case <-timer.C:
		case end := <-r.results:
			r.finish(end)
		}
		r.start()
		timer.Reset(attemptDelay)
	}
	return r.winner, r.attempts
}

// A runner is the state of one race. One goroutine owns it; the attempts only send
// their results.
type runner struct {
	ctx      context.Context
	giveUp   func()
	connect  connectFunc
	left     []netip.AddrPort // not tried yet
	attempts []Attempt
	running  int
	results  chan result
	winner   net.Conn
}

type result struct {
	index int
	conn  net.Conn
	took  time.Duration
	err   error
}

// start begins the next attempt, if there is one left and it may still be of use.
func (r *runner) start() {
	if len(r.left) == 0 || r.winner != nil || r.ctx.Err() != nil && len(r.attempts) > 0 {
		return
	}
	target, index := r.left[0], len(r.attempts)
	r.left = r.left[1:]
	r.attempts = append(r.attempts, Attempt{Addr: target})
	r.running++
	go func() {
		began := time.Now()
		c, err := r.connect(r.ctx, target)
		r.results <- result{index, c, time.Since(began), err}
	}()
}

// finish notes how an attempt ended.
func (r *runner) finish(end result) {
	r.running--
	a := &r.attempts[end.index]
	a.Took, a.Err = end.took, outrun(r.ctx, end.err)
	switch {
	case end.err != nil:
	case r.winner == nil:
		r.winner = end.conn
		r.giveUp()
	default: // it answered too, but later
		end.conn.Close()
		a.Err = ErrOutrun
	}
}

// outrun returns ErrOutrun in place of the error of an attempt that was given up.
func outrun(ctx context.Context, err error) error {
	if errors.Is(err, context.Canceled) && context.Cause(ctx) == ErrOutrun {
		return ErrOutrun
	}
	return err
}
