package kernel

import (
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"yodel"
	"yodel/engine"
	"yodel/internal/loop"
)

// What is told of a connection that the server has, and of one that the program has: of
// each segment that comes the latter would wake the server.
const (
	interest  = loop.Readable | loop.Ended | loop.Urgent | loop.Edge
	endsAlone = loop.Ended | loop.Edge
)

// status is a set of the bits below.
type status uint8

const (
	readable status = 1 << iota // a read may find something
	writable                    // a write may find room
	roomy                       // that it is writable again is told
	queued                      // it has its turn without an event
	seized                      // the server has it
	unsure                      // what the program relayed may not be in the send queue yet
	waiting                     // the timer is set to look again at that
)

// conn is one connection.
type conn struct {
	core  engine.Core
	timer loop.Timer // its Key is the descriptor
	queue *engine.Queue
	peer  yodel.Peer

	slot   *slot // nil: the server has it always
	place  uint32
	cookie uint64

	relayed uint64 // of slot.relayed, what the Core was told of
	taken   uint64 // of slot.passed, what was read
	own     uint64 // bytes that the server has sent
	joined  uint64 // slot.relayed when it joined
	acked   uint64 // by the peer, when last looked at, of all that was sent

	// What was relayed when the server last looked: once that is acknowledged, so are these
	// segments.
	thenBytes, thenSegments, doneSegments uint64

	room   limits
	wait   time.Duration // until the next look while unsure
	waited time.Duration // and how long that has been going on
	is     status
}

// limits is how much the kernel may hold of one connection that was relayed and is not
// acknowledged.
type limits struct{ bytes, segments uint64 }

// The limits where the send buffer is as large as it is asked to be. A segment is counted by
// itself because a small one costs much more than its bytes. What is redirected and does not
// fit the send buffer would wait in a queue in which what passes would wait behind it, and
// nothing of that queue is charged to anybody; so the limits are such that all fits. Where
// the server writes, a buffer of that size would only mean that a peer that does not
// read is found out later.
const (
	relayBuffer  = 1 << 20 // asked for while the program relays; the kernel doubles it (socket(7))
	serverBuffer = 192 << 10
	segmentCost  = 2304 // what a small segment takes of that at most
	mostBytes    = 256 << 10
	mostSegments = 1024
)

func limitsOf(sendBuffer int) limits {
	half := uint64(sendBuffer) / 2
	return limits{bytes: min(mostBytes, half/2), segments: min(mostSegments, half/segmentCost)}
}

func (c *conn) fd() int { return int(c.timer.Key) }

// join puts the socket into the program's map, and leaves the connection the server's. If it
// can't, that is how it stays.
func (w *worker) join(c *conn) {
	cookie, err := unix.GetsockoptUint64(c.fd(), unix.SOL_SOCKET, unix.SO_COOKIE)
	if err != nil {
		return
	}
	place, ok := w.at.slots.take()
	if !ok {
		return
	}
	c.place, c.cookie, c.slot = place, cookie, &w.at.slots.list[place]
	c.begin()
	if w.at.places.Put(cookie, place) != nil ||
		unix.SetsockoptInt(c.fd(), unix.SOL_SOCKET, unix.SO_ATTACH_BPF, w.at.brake.FD()) != nil ||
		w.at.sockets.Put(place, uint32(c.fd())) != nil {
		w.vacate(c)
		c.slot = nil
		return
	}
	w.placed[place] = c
	// What has come before is in the receive queue. Setting this makes the kernel
	// look whether there is enough of it, and so run the program over it, which lets it pass.
	unix.SetsockoptInt(c.fd(), unix.SOL_SOCKET, unix.SO_RCVLOWAT, 1)
}

// begin sets the slot to what a new connection has.
func (c *conn) begin() {
	s := c.slot
	s.keep()
	s.told.Store(1)
	s.first.Store(0)
	s.last.Store(0)
	s.next.Store(0)
	c.relayed, c.taken = s.relayed.Load(), s.passed.Load()
	s.taken.Store(c.taken)
	c.joined, c.thenBytes = c.relayed, c.relayed
	c.thenSegments = s.segments.Load()
	c.doneSegments = c.thenSegments
}

func (w *worker) vacate(c *conn) {
	w.placed[c.place] = nil
	w.at.places.Delete(c.cookie)
	w.at.slots.giveBack(c.place)
}

// growSendBuffer asks for the send buffer that relaying needs, and returns the one there is.
func growSendBuffer(fd int) int {
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, relayBuffer) != nil { // it needs CAP_NET_ADMIN
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, relayBuffer)
	}
	size, _ := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF)
	return size
}

// seize makes the connection the server's, and tells its Core what the program has done.
func (w *worker) seize(c *conn) {
	if c.slot == nil || c.is&seized != 0 {
		return
	}
	c.slot.keep()
	c.slot.told.Store(1)
	w.lookAtTCP(c) // takes the socket's lock, so that the program has ended, or sees keep
	c.is |= seized | readable
	w.report(c)
	c.is &^= roomy
	if err := w.Change(c.fd(), c.timer.Key, interest); err != nil {
		c.core.Failed(err, w.ReadClock())
	}
}

// report tells the Core what was relayed since it was last told.
func (w *worker) report(c *conn) {
	now := c.slot.relayed.Load()
	n := now - c.relayed
	if n == 0 {
		return
	}
	c.relayed = now
	c.is |= unsure
	c.core.Relayed(int(n), timeOf(c.slot.last.Load()))
	w.at.told.Add(int64(n))
}

// look is called when the program has rung the bell: it has used much of what it
// may, or has let something pass, or an event is wanted.
func (w *worker) look(c *conn) {
	if c.is&seized != 0 {
		w.drive(c)
		return
	}
	if c.slot.passed.Load() != c.taken || c.slot.broken() {
		w.seize(c)
		w.drive(c)
		return
	}
	w.lookAtTCP(c)
	w.allow(c)
	w.report(c)
	if c.slot.passed.Load() != c.taken { // it may have come before the bell was wanted
		w.seize(c)
		w.drive(c)
		return
	}
	w.arm(c)
}

// release makes the connection the program's. All that has passed was read and is in the
// send queue.
func (w *worker) release(c *conn) {
	if err := w.Change(c.fd(), c.timer.Key, endsAlone); err != nil {
		c.core.Failed(err, w.ReadClock())
		return
	}
	c.is &^= seized | roomy
	c.is |= writable
	c.room = limitsOf(growSendBuffer(c.fd()))
	w.lookAtTCP(c)
	w.allow(c)
	c.slot.echoed.Store(c.taken)
	if c.slot.passed.Load() != c.taken { // it may have come before the bell was wanted
		w.seize(c)
	}
}

// allow lets the program relay so much more as is acknowledged, and has it ring the bell
// when half of that is used.
func (w *worker) allow(c *conn) {
	s := c.slot
	s.told.Store(0) // first, so that what comes from now on is told
	bytes, segments := s.relayed.Load(), s.segments.Load()
	done := c.joined + c.acked - min(c.acked, c.own) // if what the server sent went first: never more than was acknowledged
	if done >= c.thenBytes {
		c.doneSegments = c.thenSegments
		c.thenBytes, c.thenSegments = bytes, segments
	}
	s.mostBytes.Store(done + c.room.bytes)
	s.mostSegments.Store(c.doneSegments + c.room.segments)
	if w.watched == watchEach || w.watched == watchFirst && s.first.Load() == 0 {
		s.tellBytes.Store(0)
		return
	}
	s.tellBytes.Store(bytes + (done+c.room.bytes-min(bytes, done+c.room.bytes))/2)
	s.tellSegments.Store(segments + (c.doneSegments+c.room.segments-min(segments, c.doneSegments+c.room.segments))/2)
}

// lookAtTCP asks the kernel how far the peer has acknowledged, and returns whether there is
// still a connection.
func (w *worker) lookAtTCP(c *conn) bool {
	info, err := unix.GetsockoptTCPInfo(c.fd(), unix.SOL_TCP, unix.TCP_INFO)
	if err != nil {
		return false
	}
	c.acked = info.Bytes_acked
	return info.State != tcpClose
}

const tcpClose = 7 // TCP_CLOSE, include/net/tcp_states.h

// flushed reports whether all that the program has relayed is in the send queue, from where
// it goes to the peer whatever is done with the socket. While it is not, nothing may be
// sent, or our direction be ended.
func (w *worker) flushed(c *conn) bool {
	if c.is&unsure == 0 {
		return true
	}
	alive := w.lookAtTCP(c)
	queue, err := unix.IoctlGetInt(c.fd(), unix.SIOCOUTQ) // after the other: then the sum is never too high
	if alive && err == nil && c.acked+uint64(queue) < c.relayed-c.joined+c.own {
		return false
	}
	c.is &^= unsure
	c.wait, c.waited = 0, 0
	unix.SetsockoptInt(c.fd(), unix.SOL_SOCKET, unix.SO_SNDBUF, serverBuffer)
	return true
}

// mostWait is how long the kernel may take to queue what was redirected, which takes no time
// unless it lacks memory.
const mostWait = 30 * time.Second

// lookAgain drives the connection again in a while.
func (w *worker) lookAgain(c *conn) {
	c.wait = min(max(2*c.wait, time.Millisecond), 8*time.Millisecond)
	c.waited += c.wait
	c.is |= waiting
	w.StopTimer(&c.timer)
	w.Start(&c.timer, w.ReadClock().Add(c.wait))
}

// ready takes what the loop tells of the socket.
func (w *worker) ready(c *conn, e loop.Events) {
	switch {
	case e == 0:
		c.is &^= queued
	case e&(loop.Ended|loop.Urgent|loop.Broken) != 0:
		w.seize(c)
		c.is |= readable | writable
	default:
		if e&loop.Readable != 0 {
			c.is |= readable
		}
		if e&loop.Writable != 0 {
			c.is |= writable
		}
	}
	w.drive(c)
}

// drive does what the connection's Core says, as far as the socket allows.
func (w *worker) drive(c *conn) {
	if c.is&(seized|waiting) != seized {
		w.arm(c)
		return
	}
	for range quantum {
		do := c.core.Next()
		switch {
		case do == engine.Close|engine.Abort:
			w.leave(c, do)
			return
		case do&(engine.Close|engine.Write|engine.Shut) != 0 && !w.flushed(c):
			if c.waited < mostWait {
				w.lookAgain(c)
				return
			}
			c.core.Cut(engine.SlowReader)
		case do&engine.Close != 0:
			w.leave(c, do)
			return
		case do&engine.Write != 0 && c.is&writable != 0:
			w.write(c)
		case do&engine.Shut != 0:
			c.core.ShutSocket(c.fd(), w.ReadClock())
		case do&engine.Read != 0 && c.is&readable != 0:
			w.read(c)
		default:
			w.rest(c)
			return
		}
		if c.is&waiting != 0 {
			return
		}
	}
	if c.is&queued == 0 {
		c.is |= queued
		w.Again(c.timer.Key)
	}
}

// rest is called when the server has nothing to do for the connection.
func (w *worker) rest(c *conn) {
	if c.slot != nil && c.core.Resting() && c.taken == c.slot.passed.Load() {
		w.release(c)
		if c.is&seized != 0 && c.is&queued == 0 {
			c.is |= queued
			w.Again(c.timer.Key)
		}
	}
	w.arm(c)
}

// arm sees to it that Due is called no later than the Core asks for.
func (w *worker) arm(c *conn) {
	if c.is&waiting != 0 {
		return
	}
	if at := c.core.Deadline(); !at.IsZero() {
		w.StartBy(&c.timer, at)
	}
}

func (w *worker) read(c *conn) {
	n, errno := loop.Receive(c.fd(), w.buf)
	now := w.ReadClock()
	switch {
	case c.slot != nil && c.slot.broken():
		c.core.Failed(errBroken, now)
	case n > 0:
		c.took(n)
		c.core.Received(w.buf[:n], now)
	case errno == 0 && c.slot != nil && c.taken < c.slot.passed.Load():
		w.lookAgain(c) // the end, but what has passed is still on its way here
	case errno == 0:
		c.core.Ended(now)
	case errno == syscall.EAGAIN:
		c.is &^= readable
	case errno != syscall.EINTR:
		c.core.Failed(os.NewSyscallError("recvfrom", errno), now)
	}
}

// took notes that n bytes were read that the program had let pass.
func (c *conn) took(n int) {
	c.taken += uint64(n)
	if c.slot != nil {
		c.slot.taken.Store(c.taken)
	}
}

func (w *worker) write(c *conn) {
	p := c.core.Pending()
	n, errno := loop.Send(c.fd(), p)
	now := w.ReadClock()
	switch {
	case errno == 0:
		c.own += uint64(n)
		if n < len(p) {
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
	if err := w.Change(c.fd(), c.timer.Key, interest|loop.Writable); err != nil {
		c.core.Failed(err, w.ReadClock())
	}
}
