package kernel

import (
	"time"

	"golang.org/x/sys/unix"

	"yodel/engine"
	"yodel/internal/loop"
	"yodel/trace"
)

const (
	// bufferSize is how much is read at once, into memory that a loop has once.
	bufferSize = 64 << 10

	// quantum is how many calls a connection may make before others have their turn.
	quantum = 16
)

// worker is one event loop: it serves what the program does not. But for Post, its methods
// are called on the goroutine that is in Run, which owns all of it.
type worker struct {
	*loop.Loop
	engine.Queues
	host    *engine.Evented
	shared  *engine.Shared
	at      *placement
	watched watch
	conns   map[int32]*conn // by descriptor
	placed  []*conn         // by place
	buf     []byte
}

// watch is which reads and writes are to be told as they come.
type watch uint8

const (
	watchNone watch = iota
	watchFirst
	watchEach
)

var _ engine.Worker = (*worker)(nil)

// newWorker returns the next loop of the engine, over the next program.
func (p *programs) newWorker(host *engine.Evented, sh *engine.Shared) (engine.Worker, error) {
	l, err := loop.New()
	if err != nil {
		return nil, err
	}
	w := &worker{
		Loop: l, Queues: engine.NewQueues(l), host: host, shared: sh, at: p.list[p.next], watched: watchOf(sh.Sink()),
		conns: make(map[int32]*conn), buf: make([]byte, bufferSize),
	}
	w.placed = make([]*conn, len(w.at.slots.list))
	p.next++
	return w, l.Add(w.at.bell.fd, int32(w.at.bell.fd), loop.Readable)
}

func watchOf(sink trace.Sink) watch {
	switch {
	case sink == nil:
		return watchNone
	case trace.WantsEach(sink):
		return watchEach
	}
	return watchFirst
}

// Begin implements engine.Worker.
func (w *worker) Begin() error { return nil }

// Run implements engine.Worker.
func (w *worker) Run() { w.Loop.Run(w) }

// Ready implements loop.Handler: a connection, a listening socket or the bell.
func (w *worker) Ready(key int32, e loop.Events) {
	if c := w.conns[key]; c != nil {
		w.ready(c, e)
		return
	}
	if key == int32(w.at.bell.fd) {
		w.hear()
		return
	}
	w.ReadyQueue(key, w.ReadClock)
}

// Told implements loop.Handler.
func (*worker) Told() {}

// Due implements loop.Handler.
func (w *worker) Due(t *loop.Timer) {
	c := w.conns[t.Key]
	c.is &^= waiting
	w.seize(c)
	c.core.Tick(w.ReadClock())
	w.drive(c)
}

// hear looks at all connections that the program has rung the bell for.
func (w *worker) hear() {
	for {
		place, ok := w.at.bell.next()
		if !ok {
			return
		}
		if c := w.placed[place]; c != nil { // else it has left meanwhile
			w.look(c)
		}
	}
}

// Adopt implements engine.Worker.
func (w *worker) Adopt(v engine.Visitor) {
	c := &conn{timer: loop.Timer{Key: int32(v.FD)}, queue: v.Queue, peer: v.Peer, is: seized | readable | writable}
	now := w.ReadClock()
	c.core.Start(w.shared, v.Peer, v.ID, now)
	w.conns[int32(v.FD)] = c
	w.join(c)
	if err := w.Add(v.FD, int32(v.FD), interest); err != nil {
		c.core.Failed(err, now)
	}
	w.host.CatchUp(&c.core, now)
	w.drive(c)
}

// Drain implements engine.Worker: the server takes all connections.
func (w *worker) Drain() {
	w.tellAll(func(c *conn) {
		w.seize(c)
		c.core.Drain(w.ReadClock())
	})
}

// Cut implements engine.Worker.
func (w *worker) Cut() {
	w.tellAll(func(c *conn) {
		w.seize(c)
		c.core.Cut(engine.Cut)
	})
}

func (w *worker) tellAll(tell func(*conn)) {
	for _, c := range w.conns {
		tell(c)
		w.drive(c)
	}
}

// leave closes the socket of a connection that is over.
func (w *worker) leave(c *conn, do engine.Do) {
	w.seize(c)
	w.StopTimer(&c.timer)
	delete(w.conns, c.timer.Key)
	if do&engine.Abort != 0 {
		loop.Abort(c.fd())
	} else {
		loop.Close(c.fd())
	}
	if c.slot != nil {
		w.vacate(c)
	}
	v := engine.Visitor{FD: c.fd(), ID: c.core.ID(), Peer: c.peer, Queue: c.queue}
	w.host.Left(&v, &c.core, w.ReadClock())
}

// monotonic returns the clock that the program reads.
func monotonic() uint64 {
	var t unix.Timespec
	unix.ClockGettime(unix.CLOCK_MONOTONIC, &t)
	return uint64(t.Nano())
}

// timeOf returns when it was at on that clock. If it is interrupted between the two clocks it
// reads them again.
func timeOf(at uint64) time.Time {
	const quick, most = 20_000, 5
	for i := 1; ; i++ {
		clock := monotonic()
		now := time.Now()
		if i == most || monotonic()-clock < quick {
			return now.Add(-time.Duration(clock - at))
		}
	}
}
