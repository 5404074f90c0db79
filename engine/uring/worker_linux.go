package uring

import (
	"runtime"
	"syscall"
	"time"

	"yodel/engine"
	"yodel/internal/loop"
)

const (
	// readSize is how much is read at once from a bulky connection, and bufferSize how much
	// from one that has filled that and been answered at once, see package epoll. What is
	// read goes into memory that a loop has once.
	readSize, bufferSize = 64 << 10, 256 << 10

	// leastBatch is how many must have something to send for it to be sent by requests.
	// Below, a system call for each is sooner done, and nothing has to be waited for.
	leastBatch = 4

	// quantum is how many calls a connection may make before others have their turn.
	quantum = 16

	// acceptQuantum is the same for accepting.
	acceptQuantum = 64
)

// worker is one event loop. But for Post, its methods are called on the goroutine that
// is in Run, which owns all of it.
type worker struct {
	*loop.RingLoop
	host   *engine.Evented
	shared *engine.Shared
	exact  bool             // events are recorded: each has its own time
	conns  loop.Table[conn] // by descriptor
	queues map[int32]*engine.Queue
	buf    []byte
	batch  []*conn // to be driven
	listed []int32 // from whom something has come
	sweep  loop.Timer
}

var _ engine.Worker = (*worker)(nil)

func newWorker(host *engine.Evented, sh *engine.Shared) (*worker, error) {
	l, err := loop.NewRing()
	if err != nil {
		return nil, err
	}
	return &worker{
		RingLoop: l, host: host, shared: sh, exact: sh.Traced(),
		queues: make(map[int32]*engine.Queue), buf: make([]byte, bufferSize),
	}, nil
}

// Begin implements engine.Worker. The ring belongs to one thread.
func (w *worker) Begin() error {
	runtime.LockOSThread()
	return w.RingLoop.Begin()
}

// Run implements engine.Worker.
func (w *worker) Run() { w.RingLoop.Run(w) }

// clock returns the time: that of the turn, or, where it is recorded, of this moment.
func (w *worker) clock() time.Time {
	if w.exact {
		return w.ReadClock()
	}
	return w.Now()
}

// Received implements loop.RingHandler.
func (w *worker) Received(key int32, p []byte, errno syscall.Errno, on bool) {
	c := w.conns.Get(key)
	if !on {
		c.is &^= receiving | stopping
	}
	c.received(p, errno, w.clock())
	if c.is&heard == 0 {
		w.note(c)
	}
	if len(p) >= bulk && c.is&batched == 0 {
		w.drive(c, true)
		c.core.Own()
		return
	}
	c.core.Own()
	w.drove(c)
}

// Awaited implements loop.RingHandler: there is something to read from a bulky
// connection.
func (w *worker) Awaited(key int32) {
	c := w.conns.Get(key)
	c.is &^= awaiting
	if c.core.Next()&engine.Read != 0 {
		w.read(c)
	}
	if c.is&batched == 0 {
		w.drive(c, true)
	}
	c.core.Own()
}

// sweepTime is how long input may be left lying, and at most twice that.
const sweepTime = 250 * time.Millisecond

// note has a sweep look at c when nothing has come from it for a while.
//
// A request that goes on receiving waits for an event when TCP says that there is no more
// for now. At the mark of urgent data (tcp(7)) it says so whatever is behind it, of which
// there is no event any more: so the loop looks itself, once, at those that have gone quiet.
func (w *worker) note(c *conn) {
	c.is |= heard
	if c.is&listed == 0 {
		c.is |= listed
		w.listed = append(w.listed, c.fd)
	}
	if !w.sweep.Set() {
		w.Start(&w.sweep, w.Now().Add(sweepTime))
	}
}

// lookAgain asks anew for those that have input which nobody has told of.
func (w *worker) lookAgain() {
	left := w.listed[:0]
	for _, fd := range w.listed {
		c := w.conns.Get(fd)
		switch {
		case c == nil:
		case c.is&heard != 0:
			c.is &^= heard
			left = append(left, fd)
		default:
			c.is &^= listed
			w.lookAt(c)
		}
	}
	if w.listed = left; len(left) > 0 {
		w.Start(&w.sweep, w.Now().Add(sweepTime))
	}
}

func (w *worker) lookAt(c *conn) {
	if c.is&(receiving|stopping|bulky) == receiving && loop.HasInput(int(c.fd)) {
		c.is |= stopping
		w.StopReceiving(c.fd) // drive asks again when that is done
	}
}

// Sent implements loop.RingHandler.
func (w *worker) Sent(key int32, n int, errno syscall.Errno) {
	c := w.conns.Get(key)
	c.is &^= sending
	c.sent(n, errno, w.clock())
	w.drove(c)
}

// drove has c driven when all has been told, so that sends are asked for together.
func (w *worker) drove(c *conn) {
	if c.is&batched == 0 {
		c.is |= batched
		w.batch = append(w.batch, c)
	}
}

// Told implements loop.RingHandler.
func (w *worker) Told() {
	few := len(w.batch) < leastBatch || w.exact
	for _, c := range w.batch {
		c.is &^= batched
		w.drive(c, few)
	}
	w.batch = w.batch[:0]
}

// Ready implements loop.RingHandler: a listening socket is ready, or a connection has its
// turn.
func (w *worker) Ready(key int32) {
	if q := w.queues[key]; q != nil {
		w.accept(q)
	} else if c := w.conns.Get(key); c != nil {
		c.is &^= queued
		w.drove(c)
	}
}

// Due implements loop.RingHandler.
func (w *worker) Due(t *loop.Timer) {
	if t == &w.sweep {
		w.lookAgain()
		return
	}
	c := w.conns.Get(t.Key)
	c.core.Tick(w.clock())
	w.drive(c, true)
}

// Accept implements engine.Worker.
func (w *worker) Accept(q *engine.Queue) {
	w.queues[int32(q.FD)] = q
	w.Watch(q.FD, int32(q.FD))
}

// Hold implements engine.Worker.
func (w *worker) Hold(q *engine.Queue) {
	if w.queues[int32(q.FD)] != nil {
		delete(w.queues, int32(q.FD))
		w.Unwatch(int32(q.FD))
	}
}

func (w *worker) accept(q *engine.Queue) {
	more, hold := q.AcceptSome(acceptQuantum, w.ReadClock)
	switch {
	case hold:
		w.Hold(q)
	case more:
		w.Again(int32(q.FD))
	}
}

// Adopt implements engine.Worker.
func (w *worker) Adopt(v engine.Visitor) {
	c := newConn(&v)
	now := w.ReadClock() // the connection may be younger than this turn
	c.core.Start(w.shared, v.Peer, v.ID, now)
	w.conns.Set(c.fd, c)
	w.host.CatchUp(&c.core, now)
	w.drive(c, true)
}

// Drain implements engine.Worker.
func (w *worker) Drain() { w.tellAll(func(c *conn) { c.core.Drain(w.clock()) }) }

// Cut implements engine.Worker.
func (w *worker) Cut() { w.tellAll(func(c *conn) { c.core.Cut(engine.Cut) }) }

func (w *worker) tellAll(tell func(*conn)) {
	for c := range w.conns.All() {
		tell(c)
		w.drive(c, true)
	}
}
