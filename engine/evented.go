package engine

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"yodel"
	"yodel/trace"
)

// A Worker is one event loop of an Evented engine. Begin and Run, which returns after
// Stop, are called on its own goroutine, and so is all else but Post, which may be called
// on any.
type Worker interface {
	// Begin is called on the goroutine that then calls Run, which it does not if there
	// is an error.
	Begin() error
	Run()
	Post(func())

	// Adopt serves a connection that was admitted, and calls Evented.Left when it has
	// closed the socket.
	Adopt(v Visitor)

	// Accept accepts from q, until q or Hold says otherwise.
	Accept(q *Queue)

	// Hold stops accepting from q.
	Hold(q *Queue)

	// Drain drains all connections; Cut cuts them.
	Drain()
	Cut()

	Stop()
}

// EventedOptions say how the event loops of an Evented engine are made.
type EventedOptions struct {
	// Name is the engine's, for errors.
	Name string

	// Loops is how many event loops there are. If zero, runtime.GOMAXPROCS(0).
	Loops int

	// Make returns a Worker that does not run yet, for connections that are held to
	// sh. It is called when the first listener is served.
	Make func(e *Evented, sh *Shared) (Worker, error)

	// Open returns a descriptor of its own for the socket of l, or an error that wraps
	// ErrUnfit if l is none; Close closes it.
	Open  func(l net.Listener) (int, error)
	Close func(fd int)
}

// Evented is the body of the engines that run event loops: it admits connections,
// spreads them over the loops, and ends them. How a loop waits, reads and writes makes
// the difference between these engines.
//
// Each listener is accepted from by one loop, which hands a connection to the loop that
// has the fewest.
type Evented struct {
	*admission
	opts EventedOptions

	stopping atomic.Bool // Shutdown or Close was called
	cutting  atomic.Bool // Close was called
	stopped  chan struct{}
	held     chan struct{} // closed when nothing is accepted any more
	over     chan struct{} // closed when the last loop has ended

	mu    sync.Mutex
	loops []*evented // nil until the first Serve
	next  int        // of loops, to accept from the next listener

	serving, conns, running sync.WaitGroup // one for each Serve, connection and loop
}

// evented is one loop, its sums, and what others hand to it.
type evented struct {
	Worker
	count Counters

	mu      sync.Mutex
	arrived []Visitor // to be adopted
	taken   []Visitor // the loop's: what arrived becomes next
}

// hand has the loop adopt v, soon.
func (l *evented) hand(v *Visitor) {
	l.mu.Lock()
	l.arrived = append(l.arrived, *v)
	first := len(l.arrived) == 1
	l.mu.Unlock()
	if first {
		l.Post(l.adoptArrived)
	}
}

func (l *evented) adoptArrived() {
	l.mu.Lock()
	list := l.arrived
	l.arrived = l.taken[:0]
	l.mu.Unlock()
	for _, v := range list {
		l.Adopt(v)
	}
	l.taken = list
}

// NewEvented returns an engine for svc. cfg may be nil. The error wraps ErrUnfit if svc
// has no sessions, or cfg asks for TLS or PROXY headers.
func NewEvented(svc any, cfg *Config, opts EventedOptions) (*Evented, error) {
	a, err := newAdmission(opts.Name, svc, cfg)
	if err != nil {
		return nil, err
	}
	if opts.Loops <= 0 {
		opts.Loops = runtime.GOMAXPROCS(0)
	}
	return &Evented{
		admission: a, opts: opts,
		stopped: make(chan struct{}), held: make(chan struct{}), over: make(chan struct{}),
	}, nil
}

// Stats implements Engine.
func (e *Evented) Stats() Stats { return sum(append(e.counters(), &e.count)...) }

// LoopStats returns the sums of each loop: what its connections have done. What was
// accepted and refused is in Stats alone.
func (e *Evented) LoopStats() []Stats {
	var list []Stats
	for _, c := range e.counters() {
		list = append(list, c.Read())
	}
	return list
}

func (e *Evented) counters() (list []*Counters) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, l := range e.loops {
		list = append(list, &l.count)
	}
	return list
}

// Serve implements Engine.
func (e *Evented) Serve(l net.Listener) error {
	if !e.begin() {
		l.Close()
		return ErrClosed
	}
	defer e.serving.Done()
	defer l.Close()
	q := newQueue(e, l)
	for {
		err := e.open(q)
		if err == nil {
			break
		}
		if err = e.waitOut(q, err); err != nil {
			return err
		}
	}
	defer e.opts.Close(q.FD)
	return e.serve(q)
}

// begin counts a Serve; false means that the engine was stopped.
func (e *Evented) begin() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.stopping.Load() {
		return false
	}
	e.serving.Add(1)
	return true
}

// open gets what accepting from q needs.
func (e *Evented) open(q *Queue) (err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.loops == nil {
		if err := e.start(); err != nil {
			return err
		}
	}
	if q.FD, err = e.opts.Open(q.l); err != nil {
		return err
	}
	q.loop = e.loops[e.next%len(e.loops)]
	e.next++
	return nil
}

// waitOut waits if open has failed for what passes, as a lack of descriptors does: it
// counts as a failure of accept. It returns an error when it is not to be tried again.
func (e *Evented) waitOut(q *Queue, err error) error {
	var errno syscall.Errno
	if !errors.As(err, &errno) || e.acceptFailed(q.l.Addr(), err) != waitAWhile {
		return err
	}
	t := time.NewTimer(q.nextDelay())
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-e.stopped:
		return ErrClosed
	}
}

func (e *Evented) start() error {
	loops := make([]*evented, e.opts.Loops)
	for i := range loops {
		l := new(evented)
		sh := NewShared(e.svc, &e.cfg, &l.count)
		sh.Own()
		if err := e.run(l, sh); err != nil {
			stopAll(loops[:i])
			return fmt.Errorf("%s: event loop %d of %d: %w", e.opts.Name, i+1, len(loops), err)
		}
		loops[i] = l
	}
	e.loops = loops
	return nil
}

// run makes a loop and gives it a goroutine, and returns when it has begun.
func (e *Evented) run(l *evented, sh *Shared) (err error) {
	if l.Worker, err = e.opts.Make(e, sh); err != nil {
		return err
	}
	begun := make(chan error, 1)
	e.running.Go(func() {
		err := l.Begin()
		begun <- err
		if err == nil {
			l.Run()
		}
	})
	return <-begun
}

// stopAll ends loops that have no connections.
func stopAll(loops []*evented) {
	for _, l := range loops {
		l.Post(l.Stop)
	}
}

// serve has a loop accept from q until the engine stops or q fails.
func (e *Evented) serve(q *Queue) (err error) {
	q.loop.Post(func() { q.loop.Accept(q) })
	select {
	case <-e.stopped:
		err = ErrClosed
	case err = <-q.failed:
	}
	out := make(chan struct{})
	q.loop.Post(func() {
		q.closed = true
		q.loop.Hold(q)
		close(out)
	})
	<-out
	return err
}

// place hands an admitted connection to the loop that has the fewest, if possible to
// the one that has accepted it.
func (e *Evented) place(v *Visitor, near *evented) {
	to, least := near, near.count.active.Load()
	for _, l := range e.loops {
		if n := l.count.active.Load(); n < least {
			to, least = l, n
		}
	}
	e.conns.Add(1)
	if to == near {
		near.Adopt(*v)
		return
	}
	to.hand(v)
}

// CatchUp tells a connection that a Worker has adopted what was told to all before it came.
func (e *Evented) CatchUp(core *Core, now time.Time) {
	switch {
	case e.cutting.Load():
		core.Cut(Cut)
	case e.stopping.Load():
		core.Drain(now)
	}
}

// Left is called for each connection that was adopted, once, when its socket is closed.
// core is over then.
func (e *Evented) Left(v *Visitor, core *Core, now time.Time) {
	last := core.Finish(now)
	e.leave(v, last, core.Reason(), core.Err())
	e.conns.Done()
}

// stop ends accepting and tells all loops. It is safe to call again.
func (e *Evented) stop() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.stopping.Swap(true) {
		return
	}
	close(e.stopped)
	if !e.cutting.Load() { // else one at rest would be ended as if there were time
		e.tellLoops(Worker.Drain)
	}
	go e.end()
}

func (e *Evented) tellLoops(what func(Worker)) {
	for _, l := range e.loops {
		l.Post(func() { what(l.Worker) })
	}
}

// end waits until all has ended.
func (e *Evented) end() {
	e.serving.Wait()
	close(e.held)
	e.conns.Wait()
	stopAll(e.loops)
	e.running.Wait()
	close(e.over)
}

// holdTime is how long Shutdown waits at most, whatever its context says, until nobody
// new is served. That takes as long as a turn of a loop, which is a session's to bound.
const holdTime = time.Second

// Shutdown implements Engine.
func (e *Evented) Shutdown(ctx context.Context) error {
	e.stop()
	late := time.NewTimer(holdTime)
	defer late.Stop()
	select {
	case <-e.held:
	case <-late.C:
	}
	select {
	case <-e.over:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Close implements Engine.
func (e *Evented) Close() error {
	e.cutting.Store(true)
	e.stop()
	e.tellLoops(Worker.Cut)
	<-e.over
	return nil
}

// A Queue is the accept queue of a listening socket, from which a Worker accepts. Its
// methods are called by that Worker.
type Queue struct {
	FD  int  // of the listening socket
	Any bool // it listens on several addresses, so who accepts has to ask where a client called

	e      *Evented
	l      net.Listener
	loop   *evented
	peer   yodel.Peer // but for Remote, and for Local if Any
	failed chan error // it can't be served any more
	delay  time.Duration
	place  Pass // of the connection that comes next
	closed bool // it is not to be accepted from any more
}

func newQueue(e *Evented, l net.Listener) *Queue {
	q := &Queue{e: e, l: l, failed: make(chan error, 1)}
	q.peer = yodel.Peer{Network: networkName(l.Addr().Network()), Local: trace.AddrPort(l.Addr())}
	if u, ok := l.Addr().(*net.UnixAddr); ok {
		q.peer.Path = u.Name
	}
	q.Any = q.peer.Local.Addr().IsUnspecified()
	return q
}

// Peer returns what is known of all who come by the queue: not Remote, nor Local if Any.
func (q *Queue) Peer() yodel.Peer { return q.peer }

// Room takes a place for one more connection, and reports whether there was one. If not,
// the Worker must not accept; its Accept is called again when there is room. If so,
// Accepted or Vacate comes next, without waiting.
func (q *Queue) Room() bool {
	var room <-chan struct{}
	if q.place, room = q.e.gate.reserve(); room == nil {
		return true
	}
	go q.resumeAfter(room, nil)
	return false
}

// Vacate gives the place back that Room took: no connection has come.
func (q *Queue) Vacate() { q.taken().giveBack() }

// taken returns the place that Room took.
func (q *Queue) taken() Pass {
	p := q.place
	q.place = Pass{}
	return p
}

// Accepted admits a connection for which there was Room, and has a Worker adopt it, or
// closes it. now is the time; local is where the client has called, if q is for Any.
func (q *Queue) Accepted(fd int, local, remote netip.AddrPort, now time.Time) {
	q.delay = 0
	v := Visitor{FD: fd, ID: trace.NewID(), Peer: q.peer, Queue: q}
	v.Peer.Remote = remote
	if q.Any {
		v.Peer.Local = local
	}
	if q.e.cfg.Sink != nil {
		v.Queued = trace.QueuedSocket(fd)
	}
	if !q.e.enter(&v, q.taken(), q.e.cutting.Load(), now) {
		q.e.opts.Close(fd)
		return
	}
	q.e.place(&v, q.loop)
}

// Failed tells that accept has failed, and reports whether to call it again at once. If
// not, the Worker must not accept; its Accept is called again later, or never.
func (q *Queue) Failed(err error) (again bool) {
	switch q.e.acceptFailed(q.l.Addr(), err) {
	case tryAgain:
		return true
	case giveUp:
		q.failed <- fmt.Errorf("accept on %v: %w", q.l.Addr(), err)
	case waitAWhile:
		t := time.NewTimer(q.nextDelay())
		go q.resumeAfter(q.e.gate.Ended(), t)
	}
	return false
}

// nextDelay returns how long to wait after one more failure.
func (q *Queue) nextDelay() time.Duration {
	q.delay = min(max(2*q.delay, 5*time.Millisecond), 80*time.Millisecond)
	return q.delay
}

// resumeAfter has the Worker accept again when room is closed, or t, if there is one,
// has come.
func (q *Queue) resumeAfter(room <-chan struct{}, t *time.Timer) {
	var passed <-chan time.Time
	if t != nil {
		passed = t.C
		defer t.Stop()
	}
	select {
	case <-room:
	case <-passed:
	case <-q.e.stopped:
		return
	}
	q.loop.Post(func() {
		if !q.closed {
			q.loop.Accept(q)
		}
	})
}
