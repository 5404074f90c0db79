package yodel

import "time"

// DefaultMark is the high-water mark of an Out whose mark was not set, in bytes.
const DefaultMark = 64 << 10

// Out collects what a Session wants: bytes to send, a time to be woken at,
// and how many messages it has heard.
//
// Writing never fails and never blocks; the mark is what bounds it. While the
// pending output is at the mark or above, the engine reads no input from the peer
// and does not call Step (a tick waits), so a session that answers what it hears
// needs no check of its own, and a generator writes while Room is positive.
//
// The zero value is ready to use.
type Out struct {
	buf   []byte // buf[off:] is pending
	off   int
	mark  int // 0: DefaultMark
	wake  time.Time
	heard []int
	body  bool

	lent  []byte // memory whose beginning may become buf, see Lend; nil: none
	taken bool   // buf is such memory, full to its capacity
	own   []byte // what buf was before
}

// Write appends p to the pending output. It returns len(p), nil.
func (o *Out) Write(p []byte) (int, error) {
	if o.lent == nil || !o.take(p) {
		o.buf = append(o.buf, p...)
	}
	return len(p), nil
}

// take makes p, if it is the beginning of what was lent, the pending output, of which
// there is none. p itself is not kept, so that what others write may be on their stack.
func (o *Out) take(p []byte) bool {
	n := len(p)
	if n == 0 || n > len(o.lent) || &p[0] != &o.lent[0] || o.Len() > 0 || o.taken {
		return false
	}
	o.own, o.taken = o.buf, true
	o.buf, o.off = o.lent[:n:n], 0
	return true
}

// WriteString is Write for a string.
func (o *Out) WriteString(s string) (int, error) {
	o.buf = append(o.buf, s...)
	return len(s), nil
}

// WriteByte appends one byte. It returns nil.
func (o *Out) WriteByte(b byte) error {
	o.buf = append(o.buf, b)
	return nil
}

// Extend appends n bytes and returns them for the session to fill before Step
// returns. Their contents are not defined before that.
func (o *Out) Extend(n int) []byte {
	at := len(o.buf)
	if cap(o.buf)-at < n {
		o.buf = append(o.buf, make([]byte, n)...)
	} else {
		o.buf = o.buf[:at+n]
	}
	return o.buf[at:]
}

// Room returns how many bytes may still be written before the output reaches its
// mark; 0 when it has. A Step may write past the mark: the mark says when to stop.
func (o *Out) Room() int {
	if o.Len() == 0 {
		return max(o.Mark(), len(o.lent)) // all that is lent may come back
	}
	return max(o.Mark()-o.Len(), 0)
}

// WakeAt asks for a Tick at t or shortly after. A later call replaces an earlier
// one; the zero time cancels. The wish is gone once the Tick has come.
func (o *Out) WakeAt(t time.Time) { o.wake = t }

// Heard reports that the session has taken one whole message of n bytes: a line, a
// command. The engine counts it and writes it to the trace.
func (o *Out) Heard(n int) { o.heard = append(o.heard, n) }

// Receiving says, once, that from now on the session takes a message piece by piece
// (on), or that the message is whole (not on). In between the peer must send at least
// at the engine's least rate instead of having a time for the whole message, and at
// shutdown the rest is waited for. A session that leaves an unfinished message unused
// needs none of this.
func (o *Out) Receiving(on bool) { o.body = on }

// What follows is for those who run sessions: engines and tests.

// SetMark sets the high-water mark in bytes; 0 means DefaultMark.
func (o *Out) SetMark(n int) { o.mark = n }

// Mark returns the high-water mark in bytes.
func (o *Out) Mark() int {
	if o.mark == 0 {
		return DefaultMark
	}
	return o.mark
}

// Len returns the number of pending bytes.
func (o *Out) Len() int { return len(o.buf) - o.off }

// Pending returns the bytes to send next. The slice is valid until the next Step,
// Sent or Reset.
func (o *Out) Pending() []byte { return o.buf[o.off:] }

// Sent tells that the first n pending bytes were sent. It panics if there are
// fewer.
func (o *Out) Sent(n int) {
	if n < 0 || n > o.Len() {
		panic("yodel: Out.Sent of more than is pending")
	}
	o.off += n
	switch {
	case o.off == len(o.buf):
		o.giveUp()
		o.buf, o.off = o.buf[:0], 0
	case o.taken: // it is not ours to change
	case o.off >= len(o.buf)-o.off: // moving the rest costs less than what was sent
		o.buf = o.buf[:copy(o.buf, o.buf[o.off:])]
		o.off = 0
	}
}

// Cap returns how many bytes the buffer has.
func (o *Out) Cap() int { return cap(o.buf) }

// Wake returns the time asked for with WakeAt; zero if none is.
func (o *Out) Wake() time.Time { return o.wake }

// TakeHeard returns the lengths of the messages heard since the last call. The
// slice is valid until the next Step.
func (o *Out) TakeHeard() []int {
	h := o.heard
	o.heard = o.heard[:0]
	return h
}

// IsReceiving returns what was last said with Receiving.
func (o *Out) IsReceiving() bool { return o.body }

// Lend lets a Write of p, or of its beginning, keep p itself instead of a copy, if
// nothing is pending then: an answer that is what was heard, as echo's, is then sent
// from where it was received. Till then there is Room for all of it, too. It holds until
// Lend is called with nil; what was kept is kept until it is sent or Own is called.
func (o *Out) Lend(p []byte) {
	o.lent = p
}

// Own copies what is pending if it is memory that was lent.
func (o *Out) Own() {
	if o.taken {
		rest := o.buf[o.off:]
		o.giveUp()
		o.buf, o.off = append(o.buf[:0], rest...), 0
	}
}

// giveUp gives memory that was lent up, and what is in it.
func (o *Out) giveUp() {
	if o.taken {
		o.buf, o.own, o.taken = o.own, nil, false
	}
}

// Reset drops all that is pending and lends buf (its capacity; it may be nil) to
// hold what comes next. It returns the buffer used until then, so that an idle
// connection need not keep one.
func (o *Out) Reset(buf []byte) (old []byte) {
	o.giveUp()
	old = o.buf[:0]
	o.buf, o.off = buf[:0], 0
	return old
}
