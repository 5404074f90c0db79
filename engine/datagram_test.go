package engine_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"yodel"
	"yodel/engine"
	"yodel/trace"
)

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
	r.next(trace.Write) // all four are counted
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
