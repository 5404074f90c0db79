package engine

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"time"

	"yodel"
	"yodel/trace"
)

// Do is what an engine should do next for a connection: a set of the bits below.
type Do uint8

// The bits of Do. With none of them set the connection waits for its Deadline.
const (
	Read  Do = 1 << iota // read; then call Received, Ended or Failed
	Write                // send Pending; then call Sent or Failed
	Shut                 // end our direction (half-close); then call ShutDone or Failed
	Close                // close the socket; the Core is over
	Abort                // with Close: by a reset, so that the kernel keeps nothing
)

// state is where a connection stands; it only ever grows.
type state uint8

const (
	unborn    state = iota
	talking         // the session is asked
	flushing        // the session has ended; its output goes out
	shutting        // all is out; our direction is to be ended
	lingering       // waiting, briefly, for the peer to end its direction
	over            // to be closed
)

// Core is one connection as a pure state machine: its session, its bounded
// buffers, its limits and deadlines. It does no I/O and reads no clock; every
// method that takes now must be given a time that does not go back.
//
// The engine calls Start once. Then, until Next says Close: it does what Next
// says, tells what came of it, and calls Tick when the time of Deadline has come.
// A Core is not safe for concurrent use.
type Core struct {
	// What each message touches is in one cache line.

	sh   *Shared
	sess yodel.Session
	work *work // nil: at rest; sh lends one when there is something to do

	moved             time.Duration // when bytes last went either way, or when lingering began; times are since sh.base
	bytesIn, bytesOut int64

	state    state
	reason   Reason
	ended    bool // the peer has ended its direction
	full     bool // the output has reached its mark and not yet sunk to half of it
	stopping bool // Drain was called
	abort    bool // close by a reset
	wired    bool // Moved is called for what is sent, by a layer below
	lending  bool // what is being received stays where it is, until Own is called

	id    trace.ConnID
	began time.Duration
	err   *error // nil: an end without one
}

// work is what a connection needs only while something is under way: a wish to be
// woken, output that is pending, input that the session has not used, and their clocks.
type work struct {
	out yodel.Out
	in  []byte // input that the session has not used

	// Times are since Shared.base; 0: not running.
	asked time.Duration // when the first byte of the unfinished message came
	held  time.Duration // since when output is pending
	rated time.Duration // when the present window of MinRate began

	rateBytes int // sent in the present window

	body      bool // the unfinished message is taken in pieces: asked is when the window of bodyBytes began
	bodyBytes int  // received in that window
}

// atRest reports whether the connection is between two messages.
func (w *work) atRest() bool {
	return w.out.Len() == 0 && len(w.in) == 0 && !w.out.IsReceiving()
}

// Start opens the session and steps it for the first time.
func (c *Core) Start(sh *Shared, peer yodel.Peer, id trace.ConnID, now time.Time) {
	*c = Core{sh: sh, id: id, state: talking}
	c.began = sh.since(now)
	c.moved = c.began
	sh.count.active.Add(1)
	if c.open(peer); c.state == talking {
		c.pump(yodel.Open, nil, c.began, now)
	}
}

func (c *Core) open(peer yodel.Peer) {
	defer c.rescue()
	c.sess = c.sh.svc.Open(peer)
}

// Next returns what to do now.
func (c *Core) Next() Do {
	var do Do
	if c.state <= flushing && c.pending() > 0 {
		do |= Write
	}
	switch {
	case c.state == over && c.abort:
		return Close | Abort
	case c.state == over:
		return Close
	case c.state == shutting:
		do |= Shut
	case c.state == talking && !c.full && !c.ended, c.state == lingering:
		do |= Read
	}
	return do
}

// Pending returns the bytes to send next. The slice is valid until the next call
// of any other method.
func (c *Core) Pending() []byte {
	if c.work == nil {
		return nil
	}
	return c.work.out.Pending()
}

// pending returns how many bytes are to be sent.
func (c *Core) pending() int {
	if c.work == nil {
		return 0
	}
	return c.work.out.Len()
}

// unused returns the input that the session has not used.
func (c *Core) unused() []byte {
	if c.work == nil {
		return nil
	}
	return c.work.in
}

// Resting reports whether the connection waits for its peer and for nothing else: its
// Deadline is then the one of Config.Idle, which every byte puts off, so an engine that
// has armed it need not ask again.
func (c *Core) Resting() bool { return c.work == nil && c.state == talking && !c.stopping }

// Received tells that p was read. p is lent: it is not kept.
func (c *Core) Received(p []byte, now time.Time) {
	if len(p) == 0 || c.state == over {
		return
	}
	t := c.sh.since(now)
	c.countIn(len(p), t, now)
	if c.state != talking {
		c.sh.count.unread.Add(int64(len(p)))
		return
	}
	data := p
	if w := c.work; w != nil && (len(w.in) > 0 || c.full) {
		w.in = append(w.in, p...)
		data = w.in
	}
	if !c.full { // bytes that were on their way when the mark was reached wait
		c.pump(yodel.Data, data, t, now)
	}
}

// ReceivedLent is Received for an engine that lends p for longer: until it has called
// Own, which it may leave if nothing is pending. Till then Pending may be p.
func (c *Core) ReceivedLent(p []byte, now time.Time) {
	c.lending = true
	c.Received(p, now)
	c.lending = false
}

// Own copies what is pending, if it is what was lent.
func (c *Core) Own() {
	if c.work != nil {
		c.work.out.Own()
	}
}

func (c *Core) countIn(n int, t time.Duration, now time.Time) {
	first := c.bytesIn == 0
	c.bytesIn += int64(n)
	if c.work != nil {
		c.work.bodyBytes += n
	}
	c.touch(t)
	c.sh.count.bytesIn.Add(int64(n))
	if c.sh.sink != nil && (first || c.sh.each) {
		c.emit(trace.Read, n, now)
	}
}

// touch notes that bytes went either way. Lingering is not put off by that.
func (c *Core) touch(t time.Duration) {
	if c.state != lingering {
		c.moved = t
	}
}

// Ended tells that the peer has ended its direction (a read returned 0, or
// io.EOF).
func (c *Core) Ended(now time.Time) {
	if c.ended || c.state == over {
		return
	}
	c.ended = true
	if c.sh.sink != nil {
		c.emit(trace.EOF, 0, now)
	}
	switch {
	case c.state == lingering:
		c.state = over
	case c.state == talking && !c.full:
		c.pump(yodel.EOF, c.unused(), c.sh.since(now), now)
	}
}

// Sent tells that the first n bytes of Pending were sent; 0 is allowed.
func (c *Core) Sent(n int, now time.Time) {
	if n == 0 {
		return
	}
	w, t := c.work, c.sh.since(now)
	c.countOut(n, now)
	w.out.Sent(n)
	if !c.wired {
		c.wentOut(n, t)
	}
	left := w.out.Len()
	if left == 0 {
		w.released(t)
	}
	switch {
	case c.state == flushing && left == 0:
		c.flushed()
	case c.state == talking && c.full && left <= w.out.Mark()/2:
		c.full = false
		c.pump(yodel.Room, w.in, t, now)
	case left == 0:
		c.rest()
	}
}

func (c *Core) countOut(n int, now time.Time) {
	first := c.bytesOut == 0
	c.bytesOut += int64(n)
	c.sh.count.bytesOut.Add(int64(n))
	if c.sh.sink != nil && (first || c.sh.each) {
		c.emit(trace.Write, n, now)
	}
}

// released is called when no output is pending any more. An unfinished message is
// given back the time that passed meanwhile, in which an engine may not have read.
func (w *work) released(t time.Duration) {
	if w.asked != 0 {
		w.asked += t - max(w.held, w.asked)
	}
	w.held, w.rated = 0, 0
}

// Moved tells that a layer below, TLS, has sent n bytes of what was handed to it,
// while Sent can't tell yet; 0 is allowed. An engine with such a layer calls CountWire once
// first; others need not know of it.
func (c *Core) Moved(n int, now time.Time) {
	if n > 0 {
		c.wentOut(n, c.sh.since(now))
	}
}

func (c *Core) wentOut(n int, t time.Duration) {
	c.touch(t)
	if c.work != nil {
		c.work.rateBytes += n
	}
}

// CountWire says that Moved, and not Sent, tells how fast the peer takes what is
// sent.
func (c *Core) CountWire() { c.wired = true }

// ShutDone tells that our direction was ended.
func (c *Core) ShutDone(now time.Time) {
	if c.state != shutting {
		return
	}
	if c.sh.sink != nil {
		c.emit(trace.Shutdown, 0, now)
	}
	c.state, c.moved = lingering, c.sh.since(now)
	if c.ended || c.sh.linger == 0 {
		c.state = over
	}
}

// NoHalfClose tells that our direction can't be ended without the peer's: closing is
// then all that can be done.
func (c *Core) NoHalfClose() {
	if c.state == shutting {
		c.state = over
	}
}

// Failed tells that reading, writing or shutting failed. A peer that went away is
// a normal end.
func (c *Core) Failed(err error, now time.Time) {
	reason := ReasonOf(err)
	if c.state == lingering {
		reason = c.reason // all had been said
	}
	c.end(reason, err)
	c.state = over
}

// ReasonOf returns how a connection ends whose I/O failed with err.
func ReasonOf(err error) Reason {
	var mistake *yodel.PeerError
	switch {
	case errors.As(err, &mistake):
		return PeerMistake
	case errors.Is(err, os.ErrDeadlineExceeded):
		return Vanished
	case errors.Is(err, io.ErrClosedPipe), errors.Is(err, io.ErrUnexpectedEOF):
		return Reset
	}
	switch trace.EndOf(err) {
	case trace.EndReset:
		return Reset
	case trace.EndVanished:
		return Vanished
	}
	return Fault
}

// Drain asks the connection to end once it has been at rest for Config.Quiet.
func (c *Core) Drain(now time.Time) {
	c.stopping = true
	c.Tick(now)
}

// Cut ends the connection at once, by a reset.
func (c *Core) Cut(reason Reason) {
	c.end(reason, nil)
	c.state, c.abort = over, true
}

// end notes how the connection ended: the first reason given counts.
func (c *Core) end(reason Reason, err error) {
	if c.reason == None {
		c.reason = reason
		if err != nil {
			kept := err
			c.err = &kept
		}
	}
	if c.state < flushing {
		c.state = flushing
	}
}

// pump steps the session while it uses what it is offered. data is all unused
// input: work.in, or lent.
func (c *Core) pump(kind yodel.Kind, data []byte, t time.Duration, now time.Time) {
	if c.work == nil {
		c.work = c.sh.lend()
	}
	if c.ended && kind != yodel.Tick {
		kind = yodel.EOF
	}
	out, usedAny := &c.work.out, false
	if c.lending {
		out.Lend(data)
	}
	for {
		used := c.step(yodel.Input{Kind: kind, Now: now, Data: data})
		data = data[used:]
		usedAny = usedAny || used > 0
		if c.state != talking {
			break
		}
		if c.full = out.Len() >= out.Mark(); c.full {
			break
		}
		if used == 0 || len(data) == 0 && !c.ended {
			break
		}
		kind = yodel.Data
		if c.ended {
			kind = yodel.EOF
		}
	}
	out.Lend(nil)
	c.work.keep(data)
	c.settle(usedAny, t)
}

// keep stores what the session has not used. At rest the buffer is given back, so it is
// dropped here only if the connection waits to be woken.
func (w *work) keep(rest []byte) {
	if len(rest) > 0 {
		w.in = append(w.in[:0], rest...)
		return
	}
	w.in = w.in[:0]
	if cap(w.in) > 4<<10 && !w.out.Wake().IsZero() {
		w.in = nil
	}
}

// settle sets the clocks after the session was stepped.
func (c *Core) settle(usedAny bool, t time.Duration) {
	w := c.work
	c.clockMessage(usedAny, t)
	left := w.out.Len()
	if left > 0 && w.held == 0 {
		w.held, w.rated, w.rateBytes = t, t, 0
	}
	if c.state == talking && !c.full && len(w.in) > c.sh.maxInput {
		c.end(LongMessage, nil)
		c.state = over
	}
	if left > 0 {
		return
	}
	if c.state == flushing {
		c.flushed()
	}
	c.rest()
}

// clockMessage sets the clock of the unfinished message, if there is one.
func (c *Core) clockMessage(usedAny bool, t time.Duration) {
	w := c.work
	body := w.out.IsReceiving()
	switch {
	case c.state != talking || len(w.in) == 0 && !body || c.full || c.ended:
		w.asked = 0
	case body && w.body && w.asked != 0: // its window goes on
	case usedAny || w.asked == 0 || body != w.body:
		w.asked, w.bodyBytes = t, 0
	}
	w.body = body
}

// rest gives the work back if nothing is under way.
func (c *Core) rest() {
	if w := c.work; c.state == talking && w.atRest() && w.out.Wake().IsZero() {
		c.sh.giveBack(w)
		c.work = nil
	}
}

// flushed is called when the session has ended and its output is out.
func (c *Core) flushed() {
	c.state = shutting
	if c.ended {
		c.state = over // closing sends our FIN; there is nothing to wait for
	}
}

// step runs the session once and returns how many bytes it used.
func (c *Core) step(in yodel.Input) (used int) {
	defer c.rescue()
	n, err := c.sess.Step(in, &c.work.out)
	if n < 0 || n > len(in.Data) {
		c.fail(fmt.Errorf("session used %d of %d bytes", n, len(in.Data)))
		return 0
	}
	if lengths := c.work.out.TakeHeard(); len(lengths) > 0 {
		c.heard(lengths, in.Now)
	}
	if c.sh.poison {
		c.work.out.Own()
		for i := range in.Data[:n] {
			in.Data[i] = 0xDB
		}
	}
	if err != nil {
		c.sessionEnd(err)
	}
	return n
}

func (c *Core) heard(lengths []int, now time.Time) {
	c.sh.count.messages.Add(int64(len(lengths)))
	if c.sh.sink == nil {
		return
	}
	for _, n := range lengths {
		c.emit(trace.Message, n, now)
	}
}

func (c *Core) sessionEnd(err error) {
	var mistake *yodel.PeerError
	switch {
	case err == io.EOF && c.ended:
		c.end(Peer, nil)
	case err == io.EOF:
		c.end(Done, nil)
	case errors.As(err, &mistake):
		c.end(PeerMistake, err)
	default:
		c.fail(err)
	}
}

// fail ends the connection at once for a fault of our own.
func (c *Core) fail(err error) {
	c.end(Fault, err)
	c.state = over
}

// A PanicError is a panic of a handler's.
type PanicError struct {
	Value any
	Stack []byte
}

// Error returns the panic's value; the stack is apart.
func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v", e.Value) }

func (c *Core) rescue() {
	if v := recover(); v != nil {
		c.end(Panic, &PanicError{Value: v, Stack: debug.Stack()})
		c.state = over
	}
}

// emit is called only when there is a sink.
func (c *Core) emit(op trace.Op, n int, now time.Time) {
	c.sh.sink.Emit(&trace.Event{
		Conn: c.id, Op: op, Side: trace.Server, Time: now, Service: c.sh.name,
		Bytes: n, In: c.bytesIn, Out: c.bytesOut,
	})
}
