package trace_test

import (
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"yodel/trace"
)

// recorder is a Sink that keeps everything.
type recorder struct {
	mu     sync.Mutex
	events []trace.Event
	news   chan struct{} // closed, and replaced, at each event
}

func newRecorder() *recorder { return &recorder{news: make(chan struct{})} }

func (r *recorder) Emit(e *trace.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, *e)
	close(r.news)
	r.news = make(chan struct{})
}

func (r *recorder) all() []trace.Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]trace.Event(nil), r.events...)
}

func (r *recorder) find(op trace.Op) (e trace.Event, news <-chan struct{}, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.events {
		if e.Op == op {
			return e, r.news, true
		}
	}
	return trace.Event{}, r.news, false
}

// wait returns the first event of kind op once it is there.
func (r *recorder) wait(t *testing.T, op trace.Op) trace.Event {
	t.Helper()
	late := time.After(10 * time.Second)
	for {
		e, news, ok := r.find(op)
		if ok {
			return e
		}
		select {
		case <-news:
		case <-late:
			t.Fatalf("no %s event; there are: %s", op, r.ops())
		}
	}
}

// ops returns the kinds of events in their order: "accept read eof close".
func (r *recorder) ops() string {
	var ops []string
	for _, e := range r.all() {
		ops = append(ops, string(e.Op))
	}
	return strings.Join(ops, " ")
}

func (r *recorder) wantOps(t *testing.T, want string) {
	t.Helper()
	if got := r.ops(); got != want {
		t.Errorf("events:\ngot  %s\nwant %s", got, want)
	}
}

func listen(t *testing.T, network, address string) net.Listener {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// pair returns the two ends of a TCP connection over loopback.
func pair(t *testing.T) (client, server *net.TCPConn) {
	t.Helper()
	l := listen(t, "tcp", "127.0.0.1:0")
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	s, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Close()
		s.Close()
	})
	return c.(*net.TCPConn), s.(*net.TCPConn)
}

// traced returns a connection with a trace, the plain other end, and the trace.
func traced(t *testing.T) (*trace.Conn, *net.TCPConn, *recorder) {
	t.Helper()
	client, server := pair(t)
	rec := newRecorder()
	return trace.NewConn(server, trace.NewID(), trace.Server, rec), client, rec
}

func send(t *testing.T, w io.Writer, s string) {
	t.Helper()
	if n, err := io.WriteString(w, s); n != len(s) || err != nil {
		t.Fatalf("write %q: %d, %v", s, n, err)
	}
}

func want(t *testing.T, r io.Reader, s string) {
	t.Helper()
	got := make([]byte, len(s))
	if _, err := io.ReadFull(r, got); err != nil || string(got) != s {
		t.Fatalf("read %q, %v; want %q", got, err, s)
	}
}

func wantEOF(t *testing.T, r io.Reader) {
	t.Helper()
	if n, err := r.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Fatalf("read %d, %v; want EOF", n, err)
	}
}

func check[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

func sums(e trace.Event) string { return fmt.Sprintf("%d in, %d out", e.In, e.Out) }
