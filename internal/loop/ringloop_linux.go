package loop

import (
	"os"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A RingHandler is what a RingLoop calls, on its own goroutine.
type RingHandler interface {
	// Received tells what was received for key: bytes, which are lent until it returns;
	// or none, and why: 0 for the peer's end. If on is false, nothing more is
	// received before Receive is called again.
	Received(key int32, p []byte, errno syscall.Errno, on bool)

	// Awaited tells that an Await is over: a socket is ready, or it was cancelled.
	Awaited(key int32)

	// Sent tells how many bytes of a Send were sent, or why none were.
	Sent(key int32, n int, errno syscall.Errno)

	// Ready tells that a descriptor that is watched under key is readable, or that
	// Again was called for key.
	Ready(key int32)

	// Told follows when all that was completed has been told in this turn.
	Told()

	// Due tells that a timer's time has come.
	Due(t *Timer)
}

// A RingLoop is one event loop over completion: io_uring(7). Make one with NewRing; it
// is over when Run returns.
//
// What is asked for in a turn goes to the kernel together, with the call that waits. The
// kernel works on completions only when they are waited for, so that it does the same
// work many times in a row.
type RingLoop struct {
	keeper
	ring     *uring
	fd       int // the ring's
	begun    bool
	sends    uint32        // asked for in this turn
	received uint32        // told in this turn
	watched  map[int32]int // descriptors by key

	// What is being sent, which the garbage collector must not take meanwhile; and the
	// places in it that are free.
	sending [][]byte
	empty   []uint32
}

// Kinds of requests, in the upper byte of their names. The lower four bytes are the key;
// for a send, those between are its place in RingLoop.sending.
const (
	kindReceive = iota
	kindAwait
	kindSend
	kindWatch
	kindCancel
)

func nameOf(kind uint64, key int32) uint64 { return kind<<56 | uint64(uint32(key)) }

// NewRing returns a RingLoop that does not run yet. It has three descriptors, and some
// hundred KiB of memory that is shared with the kernel. The error wraps
// errors.ErrUnsupported where io_uring does not have what is needed, which is that of
// Linux 6.12.
func NewRing() (*RingLoop, error) {
	r, err := newRing()
	if err != nil {
		return nil, err
	}
	l := &RingLoop{ring: r, fd: r.fd, watched: make(map[int32]int)}
	waker, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		l.free()
		return nil, os.NewSyscallError("eventfd2", err)
	}
	if err := l.init(waker, "io_uring"); err != nil {
		l.free()
		return nil, err
	}
	if err := r.signal(waker); err != nil {
		l.close()
		return nil, err
	}
	l.waker = waker // the kernel does not ring it for the bell: not for one eventfd when another is rung
	return l, nil
}

// ProbeRing returns nil if a RingLoop can be made here, and else why not.
func ProbeRing() error {
	l, err := NewRing()
	if err != nil {
		return err
	}
	l.close()
	return nil
}

func (l *RingLoop) close() {
	l.keeper.close()
	l.free()
}

func (l *RingLoop) free() {
	l.ring.unmap()
	unix.Close(l.fd)
}

// Begin makes the ring the calling thread's, to which the caller has locked its goroutine:
// that may fail where Run can't say so. After an error the RingLoop is closed; else only
// Run may be called, on the same goroutine. It calls Begin if that was not done.
func (l *RingLoop) Begin() error {
	if l.begun {
		return nil
	}
	l.begun = true
	err := l.ring.enable()
	if err != nil {
		l.close()
	}
	return err
}

// Run waits and calls h until Stop is called. It closes the RingLoop's descriptors, and no
// others. The goroutine has a thread of its own meanwhile, which the ring belongs to.
func (l *RingLoop) Run(h RingHandler) {
	look := func(uintptr) bool {
		errno := l.ring.enter(0, enterGetEvents)
		for errno == unix.EINTR { // what is there may be told of only once
			errno = l.ring.enter(0, enterGetEvents)
		}
		return !l.ring.nothing() || l.ring.failed(errno)
	}
	l.turns(h, func() {
		l.wait(look)
		l.tick()
	})
}

// turns waits and tells until Stop is called, on a thread of its own.
func (l *RingLoop) turns(h RingHandler, wait func()) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if l.Begin() != nil {
		return
	}
	defer l.close()
	l.Watch(l.bell, bellKey)
	due := h.Due // made once, because it is allocated
	for !l.stopped {
		wait()
		l.tellAll(h, due)
	}
}

// tellAll tells what has come; posted calls are made last.
func (l *RingLoop) tellAll(h RingHandler, due func(*Timer)) {
	l.received = 0
	posted := l.tell(h)
	if len(l.again) > 0 {
		for _, key := range l.takeAgain() {
			h.Ready(key)
		}
	}
	h.Told()
	l.timers.Advance(l.now.Sub(l.base), due)
	if posted {
		l.callPosted()
	}
}

// mostTold is how many completions are told in a turn. What follows from them holds
// memory until the kernel has it.
const mostTold = 256

// tell tells of the completions that are there, and reports whether the bell was rung.
func (l *RingLoop) tell(h RingHandler) (posted bool) {
	r := l.ring
	head := *r.cqHead
	tail := head + min(atomic.LoadUint32(r.cqTail)-head, mostTold)
	for ; head != tail; head++ {
		c := &r.cqes[head&r.cqMask]
		key := int32(c.user)
		switch c.user >> 56 {
		case kindReceive:
			l.tellReceived(h, key, c)
		case kindAwait:
			l.received++
			h.Awaited(key)
		case kindSend:
			l.tellSent(h, key, c)
		case kindWatch:
			if key == bellKey {
				posted = true
			}
			l.tellWatched(h, key, c)
		}
	}
	atomic.StoreUint32(r.cqHead, head)
	return posted
}

func (l *RingLoop) tellReceived(h RingHandler, key int32, c *cqe) {
	on := c.flags&cqeMore != 0
	if c.flags&cqeBuffer == 0 {
		h.Received(key, nil, errnoOf(c.res), on)
		return
	}
	l.received++
	p, id, last := l.ring.take(c)
	h.Received(key, p, 0, on)
	if last {
		l.ring.giveBack(id)
	}
}

func (l *RingLoop) tellSent(h RingHandler, key int32, c *cqe) {
	i := uint32(c.user>>32) & 0xffffff
	l.sending[i] = nil
	l.empty = append(l.empty, i)
	h.Sent(key, int(max(c.res, 0)), errnoOf(c.res))
}

func (l *RingLoop) tellWatched(h RingHandler, key int32, c *cqe) {
	fd, ok := l.watched[key]
	if !ok || c.res < 0 {
		return // it was unwatched
	}
	if c.flags&cqeMore == 0 {
		l.Watch(fd, key)
	}
	if key != bellKey {
		h.Ready(key)
	}
}

func errnoOf(res int32) syscall.Errno { return syscall.Errno(-min(res, 0)) }

// Batches.
const (
	// batchTime is for how long the loop waits for a whole batch, if it has reason to
	// expect one. It is a small part of the time that each of so many waits anyway.
	batchTime             = 50 * time.Microsecond
	leastBatch, mostBatch = 4, 32
)

// wait submits what was asked for and waits until there is something to tell.
func (l *RingLoop) wait(look func(uintptr) bool) {
	r, limit := l.ring, l.limit()
	want, patience := l.batch()
	l.sends = 0
	switch {
	case limit == 0 || !r.nothing():
		l.backOff(r.enter(0, enterGetEvents))
		return
	case !l.idle:
		first := min(limit, hold)
		r.arg.minWait = uint32(patience / time.Microsecond)
		r.time = unix.NsecToTimespec(int64(first))
		errno := r.enter(want, enterGetEvents|enterExtArg)
		l.backOff(errno)
		if errno == unix.EINTR || r.failed(errno) || limit == first || !r.nothing() { // EINTR: a signal of the Go runtime's
			return
		}
		limit -= first
	}
	r.signals(true)
	l.park(limit, look)
	r.signals(false)
}

// backOff waits if the kernel has refused what was asked for; the next turn tries it again.
func (l *RingLoop) backOff(errno syscall.Errno) {
	if l.ring.failed(errno) {
		time.Sleep(lackOfMemory)
	}
}

// batch returns how many completions to wait for, and for how long; with 0 for as long as
// need be. Nearly all sends are completed when they are submitted, and then nothing new
// has come; so they are on top.
func (l *RingLoop) batch() (want uint32, patience time.Duration) {
	switch {
	case l.received >= leastBatch:
		return l.sends + min(l.received, mostBatch), batchTime
	case l.sends > 0:
		return l.sends + 1, batchTime
	}
	return 1, 0
}

// Receive has told under key all that comes to a socket, until Received says that this
// is over: a multishot recv(2). In a turn that can be as much as there are buffers for.
func (l *RingLoop) Receive(fd int, key int32) {
	s := l.ring.next()
	s.op, s.fd, s.user = opRecv, int32(fd), nameOf(kindReceive, key)
	s.flags, s.ioprio = sqeBufferSelect, recvMultishot
}

// Await has Awaited called, once, when a socket becomes readable, and if it is: for those
// who receive so much that the buffers would not do for all.
func (l *RingLoop) Await(fd int, key int32) { l.await(fd, key, unix.POLLIN) }

// AwaitWritable has Awaited called, once, when a socket is writable or broken.
func (l *RingLoop) AwaitWritable(fd int, key int32) { l.await(fd, key, unix.POLLOUT) }

func (l *RingLoop) await(fd int, key int32, events uint32) {
	s := l.ring.next()
	s.op, s.fd, s.user = opPollAdd, int32(fd), nameOf(kindAwait, key)
	s.opFlags = wordOrder(events)
}

// Send sends what fits a socket's buffer, at least one byte: send(2). The kernel reads p,
// which must not change, until Sent is called. There may be one Send for a key at a time.
func (l *RingLoop) Send(fd int, key int32, p []byte) {
	i := l.hold(p)
	s := l.ring.next()
	s.op, s.fd, s.user = opSend, int32(fd), nameOf(kindSend, key)|uint64(i)<<32
	s.addr, s.len = uint64(uintptr(unsafe.Pointer(unsafe.SliceData(p)))), uint32(min(len(p), 1<<30))
	s.opFlags = unix.MSG_NOSIGNAL
	l.sends++
}

// hold keeps p and returns its place.
func (l *RingLoop) hold(p []byte) (i uint32) {
	if n := len(l.empty); n > 0 {
		i, l.empty = l.empty[n-1], l.empty[:n-1]
		l.sending[i] = p
		return i
	}
	l.sending = append(l.sending, p)
	return uint32(len(l.sending) - 1)
}

// StopReceiving ends a Receive early: Received tells when that is done, and before it
// what has come meanwhile.
func (l *RingLoop) StopReceiving(key int32) {
	s := l.ring.next()
	s.op, s.user, s.addr = opAsyncCancel, nameOf(kindCancel, key), nameOf(kindReceive, key)
}

// Cancel ends all that was asked for a socket: Received and Sent tell when that is done.
func (l *RingLoop) Cancel(fd int, key int32) {
	s := l.ring.next()
	s.op, s.user, s.fd, s.opFlags = opAsyncCancel, nameOf(kindCancel, key), int32(fd), cancelAll|cancelFD
}

// Watch has Ready called when a descriptor becomes readable, and if it is.
func (l *RingLoop) Watch(fd int, key int32) {
	l.watched[key] = fd
	s := l.ring.next()
	s.op, s.fd, s.user = opPollAdd, int32(fd), nameOf(kindWatch, key)
	s.len, s.opFlags = pollMultishot, wordOrder(unix.POLLIN)
}

// Unwatch ends a Watch. When it returns, the kernel has let go of the descriptor.
func (l *RingLoop) Unwatch(key int32) {
	delete(l.watched, key)
	s := l.ring.next()
	s.op, s.user, s.addr = opAsyncCancel, nameOf(kindCancel, key), nameOf(kindWatch, key)
	l.ring.flush()
}
