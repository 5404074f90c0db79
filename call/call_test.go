package call

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"yodel/sock"
	"yodel/yodeltest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds what a test waits for; it is reached only when a test fails.
const patience = 60 * time.Second

// serve runs peer for one connection on loopback and returns the client's end.
func serve(t *testing.T, peer func(*net.TCPConn)) net.Conn {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer l.Close()
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(patience))
		peer(c.(*net.TCPConn))
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return dial(t, "tcp", l.Addr().String())
}

func dial(t *testing.T, network, address string) net.Conn {
	t.Helper()
	c, err := net.Dial(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// pair is serve in memory.
func pair(t *testing.T, peer func(*yodeltest.Conn)) net.Conn {
	t.Helper()
	return pairOf(t, new(yodeltest.Net), peer)
}

func pairOf(t *testing.T, n *yodeltest.Net, peer func(*yodeltest.Conn)) net.Conn {
	t.Helper()
	client, server := n.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer server.Close()
		peer(server)
	}()
	t.Cleanup(func() { client.Close(); server.Close(); <-done })
	return client
}

// The peers.

func echo(c *net.TCPConn) {
	io.Copy(struct{ io.Writer }{c}, struct{ io.Reader }{c})
	c.CloseWrite()
}

func reset(c *net.TCPConn) {
	c.SetLinger(0)
	c.Close()
}

func upperPeer(c net.Conn) {
	buf := make([]byte, 1000)
	for {
		n, err := c.Read(buf)
		c.Write(bytes.ToUpper(buf[:n]))
		if err != nil {
			return
		}
	}
}

// script is a peer that says lines and wants lines: "<" in front of what it sends.
func script(t *testing.T, lines ...string) func(net.Conn) {
	return func(c net.Conn) {
		for _, l := range lines {
			if l[0] == '<' {
				io.WriteString(c, l[1:])
				continue
			}
			got := make([]byte, len(l))
			if n, err := io.ReadFull(c, got); string(got[:n]) != l {
				t.Errorf("the peer read %q (%v), wanted %q", got[:n], err, l)
				return
			}
		}
	}
}

func onMemory(peer func(net.Conn)) func(*yodeltest.Conn) {
	return func(c *yodeltest.Conn) { peer(c) }
}

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// A buffer is a bytes.Buffer for two goroutines.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// wantStatus fails the test if err is not a T or has another exit status.
func wantStatus[T error](t *testing.T, err error, status int) T {
	t.Helper()
	var target T
	if !errors.As(err, &target) {
		t.Fatalf("error %v (%T), wanted a %T", err, err, target)
	}
	if got := ExitStatus(err); got != status {
		t.Fatalf("exit status %d of %v, wanted %d", got, err, status)
	}
	return target
}

var errBroken = errors.New("out of paper")

// failAfter is a writer or reader that works for n bytes.
type failAfter struct{ n int }

func (f *failAfter) Write(p []byte) (int, error) {
	if len(p) > f.n {
		return f.n, errBroken
	}
	f.n -= len(p)
	return len(p), nil
}

func (f *failAfter) Read(p []byte) (int, error) {
	if f.n == 0 {
		return 0, errBroken
	}
	n := min(len(p), f.n)
	f.n -= n
	return n, nil
}

// target is what tests say they have dialled.
var target = sock.Address{Network: "tcp", Host: "server.example", Port: 7}

// An eventHook is a View that calls do at each event of a type.
type eventHook struct {
	on EventType
	do func()
}

func (h *eventHook) Payload() bool { return false }

func (h *eventHook) Show(e *Event) error {
	if e.Type == h.on {
		h.do()
	}
	return nil
}
