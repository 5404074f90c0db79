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

// RunApart is Run for a Loop of NewApart: waits are system calls, of which the scheduler
// knows if they may be long.
func (l *Loop) RunApart(h Handler) {
	defer l.closeApart()
	due := h.Due // made once, because it is allocated
	for !l.stopped {
		l.waitApart()
		l.tickApart()
		l.tell(h, due)
	}
}

// holds is how many waits of hold follow each other before one of which the scheduler knows:
// after such a one its monitor looks every 20 µs for a while whether there is more to do, which
// costs more than these waits.
const holds = 8

func (l *Loop) waitApart() {
	limit := l.limit()
	for range holds {
		first := min(limit, hold)
		if l.found = l.poll(first); l.found > 0 || limit == first {
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
	if k.now.Sub(k.yield) > turnTime {
		k.yield = k.now
		runtime.Gosched()
	}
}

// block waits for events for at most d, and the scheduler knows of it.
func (l *Loop) block(d time.Duration) int {
	n, _, errno := syscall.Syscall6(unix.SYS_EPOLL_PWAIT, uintptr(l.epoll),
		uintptr(unsafe.Pointer(&l.events)), uintptr(len(l.events)), milliseconds(d), 0, 0)
	if errno != 0 { // EINTR: a signal of the Go runtime's
		return 0
	}
	return int(n)
}
