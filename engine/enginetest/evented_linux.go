package enginetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"yodel"
	"yodel/engine"
	"yodel/service/small"
	"yodel/sock"
	"yodel/trace"
	"yodel/yodeltest"
)

// Evented is an engine with event loops.
type Evented interface {
	engine.Engine
	LoopStats() []engine.Stats
}

// MakeEvented returns an engine for svc with so many event loops.
type MakeEvented func(svc any, cfg *engine.Config, loops int) (Evented, error)

// RunEvented tries what engines with event loops have on top of what Run tries. It must
// be called by a test that does nothing else.
func RunEvented(t *testing.T, mk MakeEvented) {
	for name, try := range map[string]func(MakeEvented, *testing.T){
		"what it can't serve":                    tryUnfit,
		"loops":                                  tryLoops,
		"many clients":                           tryMany,
		"those who send much, and then little":   tryMuchAndLittle,
		"input while output is pending":          tryInputBehindOutput,
		"a listener of package sock":             trySockListener,
		"urgent data":                            tryUrgent,
		"descriptors over a Unix socket":         tryDescriptorsOverUnix,
		"a greedy peer":                          tryGreedy,
		"pieces of all sizes":                    tryPieces,
		"nothing is served":                      tryNothingServed,
		"connections at rest hold no buffers":    tryAtRest,
		"it begins where there is no descriptor": tryBeginsWithout,
	} {
		t.Run(name, func(t *testing.T) { try(mk, t) })
	}
}

// looping is an event engine that serves echo.
type looping struct {
	Evented
	t  *testing.T
	at net.Addr
}

func (mk MakeEvented) serve(t *testing.T, l net.Listener, cfg *engine.Config, loops int) *looping {
	t.Helper()
	e, err := mk(small.Echo{}, cfg, loops)
	if err != nil {
		t.Fatal(err)
	}
	yodeltest.Serve(t, e, l, engine.ErrClosed)
	return &looping{e, t, l.Addr()}
}

func (s *looping) dial() *client {
	s.t.Helper()
	nc, err := net.Dial(s.at.Network(), s.at.String())
	if err != nil {
		s.t.Fatal(err)
	}
	nc.SetDeadline(time.Now().Add(patience))
	s.t.Cleanup(func() { nc.Close() })
	return &client{nc, s.t}
}

// echo wants what it sends back.
func (c *client) echo(text string) {
	c.t.Helper()
	c.ask("an echo", text, text)
}

// tryUnfit: what this engine can't serve it says so, and who can.
func tryUnfit(mk MakeEvented, t *testing.T) {
	t.Parallel()
	_, err := mk(small.Echo{}, &engine.Config{ProxyFrom: []netip.Prefix{}}, 0)
	if !errors.Is(err, engine.ErrUnfit) || !strings.Contains(err.Error(), "goroutine") {
		t.Errorf("PROXY: %v", err)
	}
	e, err := mk(small.Echo{}, nil, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	memory, err := new(yodeltest.Net).Listen("server")
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Serve(memory); !errors.Is(err, engine.ErrUnfit) {
		t.Errorf("a listener in memory: %v", err)
	}
	l := onTCP(t).Listener
	if err := e.Serve(trace.Listener(wrapped{l}, trace.Discard)); !errors.Is(err, engine.ErrUnfit) || !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("a listener that hides its socket: %v", err)
	}
	closed := onTCP(t).Listener
	closed.Close()
	if err := e.Serve(closed); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a listener that is closed: %v", err)
	}
}

// wrapped hides all but the methods of net.Listener.
type wrapped struct{ net.Listener }

// tryLoops: connections are spread over the loops, however they come, and each loop has its sums.
func tryLoops(mk MakeEvented, t *testing.T) {
	t.Parallel()
	s := mk.serve(t, onTCP(t).Listener, nil, 3)
	for range 9 {
		s.dial().echo("hello")
	}
	alike := func(st engine.Stats) bool { return st.Active == 3 && st.BytesIn == 15 && st.BytesOut == 15 }
	for range 1000 { // a client may have its answer before that is counted
		if !slices.ContainsFunc(s.LoopStats(), func(st engine.Stats) bool { return !alike(st) }) {
			return
		}
		<-time.After(time.Millisecond)
	}
	t.Errorf("the loops have %+v", s.LoopStats())
}

// tryMuchAndLittle: how an engine reads may depend on how much has come before, and much may
// be sent from where it was read to. Nobody notices.
func tryMuchAndLittle(mk MakeEvented, t *testing.T) {
	t.Parallel()
	s := mk.serve(t, onTCP(t).Listener, nil, 1)
	sizes := append(slices.Repeat([]int{9}, 20), 700_000, 100, 70_000) // the 20 are enough to forget what came before
	var all sync.WaitGroup
	for i := range 12 {
		nc := s.dial()
		all.Go(func() {
			for j, size := range slices.Concat(sizes, sizes) {
				want := bytes.Repeat([]byte{byte(i), byte(j), 7}, size/3)
				go nc.Write(want)
				got := make([]byte, len(want))
				if _, err := io.ReadFull(nc, got); err != nil || !bytes.Equal(got, want) {
					t.Errorf("client %d, message %d of %d bytes: %v", i, j, len(want), err)
					return
				}
			}
		})
	}
	all.Wait()
}

// tryMany: from many clients at once, on several loops, every byte comes back.
func tryMany(mk MakeEvented, t *testing.T) {
	t.Parallel()
	s := mk.serve(t, onTCP(t).Listener, nil, 2)
	var all sync.WaitGroup
	for i := range 50 {
		nc := s.dial()
		all.Go(func() {
			for j := range 40 {
				want := bytes.Repeat([]byte{byte(i), byte(j)}, 1+j*j)
				go nc.Write(want)
				got := make([]byte, len(want))
				if _, err := io.ReadFull(nc, got); err != nil || !bytes.Equal(got, want) {
					t.Errorf("client %d, round %d: %v", i, j, err)
					return
				}
			}
		})
	}
	all.Wait()
}

// trySockListener: a listener of package sock is served, with the options that it gave its socket: the
// connected ones inherit them.
func trySockListener(mk MakeEvented, t *testing.T) {
	t.Parallel()
	for _, host := range []string{"127.0.0.1", ""} {
		l, err := sock.Listen(t.Context(), sock.Address{Network: "tcp", Host: host}, nil)
		if err != nil {
			t.Fatal(err)
		}
		events := new(events)
		mk.serve(t, l.Plain(), &engine.Config{Sink: events}, 0)
		nc, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", fmt.Sprint(l.Address().Port)))
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		(&client{nc, t}).echo("hi")
		list, _ := events.look()
		e := list[0]
		if e.Local.String() != nc.RemoteAddr().String() || e.Remote.String() != nc.LocalAddr().String() {
			t.Errorf("on %q: the pair is %v, %v", host, e.Local, e.Remote)
		}
		for name, opt := range map[string][2]int{
			"TCP_NODELAY": {unix.IPPROTO_TCP, unix.TCP_NODELAY}, "SO_KEEPALIVE": {unix.SOL_SOCKET, unix.SO_KEEPALIVE},
		} {
			if v, err := unix.GetsockoptInt(e.FD, opt[0], opt[1]); v != 1 || err != nil {
				t.Errorf("on %q: %s is %d, %v", host, name, v, err)
			}
		}
	}
}

// tryUrgent: a read stops short at urgent data (tcp(7)); what is behind it is not forgotten.
func tryUrgent(mk MakeEvented, t *testing.T) {
	t.Parallel()
	s := mk.serve(t, onTCP(t).Listener, nil, 0)
	nc := s.dial()
	nc.echo("hello")
	raw, err := nc.Conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		raw.Write(func(fd uintptr) bool {
			unix.Write(int(fd), []byte("before"))
			unix.SendmsgN(int(fd), []byte("!"), nil, nil, unix.MSG_OOB)
			unix.Write(int(fd), []byte("behind"))
			return true
		})
		got := make([]byte, len("beforebehind"))
		if _, err := io.ReadFull(nc, got); err != nil || string(got) != "beforebehind" {
			t.Fatalf("got %q, %v", got, err)
		}
	}
}

// tryDescriptorsOverUnix: on a Unix socket a read stops short after a message that brought descriptors along;
// what is behind it is not forgotten, and the descriptors are not taken.
func tryDescriptorsOverUnix(mk MakeEvented, t *testing.T) {
	t.Parallel()
	s := mk.serve(t, onUnix(t).Listener, nil, 0)
	nc := s.dial()
	raw, err := nc.Conn.(*net.UnixConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		raw.Write(func(fd uintptr) bool {
			unix.Sendmsg(int(fd), []byte("first"), unix.UnixRights(0), nil, 0)
			unix.Sendmsg(int(fd), []byte("second"), unix.UnixRights(1), nil, 0)
			unix.Write(int(fd), []byte("third"))
			return true
		})
		got := make([]byte, len("firstsecondthird"))
		if _, err := io.ReadFull(nc, got); err != nil || string(got) != "firstsecondthird" {
			t.Fatalf("got %q, %v", got, err)
		}
	}
}

// tryInputBehindOutput: what a peer that does not read goes on to send is taken until the output
// has reached its mark, and then no more; and all comes back when it reads.
func tryInputBehindOutput(mk MakeEvented, t *testing.T) {
	t.Parallel()
	s := mk.serve(t, onTCP(t).Listener, nil, 1)
	nc := s.dial()
	chunk, sent := make([]byte, 16<<10), int64(0)
	full := false
	for !full {
		if _, err := nc.Write(chunk); err != nil {
			t.Fatal(err)
		}
		sent += int64(len(chunk))
		until(t, "a chunk is taken, or the output is at its mark", func() bool {
			stats := s.Stats()
			full = stats.BytesIn-stats.BytesOut >= yodel.DefaultMark
			return full || stats.BytesIn == sent
		})
	}
	if n, err := io.CopyN(io.Discard, nc, sent); err != nil {
		t.Errorf("%d of %d bytes came back: %v", n, sent, err)
	}
}

// tryGreedy: a peer that pours and reads as it can does not keep the others of its loop waiting.
func tryGreedy(mk MakeEvented, t *testing.T) {
	t.Parallel()
	s := mk.serve(t, onTCP(t).Listener, nil, 1)
	greedy, other := s.dial(), s.dial()
	go io.Copy(io.Discard, greedy)
	go func() {
		p := make([]byte, 1<<20)
		for {
			if _, err := greedy.Write(p); err != nil {
				return
			}
		}
	}()
	for range 100 {
		other.echo("is there room for me?")
	}
}

// tryPieces: messages of all sizes, sent while others come back, are the same when they
// do.
func tryPieces(mk MakeEvented, t *testing.T) {
	t.Parallel()
	s := mk.serve(t, onTCP(t).Listener, nil, 1)
	for _, size := range []int{1, 100, 4096, 10_000, 70_000, 300_000, 5 << 20} {
		c := s.dial()
		poured := make(chan error, 1)
		go func() { poured <- c.pour(size) }()
		c.wantPattern(fmt.Sprintf("%d bytes", size), size, nil)
		if err := <-poured; err != nil {
			t.Error(err)
		}
	}
}

// tryAtRest: connections that have had much to say hold nothing of it when they rest.
func tryAtRest(mk MakeEvented, t *testing.T) {
	const conns, most = 200, 1 << 10
	s := mk.serve(t, onTCP(t).Listener, nil, 1)
	var all []*client
	for range conns {
		all = append(all, s.dial())
	}
	message := strings.Repeat("a message that has many bytes", 1000)
	all[0].echo(message)
	before := measure()
	for _, c := range all {
		c.echo(message)
	}
	after := measure()
	if n := (after.heap - before.heap) / conns; n > most {
		t.Errorf("each holds %d bytes", n)
	}
}

// tryBeginsWithout: while the process has no descriptors, Serve waits for some.
func tryBeginsWithout(mk MakeEvented, t *testing.T) {
	var before unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	l := onTCP(t).Listener
	nc, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	none := before
	none.Cur = 3
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &none); err != nil {
		t.Fatal(err)
	}
	s := mk.serve(t, l, nil, 0)
	look := time.NewTicker(time.Millisecond)
	defer look.Stop()
	for s.Stats().AcceptErrors < 2 {
		<-look.C
	}
	unix.Setrlimit(unix.RLIMIT_NOFILE, &before)
	(&client{nc, t}).echo("there is room")
}

// tryNothingServed: Shutdown and Close without Serve, and again, do nothing.
func tryNothingServed(mk MakeEvented, t *testing.T) {
	t.Parallel()
	e, err := mk(small.Echo{}, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
	for range 2 {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := e.Serve(onTCP(t).Listener); !errors.Is(err, engine.ErrClosed) {
		t.Errorf("Serve: %v", err)
	}
}
