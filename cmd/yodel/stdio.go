package main

import (
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// stdio is the connection that two streams make, one from the peer and one to it:
// standard input and output, where these are pipes. Not every file has deadlines, so
// each direction has a goroutine that does one call at a time, and who is tired of
// waiting for it leaves: the call goes on, and the next Read or Write takes its result.
//
// A Write after one that timed out must therefore offer again what that did not count,
// as engines do.
type stdio struct {
	in, out  *lane
	rest     []byte // read and not yet taken; for who has the turn of in
	closeOut func() error
	closed   chan struct{}

	closing, shutting sync.Once
	shutErr           error
}

var _ net.Conn = (*stdio)(nil)

// pieceSize is how many bytes one call moves. A pipe takes that many whole or not at
// all (PIPE_BUF, pipe(7)): what a Write has not counted nobody has got, but for one
// piece whose call is still under way.
const pieceSize = 4096

// newStdio returns the connection. closeOut ends the direction to the peer.
func newStdio(in io.Reader, out io.Writer, closeOut func() error) *stdio {
	c := &stdio{closeOut: closeOut, closed: make(chan struct{})}
	c.in, c.out = newLane(in.Read, c.closed), newLane(out.Write, c.closed)
	return c
}

// Read implements net.Conn.
func (c *stdio) Read(p []byte) (int, error) {
	c.in.turn.Lock()
	defer c.in.turn.Unlock()
	if len(c.rest) == 0 && len(p) > 0 {
		n, err := c.in.call(min(len(p), pieceSize))
		if n == 0 {
			return 0, err
		}
		c.rest = c.in.buf[:n] // an error that came with it comes again
	}
	n := copy(p, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

// Write implements net.Conn.
func (c *stdio) Write(p []byte) (sum int, err error) {
	c.out.turn.Lock()
	defer c.out.turn.Unlock()
	for sum < len(p) && err == nil {
		size := 0
		if !c.out.busy {
			size = copy(c.out.buf, p[sum:])
		}
		n := 0
		n, err = c.out.call(size)
		sum += n
	}
	return sum, err
}

// CloseWrite ends our direction.
func (c *stdio) CloseWrite() error {
	c.shutting.Do(func() { c.shutErr = c.closeOut() })
	return c.shutErr
}

// Close implements net.Conn. A call that is under way may stay so.
func (c *stdio) Close() error {
	c.closing.Do(func() { close(c.closed) })
	return c.CloseWrite()
}

// SetDeadline implements net.Conn.
func (c *stdio) SetDeadline(t time.Time) error {
	c.in.alarm.set(t)
	c.out.alarm.set(t)
	return nil
}

// SetReadDeadline implements net.Conn.
func (c *stdio) SetReadDeadline(t time.Time) error {
	c.in.alarm.set(t)
	return nil
}

// SetWriteDeadline implements net.Conn.
func (c *stdio) SetWriteDeadline(t time.Time) error {
	c.out.alarm.set(t)
	return nil
}

// LocalAddr implements net.Conn.
func (c *stdio) LocalAddr() net.Addr { return stdioAddr{} }

// RemoteAddr implements net.Conn.
func (c *stdio) RemoteAddr() net.Addr { return stdioAddr{} }

// stdioAddr is the address of both ends of a stdio.
type stdioAddr struct{}

// Network returns "pipe".
func (stdioAddr) Network() string { return "pipe" }

// String implements net.Addr.
func (stdioAddr) String() string { return "standard input and output" }

// lane is one direction of a stdio: it does one call at a time. busy and err are for
// who has the turn, and so is buf while no call is under way.
type lane struct {
	turn    sync.Mutex
	buf     []byte
	busy    bool       // a call is under way
	err     error      // how the stream has ended
	calls   chan int   // how many bytes of buf
	results chan moved // has room for one
	alarm   alarm
	closed  <-chan struct{}
}

// moved is what a call has done.
type moved struct {
	n   int
	err error
}

// newLane returns a lane whose calls are do's, until closed is closed.
func newLane(do func([]byte) (int, error), closed <-chan struct{}) *lane {
	l := &lane{
		buf: make([]byte, pieceSize), calls: make(chan int, 1), results: make(chan moved, 1),
		alarm: alarm{bell: make(chan struct{})}, closed: closed,
	}
	go l.work(do)
	return l
}

func (l *lane) work(do func([]byte) (int, error)) {
	for {
		select {
		case size := <-l.calls:
			n, err := do(l.buf[:size])
			l.results <- moved{n, err}
		case <-l.closed:
			return
		}
	}
}

// call moves size bytes of buf, or takes the result of a call that is under way.
func (l *lane) call(size int) (int, error) {
	bell := l.alarm.ring()
	select {
	case <-l.closed:
		return 0, net.ErrClosed
	case <-bell:
		return 0, os.ErrDeadlineExceeded
	default:
	}
	if l.err != nil {
		return 0, l.err
	}
	if !l.busy {
		l.busy = true
		l.calls <- size
	}
	select {
	case m := <-l.results:
		l.busy, l.err = false, m.err
		return m.n, m.err
	case <-l.closed:
		return 0, net.ErrClosed
	case <-bell:
		return 0, os.ErrDeadlineExceeded
	}
}

// alarm is a deadline.
type alarm struct {
	mu    sync.Mutex
	timer *time.Timer
	bell  chan struct{} // closed when the deadline has passed
	rung  bool          // it is closed
}

// ring returns a channel that is closed when the deadline passes, also one that is set
// later.
func (a *alarm) ring() <-chan struct{} {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.bell
}

// set sets the deadline; the zero time is none.
func (a *alarm) set(t time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.timer != nil {
		a.timer.Stop()
		a.timer = nil
	}
	if a.rung {
		a.bell, a.rung = make(chan struct{}), false
	}
	if t.IsZero() {
		return
	}
	if wait := time.Until(t); wait > 0 {
		a.start(wait)
		return
	}
	a.rung = true
	close(a.bell)
}

// start makes the bell ring after d, unless the deadline is set again before that.
func (a *alarm) start(d time.Duration) {
	var mine *time.Timer
	mine = time.AfterFunc(d, func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.timer == mine {
			a.rung = true
			close(a.bell)
		}
	})
	a.timer = mine
}
