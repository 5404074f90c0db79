package engine

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"yodel"
	"yodel/trace"
)

// hand is a Worker whose sockets are moved by the test's hand: it keeps connections and
// accepts nothing by itself.
type hand struct {
	lame  error // that Begin returns
	e     *Evented
	sh    *Shared
	calls chan func()
	told  chan string // what it was told to do
	queue *Queue      // to accept from; nil: none
	conns map[int]*handConn
	over  bool
}

type handConn struct {
	v    Visitor
	core Core
}

func (h *hand) Begin() error { return h.lame }

func (h *hand) Run() {
	for !h.over {
		(<-h.calls)()
	}
}

func (h *hand) Post(f func()) { h.calls <- f }
func (h *hand) Stop()         { h.over = true }

func (h *hand) Accept(q *Queue) {
	h.queue = q
	h.told <- "accept"
}

func (h *hand) Hold(*Queue) { h.queue = nil }

func (h *hand) Adopt(v Visitor) {
	c := &handConn{v: v}
	h.conns[v.FD] = c
	c.core.Start(h.sh, v.Peer, v.ID, time.Now())
	h.e.CatchUp(&c.core, time.Now())
	if c.core.Next()&Close != 0 {
		h.end(c, Cut)
	}
	h.told <- "adopt"
}

func (h *hand) Drain() {
	for _, c := range h.conns {
		c.core.Drain(time.Now())
	}
	h.told <- "drain"
}

func (h *hand) Cut() {
	for _, c := range h.conns {
		h.end(c, Cut)
	}
}

func (h *hand) end(c *handConn, why Reason) {
	delete(h.conns, c.v.FD)
	c.core.Cut(why)
	h.e.Left(&c.v, &c.core, time.Now())
}

// A floor is an Evented engine whose Workers are hands.
type floor struct {
	*Evented
	t      *testing.T
	events handEvents
	log    *handLog
	served chan error

	mu     sync.Mutex
	closed []int   // descriptors
	open   []error // what the next calls of Open return
	fails  []error // what the next calls of Make return
	lame   []error // what the next calls of Begin return
}

type handEvents struct {
	mu   sync.Mutex
	list []trace.Event
}

func (e *handEvents) Emit(ev *trace.Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.list = append(e.list, *ev)
}

type handLog struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *handLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *handLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func newFloor(t *testing.T, cfg Config, loops int) *floor {
	t.Helper()
	f := &floor{t: t, log: new(handLog), served: make(chan error, 4)}
	cfg.Service, cfg.Sink, cfg.Log = "echo", &f.events, slog.New(slog.NewTextHandler(f.log, nil))
	var err error
	f.Evented, err = NewEvented(stepFunc(echo), &cfg, EventedOptions{
		Name: "hand", Loops: loops, Make: f.makeHand, Open: f.openQueue, Close: f.closeFD,
	})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func (f *floor) makeHand(e *Evented, sh *Shared) (Worker, error) {
	if err := f.next(&f.fails); err != nil {
		return nil, err
	}
	h := &hand{lame: f.next(&f.lame), e: e, sh: sh, calls: make(chan func(), 99), told: make(chan string, 99), conns: make(map[int]*handConn)}
	return h, nil
}

func (f *floor) next(errs *[]error) (err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(*errs) > 0 {
		err, *errs = (*errs)[0], (*errs)[1:]
	}
	return err
}

func (f *floor) openQueue(net.Listener) (int, error) { return 100, f.next(&f.open) }

func (f *floor) closeFD(fd int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = append(f.closed, fd)
}

// serve serves a listener and returns when the first hand accepts from it.
func (f *floor) serve() {
	f.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		f.t.Fatal(err)
	}
	f.serveAt(l)
	f.wantTold(0, "accept")
}

func (f *floor) serveAt(l net.Listener) { go func() { f.served <- f.Serve(l) }() }

// wantTold waits until a hand has been told something.
func (f *floor) wantTold(i int, want string) {
	f.t.Helper()
	var h *hand
	for limit := time.Now().Add(10 * time.Second); h == nil; {
		if f.Evented.mu.Lock(); f.loops != nil {
			h = f.loops[i].Worker.(*hand)
		}
		f.Evented.mu.Unlock()
		if time.Now().After(limit) {
			f.t.Fatal("there is no loop")
		}
	}
	select {
	case got := <-h.told:
		if got != want {
			f.t.Fatalf("the loop was told to %s, want %s", got, want)
		}
	case <-time.After(10 * time.Second):
		f.t.Fatalf("the loop was not told to %s", want)
	}
}

// do has f called on a hand's goroutine.
func (f *floor) do(i int, call func(h *hand)) {
	f.t.Helper()
	done := make(chan struct{})
	h := f.loops[i].Worker.(*hand)
	h.Post(func() {
		call(h)
		close(done)
	})
	<-done
}

func (f *floor) wantServed(want error) {
	f.t.Helper()
	select {
	case err := <-f.served:
		if !errors.Is(err, want) {
			f.t.Errorf("Serve returned %v, want %v", err, want)
		}
	case <-time.After(10 * time.Second):
		f.t.Error("Serve does not return")
	}
}

// arrive lets connections arrive from an address.
func (f *floor) arrive(remote string, fds ...int) {
	f.do(0, func(h *hand) {
		for _, fd := range fds {
			if !h.queue.Room() {
				f.t.Errorf("no room for %d", fd)
			}
			h.queue.Accepted(fd, netip.AddrPort{}, netip.MustParseAddrPort(remote), time.Now())
		}
	})
}

// ops names the events there have been.
func (f *floor) ops() (ops []string) {
	f.events.mu.Lock()
	defer f.events.mu.Unlock()
	for _, e := range f.events.list {
		ops = append(ops, strings.TrimSpace(string(e.Op)+" "+e.Text))
	}
	return ops
}

// An event engine runs sessions, and says who can do what it can't.
func TestEventedUnfit(t *testing.T) {
	t.Parallel()
	for want, tt := range map[string]struct {
		svc any
		cfg Config
	}{
		"sessions only":    {svc: connFunc(func(net.Conn) {})},
		"no yodel.Service": {svc: 7},
		"no TLS":           {svc: stepFunc(echo), cfg: Config{TLS: &tls.Config{}}},
		"no PROXY headers": {svc: stepFunc(echo), cfg: Config{ProxyFrom: []netip.Prefix{}}},
	} {
		_, err := NewEvented(tt.svc, &tt.cfg, EventedOptions{Name: "hand"})
		if !errors.Is(err, ErrUnfit) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want one with %q", err, want)
		}
	}
	if e, err := NewEvented(stepFunc(echo), nil, EventedOptions{}); err != nil || e.opts.Loops < 1 {
		t.Errorf("the defaults: %v", err)
	}
}

// Connections go to the loop that has the fewest, and are in the sums of that loop.
func TestEventedSpreads(t *testing.T) {
	t.Parallel()
	f := newFloor(t, Config{}, 2)
	f.serve()
	for fd := range 5 {
		f.arrive("127.0.0.1:7", fd)
		f.wantTold(fd%2, "adopt")
	}
	var active []int64
	for _, s := range f.LoopStats() {
		active = append(active, s.Active)
	}
	if s := f.Stats(); !slices.Equal(active, []int64{3, 2}) || s.Active != 5 || s.Accepted != 5 {
		t.Errorf("the loops have %v, and all: %+v", active, s)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	f.wantServed(ErrClosed)
	if s := f.Stats(); s.Active != 0 || s.Ended[Cut] != 5 {
		t.Errorf("after Close: %+v", s)
	}
	if err := f.Shutdown(t.Context()); err != nil {
		t.Errorf("Shutdown after Close: %v", err)
	}
}

// Who is refused is closed, counted and logged; who comes while Close cuts, too.
func TestEventedRefuses(t *testing.T) {
	t.Parallel()
	f := newFloor(t, Config{RefuseFrom: []uint16{20}}, 1)
	f.serve()
	f.arrive("127.0.0.1:20", 5)
	f.arrive("127.0.0.1:21", 6)
	f.do(0, func(h *hand) {
		q := h.queue
		q.Room()
		f.Evented.cutting.Store(true)
		q.Accepted(7, netip.AddrPort{}, netip.MustParseAddrPort("127.0.0.1:22"), time.Now())
	})
	f.Close()
	want := []string{"refuse source port not served", "accept", "refuse cut at shutdown", "close cut at shutdown"}
	if got := f.ops(); !slices.Equal(got, want) {
		t.Errorf("the events are %q, want %q", got, want)
	}
	if !slices.Equal(f.closed[:2], []int{5, 7}) || !strings.Contains(f.log.String(), "127.0.0.1:20") {
		t.Errorf("closed are %v, logged is %s", f.closed, f.log)
	}
	if n := f.gate.Conns(); n != 0 {
		t.Errorf("%d places are not free again", n)
	}
}

// A connection that a loop adopts after it was told to drain is drained.
func TestEventedDrainsLateComers(t *testing.T) {
	t.Parallel()
	f := newFloor(t, Config{}, 1)
	f.serve()
	var q *Queue
	f.do(0, func(h *hand) { q = h.queue })
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := f.Shutdown(ctx); !errors.Is(err, context.Canceled) && err != nil {
		t.Errorf("Shutdown: %v", err)
	}
	f.wantServed(ErrClosed)
	if l := q.l; func() bool { _, err := l.Accept(); return !errors.Is(err, net.ErrClosed) }() {
		t.Error("after Shutdown the listener is open")
	}
	if err := f.Serve(q.l); !errors.Is(err, ErrClosed) {
		t.Errorf("Serve after Shutdown: %v", err)
	}
	f.Close()
}

// A queue that fails for good is an error of Serve, and the engine can serve others; one
// that fails for a while is accepted from again, and that it does is said once a second.
func TestEventedAcceptFails(t *testing.T) {
	t.Parallel()
	f := newFloor(t, Config{}, 1)
	f.serve()
	f.do(0, func(h *hand) {
		if !h.queue.Failed(syscall.ECONNABORTED) {
			t.Error("a peer that has left again ends accepting")
		}
		if h.queue.Failed(os.NewSyscallError("accept4", syscall.EMFILE)) || h.queue.Failed(syscall.EMFILE) {
			t.Error("without descriptors it is tried again at once")
		}
	})
	f.wantTold(0, "accept")
	f.wantTold(0, "accept")
	f.do(0, func(h *hand) {
		if h.queue.Failed(syscall.EBADF) {
			t.Error("a socket that is none is tried again")
		}
	})
	f.wantServed(syscall.EBADF)
	if n := strings.Count(f.log.String(), "accept failed"); n != 1 || f.Stats().AcceptErrors != 2 {
		t.Errorf("%d lines, %+v:\n%s", n, f.Stats(), f.log)
	}
	f.serve()
	f.Close()
	f.wantServed(ErrClosed)
}

// Who must wait for room waits in the accept queue, which is not accepted from until
// somebody leaves.
func TestEventedRoom(t *testing.T) {
	t.Parallel()
	f := newFloor(t, Config{Gate: NewGate(&GateConfig{MaxConns: 1})}, 1)
	f.serve()
	f.arrive("127.0.0.1:7", 5)
	f.wantTold(0, "adopt")
	f.do(0, func(h *hand) {
		if h.queue.Room() {
			t.Error("there is room for two")
		}
		h.end(h.conns[5], Done)
	})
	f.wantTold(0, "accept")
	f.arrive("127.0.0.1:7", 6)
	f.Close()
}

// While the engine waits for what passes, Close ends that wait.
func TestEventedStopsWaiting(t *testing.T) {
	t.Parallel()
	f := newFloor(t, Config{Gate: NewGate(&GateConfig{MaxConns: 1})}, 1)
	f.serve()
	f.arrive("127.0.0.1:7", 5)
	f.do(0, func(h *hand) { h.queue.Room() })
	f.Close()
	f.wantServed(ErrClosed)
}

// A lack of descriptors at the beginning passes too; what does not pass is an error.
func TestEventedBegins(t *testing.T) {
	t.Parallel()
	f := newFloor(t, Config{}, 2)
	f.fails = []error{nil, syscall.EMFILE, syscall.EMFILE}
	f.open = []error{syscall.ENFILE}
	f.serve()
	if n := f.Stats().AcceptErrors; n != 3 {
		t.Errorf("%d failures are counted", n)
	}
	f.Close()
	f.wantServed(ErrClosed)

	for _, early := range []bool{true, false} {
		f = newFloor(t, Config{}, 2)
		if second := []error{nil, errors.New("no rings here")}; early {
			f.fails = second
		} else {
			f.lame = second
		}
		f.serveAt(listenAnywhere(t))
		select {
		case err := <-f.served:
			if err == nil || !strings.Contains(err.Error(), "hand: event loop 2 of 2: no rings here") {
				t.Errorf("Serve: %v", err)
			}
		case <-time.After(10 * time.Second):
			t.Error("Serve does not return")
		}
	}

	f = newFloor(t, Config{}, 1)
	for range 999 {
		f.fails = append(f.fails, syscall.EMFILE)
	}
	f.serveAt(listenAnywhere(t))
	look := time.NewTicker(time.Millisecond)
	defer look.Stop()
	for f.Stats().AcceptErrors == 0 {
		<-look.C
	}
	f.Close()
	f.wantServed(ErrClosed)
}

func listenAnywhere(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// Who accepts on all addresses says where a client has called.
func TestQueueOfAny(t *testing.T) {
	t.Parallel()
	f := newFloor(t, Config{}, 1)
	l, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	f.serveAt(l)
	f.wantTold(0, "accept")
	local, remote := netip.MustParseAddrPort("10.0.0.1:7"), netip.MustParseAddrPort("10.0.0.2:1000")
	f.do(0, func(h *hand) {
		if !h.queue.Any {
			t.Error("it does not say so")
		}
		if !h.queue.Room() {
			t.Error("there is no room")
		}
		h.queue.Accepted(5, local, remote, time.Now())
	})
	f.wantTold(0, "adopt")
	f.do(0, func(h *hand) {
		if p := h.conns[5].v.Peer; p != (yodel.Peer{Network: "tcp", Local: local, Remote: remote}) || h.conns[5].v.Queue.Peer().Network != "tcp" {
			t.Errorf("the peer is %+v", p)
		}
	})
	f.Close()
}

// That a session fails or panics is logged.
func TestEventedLogs(t *testing.T) {
	t.Parallel()
	f := newFloor(t, Config{}, 1)
	f.serve()
	f.arrive("127.0.0.1:7", 5, 6)
	f.do(0, func(h *hand) {
		h.conns[5].core.fail(errors.New("no disk\x1b"))
		h.end(h.conns[5], Done)
		h.conns[6].core.end(Panic, &PanicError{Value: "ouch\x1b"})
		h.end(h.conns[6], Done)
	})
	f.Close()
	text := f.log.String()
	if !strings.Contains(text, "no disk") || !strings.Contains(text, "ouch") || strings.Contains(text, "\x1b") {
		t.Errorf("logged is %s", text)
	}
}
