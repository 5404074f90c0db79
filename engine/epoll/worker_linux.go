package epoll

import (
	"syscall"
	"time"

	"yodel/engine"
	"yodel/internal/loop"
)

const (
	// readSize is how much is read at once, and bufferSize how much from a connection that
	// has filled that and been answered at once: a call for four times as much costs the
	// kernel less, most of all by fewer acknowledgements. What is read goes into memory
	// that a loop has once.
	readSize, bufferSize = 64 << 10, 256 << 10

	// bulk is how many bytes at a time are worth not to be copied. Whoever sends them is
	// answered at once, while they are in the processor's cache.
	bulk = 8 << 10

	// quantum is how many calls a connection may make before others have their turn.
	quantum = 16

	// mostBatched is how many connections are read from before the first is answered.
	mostBatched = 32
)

// worker is one event loop. But for Post, its methods are called on the goroutine that
// is in Run, which owns all of it.
type worker struct {
	*loop.Loop
	engine.Queues
	host   *engine.Evented
	shared *engine.Shared
	exact  bool             // events are recorded: each has its own time
	conns  loop.Table[conn] // by descriptor
	buf    []byte
	lent   *conn  // that may have something of buf pending; nil: none
	batch  []turn // of those who were read from
}

var _ engine.Worker = (*worker)(nil)

func newWorker(host *engine.Evented, sh *engine.Shared) (*worker, error) {
	l, err := loop.New()
	if err != nil {
		return nil, err
	}
	return &worker{
		Loop: l, Queues: engine.NewQueues(l), host: host, shared: sh, exact: sh.Traced(),
		buf: make([]byte, bufferSize), batch: make([]turn, 0, mostBatched),
	}, nil
}

// Begin implements engine.Worker.
func (w *worker) Begin() error { return nil }

// Run implements engine.Worker.
func (w *worker) Run() { w.Loop.Run(w) }

// clock returns the time: that of the turn, or, where it is recorded, of this moment.
func (w *worker) clock() time.Time {
	if w.exact {
		return w.ReadClock()
	}
	return w.Now()
}

// Ready implements loop.Handler: a connection, or a listening socket, is ready.
func (w *worker) Ready(key int32, e loop.Events) {
	if c := w.conns.Get(key); c != nil {
		w.ready(c, e)
		return
	}
	w.ReadyQueue(key, w.ReadClock)
}

// ready reads, and leaves what follows from that for Told: calls of one kind made in a
// row cost less than when they alternate, because the kernel's code for reading, its code
// for writing and the session's do not fit the processor's cache together.
func (w *worker) ready(c *conn, e loop.Events) {
	c.note(e)
	if c.is&readable != 0 && c.core.Next() == engine.Read {
		w.read(c)
	}
	switch {
	case c.is&batched != 0:
		w.own(c)
	case w.lent == c:
		w.drive(c)
	default:
		c.is |= batched
		w.batch = append(w.batch, turn{c: c})
		if len(w.batch) == mostBatched || w.exact {
			w.Told()
		}
	}
}

// A turn is what a connection does after it was read from.
type turn struct {
	c     *conn
	n     int // written
	all   int // pending then; 0: nothing was to be written
	errno syscall.Errno
}

// Told implements loop.Handler: all that are ready have been read from. Now they are
// written to, and then driven on.
func (w *worker) Told() {
	for i := range w.batch {
		t := &w.batch[i]
		if t.c.is&writable == 0 || t.c.core.Next()&engine.Write == 0 {
			continue
		}
		p := t.c.core.Pending()
		t.all = len(p)
		t.n, t.errno = loop.Send(int(t.c.fd), p)
	}
	for i := range w.batch {
		t := &w.batch[i]
		t.c.is &^= batched
		if t.all > 0 {
			w.wrote(t.c, t.n, t.all, t.errno)
		}
		if !w.waits(t.c) {
			w.drive(t.c)
		}
	}
	w.batch = w.batch[:0]
}

// Due implements loop.Handler.
func (w *worker) Due(t *loop.Timer) {
	c := w.conns.Get(t.Key)
	c.core.Tick(w.clock())
	w.drive(c)
}

// Adopt implements engine.Worker.
func (w *worker) Adopt(v engine.Visitor) {
	c := newConn(&v)
	now := w.ReadClock() // the connection may be younger than this turn
	c.core.Start(w.shared, v.Peer, v.ID, now)
	w.conns.Set(int32(v.FD), c)
	if err := w.Add(v.FD, int32(v.FD), interest); err != nil {
		c.core.Failed(err, now)
	}
	w.host.CatchUp(&c.core, now)
	w.drive(c)
}

// Drain implements engine.Worker.
func (w *worker) Drain() { w.tellAll(func(c *conn) { c.core.Drain(w.clock()) }) }

// Cut implements engine.Worker.
func (w *worker) Cut() { w.tellAll(func(c *conn) { c.core.Cut(engine.Cut) }) }

func (w *worker) tellAll(tell func(*conn)) {
	for c := range w.conns.All() {
		tell(c)
		w.drive(c)
	}
}
