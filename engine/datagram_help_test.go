package engine_test

import (
	"bytes"
	"cmp"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"yodel"
	"yodel/engine"
	"yodel/trace"
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
