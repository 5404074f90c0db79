package load

import (
	"context"
	"errors"
	"os"
	"sync"
	"time"

	"yodel/sock"
	"yodel/trace"
)

// talkers drive one worker by goroutines: TLS and HTTP, whose libraries block, and all
// where there are no event loops. Every talker is guarded by the worker's mutex.
type talkers struct {
	*worker
	ctx    context.Context // ends with stop
	cancel context.CancelFunc
	all    []*talker
	http   map[*group]*fetcher

	started chan struct{} // closed by start and stop
	begun   bool
	stopped bool
	flying  int64
	alive   int
	changed chan struct{} // has room for one: the dispatcher is to look again
	wg      sync.WaitGroup
	once    sync.Once // for started
}

// A talker is one connection.
type talker struct {
	*talkers
	group  *group
	number int
	lane   *lane
	conn   *sock.Conn
	state  state
	broken int
	wake   chan struct{} // has room for one: there is something to do
	freeAt int64
	spoke  bool
	opened int64
	id     trace.ConnID

	messages int64
	present  int64 // when what is being taken came
	buf      []byte
}

func newTalkers(w *worker) driver {
	w.driver = Goroutines
	d := &talkers{worker: w, started: make(chan struct{}), changed: make(chan struct{}, 1), http: make(map[*group]*fetcher)}
	d.ctx, d.cancel = context.WithCancel(context.Background())
	for _, g := range w.groups {
		if g.IsPage() {
			d.http[g] = newFetcher(g.target, g.conns, &w.run.plan)
		}
		for range g.conns {
			d.all = append(d.all, d.newTalker(g))
		}
	}
	return d
}

func (d *talkers) newTalker(g *group) *talker {
	p := &d.run.plan
	str := newStream(p.Seed, 0, 0)
	if p.Upper {
		str.line = int64(p.Size)
	}
	return &talker{talkers: d, group: g, lane: newLane(str, p.Size, p.Pipeline, !p.NoVerify), wake: make(chan struct{}, 1)}
}

// open implements driver.
func (d *talkers) open() {
	var opened sync.WaitGroup
	d.alive = len(d.all)
	most := make(chan struct{}, 64) // that are being made at a time
	for _, t := range d.all {
		opened.Add(1)
		d.wg.Go(func() { t.talk(most, opened.Done) })
	}
	go func() {
		opened.Wait()
		d.run.opened.Done()
	}()
	go func() {
		d.dispatch()
		d.cancel()
		d.wg.Wait()
		d.run.running.Done()
	}()
}

func (d *talkers) start() {
	d.mu.Lock()
	d.begun = true
	d.mu.Unlock()
	d.once.Do(func() { close(d.started) })
}

func (d *talkers) stop() {
	d.mu.Lock()
	d.stopped = true
	d.mu.Unlock()
	d.cancel()
	d.once.Do(func() { close(d.started) })
	poke(d.changed)
}

func (d *talkers) discard() { d.cancel() }

// poke says that there is something to do.
func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// dispatch begins messages until there are none any more.
func (d *talkers) dispatch() {
	<-d.started
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		next, over := d.pump()
		if over {
			return
		}
		timer.Reset(next)
		select {
		case <-timer.C:
		case <-d.changed:
		}
	}
}

// pump begins what is due, and says for how long nothing more is; or that all is over.
func (d *talkers) pump() (next time.Duration, over bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	r := d.run
	next = time.Second
	if r.plan.Ramp > 0 {
		next = 5 * time.Millisecond
	}
	for _, g := range d.groups {
		if g.feed == nil {
			d.pumpClosed(g)
			continue
		}
		if d.pumpDue(g); g.feed.next != end {
			next = min(next, max(g.feed.next-time.Duration(r.now()-r.zero), 0))
		}
	}
	if r.now()-int64(r.plan.Drain) >= r.until && !d.stopped {
		d.giveUp()
		return 0, true
	}
	return max(next, time.Microsecond), d.stopped || d.flying == 0 && (d.alive == 0 || d.exhausted())
}

// exhausted reports whether no message is to be begun any more.
func (d *talkers) exhausted() bool {
	for _, g := range d.groups {
		if g.feed != nil && g.feed.next != end || g.feed == nil && !d.run.over() {
			return false
		}
	}
	return true
}

// pumpClosed begins messages wherever there is room.
func (d *talkers) pumpClosed(g *group) {
	now := d.run.now()
	for i, t := range d.all {
		after := int64(d.run.plan.Ramp) * int64(i) / int64(len(d.all))
		if t.group != g || now < d.run.zero+after {
			continue
		}
		for t.room() && d.run.more(now) {
			t.begin(now, now)
		}
	}
}

// pumpDue begins the messages that are due, and notes how late the tool is.
func (d *talkers) pumpDue(g *group) {
	for g.feed.next != end {
		now := d.run.now()
		due := int64(g.feed.next) + d.run.zero
		if due > now {
			return
		}
		t := d.freest(g)
		if t == nil {
			return
		}
		g.tally.lateness.record(now - max(due, t.freeAt))
		t.begin(due, now)
		g.feed.advance()
	}
}

// freest returns the connection that has had room for longest; nil: none has any.
func (d *talkers) freest(g *group) *talker {
	var best *talker
	for _, t := range d.all {
		if t.group == g && t.room() && (best == nil || t.freeAt < best.freeAt) {
			best = t
		}
	}
	return best
}

// giveUp counts what is under way, and what is due, as what it is: lost, and not sent.
func (d *talkers) giveUp() {
	for _, g := range d.groups {
		for g.feed != nil && g.feed.next != end {
			g.tally.Due++
			g.tally.Unsent++
			g.feed.advance()
		}
	}
}

// room reports whether a message can be begun.
func (t *talker) room() bool {
	return t.state == open && t.lane.suspect == nil && t.lane.flying() < t.lane.most
}

// begin begins a message.
func (t *talker) begin(intended, now int64) {
	t.group.tally.Due++
	t.group.tally.Sent++
	t.flying++
	t.lane.begin(intended, now)
	poke(t.wake)
}

// exchanging reports whether each message is an exchange of its own, with a connection
// of its own or with one that a library chooses.
func (t *talker) exchanging() bool { return t.run.plan.NewConns || t.http[t.group] != nil }

// talk is the connection's life.
func (t *talker) talk(most chan struct{}, opened func()) {
	most <- struct{}{}
	err := t.connect()
	<-most
	opened()
	<-t.started
	for t.ctx.Err() == nil {
		if err == nil {
			err = t.push()
		}
		if !t.failed(err) {
			return
		}
		err = t.connect()
	}
	t.unfinished()
}

// connect makes the connection. Where each message has its own, it only takes its place.
func (t *talker) connect() error {
	if t.exchanging() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.state = open
		t.lane.conn = t.run.nextNumber() % maxConns
		t.number = t.lane.conn
		poke(t.changed)
		return nil
	}
	conn, err := t.dial()
	if err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.lane.restart(t.number)
	t.conn, t.state, t.opened = conn, open, t.run.now()
	t.freeAt, t.spoke, t.messages = t.opened, false, 0
	poke(t.changed)
	return nil
}

// dial makes a connection, and counts it and how long it took.
func (t *talker) dial() (*sock.Conn, error) {
	p := &t.run.plan
	t.number = t.run.nextNumber()
	ctx, cancel := context.WithTimeout(t.ctx, p.Timeout)
	defer cancel()
	to := t.group.Address
	if t.group.addr.IsValid() {
		to.Host = t.group.addr.Addr().String()
	}
	conn, err := sock.Dial(ctx, to, &sock.Options{
		Sink: p.Sink, Source: t.run.source(t.number), TLS: tlsFor(p.TLS, t.group.Address.Host), HandshakeTimeout: -1,
	})
	if err != nil {
		return nil, err
	}
	t.id = conn.ID()
	phases := conn.Phases()
	t.mu.Lock()
	defer t.mu.Unlock()
	tally := t.group.tally
	tally.Connections++
	if t.broken > 0 {
		tally.Reconnects++
	}
	tally.connect.record(int64(phases.Connect))
	if phases.TLS > 0 {
		tally.tls.record(int64(phases.TLS))
	}
	return conn, nil
}

// push sends what is begun, until something breaks or the run ends.
func (t *talker) push() error {
	if t.exchanging() {
		return t.exchanges()
	}
	defer t.conn.Close()
	stop := context.AfterFunc(t.ctx, func() { t.conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	read := make(chan error, 1)
	go func() { read <- t.read() }()
	err := t.write(read)
	t.conn.SetReadDeadline(time.Unix(1, 0))
	if readErr := <-read; err == nil || isBroken(err) {
		err = readErr // which knows what the peer has said before it broke
	}
	return err
}

// isBroken reports whether err is that of a write to a peer that has gone.
func isBroken(err error) bool {
	c := classOf(err)
	return c == ResetClass || c == EarlyClose
}

// errOver ends a talker whose run is over.
var errOver = errors.New("the run is over")

// write sends what is begun, until reading ends.
func (t *talker) write(read chan error) error {
	buf := make([]byte, 64<<10)
	for {
		t.mu.Lock()
		p := t.lane.output(buf)
		if len(p) > 0 { // before it is: the answer may be there sooner than this goroutine
			t.lane.wrote(len(p), t.run.now())
		}
		t.mu.Unlock()
		if len(p) == 0 {
			select {
			case <-t.wake:
				continue
			case err := <-read:
				read <- err
				return err
			case <-t.ctx.Done():
				return errOver
			}
		}
		t.conn.SetWriteDeadline(time.Now().Add(t.run.plan.Timeout))
		n, err := t.conn.Write(p)
		t.mu.Lock()
		t.group.tally.BytesOut += int64(n)
		t.mu.Unlock()
		if err != nil {
			return err
		}
	}
}

// read takes what comes, until something is wrong.
func (t *talker) read() error {
	buf := make([]byte, 64<<10)
	for {
		t.conn.SetReadDeadline(t.readDeadline())
		if t.ctx.Err() != nil { // after setting it, which would undo that of the end
			return errOver
		}
		n, err := t.conn.Read(buf)
		if fault := t.take(buf[:n]); fault != nil {
			return fault
		}
		switch {
		case err == nil:
		case errors.Is(err, os.ErrDeadlineExceeded) && !t.timedOut():
		default:
			return t.cut(err)
		}
	}
}

// readDeadline is when something must have come: soon after a wrong byte, else in the
// time-out.
func (t *talker) readDeadline() time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.lane.suspect != nil:
		return time.Now().Add(patience)
	case t.lane.flying() > 0:
		return t.run.base.Add(time.Duration(t.lane.oldest()) + t.run.plan.Timeout)
	}
	return time.Now().Add(t.run.plan.Timeout)
}

func (t *talker) timedOut() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.lane.suspect != nil || t.lane.flying() > 0 && t.run.now()-t.lane.oldest() >= int64(t.run.plan.Timeout)
}

// take takes what has come, and returns what was wrong with it.
func (t *talker) take(p []byte) error {
	now := t.run.now()
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(p) == 0 {
		return nil
	}
	t.group.tally.BytesIn += int64(len(p))
	if !t.spoke {
		t.spoke = true
		if t.lane.flying() > 0 { // else it is no answer
			t.group.tally.firstByte.record(now - t.lane.oldest())
		}
	}
	t.present = now
	right := t.lane.received(p, t.answered)
	if !right && !t.lane.suspicious() {
		return t.lane.fault(t.run.numbers())
	}
	if right && !t.exchanging() {
		t.freeAt = now
		t.refill(now)
	}
	return nil
}

// answered counts one message.
func (t *talker) answered(s slot) {
	tally := t.group.tally
	t.flying--
	if tally.answered(s, t.present, !t.run.plan.NoVerify) {
		tally.remember(Slow{
			Latency: time.Duration(t.present - s.intended), Service: time.Duration(t.present - s.sent),
			Conn: t.number, ID: t.id, Message: t.messages, At: time.Duration(s.intended - t.run.zero),
		})
	}
	t.messages++
}

// refill begins what can be begun, or tells the dispatcher.
func (t *talker) refill(now int64) {
	if t.group.feed != nil {
		poke(t.changed)
		return
	}
	for t.begun && t.room() && t.run.more(now) {
		t.begin(now, now)
	}
	if t.flying == 0 {
		poke(t.changed)
	}
}

// cut says what an error means that has ended reading.
func (t *talker) cut(err error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.lane.suspect != nil:
		return t.lane.fault(t.run.numbers())
	case classOf(err) == EarlyClose && t.lane.truncated() != nil:
		return t.lane.truncated()
	}
	return err
}

// failed counts what has ended the connection, and reports whether it is made anew.
func (t *talker) failed(err error) (again bool) {
	if t.ctx.Err() != nil {
		t.unfinished()
		return false
	}
	t.mu.Lock()
	t.count(err)
	t.state = dead
	p := &t.run.plan
	again = t.begun && (p.Reconnect < 0 || t.broken < p.Reconnect)
	if t.broken++; !again {
		t.alive--
	}
	wait := min(time.Millisecond<<min(t.broken, 10), time.Second)
	t.mu.Unlock()
	poke(t.changed)
	if again {
		select {
		case <-time.After(wait):
		case <-t.ctx.Done():
		}
	}
	return again
}

// count counts an error and what was under way.
func (t *talker) count(err error) {
	tally, flying := t.group.tally, t.lane.flying()
	class := classOf(err)
	tally.failed(class, err)
	t.talkers.flying -= flying
	if flying > 0 && class.Wrong() {
		tally.Received++
		tally.Corrupt++
		flying--
	}
	tally.Lost += flying
	t.lane.first = t.lane.next
}

// unfinished counts what was under way when the run was stopped; or, if its time was
// over, was lost.
func (t *talker) unfinished() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.lane.suspect != nil && !t.stopped {
		t.count(t.lane.fault(t.run.numbers()))
	}
	n := t.lane.flying()
	t.lane.first = t.lane.next
	if t.stopped {
		t.group.tally.Unfinished += n
		return
	}
	t.group.tally.Lost += n
	for range n {
		t.group.tally.failed(Timeout, os.ErrDeadlineExceeded)
	}
}
