package uring

import (
	"os"
	"syscall"
	"time"

	"yodel"
	"yodel/engine"
	"yodel/internal/loop"
)

// status is what the kernel was asked for a connection: a set of the bits below.
type status uint16

const (
	receiving status = 1 << iota // to receive
	stopping                     // to receive no more, which it has not confirmed
	awaiting                     // to tell when there is something to read
	sending                      // to send what was pending then
	ending                       // to end all of this
	queued                       // nothing; the loop was, for a turn without an event
	batched                      // nothing; it is in the worker's batch
	bulky                        // nothing; so much came at a time that the loop itself reads it
	ample                        // nothing; the last read has found readSize or more
	heard                        // nothing; something has come since the last sweep
	listed                       // nothing; a sweep will look at it
)

// asked are the requests that the kernel has, which must be over before the socket is
// closed: it would be used for them, and memory too.
const asked = receiving | awaiting | sending

// conn is one connection. A server may have a great many at rest, so it is small: it
// has its addresses packed, and no buffer.
type conn struct {
	core  engine.Core
	fd    int32 // its key, too
	is    status
	light uint8      // reads in a row that have shown that it is bulky no more
	timer loop.Timer // its Key is fd
	queue *engine.Queue
	pair  engine.Pair
}

const (
	// bulk is how many bytes at a time make a connection bulky. The buffers that all share
	// would not do for many of those, so the kernel only tells when there is something to
	// read, and the loop reads it into memory of its own, from one after the other. So
	// much is worth not to be copied, too: it is answered at once, while it is lent.
	bulk = 8 << 10

	// mostLight is how many reads in a row must have found less for that to be over.
	mostLight = 16
)

func newConn(v *engine.Visitor) *conn {
	fd := int32(v.FD)
	return &conn{fd: fd, timer: loop.Timer{Key: fd}, queue: v.Queue, pair: engine.PairOf(&v.Peer)}
}

func (c *conn) peer() yodel.Peer {
	p := c.queue.Peer()
	c.pair.SetIn(&p)
	return p
}

// received tells the Core what came of receiving.
func (c *conn) received(p []byte, errno syscall.Errno, now time.Time) {
	switch {
	case len(p) >= bulk:
		c.is |= bulky
		c.light = 0
		c.core.ReceivedLent(p, now)
	case len(p) > 0:
		c.core.Received(p, now)
	case errno == 0:
		c.core.Ended(now)
	case errno == syscall.ENOBUFS, errno == syscall.ECANCELED, errno == syscall.EINTR, errno == syscall.EAGAIN:
		// it is asked for again, if it is wanted
	default:
		c.core.Failed(os.NewSyscallError("recv", errno), now)
	}
}

// sent tells the Core what came of sending.
func (c *conn) sent(n int, errno syscall.Errno, now time.Time) {
	switch errno {
	case 0:
		c.core.Sent(n, now)
	case syscall.ECANCELED, syscall.EINTR, syscall.EAGAIN:
	default:
		c.core.Failed(os.NewSyscallError("send", errno), now)
	}
}

// drive does what the connection's Core says. If few have something to say, what is
// pending is sent at once as far as the socket takes it; else, and then, by request.
func (w *worker) drive(c *conn, few bool) {
	for range quantum {
		do := c.core.Next()
		switch {
		case do&engine.Close != 0:
			w.end(c, do)
			return
		case do&engine.Write != 0 && c.is&sending == 0:
			few = few && w.sendNow(c)
			if !few {
				w.send(c)
			}
		case do&engine.Shut != 0:
			c.core.ShutSocket(int(c.fd), w.clock())
		default:
			w.receive(c, do&engine.Read != 0)
			w.arm(c)
			return
		}
	}
	if c.is&queued == 0 {
		c.is |= queued
		w.Again(c.fd)
	}
}

// sendNow sends what the socket takes, and reports whether it took all.
func (w *worker) sendNow(c *conn) bool {
	p := c.core.Pending()
	n, errno := loop.Send(int(c.fd), p)
	if errno == syscall.EAGAIN {
		return false
	}
	c.sent(n, errno, w.clock())
	return errno != 0 || n == len(p)
}

func (w *worker) send(c *conn) {
	c.core.Own() // what is lent is not lent for so long
	if p := c.core.Pending(); len(p) > 0 {
		c.is |= sending
		w.Send(int(c.fd), c.fd, p)
	}
}

// receive sees to it that the kernel receives, or not. One that just can't be stopped in
// time is no harm: the Core takes what has come.
func (w *worker) receive(c *conn, want bool) {
	switch {
	case want && c.is&(receiving|awaiting|bulky) == 0:
		c.is |= receiving
		w.Receive(int(c.fd), c.fd)
	case want && c.is&(receiving|awaiting) == 0:
		c.is |= awaiting
		w.Await(int(c.fd), c.fd)
	case (!want || c.is&bulky != 0) && c.is&(receiving|stopping) == receiving:
		c.is |= stopping
		w.StopReceiving(c.fd)
	}
}

// read reads from a bulky connection.
func (w *worker) read(c *conn) {
	buf := w.buf[:readSize]
	if c.is&ample != 0 && c.core.Resting() {
		buf = w.buf
	}
	n, errno := loop.Receive(int(c.fd), buf)
	c.weigh(n)
	c.received(buf[:n], errno, w.clock())
}

// weigh notes how much was read.
func (c *conn) weigh(n int) {
	switch {
	case n >= readSize:
		c.is |= ample
	case n > 0 && n < bulk:
		c.is &^= ample
		if c.light++; c.light >= mostLight {
			c.is &^= bulky
		}
	}
}

// arm sees to it that Due is called no later than the Core asks for.
func (w *worker) arm(c *conn) {
	if c.timer.Set() && c.core.Resting() {
		return
	}
	if at := c.core.Deadline(); !at.IsZero() {
		w.StartBy(&c.timer, at)
	}
}

// end closes the socket of a connection that is over, once the kernel has nothing of it
// any more: neither the socket nor memory.
func (w *worker) end(c *conn, do engine.Do) {
	if c.is&asked != 0 {
		if c.is&ending == 0 {
			c.is |= ending
			w.Cancel(int(c.fd), c.fd)
		}
		return
	}
	if c.is&batched != 0 {
		return // it is driven once more
	}
	w.StopTimer(&c.timer)
	w.conns.Set(c.fd, nil)
	if do&engine.Abort != 0 {
		loop.Abort(int(c.fd))
	} else {
		loop.Close(int(c.fd))
	}
	v := engine.Visitor{FD: int(c.fd), ID: c.core.ID(), Peer: c.peer(), Queue: c.queue}
	w.host.Left(&v, &c.core, w.ReadClock())
}
