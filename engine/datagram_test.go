package engine_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"yodel"
	"yodel/engine"
	"yodel/trace"
	"yodel/yodeltest"
)

// replyFunc is a Replier from a function.
type replyFunc func(peer yodel.Peer, request, buf []byte) []byte

func (f replyFunc) Reply(peer yodel.Peer, _ time.Time, request, buf []byte) []byte {
	return f(peer, request, buf)
}

var echoReply = replyFunc(func(_ yodel.Peer, request, buf []byte) []byte { return append(buf, request...) })

// answerOf answers every request with n bytes.
func answerOf(n int) yodel.Replier {
	return replyFunc(func(_ yodel.Peer, _, buf []byte) []byte { return append(buf, make([]byte, n)...) })
}

// packet is a datagram with the address of the other end.
type packet struct {
	peer netip.AddrPort
	data string
}

// memPacketConn is a UDP socket on 192.0.2.5:10007 without a network: the test puts
// into in what the peers send and takes from out what they get.
type memPacketConn struct {
	in, out chan packet
	sendErr func() error // nil: sending succeeds

	mu     sync.Mutex
	woken  chan struct{} // closed when the read deadline has passed
	closed chan struct{}
	once   sync.Once
}

func newMemPacketConn() *memPacketConn {
	return &memPacketConn{in: make(chan packet, 1000), out: make(chan packet, 1000), woken: make(chan struct{}), closed: make(chan struct{})}
}

func (c *memPacketConn) deadlinePassed() chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.woken
}

func (c *memPacketConn) ReadFrom(b []byte) (int, net.Addr, error) {
	select {
	case <-c.closed:
		return 0, nil, net.ErrClosed
	case <-c.deadlinePassed():
		return 0, nil, os.ErrDeadlineExceeded
	case p := <-c.in:
		return copy(b, p.data), net.UDPAddrFromAddrPort(p.peer), nil
	}
}

func (c *memPacketConn) WriteTo(b []byte, to net.Addr) (int, error) {
	if c.sendErr != nil {
		if err := c.sendErr(); err != nil {
			return 0, err
		}
	}
	c.out <- packet{to.(*net.UDPAddr).AddrPort(), string(b)}
	return len(b), nil
}

func (c *memPacketConn) SetReadDeadline(t time.Time) error {
	if !t.IsZero() {
		close(c.deadlinePassed())
	}
	return nil
}

func (c *memPacketConn) Close() error                     { c.once.Do(func() { close(c.closed) }); return nil }
func (c *memPacketConn) SetWriteDeadline(time.Time) error { return nil }
func (c *memPacketConn) SetDeadline(time.Time) error      { return nil }
func (c *memPacketConn) LocalAddr() net.Addr {
	return &net.UDPAddr{IP: net.IPv4(192, 0, 2, 5), Port: 10007}
}

// running is a datagram service under test.
type running struct {
	*engine.Datagrams
	t      *testing.T
	events chan trace.Event // each call
	log    *logBuffer
	ended  chan error // what Serve returned
}

type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// lines returns the lines with all of words.
func (l *logBuffer) lines(words ...string) (found []string) {
	for line := range strings.Lines(l.String()) {
		if !strings.Contains(line, words[0]) {
			continue
		}
		for _, w := range words {
			if !strings.Contains(line, w) {
				line = ""
			}
		}
		if line != "" {
			found = append(found, line)
		}
	}
	return found
}

// serveDatagrams runs svc on pc until the test ends. Sink and Log of cfg are set
// where they are nil.
func serveDatagrams(t *testing.T, svc yodel.Replier, cfg engine.DatagramConfig, pc net.PacketConn) *running {
	t.Helper()
	r := &running{t: t, events: make(chan trace.Event, 10_000), log: &logBuffer{}, ended: make(chan error, 1)}
	cfg.Service = cmp.Or(cfg.Service, "svc")
	if cfg.Sink == nil {
		cfg.Sink = trace.EachCall(trace.Func(func(e *trace.Event) { r.events <- *e }))
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.NewTextHandler(r.log, nil))
	}
	r.Datagrams = engine.NewDatagrams(svc, &cfg)
	go func() { r.ended <- r.Serve(pc) }()
	t.Cleanup(func() { r.Close() })
	return r
}

// next returns the next event of one of ops.
func (r *running) next(ops ...trace.Op) trace.Event {
	r.t.Helper()
	timeout := time.After(20 * time.Second)
	for {
		select {
		case e := <-r.events:
			if slices.Contains(ops, e.Op) {
				return e
			}
		case <-timeout:
			r.t.Fatalf("no event %v came", ops)
		}
	}
}

// wantDropped checks which datagrams were not answered, and that each datagram is
// counted once.
func (r *running) wantDropped(why string, want map[engine.Reason]int64) {
	r.t.Helper()
	s := r.Stats()
	if !maps.Equal(s.Dropped, want) {
		r.t.Errorf("%s: dropped %v, want %v", why, s.Dropped, want)
	}
	sum := s.DatagramsOut
	for _, n := range s.Dropped {
		sum += n
	}
	if sum != s.DatagramsIn {
		r.t.Errorf("%s: %d read, %d answered, dropped %v: that is not all", why, s.DatagramsIn, s.DatagramsOut, s.Dropped)
	}
}

func TestDatagramVerdicts(t *testing.T) {
	t.Parallel()
	deny := engine.NewGate(&engine.GateConfig{Deny: []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}})
	empty := replyFunc(func(_ yodel.Peer, _, buf []byte) []byte { return buf })
	silent := replyFunc(func(yodel.Peer, []byte, []byte) []byte { return nil })
	const far = "198.51.100.1:40000"
	for _, tt := range []struct {
		why     string
		remote  string
		request int
		svc     yodel.Replier
		amplify bool
		want    engine.Reason
		answer  int // bytes, if want is None
	}{
		{"an echo", far, 5, echoReply, false, engine.None, 5},
		{"an echo of nothing", far, 0, echoReply, false, engine.None, 0},
		{"an empty answer is one", far, 5, empty, false, engine.None, 0},
		{"no answer is none", far, 5, silent, false, engine.Silent, 0},

		{"18 bytes for nothing", far, 0, answerOf(18), false, engine.None, 18},
		{"19 bytes for nothing", far, 0, answerOf(19), false, engine.Amplified, 0},
		{"19 bytes for 18", far, 18, answerOf(19), false, engine.Amplified, 0},
		{"as many as were asked with", far, 300, answerOf(300), false, engine.None, 300},
		{"one more than was asked with", far, 300, answerOf(301), false, engine.Amplified, 0},
		{"more, where it is allowed", far, 0, answerOf(512), true, engine.None, 512},
		{"more, on loopback", "127.0.0.1:40000", 0, answerOf(512), false, engine.None, 512},
		{"more, on IPv6 loopback", "[::1]:40000", 0, answerOf(512), false, engine.None, 512},
		{"more than a datagram holds, on loopback", "127.0.0.1:40000", 0, answerOf(65508), false, engine.Amplified, 0},

		{"from echo", "198.51.100.1:7", 5, echoReply, false, engine.ServerPort, 0},
		{"from a server on loopback", "127.0.0.1:1023", 5, echoReply, false, engine.ServerPort, 0},
		{"from memcached", "198.51.100.1:11211", 5, echoReply, false, engine.ServerPort, 0},
		{"from port 0", "198.51.100.1:0", 5, echoReply, false, engine.BadSource, 0},
		{"from a group", "224.0.0.251:40000", 5, echoReply, false, engine.BadSource, 0},
		{"from everyone", "255.255.255.255:40000", 5, echoReply, false, engine.BadSource, 0},
		{"from nobody", "0.0.0.0:40000", 5, echoReply, false, engine.BadSource, 0},
		{"from ourselves", "192.0.2.5:10007", 5, echoReply, false, engine.Ourselves, 0},
		{"from whom the gate denies", "203.0.113.9:40000", 5, echoReply, false, engine.Denied, 0},
		{"from whom the gate denies, 4-in-6", "[::ffff:203.0.113.9]:40000", 5, echoReply, false, engine.Denied, 0},
	} {
		t.Run(tt.why, func(t *testing.T) {
			t.Parallel()
			pc := newMemPacketConn()
			r := serveDatagrams(t, tt.svc, engine.DatagramConfig{Amplify: tt.amplify, Gate: deny}, pc)
			remote := netip.MustParseAddrPort(tt.remote)
			pc.in <- packet{remote, strings.Repeat("x", tt.request)}
			want := map[engine.Reason]int64{}
			switch tt.want {
			case engine.None:
				if got := <-pc.out; got.peer != remote || len(got.data) != tt.answer {
					t.Errorf("%d bytes to %v, want %d to %v", len(got.data), got.peer, tt.answer, remote)
				}
				r.next(trace.Write)
			case engine.Silent:
				want[tt.want] = 1
				r.next(trace.Read)
			default:
				want[tt.want] = 1
				if e := r.next(trace.Refuse); e.Text != tt.want.String() {
					t.Errorf("refused as %q, want %q", e.Text, tt.want)
				}
				if got := r.log.lines("datagram not answered", fmt.Sprintf("why=%q", tt.want), "service=svc", "times=1"); len(got) != 1 {
					t.Errorf("the log has no line for it:\n%s", r.log)
				}
			}
			if err := r.Shutdown(t.Context()); err != nil {
				t.Error(err)
			}
			r.wantDropped(tt.why, want)
			if len(pc.out) > 0 {
				t.Error("something was sent")
			}
		})
	}
}

// The loop's promise to services: the capacity of buf is what the answer may have.
func TestDatagramBudget(t *testing.T) {
	t.Parallel()
	budgets := make(chan [2]int, 10)
	svc := replyFunc(func(_ yodel.Peer, _, buf []byte) []byte {
		budgets <- [2]int{len(buf), cap(buf)}
		return nil
	})
	for _, tt := range []struct {
		remote  string
		request int
		amplify bool
		want    int
	}{
		{"198.51.100.1:40000", 0, false, 18},
		{"198.51.100.1:40000", 18, false, 18},
		{"198.51.100.1:40000", 19, false, 19},
		{"198.51.100.1:40000", 65_507, false, 65_507},
		{"198.51.100.1:40000", 1, true, 65_507},
		{"127.0.0.1:40000", 1, false, 65_507},
		{"[::1]:40000", 1, false, 65_507},
		{"[2001:db8::1]:40000", 65_527, true, 65_527}, // IPv6 has room for more
	} {
		pc := newMemPacketConn()
		serveDatagrams(t, svc, engine.DatagramConfig{Amplify: tt.amplify}, pc)
		pc.in <- packet{netip.MustParseAddrPort(tt.remote), strings.Repeat("x", tt.request)}
		if got := <-budgets; got != [2]int{0, tt.want} {
			t.Errorf("%d bytes from %s, amplify %v: length and capacity %v, want 0 and %d", tt.request, tt.remote, tt.amplify, got, tt.want)
		}
	}
}

func TestDatagramSums(t *testing.T) {
	t.Parallel()
	pc := newMemPacketConn()
	svc := replyFunc(func(_ yodel.Peer, request, buf []byte) []byte {
		return append(append(buf, request...), make([]byte, len(request)/30)...) // too long from 30 bytes on
	})
	r := serveDatagrams(t, svc, engine.DatagramConfig{}, pc)
	for remote, n := range map[string]int{"198.51.100.1:40000": 10, "198.51.100.1:7": 25, "198.51.100.2:40000": 60} {
		pc.in <- packet{netip.MustParseAddrPort(remote), strings.Repeat("x", n)}
	}
	r.next(trace.Write, trace.Refuse)
	r.next(trace.Write, trace.Refuse)
	r.next(trace.Write, trace.Refuse)
	s := r.Stats()
	for _, tt := range []struct {
		what      string
		got, want int64
	}{
		{"datagrams in", s.DatagramsIn, 3},
		{"datagrams out", s.DatagramsOut, 1},
		{"bytes in", s.BytesIn, 95},
		{"bytes out", s.BytesOut, 10},
		{"unread, of the server's port", s.Unread, 25},
		{"unsent, of the answer that was too long", s.Unsent, 62},
	} {
		if tt.got != tt.want {
			t.Errorf("%s: %d, want %d", tt.what, tt.got, tt.want)
		}
	}
}

func TestDatagramPanic(t *testing.T) {
	t.Parallel()
	pc := newMemPacketConn()
	svc := replyFunc(func(_ yodel.Peer, request, buf []byte) []byte {
		if string(request) == "boom" {
			panic("oh no")
		}
		return append(buf, request...)
	})
	r := serveDatagrams(t, svc, engine.DatagramConfig{}, pc)
	client := netip.MustParseAddrPort("198.51.100.1:40000")
	for range 3 {
		pc.in <- packet{client, "boom"}
	}
	pc.in <- packet{client, "hello"}
	if got := <-pc.out; got.data != "hello" {
		t.Errorf("after the panics: %q", got.data)
	}
	r.wantDropped("panics are counted", map[engine.Reason]int64{engine.Panic: 3})
	if got := r.log.lines("level=ERROR", "handler panicked", `panic="oh no"`, "datagram_test.go"); len(got) != 1 {
		t.Errorf("want one line with the panic's stack, have:\n%s", r.log)
	}
}

func TestDatagramSendFailures(t *testing.T) {
	t.Parallel()
	for _, err := range []error{
		syscall.ENOBUFS, syscall.EPERM, syscall.EAGAIN, syscall.EMSGSIZE, syscall.EINVAL,
		syscall.ECONNREFUSED, os.ErrDeadlineExceeded, errors.New("what is this?"),
	} {
		pc := newMemPacketConn()
		failing := true
		pc.sendErr = func() error {
			if failing {
				return &net.OpError{Op: "write", Net: "udp", Err: err}
			}
			return nil
		}
		r := serveDatagrams(t, echoReply, engine.DatagramConfig{}, pc)
		client := netip.MustParseAddrPort("198.51.100.1:40000")
		pc.in <- packet{client, "first"}
		if e := r.next(trace.Refuse); !errors.Is(e.Err, err) || e.Text != engine.SendFailed.String() {
			t.Errorf("%v: the event says %q, %v", err, e.Text, e.Err)
		}
		failing = false // the loop waits for the next datagram
		pc.in <- packet{client, "second"}
		if got := <-pc.out; got.data != "second" {
			t.Errorf("%v: afterwards %q was answered", err, got.data)
		}
		r.next(trace.Write)
		r.wantDropped(err.Error(), map[engine.Reason]int64{engine.SendFailed: 1})
		if s := r.Stats(); s.Unsent != 5 {
			t.Errorf("%v: %d bytes unsent, want 5", err, s.Unsent)
		}
	}
}

// What an ICMP message says of one peer's answer comes up when the next one's is
// sent, and a deadline passes when this process gets no processor: the answer has
// not been tried yet and is sent again.
func TestDatagramSentAgain(t *testing.T) {
	t.Parallel()
	for _, err := range []error{syscall.ECONNREFUSED, syscall.EHOSTUNREACH, syscall.ENETUNREACH, os.ErrDeadlineExceeded} {
		pc := newMemPacketConn()
		tries := 0
		pc.sendErr = func() error {
			if tries++; tries == 1 {
				return os.NewSyscallError("sendmsg", err)
			}
			return nil
		}
		r := serveDatagrams(t, echoReply, engine.DatagramConfig{}, pc)
		pc.in <- packet{netip.MustParseAddrPort("198.51.100.1:40000"), "hello"}
		if got := <-pc.out; got.data != "hello" {
			t.Errorf("%v: %q", err, got.data)
		}
		r.next(trace.Write)
		r.wantDropped(err.Error(), map[engine.Reason]int64{})
	}
}

// timedConn notes when sends were given a deadline, and for how long.
type timedConn struct {
	*memPacketConn
	allowed chan time.Duration
}

func (c timedConn) SetWriteDeadline(t time.Time) error {
	c.allowed <- time.Until(t)
	return nil
}

// A send that finds no room in the kernel does not hold up the loop for ever; and
// deadlines are not set for each one.
func TestDatagramSendDeadlines(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		pc := timedConn{newMemPacketConn(), make(chan time.Duration, 100)}
		r := serveDatagrams(t, echoReply, engine.DatagramConfig{}, pc)
		for i, pause := range []time.Duration{0, 0, 90 * time.Millisecond, 20 * time.Millisecond, 0, time.Hour} {
			time.Sleep(pause)
			pc.in <- packet{netip.MustParseAddrPort("198.51.100.1:40000"), "hello"}
			<-pc.out
			synctest.Wait()
			if got, want := len(pc.allowed), []int{1, 1, 1, 2, 2, 3}[i]; got != want {
				t.Errorf("after datagram %d deadlines were set %d times, want %d", i, got, want)
			}
		}
		r.Close()
		for range 3 {
			if d := <-pc.allowed; d != 200*time.Millisecond {
				t.Errorf("a send has %v", d)
			}
		}
	})
}

// badReads fails to read before it reads.
type badReads struct {
	*memPacketConn
	errs chan error
}

func (c badReads) ReadFrom(b []byte) (int, net.Addr, error) {
	select {
	case err := <-c.errs:
		return 0, nil, err
	default:
		return c.memPacketConn.ReadFrom(b)
	}
}

func TestDatagramReadFailures(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		pc := badReads{newMemPacketConn(), make(chan error, 100)}
		for range 5 {
			pc.errs <- syscall.ECONNREFUSED
		}
		for range 10 {
			pc.errs <- syscall.EIO
		}
		pc.in <- packet{netip.MustParseAddrPort("198.51.100.1:40000"), "hello"}
		start := time.Now()
		r := serveDatagrams(t, echoReply, engine.DatagramConfig{}, pc)
		if got := <-pc.out; got.data != "hello" {
			t.Errorf("after the failures: %q", got.data)
		}
		if n := r.Stats().ReadErrors; n != 15 {
			t.Errorf("%d failures counted, want 15", n)
		}
		// Seven of them beyond the eight that are taken at once: 5, 10 … 35 ms.
		if took := time.Since(start); took != 140*time.Millisecond {
			t.Errorf("the loop paused for %v, want 140ms", took)
		}
		if got := r.log.lines("reading a datagram failed", "times=1"); len(got) != 1 {
			t.Errorf("want one line, have:\n%s", r.log)
		}
		r.Close()
	})
}

func TestDatagramBrokenSocket(t *testing.T) {
	t.Parallel()
	for _, err := range []error{syscall.EBADF, syscall.ENOTSOCK, net.ErrClosed} {
		pc := badReads{newMemPacketConn(), make(chan error, 1)}
		pc.errs <- err
		r := serveDatagrams(t, echoReply, engine.DatagramConfig{}, pc)
		if got := <-r.ended; !errors.Is(got, err) || !strings.Contains(got.Error(), "192.0.2.5:10007") {
			t.Errorf("Serve returned %v, want %v and the socket", got, err)
		}
		<-pc.closed
	}
}

// A socket on which every read fails does not hold up Shutdown.
func TestDatagramShutdownWhileReadsFail(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		pc := badReads{newMemPacketConn(), make(chan error, 100)}
		for range 100 {
			pc.errs <- syscall.EIO
		}
		r := serveDatagrams(t, echoReply, engine.DatagramConfig{}, pc)
		synctest.Wait() // in a pause
		start := time.Now()
		if err := r.Shutdown(t.Context()); err != nil || time.Since(start) != 0 {
			t.Errorf("Shutdown: %v, after %v", err, time.Since(start))
		}
		if err := <-r.ended; err != engine.ErrClosed {
			t.Errorf("Serve returned %v", err)
		}
	})
}

// gated waits in Reply until the test lets it go on.
func gated() (svc yodel.Replier, inside, open chan struct{}) {
	inside, open = make(chan struct{}), make(chan struct{})
	return replyFunc(func(_ yodel.Peer, request, buf []byte) []byte {
		inside <- struct{}{}
		<-open
		return append(buf, request...)
	}), inside, open
}

func TestDatagramShutdown(t *testing.T) {
	t.Parallel()
	svc, inside, open := gated()
	pc := newMemPacketConn()
	r := serveDatagrams(t, svc, engine.DatagramConfig{}, pc)
	pc.in <- packet{netip.MustParseAddrPort("198.51.100.1:40000"), "hello"}
	<-inside
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.Shutdown(ctx); err != context.Canceled {
		t.Errorf("Shutdown while a request is being answered: %v", err)
	}
	close(open)
	if got := <-pc.out; got.data != "hello" {
		t.Errorf("what was read before Shutdown was answered with %q", got.data)
	}
	if err := <-r.ended; err != engine.ErrClosed {
		t.Errorf("Serve returned %v", err)
	}
	<-pc.closed
	late := newMemPacketConn()
	if err := r.Serve(late); err != engine.ErrClosed {
		t.Errorf("Serve after Shutdown: %v", err)
	}
	<-late.closed
}

func TestDatagramClose(t *testing.T) {
	t.Parallel()
	svc, inside, open := gated()
	pc := newMemPacketConn()
	r := serveDatagrams(t, svc, engine.DatagramConfig{}, pc)
	pc.in <- packet{netip.MustParseAddrPort("198.51.100.1:40000"), "hello"}
	<-inside
	closed := make(chan error)
	go func() { closed <- r.Close() }()
	<-pc.closed // at once, while Reply is still busy
	close(open)
	if err := <-closed; err != nil {
		t.Errorf("Close: %v", err)
	}
	if err := <-r.ended; err != engine.ErrClosed {
		t.Errorf("Serve returned %v", err)
	}
	if r.Close() != nil || r.Shutdown(t.Context()) != nil {
		t.Error("a second end is no error")
	}
}

// One source asks 150 times at once and once more each 10 ms: 100 are answered, and
// then one for each 10 ms. The log stays small.
func TestDatagramRates(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		pc := newMemPacketConn()
		r := serveDatagrams(t, echoReply, engine.DatagramConfig{}, pc)
		client := netip.MustParseAddrPort("198.51.100.1:40000")
		for range 150 {
			pc.in <- packet{client, "hello"}
		}
		synctest.Wait()
		r.wantDropped("at once", map[engine.Reason]int64{engine.SourceRate: 50})
		for range 50 {
			time.Sleep(10 * time.Millisecond)
			pc.in <- packet{client, "hello"}
			pc.in <- packet{client, "hello"}
		}
		synctest.Wait()
		r.wantDropped("in the next half second", map[engine.Reason]int64{engine.SourceRate: 100})
		time.Sleep(600 * time.Millisecond)
		for range 61 {
			pc.in <- packet{client, "hello"}
		}
		synctest.Wait()
		r.wantDropped("after a rest", map[engine.Reason]int64{engine.SourceRate: 101})
		if n := len(r.log.lines("too many from this source")); n != 2 {
			t.Errorf("%d lines in 1.1 s, want 2:\n%s", n, r.log)
		}
		if n := len(r.log.lines("times=100")); n != 1 {
			t.Errorf("the second line does not stand for 100:\n%s", r.log)
		}
		r.Close()
	})
}

// A service that never answers is not held to a rate of answers.
func TestDatagramSilentServiceHasNoRate(t *testing.T) {
	t.Parallel()
	pc := newMemPacketConn()
	r := serveDatagrams(t, replyFunc(func(yodel.Peer, []byte, []byte) []byte { return nil }), engine.DatagramConfig{}, pc)
	for range 500 {
		pc.in <- packet{netip.MustParseAddrPort("198.51.100.1:40000"), "hello"}
	}
	for range 500 {
		r.next(trace.Read)
	}
	r.Shutdown(t.Context())
	r.wantDropped("all were taken", map[engine.Reason]int64{engine.Silent: 500})
	if r.log.String() != "" {
		t.Errorf("silence is not worth a line:\n%s", r.log)
	}
}

func TestDatagramEvents(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		why  string
		each bool
		want string
	}{
		{"each call", true, strings.Repeat("read write ", 30) + "read refuse note"},
		{"a few a second", false, strings.Repeat("read write ", 10) + "note"},
	} {
		t.Run(tt.why, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var got []trace.Event
				var sink trace.Sink = trace.Func(func(e *trace.Event) { got = append(got, *e) })
				if tt.each {
					sink = trace.EachCall(sink)
				}
				pc := newMemPacketConn()
				r := serveDatagrams(t, echoReply, engine.DatagramConfig{Sink: sink}, pc)
				for range 30 {
					pc.in <- packet{netip.MustParseAddrPort("198.51.100.1:40000"), "hello"}
				}
				pc.in <- packet{netip.MustParseAddrPort("198.51.100.1:53"), "hello"}
				synctest.Wait()
				r.Shutdown(t.Context())
				var ops []string
				for _, e := range got {
					ops = append(ops, string(e.Op))
					if e.Conn.IsZero() || e.Conn != got[0].Conn || e.Service != "svc" || e.Network != "udp" || e.Side != trace.Server {
						t.Errorf("incomplete: %+v", e)
					}
				}
				if s := strings.Join(ops, " "); s != tt.want {
					t.Errorf("events\n%s\nwant\n%s", s, tt.want)
				}
				first, last := got[1], got[len(got)-1]
				if first.Local.String() != "192.0.2.5:10007" || first.Remote.String() != "198.51.100.1:40000" || first.Bytes != 5 {
					t.Errorf("the first answer: %+v", first)
				}
				if last.In != 155 || last.Out != 150 || last.Remote.IsValid() || !strings.HasSuffix(last.Text, "31 datagrams read, 30 answered") {
					t.Errorf("the last event: %+v", last)
				}
			})
		})
	}
}

// namedConn has a ConnID of its own, as the sockets of package sock.
type namedConn struct {
	*memPacketConn
	id trace.ConnID
}

func (c namedConn) ID() trace.ConnID { return c.id }

func TestDatagramEventsBearTheSocketsName(t *testing.T) {
	t.Parallel()
	pc := namedConn{newMemPacketConn(), trace.NewID()}
	r := serveDatagrams(t, echoReply, engine.DatagramConfig{}, pc)
	pc.in <- packet{netip.MustParseAddrPort("198.51.100.1:40000"), "hello"}
	if e := r.next(trace.Read); e.Conn != pc.id {
		t.Errorf("the event is of %v, the socket is %v", e.Conn, pc.id)
	}
}

// A service that keeps a request, or answers with the request itself and not with a
// copy, is caught.
func TestDatagramPoison(t *testing.T) {
	t.Parallel()
	var kept []byte
	keeps := replyFunc(func(_ yodel.Peer, request, buf []byte) []byte {
		answer := append(buf, kept...)
		kept = request
		return answer
	})
	itself := replyFunc(func(_ yodel.Peer, request, _ []byte) []byte { return request })
	const junk = "\xdb\xdb\xdb\xdb\xdb"
	for _, tt := range []struct {
		why      string
		svc      yodel.Replier
		poison   bool
		requests []string
		want     string // the last answer
	}{
		{"a copy", echoReply, true, []string{"hello"}, "hello"},
		{"a kept request", keeps, true, []string{"hello", ""}, junk},
		{"the request itself", itself, true, []string{"hello"}, junk},
		{"the request itself, not poisoned", itself, false, []string{"hello"}, "hello"},
	} {
		pc := newMemPacketConn()
		serveDatagrams(t, tt.svc, engine.DatagramConfig{PoisonLent: tt.poison}, pc)
		var got packet
		for _, request := range tt.requests {
			pc.in <- packet{netip.MustParseAddrPort("198.51.100.1:40000"), request}
			got = <-pc.out
		}
		if got.data != tt.want {
			t.Errorf("%s: %q, want %q", tt.why, got.data, tt.want)
		}
	}
}

// A datagram that comes from a socket of another service of this process, which
// shares the Guard, is not answered.
func TestDatagramServicesOfOneProcess(t *testing.T) {
	t.Parallel()
	guard := engine.NewGuard(nil)
	a, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := newMemPacketConn()
	ra := serveDatagrams(t, echoReply, engine.DatagramConfig{Guard: guard}, a)
	rb := serveDatagrams(t, echoReply, engine.DatagramConfig{Guard: guard}, b)
	// Once a has answered someone it is known to the guard.
	c, err := net.Dial("udp", a.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.Write([]byte("hello"))
	ra.next(trace.Write)
	b.in <- packet{a.LocalAddr().(*net.UDPAddr).AddrPort(), "from a"}
	if e := rb.next(trace.Refuse, trace.Write); e.Text != engine.Ourselves.String() {
		t.Errorf("b to a: %v %q", e.Op, e.Text)
	}
	if len(b.out) > 0 {
		t.Error("b has answered a")
	}
}

func TestDatagramUnfitSockets(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "s")
	connected, err := net.Dial("udp", "127.0.0.1:9")
	if err != nil {
		t.Fatal(err)
	}
	socks := map[string]net.PacketConn{"a connected one": connected.(net.PacketConn)}
	if u, err := net.ListenPacket("unixgram", path); err == nil { // not on Windows
		socks["a Unix one"] = u
	}
	for name, pc := range socks {
		d := engine.NewDatagrams(echoReply, nil)
		if err := d.Serve(pc); !errors.Is(err, engine.ErrUnfit) {
			t.Errorf("%s: %v, want one that wraps ErrUnfit", name, err)
		}
		if err := pc.SetReadDeadline(time.Time{}); !errors.Is(err, net.ErrClosed) {
			t.Errorf("%s is not closed: %v", name, err)
		}
	}
}

// listenUDP returns a bound socket, and skips where the family is missing.
func listenUDP(t testing.TB, network, addr string) *net.UDPConn {
	t.Helper()
	pc, err := net.ListenPacket(network, addr)
	if err != nil {
		yodeltest.Skip(t, "no socket on "+addr+": "+err.Error(), "run it where IPv6 is on")
	}
	t.Cleanup(func() { pc.Close() })
	return pc.(*net.UDPConn)
}

// The least and the most that a datagram can carry, and some between (HOSTILE B3).
func TestDatagramSizes(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		network, addr string
		most          int
	}{
		{"udp4", "127.0.0.1:0", 65_507},
		{"udp6", "[::1]:0", 65_527},
		{"udp4", "0.0.0.0:0", 65_507},
	} {
		t.Run(tt.network+" "+tt.addr, func(t *testing.T) {
			t.Parallel()
			pc := listenUDP(t, tt.network, tt.addr)
			r := serveDatagrams(t, echoReply, engine.DatagramConfig{PoisonLent: true}, pc)
			to := pc.LocalAddr().(*net.UDPAddr)
			if to.IP.IsUnspecified() {
				to = &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: to.Port}
			}
			c, err := net.DialUDP("udp", nil, to)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			c.SetDeadline(time.Now().Add(20 * time.Second))
			in := make([]byte, 1<<16)
			for _, n := range []int{0, 1, 1472, 9000, 65_506, tt.most, 0} {
				out := bytes.Repeat([]byte{byte(n)}, n)
				if _, err := c.Write(out); err != nil {
					t.Fatalf("%d bytes: %v", n, err)
				}
				got, err := c.Read(in)
				if err != nil || !bytes.Equal(in[:got], out) {
					t.Fatalf("of %d bytes %d came back, error %v", n, got, err)
				}
			}
			r.Shutdown(t.Context())
			r.wantDropped("all sizes", map[engine.Reason]int64{})
		})
	}
}

// Real clients whose source ports are those of known reflectors.
func TestDatagramReflectorPorts(t *testing.T) {
	t.Parallel()
	pc := listenUDP(t, "udp4", "127.0.0.1:0")
	r := serveDatagrams(t, echoReply, engine.DatagramConfig{}, pc)
	for _, port := range []int{1900, 2049, 5353, 11211} {
		c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
		if err != nil {
			t.Logf("port %d is taken: %v", port, err)
			continue
		}
		defer c.Close()
		c.WriteTo([]byte("hello"), pc.LocalAddr())
		if e := r.next(trace.Refuse, trace.Write); e.Text != engine.ServerPort.String() || int(e.Remote.Port()) != port {
			t.Errorf("from port %d: %v %q", port, e.Op, e.Text)
		}
	}
	if n := r.Stats().DatagramsOut; n > 0 {
		t.Errorf("%d were answered", n)
	}
}

// echoRoundTrip returns a function that sends 64 bytes to an echo on addr and waits
// for them.
func echoRoundTrip(t testing.TB, addr string) func() {
	pc := listenUDP(t, "udp", addr)
	d := engine.NewDatagrams(echoReply, &engine.DatagramConfig{Guard: engine.NewGuard(&engine.GuardConfig{LoopbackRate: -1})})
	go d.Serve(pc)
	t.Cleanup(func() { d.Close() })
	c := listenUDP(t, "udp4", "127.0.0.1:0")
	to := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(pc.LocalAddr().(*net.UDPAddr).Port))
	out, in := make([]byte, 64), make([]byte, 100)
	c.SetReadDeadline(time.Now().Add(time.Minute))
	return func() {
		c.WriteToUDPAddrPort(out, to)
		if _, _, err := c.ReadFromUDPAddrPort(in); err != nil {
			t.Fatal(err)
		}
	}
}

func TestDatagramsDoNotAllocate(t *testing.T) {
	for _, addr := range []string{"127.0.0.1:0", "0.0.0.0:0", "[::]:0"} {
		roundTrip := echoRoundTrip(t, addr)
		for range 100 {
			roundTrip()
		}
		if n := testing.AllocsPerRun(1000, roundTrip); n > 0 {
			t.Errorf("%s: %v allocations a datagram, want 0", addr, n)
		}
	}
}

func BenchmarkDatagramEcho(b *testing.B) {
	for _, addr := range []string{"127.0.0.1:0", "0.0.0.0:0", "[::]:0"} {
		b.Run(addr, func(b *testing.B) {
			roundTrip := echoRoundTrip(b, addr)
			b.ReportAllocs()
			for b.Loop() {
				roundTrip()
			}
		})
	}
}
