package load

import (
	"os"
	"syscall"

	"yodel/internal/loop"
)

// overRing is a mover over completion: what all connections send in a turn is submitted by
// the one call that waits for what they receive. A completion that has waited in the ring
// while others were looked at counts from when it was there: at the beginning of the turn;
// what is sent counts from then too.
type overRing struct {
	*loop.RingLoop
	looper  *looper
	sockets []*socket // by key
	free    []int32   // keys of none
	spare   [][]byte  // for what is sent
	small   int       // bytes that are sent by the ring; what is more is sent at once
	exact   bool      // what is due is sent at once, so that it is not late
}

// A socket is what the ring knows of a connection, and longer than that does: a socket is
// closed when nothing of it is asked for any more.
type socket struct {
	conn   *conn // nil: it is closing
	fd     int
	key    int32
	asked  int           // requests that the kernel has
	buf    []byte        // what is being sent; nil: nothing
	at     int64         // since when
	refuse syscall.Errno // why sending has failed
}

// smallest and largest of what the ring sends: beyond, a byte costs more than a call.
const largestSend = 4 << 10

func newOverRing(d *looper) (mover, error) {
	l, err := loop.NewRing()
	if err != nil {
		return nil, err
	}
	plan := &d.run.plan
	small := int(min(int64(plan.Size)*int64(plan.Pipeline), largestSend))
	return &overRing{RingLoop: l, looper: d, small: small, exact: plan.Pace != nil}, nil
}

func (o *overRing) begin() error { return o.Begin() }

func (o *overRing) run() {
	o.RunApart(o)
	for _, s := range o.sockets { // with the ring all that was asked for is gone
		if s != nil {
			loop.Close(s.fd)
		}
	}
}

// dialed implements mover.
func (o *overRing) dialed(c *conn) error {
	s := &socket{conn: c, fd: c.fd, asked: 1}
	if n := len(o.free); n > 0 {
		s.key, o.free = o.free[n-1], o.free[:n-1]
		o.sockets[s.key] = s
	} else {
		s.key = int32(len(o.sockets))
		o.sockets = append(o.sockets, s)
	}
	c.socket = s
	o.AwaitWritable(s.fd, s.key)
	return nil
}

func (o *overRing) opened(c *conn) { o.receive(c.socket) }

func (o *overRing) receive(s *socket) {
	s.asked++
	o.Receive(s.fd, s.key)
}

// close implements mover: the peer sees the end at once, the descriptor is closed when the
// kernel has let go of it.
func (o *overRing) close(c *conn) {
	s := c.socket
	s.conn, c.socket = nil, nil
	syscall.Shutdown(s.fd, syscall.SHUT_RDWR)
	if s.asked > 0 {
		o.Cancel(s.fd, s.key)
	}
	o.letGo(s)
}

// letGo closes the descriptor of a socket of which nothing is asked for any more.
func (o *overRing) letGo(s *socket) {
	if s.conn == nil && s.asked == 0 {
		loop.Close(s.fd)
		o.sockets[s.key] = nil
		o.free = append(o.free, s.key)
	}
}

// turn is when this turn began.
func (o *overRing) turn() int64 { return int64(o.Now().Sub(o.looper.run.base)) }

// Ready implements loop.RingHandler: nothing is watched, and nothing told again.
func (o *overRing) Ready(int32) {}

// Awaited implements loop.RingHandler: a connection is made or refused.
func (o *overRing) Awaited(key int32) {
	o.looper.lock()
	s := o.sockets[key]
	s.asked--
	if s.conn == nil {
		o.letGo(s)
	} else if s.conn.state == connecting {
		s.conn.connected()
	}
}

// Received implements loop.RingHandler.
func (o *overRing) Received(key int32, p []byte, errno syscall.Errno, on bool) {
	o.looper.lock()
	s := o.sockets[key]
	if !on {
		s.asked--
	}
	c := s.conn
	switch {
	case c == nil:
		o.letGo(s)
		return
	case len(p) > 0:
		c.came(p, o.turn())
	case errno == 0:
		o.ended(s)
	case errno != syscall.ENOBUFS && errno != syscall.ECANCELED && errno != syscall.EINTR && errno != syscall.EAGAIN:
		c.fail(os.NewSyscallError("recv", errno))
	}
	if !on && s.conn != nil {
		o.receive(s)
	}
}

// ended goes on when the peer has ended its direction; a reset that a send has met before is
// told once, so it is not told again.
func (o *overRing) ended(s *socket) {
	if s.refuse == syscall.ECONNRESET {
		s.conn.fail(os.NewSyscallError("send", s.refuse))
	} else {
		s.conn.ended()
	}
}

// push implements mover.
func (o *overRing) push(c *conn, now int64) {
	s := c.socket
	for s.buf == nil && s.refuse == 0 && c.lane.unsent() > 0 {
		if !o.exact && c.lane.unsent() <= int64(o.small) {
			o.submit(s, now)
			return
		}
		p := c.lane.output(o.looper.out)
		n, errno := loop.Send(s.fd, p)
		if errno != 0 && errno != syscall.EAGAIN && errno != syscall.EINTR {
			o.refused(s, errno)
			return
		}
		if n > 0 {
			c.wrote(n, now)
		}
		if errno == syscall.EAGAIN || errno == 0 && n < len(p) {
			o.submit(s, now) // which waits until there is room
			return
		}
		now = o.looper.run.now()
	}
}

// submit has the ring send.
func (o *overRing) submit(s *socket, now int64) {
	if n := len(o.spare); n > 0 {
		s.buf, o.spare = o.spare[n-1], o.spare[:n-1]
	} else {
		s.buf = make([]byte, o.small)
	}
	s.at = now
	s.asked++
	o.Send(s.fd, s.key, s.conn.lane.output(s.buf))
}

// Sent implements loop.RingHandler.
func (o *overRing) Sent(key int32, n int, errno syscall.Errno) {
	o.looper.lock()
	s := o.sockets[key]
	s.asked--
	o.spare = append(o.spare, s.buf)
	s.buf = nil
	c := s.conn
	switch {
	case c == nil:
		o.letGo(s)
		return
	case errno == 0:
		c.wrote(n, s.at)
	case errno != syscall.EINTR && errno != syscall.EAGAIN && errno != syscall.ECANCELED:
		o.refused(s, errno)
		return
	}
	if c.lane.unsent() > 0 {
		o.push(c, o.turn())
	}
}

// refused goes on when sending has failed for good. What came before is received first, and
// what then ends it says why; the time-out sees to a peer that says nothing.
func (o *overRing) refused(s *socket, errno syscall.Errno) { s.refuse = errno }

// Told implements loop.RingHandler.
func (o *overRing) Told() { o.looper.told() }

// Due implements loop.RingHandler.
func (o *overRing) Due(t *loop.Timer) { o.looper.due(t) }
