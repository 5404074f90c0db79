package loop

import (
	"os"
	"runtime"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// NewApart returns a Loop that the Go scheduler does not wait for: RunApart must run it,
// and it has three descriptors. It is for programs where other processors of the Go
// runtime are idle: a thread of theirs would wait for this Loop's events too, and be woken
// by each, which costs as much as what the Loop does.
func NewApart() (*Loop, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	never, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		unix.Close(epoll)
		return nil, os.NewSyscallError("eventfd2", err)
	}
	l := &Loop{epoll: epoll}
	if err := l.init(never, "never ready"); err != nil {
		unix.Close(epoll)
		return nil, err
	}
	if err := l.Add(l.bell, bellKey, Readable|Edge); err != nil {
		l.closeApart()
		return nil, err
	}
	return l, nil
}

func (l *Loop) closeApart() {
	l.close()
	unix.Close(l.epoll)
}

// An exact time is one at which a loop apart begins a turn. Timers are as coarse as the wheel,
// and what wakes a thread takes some 50 µs, on a virtual machine more.
type exact struct {
	at    time.Time     // zero: there is none
	ahead time.Duration // for how long before it the thread does not sleep
	spun  time.Duration // how long that was, in all
}

// WakeAt has a turn begin at a time, if none begins before, instead of at the one that was given
// last; zero: at no certain time. It is for loops apart. For so long ahead of it the thread does
// not sleep: it looks whether something has come, and offers the processor to others
// meanwhile (sched_yield(2)), so that it is there at the time, and when something comes.
func (k *keeper) WakeAt(at time.Time, ahead time.Duration) { k.exact.at, k.exact.ahead = at, ahead }

// Spun returns for how long the thread has had the processor because of WakeAt without anything
// to do.
func (k *keeper) Spun() time.Duration { return k.exact.spun }

// limitApart returns how long there may be nothing to do, and whether the thread is not to sleep
// meanwhile.
func (k *keeper) limitApart() (limit time.Duration, awake bool) {
	limit = k.limit()
	if k.exact.at.IsZero() {
		return limit, false
	}
	left := time.Until(k.exact.at)
	if limit <= 0 || left <= 0 {
		return 0, false
	}
	if left <= k.exact.ahead {
		return min(limit, left, turnTime), true
	}
	return min(limit, left-k.exact.ahead), false
}

// spin calls look until it finds something, or for so long.
func (k *keeper) spin(look func() bool, limit time.Duration) {
	last := time.Now()
	for end := last.Add(limit); !look() && last.Before(end); {
		syscall.RawSyscall(unix.SYS_SCHED_YIELD, 0, 0, 0)
		now := time.Now()
		k.exact.spun += min(now.Sub(last), looking) // what is longer, others have had
		last = now
	}
}

// looking is longer than looking once takes.
const looking = 20 * time.Microsecond

// RunApart is Run for a Loop of NewApart: waits are system calls, of which the scheduler
// knows if they may be long.
func (l *Loop) RunApart(h Handler) {
	defer l.closeApart()
	look := func() bool {
		l.found = l.poll(0)
		return l.found > 0
	}
	l.turns(h, func() { l.waitOrSpin(look, l.waitApart) })
}

// waitOrSpin waits until there is something to tell, and reads the clock.
func (k *keeper) waitOrSpin(look func() bool, wait func(limit time.Duration)) {
	if limit, awake := k.limitApart(); awake {
		k.spin(look, limit)
	} else {
		wait(limit)
	}
	k.tickApart()
}

// holds is how many waits of hold follow each other before one of which the scheduler knows:
// after such a one its monitor looks every 20 µs for a while whether there is more to do, which
// costs more than these waits.
const holds = 8

func (l *Loop) waitApart(limit time.Duration) {
	for range holds {
		first := min(limit, hold)
		if l.found = l.pollExactly(first); l.found > 0 || limit == first {
			return
		}
		limit -= first
		l.tickApart()
	}
	l.found = l.block(limit)
	l.yield = time.Now()
}

// tickApart reads the clock, once a turn, and lets other goroutines run now and then, which
// costs a locked thread two switches. The runtime's monitor is not told, because these loops
// are never all that it waits for.
func (k *keeper) tickApart() {
	k.now = time.Now()
	if !k.exact.at.After(k.now) {
		k.exact.at = time.Time{}
	}
	if k.now.Sub(k.yield) > turnTime {
		k.yield = k.now
		runtime.Gosched()
	}
}

// pollExactly is poll for less than the millisecond that it counts in: epoll_pwait2(2). Before
// Linux 5.11, which does not have that, it is poll.
func (l *Loop) pollExactly(d time.Duration) int {
	if d%time.Millisecond == 0 {
		return l.poll(d)
	}
	at := unix.NsecToTimespec(int64(d))
	n, _, errno := syscall.RawSyscall6(unix.SYS_EPOLL_PWAIT2, uintptr(l.epoll),
		uintptr(unsafe.Pointer(&l.events)), uintptr(len(l.events)), uintptr(unsafe.Pointer(&at)), 0, 0)
	switch errno {
	case 0:
		return int(n)
	case unix.ENOSYS:
		return l.poll(d)
	}
	return l.poll(0) // EINTR: what is there may be told of only once
}

// block waits for events for at most d, or nearly that, and the scheduler knows of it.
func (l *Loop) block(d time.Duration) int {
	n, _, errno := syscall.Syscall6(unix.SYS_EPOLL_PWAIT, uintptr(l.epoll),
		uintptr(unsafe.Pointer(&l.events)), uintptr(len(l.events)), uintptr(min(d/time.Millisecond, 1<<30)), 0, 0)
	if errno != 0 { // EINTR: a signal of the Go runtime's
		return 0
	}
	return int(n)
}
