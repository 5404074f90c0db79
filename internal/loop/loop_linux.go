package loop

import (
	"os"

	"golang.org/x/sys/unix"
)

// Events is what a descriptor is ready for, a set of the bits below; and what a Loop
// is asked to tell of it.
type Events uint32

// The bits of Events, which are epoll's (epoll_ctl(2)).
const (
	Readable Events = unix.EPOLLIN
	Writable Events = unix.EPOLLOUT
	Ended    Events = unix.EPOLLRDHUP               // the peer has ended its direction: reading comes to the end
	Urgent   Events = unix.EPOLLPRI                 // a read may stop short of what is there, before urgent data
	Broken   Events = unix.EPOLLERR | unix.EPOLLHUP // reading or writing says what happened; told unasked
	Edge     Events = unix.EPOLLET                  // tell once when it becomes ready, not for as long as it is
)

// A Handler is what a Loop calls, on its own goroutine.
type Handler interface {
	// Ready tells what the descriptor that was added under key is ready for.
	Ready(key int32, e Events)

	// Told follows when all that was ready has been told in this turn.
	Told()

	// Due tells that a timer's time has come.
	Due(t *Timer)
}

// A Loop is one event loop over readiness: epoll(7). Make one with New; it is over when
// Run returns.
type Loop struct {
	keeper
	epoll  int
	events [512]unix.EpollEvent
	found  int // events that the last look has found
}

// New returns a Loop that does not run yet. It has two descriptors.
func New() (*Loop, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	l := &Loop{epoll: epoll}
	if err := l.init(epoll, "epoll"); err != nil {
		return nil, err
	}
	if err := l.Add(l.bell, bellKey, Readable|Edge); err != nil {
		l.close()
		return nil, err
	}
	return l, nil
}

// Probe returns nil if event loops can be made here, and else why not.
func Probe() error {
	l, err := New()
	if err != nil {
		return err
	}
	l.close()
	return nil
}

// Run waits and calls h until Stop is called. It closes the Loop's descriptors, and no
// others.
func (l *Loop) Run(h Handler) {
	defer l.close()
	look := func(uintptr) bool {
		l.found = l.poll(0)
		return l.found > 0
	}
	l.turns(h, func() {
		l.wait(look)
		l.tick()
	})
}

// turns waits and tells until Stop is called.
func (l *Loop) turns(h Handler, wait func()) {
	due := h.Due // made once, because it is allocated
	for !l.stopped {
		wait()
		l.tell(h, due)
	}
}

// tell tells what has come. Descriptors come first and posted calls last, so that while
// they are told of, nothing else closes or opens any.
func (l *Loop) tell(h Handler, due func(*Timer)) {
	posted := false
	for i := range l.events[:l.found] {
		if e := &l.events[i]; e.Fd != bellKey {
			h.Ready(e.Fd, Events(e.Events))
		} else {
			posted = true
		}
	}
	if len(l.again) > 0 {
		for _, key := range l.takeAgain() {
			h.Ready(key, 0)
		}
	}
	h.Told()
	l.timers.Advance(l.now.Sub(l.base), due)
	if posted {
		l.callPosted()
	}
}

// wait waits until there is something to tell.
func (l *Loop) wait(look func(uintptr) bool) {
	limit := l.limit()
	if limit == 0 || !l.idle {
		first := min(limit, hold)
		if l.found = l.poll(first); l.found > 0 || limit == first {
			return
		}
		limit -= first
	}
	l.park(limit, look)
}

// Add makes the Loop tell what fd is ready for, under key, which is not negative.
func (l *Loop) Add(fd int, key int32, e Events) error {
	return l.control(unix.EPOLL_CTL_ADD, "epoll_ctl EPOLL_CTL_ADD", fd, key, e)
}

// Change makes the Loop tell something else of fd; what it is ready for already is
// told once more.
func (l *Loop) Change(fd int, key int32, e Events) error {
	return l.control(unix.EPOLL_CTL_MOD, "epoll_ctl EPOLL_CTL_MOD", fd, key, e)
}

// Remove makes the Loop tell no more of fd. Closing does too, unless the socket has
// another descriptor.
func (l *Loop) Remove(fd int) error {
	return l.control(unix.EPOLL_CTL_DEL, "epoll_ctl EPOLL_CTL_DEL", fd, 0, 0)
}

func (l *Loop) control(op int, name string, fd int, key int32, e Events) error {
	ev := unix.EpollEvent{Events: uint32(e), Fd: key}
	return os.NewSyscallError(name, unix.EpollCtl(l.epoll, op, fd, &ev))
}
