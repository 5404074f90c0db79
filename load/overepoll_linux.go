package load

import (
	"os"
	"syscall"

	"yodel/internal/loop"
)

// overEpoll is a mover over readiness: a socket is read when it is ready, and written to at
// once.
type overEpoll struct {
	*loop.Loop
	looper *looper
}

func newOverEpoll(d *looper) (mover, error) {
	l, err := loop.NewApart()
	if err != nil {
		return nil, err
	}
	return &overEpoll{l, d}, nil
}

func (o *overEpoll) begin() error { return nil }

func (o *overEpoll) run() { o.RunApart(o) }

func (o *overEpoll) dialed(c *conn) error {
	return o.Add(c.fd, c.key, loop.Readable|loop.Writable|loop.Ended|loop.Edge)
}

func (o *overEpoll) opened(c *conn) { c.writable = true }

func (o *overEpoll) close(c *conn) { loop.Close(c.fd) }

// Ready implements loop.Handler; no event at all is more of the same.
func (o *overEpoll) Ready(key int32, e loop.Events) {
	d := o.looper
	d.lock()
	switch c := d.conns[key]; {
	case c.state == connecting && e != 0:
		c.connected()
	case c.state == open:
		o.ready(c, e)
	}
}

// Told implements loop.Handler.
func (o *overEpoll) Told() { o.looper.told() }

// Due implements loop.Handler.
func (o *overEpoll) Due(t *loop.Timer) { o.looper.due(t) }

// ready goes on with what the socket is ready for.
func (o *overEpoll) ready(c *conn, e loop.Events) {
	if e&loop.Writable != 0 {
		c.writable = true
	}
	if e&^loop.Writable != 0 || e == 0 {
		o.read(c, e&(loop.Ended|loop.Broken) != 0)
	}
	if c.state == open && c.lane != nil && c.lane.unsent() > 0 {
		o.push(c, o.looper.run.now())
	}
}

// push implements mover.
func (o *overEpoll) push(c *conn, now int64) {
	for began := now; c.writable && c.lane.unsent() > 0; began = o.looper.run.now() {
		p := c.lane.output(o.looper.out)
		n, errno := loop.Send(c.fd, p)
		if errno != 0 {
			if errno == syscall.EAGAIN {
				c.writable = false
			} else if errno != syscall.EINTR {
				o.breaks(c, errno)
			}
			return
		}
		c.wrote(n, began)
		c.writable = n == len(p)
	}
}

// breaks ends the connection because of a send that failed; what came before that is
// counted first.
func (o *overEpoll) breaks(c *conn, errno syscall.Errno) {
	for c.state == open && o.receive(c) {
	}
	if c.state == open {
		c.fail(os.NewSyscallError("send", errno))
	}
}

// reads is how often a socket is read before it is another's turn.
const reads = 4

// read takes what has come: until a read does not fill the buffer, or to the end.
func (o *overEpoll) read(c *conn, toEnd bool) {
	for range reads {
		before := c.in
		if !o.receive(c) || !toEnd && c.in-before < bufferSize && c.dgram == nil {
			return
		}
	}
	o.Again(c.key)
}

// receive reads once, and reports whether there may be more.
func (o *overEpoll) receive(c *conn) (more bool) {
	d := o.looper
	n, errno := loop.Receive(c.fd, d.in)
	switch {
	case errno == syscall.EAGAIN:
		return false
	case errno == syscall.EINTR:
		return true
	case errno != 0 && c.dgram != nil: // an ICMP error of one datagram: the socket goes on
		c.set.tally.failed(classOf(errno), os.NewSyscallError("recv", errno))
		return true
	case errno != 0:
		c.fail(os.NewSyscallError("recv", errno))
		return false
	case n == 0 && c.dgram == nil:
		c.ended()
		return false
	}
	now := d.run.now()
	if c.dgram != nil {
		c.heard(n, now)
		c.datagram(d.in[:n], now)
		return true
	}
	return c.came(d.in[:n], now)
}
