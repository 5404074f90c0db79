package load

import (
	"errors"
	"os"
	"syscall"
	"time"

	"yodel/internal/loop"
	"yodel/trace"
)

// A conn is one connection of a looper: a lane, or datagrams, and the socket below it.
type conn struct {
	looper *looper
	set    *set
	key    int32
	fd     int
	socket *socket // what a ring knows of it; nil over epoll
	state  state
	number int // of the connection, in the run
	id     trace.ConnID

	lane  *lane      // nil over UDP
	dgram *datagrams // nil over others

	queued   bool  // it is among the free ones
	waits    bool  // its ramp has not come yet
	writable bool  // as far as is known
	began    int64 // when connecting began
	opened   int64 // when it was connected
	spoke    bool  // the first byte has come
	broken   int   // how often it was made anew
	messages int64 // answered on this connection
	freeAt   int64 // since when there is room for a message
	in, out  int64
	timer    loop.Timer
}

func newConn(d *looper, s *set, key int32) *conn {
	c := &conn{looper: d, set: s, key: key, fd: -1}
	c.timer.Key = key
	p := &d.run.plan
	str := newStream(p.Seed, 0, 0)
	if p.Upper {
		str.line = int64(p.Size)
	}
	if s.Address.Network == "udp" {
		c.dgram = newDatagrams(str, p.Size, p.Pipeline, !p.NoVerify, int64(p.Timeout))
	} else {
		c.lane = newLane(str, p.Size, p.Pipeline, !p.NoVerify)
	}
	return c
}

// connect makes a socket and begins to connect it.
func (c *conn) connect() {
	r := c.looper.run
	c.number = r.nextNumber()
	c.id = trace.NewID()
	c.spoke, c.messages, c.in, c.out = false, 0, 0, 0
	if c.lane != nil {
		flying := c.lane.flying()
		intended := *c.lane.slot(c.lane.first)
		c.lane.restart(c.number)
		if flying > 0 { // a message that has a connection of its own
			c.lane.begin(intended.intended, intended.sent)
		}
	} else {
		c.dgram.conn = c.number
	}
	c.began = r.now()
	c.tryConnect()
}

func (c *conn) tryConnect() {
	c.state = connecting
	fd, err := dial(c.set.target, c.looper.run.source(c.number))
	if errors.Is(err, syscall.EAGAIN) { // a Unix socket's queue is full: unix(7)
		c.looper.loop.Start(&c.timer, time.Now().Add(time.Millisecond))
		return
	}
	if err != nil {
		c.fail(err)
		return
	}
	c.fd = fd
	if err := c.looper.loop.dialed(c); err != nil {
		c.fail(err)
		return
	}
	c.guard(c.began)
}

// guard sets the timer for what must have happened within the time-out, counted from a
// time, if it is not set.
func (c *conn) guard(from int64) {
	if !c.timer.Set() {
		c.looper.loop.Start(&c.timer, c.looper.run.base.Add(time.Duration(from)+c.looper.run.plan.Timeout))
	}
}

// connected goes on when connecting is over.
func (c *conn) connected() {
	if err := sockErr(c.fd); err != nil {
		c.fail(err)
		return
	}
	now := c.looper.run.now()
	c.state, c.opened = open, now
	c.looper.loop.opened(c)
	c.freeAt = now
	t := c.set.tally
	t.Connections++
	if c.broken > 0 {
		t.Reconnects++
	}
	t.connect.record(now - c.began)
	c.trace(trace.Connect, "", nil)
	switch {
	case !c.looper.started:
		c.looper.loop.StopTimer(&c.timer)
		c.looper.settled()
	case c.looper.run.plan.NewConns:
		c.push(now)
	default:
		c.refill(now, c.looper.run.plan.Pipeline)
	}
}

// room reports whether a message can be begun.
func (c *conn) room() bool {
	switch {
	case c.looper.run.plan.NewConns:
		return c.state == dead && !c.waits && c.lane.flying() == 0
	case c.state != open:
		return false
	case c.dgram != nil:
		return !c.dgram.full()
	}
	return c.lane.suspect == nil && c.lane.flying() < c.lane.most
}

// refill begins up to n messages, as far as there are such. In an open loop it says that
// there is room for them.
func (c *conn) refill(now int64, n int) {
	if !c.looper.started {
		return
	}
	if c.set.feed != nil {
		if !c.queued && c.room() {
			c.freeAt = now
			c.set.free.put(c)
		}
		return
	}
	for range n {
		if !c.room() || !c.looper.run.more(now) {
			break
		}
		c.begin(now, now)
	}
	if c.state == open {
		c.push(now)
	}
}

// beginDue begins a message of an open loop's schedule, and notes how late the tool is.
func (c *conn) beginDue(intended, now int64) {
	c.set.tally.Due++
	c.set.tally.lateness.record(now - max(intended, c.freeAt))
	c.begin(intended, now)
	if c.room() {
		c.set.free.put(c)
	}
	if c.state == open {
		c.push(now)
	}
}

// begin begins a message.
func (c *conn) begin(intended, now int64) {
	t := c.set.tally
	t.Sent++
	if c.set.feed == nil {
		t.Due++
	}
	c.looper.flying++
	if c.dgram != nil {
		c.send(intended, now)
		return
	}
	c.lane.begin(intended, now)
	if c.looper.run.plan.NewConns {
		c.connect()
		return
	}
	c.guard(now)
}

// send sends a datagram. One that the kernel does not take is lost, as any other may be.
func (c *conn) send(intended, now int64) {
	p := c.dgram.begin(c.looper.out, intended, now)
	if n, errno := loop.Send(c.fd, p); errno == 0 {
		c.set.tally.BytesOut += int64(n)
		c.out += int64(n)
	} else if errno != syscall.EAGAIN && errno != syscall.ENOBUFS {
		c.set.tally.failed(classOf(errno), os.NewSyscallError("send", errno))
	}
	c.guard(now)
}

// flying is how many messages are under way.
func (c *conn) flying() int64 {
	if c.dgram != nil {
		return c.dgram.flying
	}
	return c.lane.flying()
}

// oldest is when the oldest message under way was sent.
func (c *conn) oldest() int64 {
	if c.dgram != nil {
		return c.dgram.at(c.dgram.first).sent
	}
	return c.lane.oldest()
}

// push sends what is to be sent, as far as the socket takes it; now is what time it is.
func (c *conn) push(now int64) {
	if c.lane != nil && c.lane.unsent() > 0 {
		c.looper.loop.push(c, now)
	}
}

// wrote counts n bytes that were sent by a call that began at a time.
func (c *conn) wrote(n int, began int64) {
	c.set.tally.BytesOut += int64(n)
	c.out += int64(n)
	c.lane.wrote(n, began)
}

// came takes what has come at a time, and reports whether the connection goes on.
func (c *conn) came(p []byte, now int64) (more bool) {
	c.heard(len(p), now)
	d := c.looper
	d.present, d.at, d.whole = c, now, 0
	right := c.lane.received(p, d.done)
	if !right && !c.lane.suspicious() {
		c.fail(c.lane.fault(d.run.numbers()))
		return false
	}
	if !right { // for what follows it is waited a little, not for long
		d.loop.StartBy(&c.timer, d.run.base.Add(time.Duration(now)+patience))
		return true
	}
	c.took(now, d.whole)
	return c.state == open
}

func (c *conn) heard(n int, now int64) {
	c.in += int64(n)
	c.set.tally.BytesIn += int64(n)
	if !c.spoke {
		c.spoke = true
		if c.flying() > 0 { // else it is no answer
			c.set.tally.firstByte.record(now - c.oldest())
		}
	}
}

// took goes on after so many messages were answered.
func (c *conn) took(now int64, whole int) {
	if whole == 0 {
		return
	}
	if !c.looper.run.plan.NewConns {
		c.refill(now, whole)
		return
	}
	c.close("")
	c.refill(now, 1)
}

// datagram takes a datagram that came.
func (c *conn) datagram(p []byte, now int64) {
	d, t := c.looper, c.set.tally
	a := c.dgram.received(p, d.run.numbers())
	switch {
	case a.fault != nil && !a.known:
		t.failed(a.fault.Class, a.fault) // whose answer it is can't be told: that one will be lost
		return
	case !a.known:
		t.Unknown++
		return
	case a.duplicated:
		t.DuplicatedDatagrams++
		return
	case a.late:
		t.Late++
		t.Lost--
		t.Received++
		if a.right {
			t.Verified++
		} else {
			t.Corrupt++
			t.failed(a.fault.Class, a.fault)
		}
		return
	}
	if a.reordered {
		t.Reordered++
	}
	if a.right {
		d.present, d.at = c, now
		d.answered(a.slot)
	} else {
		d.flying--
		t.Received++
		t.Corrupt++
		t.failed(a.fault.Class, a.fault)
	}
	c.refill(now, 1)
}

// ended goes on when the peer has ended its direction.
func (c *conn) ended() {
	switch l := c.lane; {
	case l.suspect != nil:
		c.fail(l.fault(c.looper.run.numbers()))
	case l.truncated() != nil:
		c.fail(l.truncated())
	default:
		c.fail(errEnded)
	}
}

// due goes on when the timer has come.
func (c *conn) due() {
	r := c.looper.run
	now := r.now()
	switch {
	case c.waits:
		c.waits = false
		c.refill(now, r.plan.Pipeline)
	case c.state == resting:
		c.connect()
	case c.state == connecting:
		c.slowConnect(now)
	case c.state == open && c.dgram != nil:
		c.expire(now)
	case c.state == open && c.lane.suspect != nil:
		c.fail(c.lane.fault(r.numbers()))
	case c.state == open && c.lane.flying() > 0:
		if now-c.lane.oldest() >= int64(r.plan.Timeout) {
			c.fail(os.ErrDeadlineExceeded)
		} else {
			c.guard(c.lane.oldest())
		}
	}
}

func (c *conn) slowConnect(now int64) {
	switch {
	case now-c.began >= int64(c.looper.run.plan.Timeout):
		c.fail(os.NewSyscallError("connect", os.ErrDeadlineExceeded))
	case c.fd < 0:
		c.tryConnect()
	default:
		c.guard(c.began)
	}
}

// expire counts the datagrams that were not answered in time.
func (c *conn) expire(now int64) {
	lost := c.dgram.expire(now)
	c.set.tally.Lost += lost
	c.looper.flying -= lost
	if c.dgram.first < c.dgram.next {
		c.guard(c.dgram.at(c.dgram.first).sent)
	}
	if lost > 0 {
		c.refill(now, c.looper.run.plan.Pipeline) // the window may have kept others from being sent, too
	}
}

// fail counts what has ended the connection, and what was under way on it.
func (c *conn) fail(err error) {
	t, flying := c.set.tally, c.flying()
	class := classOf(err)
	t.failed(class, err)
	c.looper.flying -= flying
	if flying > 0 && class.Wrong() {
		t.Received++
		t.Corrupt++
		flying--
	}
	t.Lost += flying
	if c.lane != nil {
		c.lane.first = c.lane.next
	}
	c.close(err.Error())
	c.afterFailure()
}

// afterFailure makes the connection anew, or leaves it dead, as the plan says.
func (c *conn) afterFailure() {
	d := c.looper
	p := &d.run.plan
	switch {
	case p.NewConns && d.started:
		c.again(time.Millisecond) // so that refusals do not fill the machine
	case d.started && (p.Reconnect < 0 || c.broken < p.Reconnect):
		c.broken++
		c.again(min(time.Millisecond<<min(c.broken, 10), time.Second))
	case d.started:
		c.set.alive--
	default:
		d.settled()
	}
}

// again has the connection go on after a while.
func (c *conn) again(after time.Duration) {
	if c.looper.run.plan.NewConns {
		c.waits = true
	} else {
		c.state = resting
	}
	c.looper.loop.Start(&c.timer, time.Now().Add(after))
}

// close closes the socket, if there is one.
func (c *conn) close(why string) {
	c.looper.loop.StopTimer(&c.timer)
	c.state, c.writable = dead, false
	if c.fd < 0 {
		return
	}
	c.trace(trace.Close, why, nil)
	c.looper.run.kernel.look(c.fd, c.dgram != nil)
	c.looper.loop.close(c)
	c.fd = -1
}

// trace tells the sink, if there is one.
func (c *conn) trace(op trace.Op, text string, err error) {
	sink := c.looper.run.plan.Sink
	if sink == nil {
		return
	}
	now := time.Now()
	e := trace.Event{
		Conn: c.id, Op: op, Side: trace.Client, Time: now, FD: c.fd, Network: c.set.Address.Network,
		Local: loop.Local(c.fd), Remote: c.set.addr, Path: c.set.Address.Path, Err: err, In: c.in, Out: c.out,
	}
	age := c.looper.run.now()
	switch {
	case op == trace.Connect:
		e.Took = time.Duration(age - c.began)
	case text == "":
		e.Took, e.Text = time.Duration(age-c.opened), trace.EndHere
	default:
		e.Took, e.Text = time.Duration(age-c.opened), text
	}
	sink.Emit(&e)
}
