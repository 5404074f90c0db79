package loop

import (
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// RunApart is Run for programs where other processors of the Go runtime are idle (see
// NewApart): a wait is a system call, of which the scheduler knows if it may be long. And
// it waits for nobody: one completion ends it, so that what a handler measures is not the
// wait for others.
func (l *RingLoop) RunApart(h RingHandler) {
	look := func() bool {
		l.sends = 0
		l.backOff(l.ring.enter(0, enterGetEvents))
		return !l.ring.nothing()
	}
	l.turns(h, func() { l.waitOrSpin(look, l.waitApart) })
}

// waitApart submits what was asked for and waits until there is something to tell. Sends
// are nearly always completed by being submitted, so they don't count; the few that are
// not end the wait after batchTime.
func (l *RingLoop) waitApart(limit time.Duration) {
	r := l.ring
	want := l.sends + 1
	l.sends = 0
	if limit == 0 || !r.nothing() {
		l.backOff(r.enter(0, enterGetEvents))
		return
	}
	r.arg.minWait = uint32(batchTime / time.Microsecond)
	if want == 1 {
		r.arg.minWait = 0
	}
	for range holds {
		first := min(limit, hold)
		r.time = unix.NsecToTimespec(int64(first))
		errno := r.enter(want, enterGetEvents|enterExtArg)
		l.backOff(errno)
		if errno == unix.EINTR || r.failed(errno) || limit == first || !r.nothing() {
			return
		}
		limit -= first
		want, r.arg.minWait = 1, 0
		l.tickApart()
	}
	r.time = unix.NsecToTimespec(int64(limit))
	l.backOff(r.block())
	l.yield = time.Now()
}

// block waits for a completion, and the scheduler knows of it; see enter.
func (r *uring) block() syscall.Errno {
	n, _, errno := syscall.Syscall6(unix.SYS_IO_URING_ENTER, uintptr(r.fd), uintptr(r.queued), 1,
		enterGetEvents|enterExtArg|r.flags, uintptr(unsafe.Pointer(&r.arg)), unsafe.Sizeof(r.arg))
	return r.entered(n, errno)
}
