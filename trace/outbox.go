package trace

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

const (
	outboxFull = 1 << 20               // bytes that may wait; what comes on top is lost
	outboxHigh = 768 << 10             // from here on, one who has more waits for the writing to catch up,
	patience   = 50 * time.Millisecond // but no longer than this, and not again until it has

	outboxSoon = 32 << 10 // bytes that are written without further delay

	lineMax = outboxFull - outboxHigh // bytes: there is always room for one, if w keeps up
)

var (
	errSinkClosed = errors.New("the sink is closed")
	errLineLong   = fmt.Errorf("longer than %d bytes", lineMax)
	errSinkSlow   = errors.New("they came faster than they could be written")
)

// outbox holds lines on their way to w and writes them on a goroutine of its own,
// so that a slow w holds up nobody for long: a terminal that someone has stopped, a
// pipe that nobody reads. Lines that it cannot keep or write are counted, and told in w itself
// as soon as w takes lines again.
//
// Its memory is bounded by twice outboxFull. It has no goroutine while it is empty.
type outbox struct {
	w      io.Writer
	delay  time.Duration // from the first line that waits to the write
	notice noticeFunc

	mu      sync.Mutex
	changed sync.Cond   // on mu: writing became false, buf became empty, stuck became true
	buf     []byte      // whole lines that wait
	spare   []byte      // the other buffer, while not writing
	timer   *time.Timer // calls flush
	armed   bool        // the timer runs, or its flush is about to begin
	writing bool
	stuck   bool        // patience is over: nobody waits until w has taken what it was given
	limit   *time.Timer // sets stuck; nil while nobody waits
	torn    bool        // w ends in a piece of a line
	closed  bool

	lost   int64 // lines, ever
	untold int64 // those that w does not tell of yet
	why    error // why the last of them was lost
}

// A noticeFunc appends a line that tells how many were lost, and why.
type noticeFunc func(dst []byte, lost int64, why error) []byte

func (o *outbox) init(w io.Writer, delay time.Duration, notice noticeFunc) {
	o.w, o.delay, o.notice = w, delay, notice
	o.changed.L = &o.mu
}

// begin locks o and returns the buffer to append one line to. end must follow.
func (o *outbox) begin() []byte {
	o.mu.Lock()
	for len(o.buf) >= outboxHigh && !o.stuck {
		if o.limit == nil {
			o.limit = time.AfterFunc(patience, o.giveUp)
		}
		o.changed.Wait()
	}
	return o.buf
}

func (o *outbox) giveUp() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.limit != nil {
		o.limit, o.stuck = nil, true
		o.changed.Broadcast()
	}
}

// end takes what begin returned, with a line appended, and unlocks.
func (o *outbox) end(buf []byte) {
	defer o.mu.Unlock()
	switch {
	case o.closed:
		o.lose(1, errSinkClosed)
		return
	case len(buf)-len(o.buf) > lineMax:
		o.lose(1, errLineLong)
		return
	case len(buf) > outboxFull:
		o.lose(1, errSinkSlow)
		return
	}
	crossed := len(o.buf) < outboxSoon && len(buf) >= outboxSoon
	o.buf = buf
	switch {
	case crossed:
		o.arm(0)
	case !o.armed:
		o.arm(o.delay)
	}
}

// arm has the lines written after delay.
func (o *outbox) arm(delay time.Duration) {
	o.armed = true
	if o.timer == nil {
		o.timer = time.AfterFunc(delay, o.flush)
		return
	}
	o.timer.Reset(delay)
}

func (o *outbox) lose(lines int64, why error) {
	if lines == 0 {
		return
	}
	o.lost += lines
	o.untold += lines
	o.why = why
}

// flush writes all lines that wait, and returns when they are written.
func (o *outbox) flush() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for o.writing {
		o.changed.Wait()
	}
	o.armed = false
	batch := o.buf
	if len(batch) == 0 && o.untold == 0 {
		return
	}
	o.buf, o.spare, o.writing = o.spare[:0], nil, true
	if o.stuck = false; o.limit != nil {
		o.limit.Stop()
		o.limit = nil
	}
	o.changed.Broadcast()
	if err := o.writeHead(); err != nil {
		o.lose(int64(bytes.Count(batch, newline)), err)
	} else {
		n, err := o.write(batch)
		o.lose(unwritten(batch[n:]), err)
	}
	o.spare, o.writing = batch, false
	o.changed.Broadcast()
}

// writeHead writes what must come before the next line: the end of a torn one, and
// the notice about lost ones.
func (o *outbox) writeHead() error {
	var head []byte
	if o.torn {
		head = append(head, '\n')
	}
	told := o.untold
	if told > 0 {
		head = o.notice(head, told, o.why)
	}
	n, err := o.write(head)
	if unwritten(head[n:]) == 0 {
		o.untold -= told
	}
	return err
}

// write writes p to w, with mu unlocked meanwhile. It is called with writing set.
func (o *outbox) write(p []byte) (n int, err error) {
	if len(p) == 0 {
		return 0, nil
	}
	o.mu.Unlock()
	n, err = o.w.Write(p)
	o.mu.Lock()
	n = min(max(n, 0), len(p))
	if err == nil && n < len(p) {
		err = io.ErrShortWrite
	}
	if n > 0 {
		o.torn = p[n-1] != '\n'
	}
	return n, err
}

var newline = []byte{'\n'}

// unwritten returns how many lines are lost if rest was not written. One that lacks
// nothing but its newline is not: writeHead puts that in.
func unwritten(rest []byte) int64 {
	return int64(bytes.Count(bytes.TrimPrefix(rest, newline), newline))
}

// close writes what waits. Later lines are counted as lost. It returns what err
// does.
func (o *outbox) close() error {
	o.mu.Lock()
	o.closed = true
	if o.timer != nil {
		o.timer.Stop()
	}
	o.mu.Unlock()
	o.flush()
	return o.err()
}

// err returns what was lost so far; nil if nothing was.
func (o *outbox) err() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.lost == 0 {
		return nil
	}
	return fmt.Errorf("trace: %d events lost: %w", o.lost, o.why)
}

func (o *outbox) lostLines() int64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.lost
}
