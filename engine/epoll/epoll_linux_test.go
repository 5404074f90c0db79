package epoll_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"yodel/engine"
	"yodel/engine/enginetest"
	"yodel/engine/epoll"
	"yodel/service/small"
	"yodel/sock"
	"yodel/trace"
	"yodel/yodeltest"
)

func TestConformance(t *testing.T) {
	enginetest.Run(t, func(svc any, cfg *engine.Config) (engine.Engine, error) {
		return epoll.New(svc, cfg, nil)
	}, enginetest.Traits{SocketsOnly: true, NoTLS: true, NoDoor: true})
}

func TestProbe(t *testing.T) {
	t.Parallel()
	if err := epoll.Probe(); err != nil {
		t.Error(err)
	}
}

// served is an engine that serves echo, and the address of its listener.
type served struct {
	epoll.Engine
	t    *testing.T
	addr net.Addr
}

func serve(t *testing.T, l net.Listener, cfg *engine.Config, opts *epoll.Options) *served {
	t.Helper()
	e, err := epoll.New(small.Echo{}, cfg, opts)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- e.Serve(l) }()
	t.Cleanup(func() {
		e.Close()
		if err := <-done; !errors.Is(err, engine.ErrClosed) {
			t.Errorf("Serve: %v", err)
		}
	})
	return &served{e, t, l.Addr()}
}

func listen(t *testing.T, network, address string) net.Listener {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func (s *served) dial() net.Conn {
	s.t.Helper()
	nc, err := net.Dial(s.addr.Network(), s.addr.String())
	if err != nil {
		s.t.Fatal(err)
	}
	nc.SetDeadline(time.Now().Add(30 * time.Second))
	s.t.Cleanup(func() { nc.Close() })
	return nc
}

func (s *served) ask(nc net.Conn, text string) {
	s.t.Helper()
	if _, err := io.WriteString(nc, text); err != nil {
		s.t.Fatal(err)
	}
	got := make([]byte, len(text))
	if _, err := io.ReadFull(nc, got); err != nil || string(got) != text {
		s.t.Fatalf("asked %q, got %q, %v", text, got, err)
	}
}

// What this engine can't serve it says so, and who can.
func TestUnfit(t *testing.T) {
	t.Parallel()
	_, err := epoll.New(small.Echo{}, &engine.Config{ProxyFrom: []netip.Prefix{}}, nil)
	if !errors.Is(err, engine.ErrUnfit) || !strings.Contains(err.Error(), "goroutine") {
		t.Errorf("PROXY: %v", err)
	}
	e, err := epoll.New(small.Echo{}, nil, &epoll.Options{Loops: 1})
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
	l := listen(t, "tcp", "127.0.0.1:0")
	if err := e.Serve(trace.Listener(wrapped{l}, trace.Discard)); !errors.Is(err, engine.ErrUnfit) || !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("a listener that hides its socket: %v", err)
	}
	closed := listen(t, "tcp", "127.0.0.1:0")
	closed.Close()
	if err := e.Serve(closed); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a listener that is closed: %v", err)
	}
}

// wrapped hides all but the methods of net.Listener.
type wrapped struct{ net.Listener }

// Connections are spread over the loops, however they come, and each loop has its sums.
func TestLoops(t *testing.T) {
	t.Parallel()
	s := serve(t, listen(t, "tcp", "127.0.0.1:0"), nil, &epoll.Options{Loops: 3})
	for range 9 {
		s.ask(s.dial(), "hello")
	}
	for i, st := range s.LoopStats() {
		if st.Active != 3 || st.BytesIn != 15 || st.BytesOut != 15 {
			t.Errorf("loop %d: %+v", i, st)
		}
	}
}

// From many clients at once, on several loops, every byte comes back.
func TestMany(t *testing.T) {
	t.Parallel()
	s := serve(t, listen(t, "tcp", "127.0.0.1:0"), nil, &epoll.Options{Loops: 2})
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

// A listener of package sock is served, with the options that it gave its socket: the
// connected ones inherit them.
func TestSockListener(t *testing.T) {
	t.Parallel()
	for _, host := range []string{"127.0.0.1", ""} {
		l, err := sock.Listen(t.Context(), sock.Address{Network: "tcp", Host: host}, nil)
		if err != nil {
			t.Fatal(err)
		}
		var events collector
		s := serve(t, l.Plain(), &engine.Config{Sink: &events}, nil)
		nc, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", fmt.Sprint(l.Address().Port)))
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		s.ask(nc, "hi")
		e := events.first(t)
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

// collector is a Sink that keeps events.
type collector struct {
	mu   sync.Mutex
	list []trace.Event
}

func (c *collector) Emit(e *trace.Event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.list = append(c.list, *e)
}

func (c *collector) first(t *testing.T) trace.Event {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.list) == 0 {
		t.Fatal("there is no event")
	}
	return c.list[0]
}

// A read stops short at urgent data (tcp(7)); what is behind it is not forgotten.
func TestUrgent(t *testing.T) {
	t.Parallel()
	s := serve(t, listen(t, "tcp", "127.0.0.1:0"), nil, nil)
	nc := s.dial()
	s.ask(nc, "hello")
	raw, err := nc.(*net.TCPConn).SyscallConn()
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

// On a Unix socket a read stops short after a message that brought descriptors along;
// what is behind it is not forgotten, and the descriptors are not taken.
func TestDescriptorsOverUnix(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "yodel")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	s := serve(t, listen(t, "unix", filepath.Join(dir, "s")), nil, nil)
	nc := s.dial().(*net.UnixConn)
	raw, err := nc.SyscallConn()
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

// A peer that pours and reads as it can does not keep the others of its loop waiting.
func TestFairness(t *testing.T) {
	t.Parallel()
	s := serve(t, listen(t, "tcp", "127.0.0.1:0"), nil, &epoll.Options{Loops: 1})
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
		s.ask(other, "is there room for me?")
	}
}

// While the process has no descriptors, Serve waits for some.
func TestBeginsWithoutDescriptors(t *testing.T) {
	var before unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	l := listen(t, "tcp", "127.0.0.1:0")
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	none := before
	none.Cur = 3
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &none); err != nil {
		t.Fatal(err)
	}
	s := serve(t, l, nil, nil)
	look := time.NewTicker(time.Millisecond)
	defer look.Stop()
	for s.Stats().AcceptErrors < 2 {
		<-look.C
	}
	unix.Setrlimit(unix.RLIMIT_NOFILE, &before)
	client.SetDeadline(time.Now().Add(30 * time.Second))
	s.ask(client, "there is room")
}

// Shutdown and Close without Serve, and again, do nothing.
func TestNothingServed(t *testing.T) {
	t.Parallel()
	e, err := epoll.New(small.Echo{}, nil, nil)
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
	if err := e.Serve(listen(t, "tcp", "127.0.0.1:0")); !errors.Is(err, engine.ErrClosed) {
		t.Errorf("Serve: %v", err)
	}
}
