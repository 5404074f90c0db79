package loop

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// ringRecorder is a RingHandler that hands what it is told to functions; nil does
// nothing.
type ringRecorder struct {
	received func(key int32, p []byte, errno syscall.Errno, on bool)
	awaited  func(key int32)
	sent     func(key int32, n int, errno syscall.Errno)
	ready    func(key int32)
	told     func()
	due      func(*Timer)
}

func (r *ringRecorder) Received(key int32, p []byte, errno syscall.Errno, on bool) {
	if r.received != nil {
		r.received(key, p, errno, on)
	}
}

func (r *ringRecorder) Awaited(key int32) {
	if r.awaited != nil {
		r.awaited(key)
	}
}

func (r *ringRecorder) Sent(key int32, n int, errno syscall.Errno) {
	if r.sent != nil {
		r.sent(key, n, errno)
	}
}

func (r *ringRecorder) Ready(key int32) {
	if r.ready != nil {
		r.ready(key)
	}
}

func (r *ringRecorder) Told() {
	if r.told != nil {
		r.told()
	}
}

func (r *ringRecorder) Due(t *Timer) {
	if r.due != nil {
		r.due(t)
	}
}

func newRingLoop(t *testing.T) *RingLoop {
	t.Helper()
	l, err := NewRing()
	if err != nil {
		if errors.Is(err, errors.ErrUnsupported) || errors.Is(err, unix.EPERM) {
			t.Skip(err)
		}
		t.Fatal(err)
	}
	return l
}

// ringRunning runs a loop until the test is over.
func ringRunning(t *testing.T, h RingHandler) *RingLoop {
	t.Helper()
	l := newRingLoop(t)
	over := make(chan struct{})
	go func() {
		l.Run(h)
		close(over)
	}()
	t.Cleanup(func() {
		l.Post(l.Stop)
		within(t, "the loop stops", over)
	})
	return l
}

// said is what a handler was told.
type said struct {
	key   int32
	text  string
	n     int
	errno syscall.Errno
	on    bool
}

func (s said) wants(t *testing.T, why string, want said) {
	t.Helper()
	if s != want {
		t.Fatalf("%s: told %+v, want %+v", why, s, want)
	}
}

// talker returns a running loop and what it is told.
func talker(t *testing.T) (l *RingLoop, received, sent chan said) {
	t.Helper()
	received, sent = make(chan said, 999), make(chan said, 999)
	l = ringRunning(t, &ringRecorder{
		received: func(key int32, p []byte, errno syscall.Errno, on bool) {
			received <- said{key: key, text: string(p), errno: errno, on: on}
		},
		sent: func(key int32, n int, errno syscall.Errno) { sent <- said{key: key, n: n, errno: errno} },
	})
	return l, received, sent
}

// One request receives all that comes until the peer's end.
func TestRingReceive(t *testing.T) {
	t.Parallel()
	l, received, _ := talker(t)
	a, b := pair(t)
	l.Post(func() { l.Receive(a, 7) })
	for _, text := range []string{"one", "two", "three"} {
		Send(b, []byte(text))
		within(t, text, received).wants(t, text, said{key: 7, text: text, on: true})
	}
	EndWrites(b)
	within(t, "the end", received).wants(t, "the end", said{key: 7})
}

// An Await tells once, of what is there and of what comes; and is over when it is cancelled.
func TestRingAwait(t *testing.T) {
	t.Parallel()
	awaited := make(chan int32, 9)
	l := ringRunning(t, &ringRecorder{awaited: func(key int32) { awaited <- key }})
	a, b := pair(t)
	defer Close(b)
	tells := func(why string) {
		t.Helper()
		if key := within(t, why, awaited); key != 8 {
			t.Errorf("%s: told of %d", why, key)
		}
	}
	Send(b, []byte("first"))
	l.Post(func() { l.Await(a, 8) })
	tells("what is there")
	Receive(a, make([]byte, 9))
	l.Post(func() { l.Await(a, 8) })
	Send(b, []byte("second"))
	tells("what comes")
	Receive(a, make([]byte, 9))
	l.Post(func() { l.Await(a, 8); l.Cancel(a, 8) })
	tells("the end by Cancel")
	EndWrites(b)
	l.Post(func() { l.Await(a, 8) })
	tells("the peer's end")
	if len(awaited) > 0 {
		t.Error("it was told of more than once")
	}
}

// Receiving can be stopped, and all that was asked for be cancelled; both are told.
func TestRingCancel(t *testing.T) {
	t.Parallel()
	l, received, sent := talker(t)
	a, b := pair(t)
	defer Close(b)
	l.Post(func() { l.Receive(a, 7) })
	Send(b, []byte("x"))
	within(t, "x", received).wants(t, "x", said{key: 7, text: "x", on: true})
	l.Post(func() { l.StopReceiving(7) })
	within(t, "stopped", received).wants(t, "stopped", said{key: 7, errno: syscall.ECANCELED})
	for {
		if _, errno := Send(a, make([]byte, 1<<16)); errno == syscall.EAGAIN {
			break
		}
	}
	l.Post(func() {
		l.Receive(a, 7)
		l.Send(a, 7, []byte("y"))
		l.Post(func() { l.Cancel(a, 7) })
	})
	within(t, "receiving is cancelled", received).wants(t, "cancelled", said{key: 7, errno: syscall.ECANCELED})
	within(t, "sending is cancelled", sent).wants(t, "cancelled", said{key: 7, errno: syscall.ECANCELED})
}

// A Send sends what fits, and tells how much that was; a peer that is gone is EPIPE.
func TestRingSend(t *testing.T) {
	t.Parallel()
	l, _, sent := talker(t)
	a, b := pair(t)
	big := bytes.Repeat([]byte("0123456789"), 1<<20)
	l.Post(func() { l.Send(a, 7, big) })
	first := within(t, "a part", sent)
	if first.n == 0 || first.n == len(big) || first.errno != 0 {
		t.Fatalf("told %+v", first)
	}
	got := make([]byte, len(big))
	n, at := 0, first.n
	l.Post(func() { l.Send(a, 7, big[at:]) }) // it must wait
	for n < first.n {
		m, errno := Receive(b, got[n:])
		if errno != 0 {
			t.Fatal(errno)
		}
		n += m
	}
	if more := within(t, "once there is room", sent); more.n == 0 || more.errno != 0 {
		t.Fatalf("told %+v", more)
	}
	if !bytes.Equal(got[:n], big[:n]) {
		t.Error("something else was received")
	}
	Close(b)
	l.Post(func() { l.Send(a, 7, []byte("x")) })
	within(t, "nobody there", sent).wants(t, "nobody there", said{key: 7, errno: syscall.EPIPE})
	done := make(chan int)
	l.Post(func() { done <- len(l.sending) - len(l.empty) })
	if n := within(t, "the count", done); n != 0 {
		t.Errorf("%d pieces of memory are held", n)
	}
}

// More than all buffers hold is received, whole and in order, when it is asked for again.
func TestRingBuffersRunOut(t *testing.T) {
	t.Parallel()
	const conns, each = 12, 100_000
	var got [conns][]byte
	ended := make(chan int32, conns)
	outOf := 0
	var l *RingLoop
	fds := make([]int, conns)
	h := &ringRecorder{received: func(key int32, p []byte, errno syscall.Errno, on bool) {
		got[key] = append(got[key], p...)
		if errno == syscall.ENOBUFS {
			outOf++
		}
		switch {
		case len(p) == 0 && errno == 0:
			ended <- key
		case !on:
			l.Receive(fds[key], key)
		}
	}}
	l = newRingLoop(t)
	for i := range fds {
		a, b := pair(t)
		fds[i] = a
		for n := 0; n < each; {
			m, errno := Send(b, bytes.Repeat([]byte{byte(i)}, min(each-n, 50_000)))
			if errno != 0 {
				t.Fatal(errno)
			}
			n += m
		}
		EndWrites(b)
		defer Close(b)
		l.Post(func() { l.Receive(a, int32(i)) })
	}
	over := make(chan struct{})
	go func() {
		l.Run(h)
		close(over)
	}()
	for range conns {
		within(t, "the end", ended)
	}
	l.Post(l.Stop)
	within(t, "the loop stops", over)
	for i, p := range got {
		if !bytes.Equal(p, bytes.Repeat([]byte{byte(i)}, each)) {
			t.Errorf("connection %d has %d bytes", i, len(p))
		}
	}
	t.Logf("buffers ran out %d times", outOf)
}

// However many requests there are in a turn, all are made; however many completions, all
// are told.
func TestRingManyRequests(t *testing.T) {
	t.Parallel()
	const n = 3 * ringEntries
	l, received, sent := talker(t)
	a, b := pair(t)
	defer Close(b)
	l.Post(func() {
		for range n {
			l.Send(a, 7, []byte("x"))
		}
	})
	buf := make([]byte, n)
	for range n {
		within(t, "sent", sent).wants(t, "sent", said{key: 7, n: 1})
		Receive(b, buf) // a socket does not hold that many
	}
	if len(received) > 0 {
		t.Error("something was received")
	}
}

// A descriptor that is watched is told of when it becomes readable; one that is not
// watched any more is let go.
func TestRingWatch(t *testing.T) {
	t.Parallel()
	ready := make(chan int32, 99)
	l := ringRunning(t, &ringRecorder{ready: func(key int32) { ready <- key }})
	a, b := pair(t)
	l.Post(func() { l.Watch(a, 7) })
	for range 3 {
		Send(b, []byte("x"))
		if key := within(t, "readable", ready); key != 7 {
			t.Errorf("told of %d", key)
		}
	}
	l.Post(func() { l.Again(9) })
	if key := within(t, "again", ready); key != 9 {
		t.Errorf("told of %d", key)
	}
	done := make(chan struct{})
	l.Post(func() {
		l.Unwatch(7)
		Close(a)
		close(done)
	})
	within(t, "it is unwatched", done)
	if _, errno := Send(b, []byte("x")); errno != syscall.EPIPE {
		t.Errorf("the socket is still there: %v", errno)
	}
	Close(b)
	if len(ready) > 0 {
		t.Errorf("told of %d", <-ready)
	}
}

// Calls that loops post to each other wake them, also when they have been at rest for
// long.
func TestRingPost(t *testing.T) {
	t.Parallel()
	a, b := ringRunning(t, &ringRecorder{}), ringRunning(t, &ringRecorder{})
	rest := time.NewTicker(3 * time.Millisecond)
	defer rest.Stop()
	for i := range 300 {
		done := make(chan struct{})
		a.Post(func() { b.Post(func() { close(done) }) })
		within(t, "the call", done)
		if i%20 == 0 {
			<-rest.C
		}
	}
}

func TestRingTimers(t *testing.T) {
	t.Parallel()
	l := newRingLoop(t)
	from := time.Now()
	var came []int32
	late, soon := Timer{Key: 1}, Timer{Key: 2}
	l.Start(&late, from.Add(30*time.Millisecond))
	l.Start(&soon, from.Add(500*time.Microsecond))
	l.Run(&ringRecorder{due: func(timer *Timer) {
		if came = append(came, timer.Key); timer == &late {
			l.Stop()
		}
	}})
	if d := time.Since(from); !slices.Equal(came, []int32{2, 1}) || d < 30*time.Millisecond {
		t.Errorf("%v came within %v", came, d)
	}
}

// Why there is no ring is said, with what to do.
func TestRingFailures(t *testing.T) {
	t.Parallel()
	for errno, want := range map[syscall.Errno]string{
		unix.EPERM:  "kernel.io_uring_disabled",
		unix.ENOSYS: "6.12",
		unix.EINVAL: "6.12",
		unix.EMFILE: "too many open files",
	} {
		err := setupError(errno)
		if !strings.Contains(err.Error(), want) || !errors.Is(err, errno) {
			t.Errorf("%v: %v", errno, err)
		}
		if old := errno == unix.ENOSYS || errno == unix.EINVAL; errors.Is(err, errors.ErrUnsupported) != old && errno != unix.ENOSYS {
			t.Errorf("%v: unsupported or not: %v", errno, err)
		}
	}
	if err := ProbeRing(); err != nil && !errors.Is(err, errors.ErrUnsupported) && !errors.Is(err, unix.EPERM) {
		t.Error(err)
	}
}

// Without descriptors there is no ring, and none is left open.
func TestRingWithoutDescriptors(t *testing.T) {
	newRingLoop(t).close() // it can be made at all
	var before unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	free, err := unix.FcntlInt(0, unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	Close(free)
	for n, call := range []string{"io_uring_setup", "eventfd2", "eventfd2"} {
		limit := before
		limit.Cur = uint64(free + n)
		unix.Setrlimit(unix.RLIMIT_NOFILE, &limit)
		err := ProbeRing()
		unix.Setrlimit(unix.RLIMIT_NOFILE, &before)
		if err == nil || err.Error() != call+": too many open files" {
			t.Errorf("with room for %d descriptors: %v", n, err)
		}
	}
	if again, err := unix.FcntlInt(0, unix.F_DUPFD_CLOEXEC, 0); again != free || err != nil {
		t.Errorf("a descriptor was left open: the next one was %d and is %d, %v", free, again, err)
	} else {
		Close(again)
	}
}
