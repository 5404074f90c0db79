package loop

import (
	"errors"
	"net"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// recorder is a Handler that hands what it is told to functions; nil does nothing.
type recorder struct {
	ready func(key int32, e Events)
	told  func()
	due   func(*Timer)
}

func (r *recorder) Ready(key int32, e Events) {
	if r.ready != nil {
		r.ready(key, e)
	}
}

func (r *recorder) Told() {
	if r.told != nil {
		r.told()
	}
}

func (r *recorder) Due(t *Timer) {
	if r.due != nil {
		r.due(t)
	}
}

func newLoop(t *testing.T) *Loop {
	t.Helper()
	l, err := New()
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// running runs a loop until the test is over.
func running(t *testing.T, h Handler) *Loop {
	t.Helper()
	l := newLoop(t)
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

// within waits for something that must happen.
func within[T any](t *testing.T, why string, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(30 * time.Second):
		t.Fatalf("%s: that has not happened", why)
	}
	return v
}

// pair returns two connected non-blocking sockets.
func pair(t *testing.T) (a, b int) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { Close(fds[0]) })
	return fds[0], fds[1]
}

func TestProbe(t *testing.T) {
	t.Parallel()
	if err := Probe(); err != nil {
		t.Error(err)
	}
}

// Calls are made in the order of the posts, on the loop's goroutine, also those that are
// posted from there, and none after the loop has ended.
func TestPost(t *testing.T) {
	t.Parallel()
	l := newLoop(t)
	var got []int
	for i := range 3 {
		l.Post(func() { got = append(got, i) })
	}
	l.Post(func() { l.Post(l.Stop) })
	l.Run(&recorder{})
	l.Post(func() { t.Error("a call after the end") })
	if !slices.Equal(got, []int{0, 1, 2}) {
		t.Errorf("the calls were %v", got)
	}
}

func TestPostFromMany(t *testing.T) {
	t.Parallel()
	const goroutines, posts = 8, 1000
	l := running(t, &recorder{})
	done, sum := make(chan int), 0
	var all sync.WaitGroup
	for range goroutines {
		all.Go(func() {
			for range posts {
				l.Post(func() { sum++ })
			}
		})
	}
	all.Wait()
	l.Post(func() { done <- sum })
	if n := within(t, "the calls", done); n != goroutines*posts {
		t.Errorf("%d calls were made", n)
	}
}

// A descriptor is told of under its key: once, if by its edge, and for as long as it is
// ready if not.
func TestReady(t *testing.T) {
	t.Parallel()
	for name, e := range map[string]Events{"edge": Readable | Edge, "level": Readable} {
		a, b := pair(t)
		Send(b, []byte("x"))
		l := newLoop(t)
		turns, told := 0, 0
		h := &recorder{ready: func(key int32, got Events) {
			if key != 77 || got != Readable {
				t.Errorf("told of %d %b", key, got)
			}
			told++
		}}
		h.told = func() {
			if turns++; turns == 3 {
				l.Stop()
			}
			l.Again(5) // so that no turn waits
		}
		if err := l.Add(a, 77, e); err != nil {
			t.Fatal(err)
		}
		ready := h.ready
		h.ready = func(key int32, got Events) {
			if key != 5 {
				ready(key, got)
			}
		}
		l.Run(h)
		if want := map[string]int{"edge": 1, "level": 3}[name]; told != want {
			t.Errorf("%s: told %d times in %d turns, want %d", name, told, turns, want)
		}
	}
}

// Change asks for something else and tells of it if it is there; Remove tells no more.
func TestChangeRemove(t *testing.T) {
	t.Parallel()
	a, b := pair(t)
	events := make(chan Events, 9)
	l := running(t, &recorder{ready: func(_ int32, e Events) { events <- e }})
	steps := make(chan error, 9)
	l.Post(func() { steps <- l.Add(a, 1, Readable|Ended|Edge) })
	l.Post(func() { steps <- l.Change(a, 1, Readable|Writable|Ended|Edge) })
	for range 2 {
		if err := within(t, "the calls", steps); err != nil {
			t.Error(err)
		}
	}
	if e := within(t, "room to write", events); e != Writable {
		t.Errorf("told of %b", e)
	}
	unix.Shutdown(b, unix.SHUT_WR)
	if e := within(t, "the peer's end", events); e&(Readable|Ended) != Readable|Ended {
		t.Errorf("told of %b", e)
	}
	l.Post(func() { steps <- l.Remove(a) })
	if err := within(t, "the call", steps); err != nil {
		t.Error(err)
	}
	Close(b)
	l.Post(func() { steps <- l.Remove(a) })
	if err := within(t, "the call", steps); err == nil {
		t.Error("what was removed can be removed")
	}
	if len(events) > 0 {
		t.Errorf("told of %b, which was removed", <-events)
	}
}

// A timer comes when the loop would wait, no earlier than asked for, and the clock is
// read in each turn.
func TestTimers(t *testing.T) {
	t.Parallel()
	l := newLoop(t)
	from := time.Now()
	late, soon, never := Timer{Key: 1}, Timer{Key: 2}, Timer{Key: 3}
	l.Start(&late, from.Add(30*time.Millisecond))
	l.StartBy(&soon, from.Add(5*time.Millisecond))
	l.Start(&never, from.Add(6*time.Millisecond))
	l.StopTimer(&never)
	var came []int32
	l.Run(&recorder{due: func(timer *Timer) {
		came = append(came, timer.Key)
		if d := l.Now().Sub(from); timer == &soon && d < 5*time.Millisecond || timer == &late && d < 30*time.Millisecond {
			t.Errorf("timer %d came after %v", timer.Key, d)
		}
		if timer == &late {
			l.Stop()
		}
	}})
	if !slices.Equal(came, []int32{2, 1}) {
		t.Errorf("%v came", came)
	}
}

func TestReadClock(t *testing.T) {
	t.Parallel()
	l := newLoop(t)
	l.Post(func() {
		before := l.Now()
		if now := l.ReadClock(); now.Before(before) || l.Now() != now {
			t.Errorf("it was %v and is %v", before, now)
		}
		l.Stop()
	})
	l.Run(&recorder{})
}

// A loop at work lets other goroutines run, also on one processor.
func TestOthersRun(t *testing.T) {
	l := newLoop(t)
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	h := &recorder{ready: func(key int32, _ Events) { l.Again(key) }}
	l.Again(1)
	ran := make(chan struct{})
	go func() {
		close(ran)
		l.Post(l.Stop)
	}()
	l.Run(h)
	within(t, "the other goroutine", ran)
}

// New and Add say which call has failed.
func TestFailures(t *testing.T) {
	var before unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	l := newLoop(t)
	defer l.close()
	if err := l.Add(-1, 1, Readable); err == nil || err.Error() != "epoll_ctl EPOLL_CTL_ADD: bad file descriptor" {
		t.Errorf("Add: %v", err)
	}
	free, err := unix.FcntlInt(0, unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	Close(free)
	for n, want := range []string{"epoll_create1: too many open files", "eventfd2: too many open files"} {
		limit := before
		limit.Cur = uint64(free + n)
		unix.Setrlimit(unix.RLIMIT_NOFILE, &limit)
		err := Probe()
		unix.Setrlimit(unix.RLIMIT_NOFILE, &before)
		if err == nil || err.Error() != want {
			t.Errorf("with %d descriptors: %v, want %s", free+n, err, want)
		}
	}
}

// listening returns the descriptor of a listening socket.
func listening(t *testing.T, network, address string) (fd int, l net.Listener) {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	raw, err := l.(syscall.Conn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	raw.Control(func(listener uintptr) { fd = int(listener) })
	return fd, l
}

// accepted waits until a connection can be accepted.
func accepted(t *testing.T, listener int) (fd int, remote string) {
	t.Helper()
	unix.Poll([]unix.PollFd{{Fd: int32(listener), Events: unix.POLLIN}}, 30_000)
	fd, from, errno := Accept(listener)
	if errno != 0 {
		t.Fatal(errno)
	}
	return fd, from.String()
}

// Accept and Local tell the addresses as package net does.
func TestAccept(t *testing.T) {
	t.Parallel()
	for address, network := range map[string]string{"127.0.0.1:0": "tcp4", "[::1]:0": "tcp6", ":0": "tcp"} {
		listener, l := listening(t, network, address)
		if _, _, errno := Accept(listener); errno != syscall.EAGAIN {
			t.Errorf("an empty queue: %v", errno)
		}
		host, _, _ := net.SplitHostPort(address)
		_, port, _ := net.SplitHostPort(l.Addr().String())
		if host == "" {
			host = "127.0.0.1"
		}
		nc, err := net.Dial("tcp", net.JoinHostPort(host, port))
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		fd, remote := accepted(t, listener)
		defer Close(fd)
		if local := Local(fd).String(); remote != nc.LocalAddr().String() || local != nc.RemoteAddr().String() {
			t.Errorf("%s: %s to %s, want %v to %v", network, remote, local, nc.LocalAddr(), nc.RemoteAddr())
		}
	}
	if _, _, errno := Accept(-1); errno != syscall.EBADF {
		t.Errorf("no descriptor: %v", errno)
	}
}

// A zone is told by its number.
func TestZone(t *testing.T) {
	t.Parallel()
	in := unix.RawSockaddrInet6{Family: unix.AF_INET6, Port: 0x0700, Scope_id: 3}
	in.Addr[0], in.Addr[1], in.Addr[15] = 0xfe, 0x80, 1
	sa := (*unix.RawSockaddrAny)(unsafe.Pointer(&struct {
		in   unix.RawSockaddrInet6
		rest unix.RawSockaddrAny // there is as much memory as the type says
	}{in: in}))
	if got := addrPort(sa).String(); got != "[fe80::1%3]:7" {
		t.Errorf("got %s", got)
	}
}

func TestUnixHasNoAddress(t *testing.T) {
	t.Parallel()
	a, _ := pair(t)
	if addr := Local(a); addr.IsValid() {
		t.Errorf("got %v", addr)
	}
}

// A conversation: all that a socket can say comes back as a number of bytes or an errno.
func TestConversation(t *testing.T) {
	t.Parallel()
	a, b := pair(t)
	buf := make([]byte, 10)
	if _, errno := Receive(a, buf); errno != syscall.EAGAIN {
		t.Errorf("nothing there: %v", errno)
	}
	if n, errno := Send(b, []byte("hello")); n != 5 || errno != 0 {
		t.Errorf("sent %d, %v", n, errno)
	}
	if n, errno := Receive(a, buf); string(buf[:n]) != "hello" || errno != 0 {
		t.Errorf("got %q, %v", buf[:n], errno)
	}
	if errno := EndWrites(b); errno != 0 {
		t.Error(errno)
	}
	if n, errno := Receive(a, buf); n != 0 || errno != 0 {
		t.Errorf("the end: %d, %v", n, errno)
	}
	Close(b)
	if _, errno := Send(a, []byte("x")); errno != syscall.EPIPE {
		t.Errorf("nobody there: %v", errno)
	}
}

// Abort sends a reset.
func TestAbort(t *testing.T) {
	t.Parallel()
	listener, l := listening(t, "tcp4", "127.0.0.1:0")
	nc, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	fd, _ := accepted(t, listener)
	Abort(fd)
	nc.SetDeadline(time.Now().Add(30 * time.Second))
	if _, err := nc.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("wanted a reset, got %v", err)
	}
}
