package epoll

import (
	"os"
	"syscall"
	"time"

	"yodel"
	"yodel/engine"
	"yodel/internal/loop"
)

// interest is what is told of a connection from the beginning.
const interest = loop.Readable | loop.Ended | loop.Urgent | loop.Edge

// status is what is known of a connection's socket: a set of the bits below.
type status uint8

const (
	readable status = 1 << iota // a read may find something
	writable                    // a write may find room
	roomy                       // that it is writable again is told
	careful                     // a read that did not fill the buffer may have left something
	queued                      // it has its turn without an event
	batched                     // it is in the worker's batch
	ample                       // the last read has found readSize or more
)

// conn is one connection. A server may have a great many at rest, so it is small: it
// has its addresses packed, and no buffer.
type conn struct {
	core  engine.Core
	fd    int32 // its key, too
	is    status
	timer loop.Timer // its Key is fd
	queue *engine.Queue
	pair  engine.Pair
}

func newConn(v *engine.Visitor) *conn {
	fd := int32(v.FD)
	c := &conn{fd: fd, timer: loop.Timer{Key: fd}, queue: v.Queue, pair: engine.PairOf(&v.Peer), is: writable}
	if v.Peer.Network == "unix" {
		c.is |= careful // ancillary data ends a read: unix(7)
	}
	return c
}

func (c *conn) peer() yodel.Peer {
	p := c.queue.Peer()
	c.pair.SetIn(&p)
	return p
}

// note takes what the loop tells of the socket.
func (c *conn) note(e loop.Events) {
	switch {
	case e == 0:
		c.is &^= queued
	case e&(loop.Ended|loop.Urgent|loop.Broken) != 0:
		c.is |= readable | writable | careful
	default:
		if e&loop.Readable != 0 {
			c.is |= readable
		}
		if e&loop.Writable != 0 {
			c.is |= writable
		}
	}
}

// drive does what the connection's Core says, as far as the socket allows.
func (w *worker) drive(c *conn) {
	w.driveOn(c)
	w.own(c)
}

// own takes w.buf back from c, if it is lent to it.
func (w *worker) own(c *conn) {
	if w.lent == c {
		c.core.Own()
		w.lent = nil
	}
}

func (w *worker) driveOn(c *conn) {
	for range quantum {
		do := c.core.Next()
		switch {
		case do&engine.Close != 0:
			w.leave(c, do)
			return
		case do&engine.Write != 0 && c.is&writable != 0:
			w.write(c)
		case do&engine.Shut != 0:
			c.core.ShutSocket(int(c.fd), w.clock())
		case do&engine.Read != 0 && c.is&readable != 0:
			w.read(c)
		default:
			w.arm(c)
			return
		}
	}
	if c.is&queued == 0 {
		c.is |= queued
		w.Again(c.fd)
	}
}

// waits reports whether there is nothing to do for c before something comes.
func (w *worker) waits(c *conn) bool {
	return c.is&readable == 0 && c.timer.Set() && c.core.Resting() && w.lent != c
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

func (w *worker) read(c *conn) {
	w.own(c)
	buf := w.bufferOf(c)
	n, errno := loop.Receive(int(c.fd), buf)
	now := w.clock()
	switch {
	case n > 0:
		if n < len(buf) && c.is&careful == 0 {
			c.is &^= readable // epoll(7): that was all
		}
		w.received(c, buf[:n], now)
	case errno == 0:
		c.core.Ended(now)
	case errno == syscall.EAGAIN:
		c.is &^= readable
	case errno != syscall.EINTR:
		c.core.Failed(os.NewSyscallError("recvfrom", errno), now)
	}
}

// bufferOf returns where to read to. One whose session makes much of what it hears, or
// whose peer does not take its answers, is not given more to keep.
func (w *worker) bufferOf(c *conn) []byte {
	if c.is&ample != 0 && c.core.Resting() {
		return w.buf
	}
	return w.buf[:readSize]
}

// received hands what was received to the connection. If it is much, it is lent to it, so
// that an answer that is the same need not be copied; drive then comes first.
func (w *worker) received(c *conn, p []byte, now time.Time) {
	if len(p) < bulk {
		c.is &^= ample
		c.core.Received(p, now)
		return
	}
	if len(p) >= readSize {
		c.is |= ample
	}
	w.lent = c
	c.core.ReceivedLent(p, now)
}

func (w *worker) write(c *conn) {
	p := c.core.Pending()
	n, errno := loop.Send(int(c.fd), p)
	w.wrote(c, n, len(p), errno)
}

// wrote tells what came of writing all that was pending.
func (w *worker) wrote(c *conn, n, all int, errno syscall.Errno) {
	now := w.clock()
	switch {
	case errno == 0:
		if n < all {
			w.awaitRoom(c)
		}
		c.core.Sent(n, now)
	case errno == syscall.EAGAIN:
		w.awaitRoom(c)
	case errno != syscall.EINTR:
		c.core.Failed(os.NewSyscallError("sendto", errno), now)
	}
}

// awaitRoom is called when the socket takes no more. That it does again is asked for
// with the first time, and then told whenever it happens.
func (w *worker) awaitRoom(c *conn) {
	c.is &^= writable
	if c.is&roomy != 0 {
		return
	}
	c.is |= roomy
	if err := w.Change(int(c.fd), c.fd, interest|loop.Writable); err != nil {
		c.core.Failed(err, w.clock())
	}
}

// leave closes the socket of a connection that is over.
func (w *worker) leave(c *conn, do engine.Do) {
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
