package load

import (
	"io"
	"os"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"yodel/internal/loop"
)

const haveLoops = true

// A looper drives one worker over an event loop. But for its worker's tallies, all of it
// belongs to the loop's goroutine.
type looper struct {
	*worker
	loop  mover
	sets  []*set
	conns []*conn // by key

	opening  int // connections that are being made, before the start
	toOpen   []*conn
	isOpen   bool
	started  bool
	flying   int64 // messages under way, those that wait for their connection included
	locked   bool
	halting  loop.Timer // when what is still due is given up
	finished bool

	in, out []byte
	present *conn // whose answers are being counted
	at      int64 // when they came
	whole   int   // how many of them
	done    func(slot)
}

// A set is the connections of a group.
type set struct {
	*group
	conns []*conn
	free  ring // those that have room for a message, in an open loop
	alive int
}

const (
	bufferSize = 256 << 10
	atOnce     = 128 // connections that are being made at a time
)

// haltKey is no connection's key.
const haltKey = -2

func newLooper(w *worker) (driver, error) {
	d := &looper{worker: w, in: make([]byte, bufferSize), out: make([]byte, bufferSize)}
	var err error
	if d.loop, w.driver, w.refusal, err = newMover(d, &w.run.plan); err != nil {
		return nil, err
	}
	d.done = d.answered
	d.halting.Key = haltKey
	for _, g := range w.groups {
		s := &set{group: g}
		for range g.conns {
			c := newConn(d, s, int32(len(d.conns)))
			s.conns, d.conns = append(s.conns, c), append(d.conns, c)
		}
		d.sets = append(d.sets, s)
	}
	return d, nil
}

// open implements driver: it begins to make the connections, and runs the loop.
func (d *looper) open() {
	if !d.run.plan.NewConns {
		d.toOpen = d.conns
	}
	d.opening = len(d.toOpen)
	begun := make(chan struct{})
	go func() {
		defer d.run.running.Done()
		runtime.LockOSThread() // of a thread of its own it can be told how long it has waited for a processor
		defer runtime.UnlockOSThread()
		err := d.beginLoop()
		if err != nil {
			d.cannot(err)
		}
		close(begun)
		if err == nil {
			d.loop.run()
		}
	}()
	<-begun
}

// beginLoop makes the loop this thread's, or another in its place if that is refused.
func (d *looper) beginLoop() error {
	if err := d.loop.begin(); err != nil {
		d.driver, d.refusal = Epoll, err
		if d.loop, err = newOverEpoll(d); err != nil {
			return err
		}
	}
	d.loop.Post(d.openFirst)
	return nil
}

// cannot counts why there is no loop.
func (d *looper) cannot(err error) {
	d.lock()
	defer d.unlock()
	d.sets[0].tally.failed(classOf(err), err)
	d.allOpen(true)
}

func (d *looper) openFirst() {
	d.lock()
	defer d.unlock()
	for range min(atOnce, len(d.toOpen)) {
		d.openNext()
	}
	d.allOpen(d.opening == 0)
}

// discard implements driver: a loop that is stopped closes what it has when it is run.
func (d *looper) discard() {
	d.loop.Stop()
	d.loop.run()
}

// openNext makes the next connection, if there is one to make.
func (d *looper) openNext() {
	if len(d.toOpen) == 0 {
		return
	}
	c := d.toOpen[0]
	d.toOpen = d.toOpen[1:]
	c.connect()
}

// settled says that one more connection was made, or can't be.
func (d *looper) settled() {
	if d.started || d.opening == 0 {
		return
	}
	d.opening--
	d.allOpen(d.opening == 0)
	d.openNext()
}

// allOpen says, once, that there is no connection to be made any more.
func (d *looper) allOpen(so bool) {
	if so && !d.isOpen {
		d.isOpen = true
		d.run.opened.Done()
	}
}

// start implements driver.
func (d *looper) start() { d.loop.Post(d.begin) }

func (d *looper) begin() {
	d.lock()
	defer d.unlock()
	d.started = true
	ran, starved := threadTimes()
	d.busy = busyness{ran: -ran, starved: -starved}
	if d.run.plan.Duration > 0 {
		d.loop.Start(&d.halting, d.run.base.Add(time.Duration(d.run.until)+d.run.plan.Drain))
	}
	for _, s := range d.sets {
		for _, c := range s.conns {
			if c.state == open || d.run.plan.NewConns {
				s.alive++
			}
		}
		if d.run.plan.Pace == nil {
			d.beginClosed(s)
		} else {
			s.free.fill(s.conns)
		}
	}
	if d.run.plan.Pace != nil {
		d.pump()
	} else if d.run.plan.Awake {
		d.wakeAt(end)
	}
	d.checkDone()
}

func (d *looper) beginClosed(s *set) {
	ramp := int64(d.run.plan.Ramp)
	for i, c := range s.conns {
		if ramp == 0 || c.state != open && !d.run.plan.NewConns {
			c.refill(d.run.now(), d.run.plan.Pipeline)
			continue
		}
		c.waits = true
		after := time.Duration(d.run.zero + ramp*int64(i)/int64(len(s.conns)))
		d.loop.Start(&c.timer, d.run.base.Add(after))
	}
}

// stop implements driver. What is under way is unfinished.
func (d *looper) stop() {
	d.loop.Post(func() {
		d.lock()
		defer d.unlock()
		d.toOpen = nil
		d.allOpen(true)
		d.close(func(t *tally, flying int64) { t.Unfinished += flying })
	})
}

// giveUp ends a run whose time has long been over: what is under way is lost, and what
// was due could not be sent.
func (d *looper) giveUp() {
	for _, s := range d.sets {
		for s.feed != nil && s.feed.next != end {
			s.tally.Due++
			s.tally.Unsent++
			s.feed.advance()
		}
	}
	d.close(func(t *tally, flying int64) {
		t.Lost += flying
		for range flying {
			t.failed(Timeout, os.ErrDeadlineExceeded)
		}
	})
}

// close closes all that is open, and ends the loop. left counts what is under way.
func (d *looper) close(left func(t *tally, flying int64)) {
	if d.finished {
		return
	}
	d.finished = true
	if d.started {
		ran, starved := threadTimes()
		d.busy.awake = d.loop.Spun()
		d.busy.ran += ran - d.busy.awake
		d.busy.starved += starved
		d.busy.known = true
	}
	for _, c := range d.conns {
		if n := c.flying(); n > 0 {
			left(c.set.tally, n)
		}
		c.close("")
	}
	d.loop.Stop()
}

// checkDone ends the loop if there is nothing more to do.
func (d *looper) checkDone() {
	if !d.started || d.finished || d.flying > 0 {
		return
	}
	for _, s := range d.sets {
		if s.alive > 0 && !d.exhausted(s) {
			return
		}
	}
	for _, s := range d.sets { // no connection is left for these
		for s.feed != nil && s.alive == 0 && int64(s.feed.next) <= d.run.now()-d.run.zero {
			s.tally.Due++
			s.tally.Unsent++
			s.feed.advance()
		}
	}
	d.close(func(*tally, int64) {})
}

// exhausted reports whether no message of s is to be begun any more.
func (d *looper) exhausted(s *set) bool {
	over := d.run.over()
	for _, c := range s.conns {
		if c.lane != nil && c.lane.suspect != nil && c.state == open {
			return false // what was wrong with it is about to be known
		}
		if s.feed == nil && !over && (c.waits || c.state == resting || c.state == connecting) {
			return false
		}
	}
	return s.feed == nil || s.feed.next == end
}

// told goes on when all that has come was told of.
func (d *looper) told() {
	if d.run.plan.Pace != nil && !d.finished {
		d.lock()
		d.pump()
	}
	d.checkDone()
	d.unlock()
}

// due goes on when a timer has come.
func (d *looper) due(t *loop.Timer) {
	d.lock()
	defer d.unlock()
	if t.Key == haltKey {
		d.giveUp()
		return
	}
	if !d.finished {
		d.conns[t.Key].due()
		if d.run.plan.Pace != nil { // it may have made room for what waits
			d.pump()
		}
		d.checkDone()
	}
}

func (d *looper) lock() {
	if !d.locked {
		d.mu.Lock()
		d.locked = true
	}
}

func (d *looper) unlock() {
	if d.locked {
		d.locked = false
		d.mu.Unlock()
	}
}

// pump begins the messages of an open loop that are due and have a free connection, and
// has the next turn begin when the next is due.
func (d *looper) pump() {
	if !d.started || d.finished {
		return
	}
	next := end
	for _, s := range d.sets {
		if s.feed == nil {
			continue
		}
		for {
			now := d.run.now()
			if s.feed.next == end || int64(s.feed.next) > now-d.run.zero {
				next = min(next, s.feed.next)
				break
			}
			c := s.free.take()
			if c == nil {
				break // the next answer pumps
			}
			c.beginDue(int64(s.feed.next)+d.run.zero, now)
			s.feed.advance()
		}
	}
	d.wakeAt(next)
}

// wakeAt has the next turn begin when a message is due; end: at no certain time.
func (d *looper) wakeAt(next time.Duration) {
	d.loop.WakeAt(d.run.base.Add(time.Duration(d.run.zero)+min(next, never)), d.run.ahead)
}

// answered counts a message of the present connection.
func (d *looper) answered(s slot) {
	c := d.present
	d.whole++
	d.flying--
	t := c.set.tally
	if t.answered(s, d.at, !d.run.plan.NoVerify) {
		t.remember(Slow{
			Latency: time.Duration(d.at - s.intended), Service: time.Duration(d.at - s.sent),
			Conn: c.number, ID: c.id, Message: c.messages, At: time.Duration(s.intended - d.run.zero),
		})
	}
	c.messages++
	if slow := d.run.plan.slow; slow != nil {
		slow()
	}
}

// ring holds the connections that are free, each once, the one that was longest so first.
type ring struct {
	conns   []*conn
	head, n int
}

func (r *ring) fill(conns []*conn) {
	r.conns = make([]*conn, len(conns))
	for _, c := range conns {
		r.put(c)
	}
}

func (r *ring) put(c *conn) {
	if c.queued || r.n == len(r.conns) {
		return
	}
	c.queued = true
	r.conns[(r.head+r.n)%len(r.conns)] = c
	r.n++
}

// take returns a connection that has room for a message; nil: there is none.
func (r *ring) take() *conn {
	for r.n > 0 {
		c := r.conns[r.head]
		r.head = (r.head + 1) % len(r.conns)
		r.n--
		c.queued = false
		if c.room() {
			return c
		}
	}
	return nil
}

// errEnded is the peer's end.
var errEnded = io.EOF

// sockErr returns the error that a socket has: SO_ERROR.
func sockErr(fd int) error {
	n, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err != nil {
		return os.NewSyscallError("getsockopt", err)
	}
	if n != 0 {
		return os.NewSyscallError("connect", syscall.Errno(n))
	}
	return nil
}
