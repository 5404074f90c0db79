package loop

import (
	"os"
	"runtime"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// keeper keeps what every kind of loop has: its clock, its timers, the calls that were
// posted to it, and the keys that are to be told without an event.
type keeper struct {
	timers *Wheel
	base   time.Time // the wheel's time 0
	now    time.Time
	yield  time.Time // when others were last let run

	again   []int32
	spare   []int32 // what again becomes next
	stopped bool

	queue  *os.File        // epoll or io_uring
	parked syscall.RawConn // of queue
	alarm  time.Time       // its read deadline; zero: none
	idle   bool            // the last wait was long
	exact  exact

	bell   int // an eventfd, which is told of by its edge and so never read
	waker  int // another, that is rung too; -1: none
	mu     sync.Mutex
	calls  []func() // posted and not yet taken
	taken  []func() // what calls becomes next
	closed bool     // the bell is
}

// bellKey is the key of the bell.
const bellKey = -1

// init takes over a descriptor that is readable when there is something to tell. It is
// closed if there is an error, and by close.
func (k *keeper) init(queue int, name string) error {
	unix.SetNonblock(queue, true) // for os.File: then it knows how to wait for it
	k.queue = os.NewFile(uintptr(queue), name)
	bell, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		k.queue.Close()
		return os.NewSyscallError("eventfd2", err)
	}
	now := time.Now()
	k.bell, k.waker, k.timers, k.base, k.now = bell, -1, NewWheel(), now, now
	if k.parked, err = k.queue.SyscallConn(); err == nil {
		err = k.queue.SetReadDeadline(time.Time{}) // so it is known that this works
	}
	if err != nil {
		k.close()
	}
	return err
}

func (k *keeper) close() {
	k.mu.Lock()
	k.closed = true
	k.mu.Unlock()
	unix.Close(k.bell)
	k.queue.Close()
}

// Post has f called on the loop's goroutine, in the order of the posts. It may be
// called by any goroutine, and does not wait. What is posted to a loop that has stopped
// is never called.
func (k *keeper) Post(f func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		return
	}
	k.calls = append(k.calls, f)
	if len(k.calls) == 1 { // else it has been rung
		ring(k.bell)
		if k.waker >= 0 {
			ring(k.waker)
		}
	}
}

// ring signals an eventfd. None here can be full.
func ring(eventfd int) {
	one := [8]byte{1}
	unix.Write(eventfd, one[:])
}

// callPosted makes the calls that were posted before.
func (k *keeper) callPosted() {
	k.mu.Lock()
	calls := k.calls
	k.calls = k.taken[:0]
	k.mu.Unlock()
	for i, f := range calls {
		f()
		calls[i] = nil
	}
	k.taken = calls
}

// How a loop shares its processor with the Go scheduler.
//
// What a loop calls while it has much to do are system calls that the scheduler does not
// know of, short waits too: leaving Go and entering it again costs little, but from a call
// that takes longer than some 20 µs the runtime takes the processor away where no other is
// idle, and looks every 20 µs whether it can do so again. When there is nothing to do for
// longer, the loop's goroutine is parked as one is that waits for a connection.
const (
	// hold is how long a wait may be of which the scheduler does not know. Another
	// goroutine may have to wait for the processor meanwhile; the runtime's signal ends
	// it too.
	hold = time.Millisecond

	// turnTime is how long the loop runs before it lets other goroutines run by
	// itself. From 10 ms on the runtime would interrupt it by a signal each time.
	turnTime = 9 * time.Millisecond
)

// park waits until look finds something, or for limit. Other goroutines run meanwhile.
func (k *keeper) park(limit time.Duration, look func(uintptr) bool) {
	from := time.Now()
	if end := from.Add(limit); k.alarm.IsZero() || end.Before(k.alarm) { // an earlier one costs a turn
		k.alarm = end
		k.queue.SetReadDeadline(end)
	}
	if k.parked.Read(look) != nil {
		k.alarm = time.Time{}
	}
	k.yield = time.Now()
	k.idle = k.yield.Sub(from) > hold
}

// forever is longer than anybody waits.
const forever = 1000 * time.Hour

// limit returns how long there may be nothing to do.
func (k *keeper) limit() time.Duration {
	if len(k.again) > 0 || k.stopped {
		return 0
	}
	at, ok := k.timers.Next()
	if !ok {
		return forever
	}
	return max(at-time.Since(k.base), 0)
}

// tick reads the clock, once a turn.
func (k *keeper) tick() {
	k.now = time.Now()
	if k.now.Sub(k.yield) > turnTime {
		k.yield = k.now
		unix.Syscall(unix.SYS_GETTID, 0, 0, 0) // one that the scheduler knows of: it wakes the runtime's monitor
		runtime.Gosched()
	}
}

// takeAgain returns the keys that are to be told again.
func (k *keeper) takeAgain() []int32 {
	keys := k.again
	k.again, k.spare = k.spare[:0], keys
	return keys
}

// Now returns the time at which the present turn began.
func (k *keeper) Now() time.Time { return k.now }

// ReadClock makes Now return the time it is now.
func (k *keeper) ReadClock() time.Time {
	k.now = time.Now()
	return k.now
}

// Again makes the loop tell of key in the next turn without an event, which must not
// wait for one: for who has more to do than the others should wait for.
func (k *keeper) Again(key int32) { k.again = append(k.again, key) }

// Start sets a timer to come at a time or shortly after; see Wheel.Start.
func (k *keeper) Start(t *Timer, at time.Time) { k.timers.Start(t, at.Sub(k.base)) }

// StartBy makes sure that a timer comes no later than at, or shortly after: one that is
// set for an earlier time is left as it is.
func (k *keeper) StartBy(t *Timer, at time.Time) { k.timers.StartBy(t, at.Sub(k.base)) }

// StopTimer takes a timer back.
func (k *keeper) StopTimer(t *Timer) { k.timers.Stop(t) }

// Stop makes Run return when the present turn is over.
func (k *keeper) Stop() { k.stopped = true }
