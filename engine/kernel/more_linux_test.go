package kernel_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"yodel/engine"
	"yodel/engine/kernel"
	"yodel/trace"
)

// unreadable writes to a connection that it never reads from until nothing more is taken
// for a while, and returns how much was.
func unread(nc net.Conn) (total int) {
	piece := make([]byte, 64<<10)
	for {
		nc.SetWriteDeadline(time.Now().Add(300 * time.Millisecond))
		n, err := nc.Write(piece)
		total += n
		if err != nil {
			return total
		}
	}
}

// kernelMemory returns how many bytes of memory sockets and the kernel's own objects take.
func kernelMemory(t *testing.T) (sum int) {
	t.Helper()
	stat, err1 := os.ReadFile("/proc/net/sockstat")
	info, err2 := os.ReadFile("/proc/meminfo")
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	var n int
	if _, rest, ok := strings.Cut(string(stat), "\nTCP:"); ok {
		_, mem, _ := strings.Cut(rest, " mem ")
		fmt.Sscan(mem, &n)
		sum = n * os.Getpagesize()
	}
	_, rest, _ := strings.Cut(string(info), "SUnreclaim:")
	fmt.Sscan(rest, &n)
	return sum + n<<10
}

// What the kernel takes of a peer that never reads is bounded: it does not grow with what
// is offered, be it in large pieces or in bytes.
func TestSlowReaderIsBounded(t *testing.T) {
	s := serve(t, &engine.Config{MinRate: -1}, nil)
	before := kernelMemory(t)
	nc := s.dial()
	total := unread(nc)
	grown := kernelMemory(t) - before
	t.Logf("%d bytes were taken of one who never reads, %d relayed; the kernel's memory has grown by %d", total, s.Relayed(), grown)
	if total > 64<<20 || grown > 64<<20 {
		t.Errorf("%d bytes were taken, the kernel's memory has grown by %d", total, grown)
	}
	if s.Relayed() > 1<<20 {
		t.Errorf("%d bytes were relayed to one who does not read", s.Relayed())
	}
	s.ask(s.dial(), "others are served")
	nc.CloseWrite()
	nc.SetReadDeadline(time.Now().Add(time.Minute))
	if n, err := io.Copy(io.Discard, nc); n != int64(total) || err != nil {
		t.Errorf("of %d bytes %d came back when they were read: %v", total, n, err)
	}
}

func TestTinySegmentsAreBounded(t *testing.T) {
	s := serve(t, &engine.Config{MinRate: -1}, nil)
	nc := s.dial()
	nc.SetReadBuffer(2048)
	before := kernelMemory(t)
	total := 0
	nc.SetWriteDeadline(time.Now().Add(500 * time.Millisecond))
	for {
		n, err := nc.Write([]byte{1})
		total += n
		if err != nil {
			break
		}
	}
	grown := kernelMemory(t) - before
	t.Logf("%d bytes, one by one, %d relayed; the kernel's memory has grown by %d", total, s.Relayed(), grown)
	if grown > 64<<20 {
		t.Errorf("the kernel's memory has grown by %d", grown)
	}
}

// A connection changes hands whenever its peer stops reading and goes on, and when segments
// come faster than the program may relay them: no byte is lost, and none comes out of
// order.
func TestChangesOfHands(t *testing.T) {
	s := serve(t, &engine.Config{MinRate: -1}, nil)
	const conns = 8
	long := 300 * time.Millisecond
	if os.Getenv("YODEL_TEST_LONG") != "" {
		long = 60 * time.Second
	}
	done := make(chan error, conns)
	for i := range conns {
		nc := s.dial()
		nc.SetDeadline(time.Now().Add(time.Minute + long))
		go func() { done <- moody(nc, rand.New(rand.NewPCG(uint64(i), 7)), long) }()
	}
	for range conns {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	st, relayed := s.Stats(), s.Relayed()
	t.Logf("%d of %d bytes were relayed", relayed, st.BytesIn)
	if relayed == 0 || relayed == st.BytesIn || st.BytesIn != st.BytesOut {
		t.Errorf("relayed %d; %+v", relayed, st)
	}
}

// moody writes pieces of all sizes and reads them back, in one turn all, in another with
// much still unread; then it ends its direction at a random moment and wants the rest.
func moody(nc *net.TCPConn, r *rand.Rand, long time.Duration) error {
	sent, back := 0, 0
	buf, want := make([]byte, 1<<20), make([]byte, 1<<20)
	take := func(n int) error {
		for n > 0 {
			m, err := nc.Read(buf[:min(n, len(buf))])
			fill(want[:m], back)
			if !bytes.Equal(buf[:m], want[:m]) {
				return fmt.Errorf("a wrong byte among the %d after byte %d", m, back)
			}
			back, n = back+m, n-m
			if err != nil {
				return fmt.Errorf("%w after %d of %d bytes", err, back, sent)
			}
		}
		return nil
	}
	for from := time.Now(); time.Since(from) < long; {
		unread := 1 << r.IntN(20) // most of the time little, so that it comes back to the program
		for sent-back < unread {
			n := 1 + r.IntN(min(unread, 64<<10))
			fill(buf[:n], sent)
			if _, err := nc.Write(buf[:n]); err != nil {
				return err
			}
			sent += n
		}
		if err := take(r.IntN(sent - back + 1)); err != nil {
			return err
		}
		if r.IntN(3) == 0 {
			if err := take(sent - back); err != nil {
				return err
			}
		}
	}
	if err := nc.CloseWrite(); err != nil {
		return err
	}
	if err := take(sent - back); err != nil {
		return err
	}
	if n, err := nc.Read(buf); err != io.EOF {
		return fmt.Errorf("after the end: %d bytes, %w", n, err)
	}
	return nil
}

// While a peer asks and waits, the server has next to nothing to do. How soon it hands over,
// and renews what may be relayed, is the scheduler's to say: so more than half is asked for.
func TestRelays(t *testing.T) {
	s := serve(t, nil, nil)
	nc := s.dial()
	s.ask(nc, "first")
	for i := range 5000 {
		s.ask(nc, fmt.Sprintf("message %04d", i))
	}
	if st, n := s.Stats(), s.Relayed(); st.BytesIn != 60_005 || n < 30_000 {
		t.Errorf("%d bytes were relayed of %d", n, st.BytesIn)
	}
	nc.CloseWrite()
	if got, err := io.ReadAll(nc); len(got) > 0 || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

// Those for whom there is no place are the server's, and served as well.
func TestMoreThanSockets(t *testing.T) {
	s := serve(t, nil, &kernel.Options{Sockets: 2, Loops: 2})
	for round := range 3 {
		var all []*net.TCPConn
		for range 10 {
			all = append(all, s.dial())
		}
		for i := range 20 {
			s.ask(all[i%10], fmt.Sprintf("round %d, message %d", round, i))
		}
		for _, nc := range all {
			nc.CloseWrite()
			if got, err := io.ReadAll(nc); len(got) > 0 || err != nil {
				t.Errorf("%q, %v", got, err)
			}
		}
	}
	if st := s.Stats(); s.Relayed() == 0 || s.Relayed() >= st.BytesIn {
		t.Errorf("relayed %d; %+v", s.Relayed(), st)
	}
}

// recorder is a Sink that keeps what it is told.
type recorder struct {
	each bool
	mu   sync.Mutex
	list []trace.Event
	over chan struct{} // closed with the first connection
}

func (r *recorder) EachCall() bool { return r.each }

func (r *recorder) Emit(e *trace.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.list = append(r.list, *e); e.Op == trace.Close {
		close(r.over)
	}
}

// Events of what is relayed have the time at which it came, and not the one at which the
// server was told.
func TestEvents(t *testing.T) {
	r := &recorder{each: true, over: make(chan struct{})}
	s := serve(t, &engine.Config{Sink: r}, nil)
	nc := s.dial()
	const n = 200
	var from, to [n + 1]time.Time // of each message
	for i := 1; i <= n; i++ {
		from[i] = time.Now()
		s.ask(nc, "hello")
		to[i] = time.Now()
	}
	nc.Close()
	<-r.over
	relayed := 0
	for i, e := range r.list {
		if e.Op != trace.Write || !e.Time.Equal(r.list[i-1].Time) {
			continue // the server's
		}
		relayed += e.Bytes
		// The client can be late to see the time, but the bytes were not there before it began.
		const slack = 50 * time.Microsecond // of reading two clocks
		last := e.In / 5
		if e.Time.Before(from[last].Add(-slack)) || e.Time.After(to[last].Add(slack)) {
			t.Errorf("byte %d came at %v, and message %d was under way from %v to %v", e.In, e.Time, last, from[last], to[last])
		}
	}
	if int64(relayed) != s.Relayed() || relayed == 0 {
		t.Errorf("%d bytes were relayed, and %d by the events", s.Relayed(), relayed)
	}
	if last := r.list[len(r.list)-1]; last.In != 5*n || last.Out != 5*n || last.Text != "closed by peer" {
		t.Errorf("the last event is %+v", last)
	}
}

// Where the first read and write are wanted, there is one of each.
func TestFirstEvents(t *testing.T) {
	r := &recorder{over: make(chan struct{})}
	s := serve(t, &engine.Config{Sink: r}, nil)
	nc := s.dial()
	for range 50 {
		s.ask(nc, "hello")
	}
	nc.Close()
	<-r.over
	var ops []trace.Op
	for _, e := range r.list {
		ops = append(ops, e.Op)
	}
	if want := []trace.Op{trace.Accept, trace.Read, trace.Write, trace.EOF, trace.Close}; !slices.Equal(ops, want) {
		t.Errorf("the events are %v, want %v", ops, want)
	}
}

// Streams that end at a random moment, with half-close, come back whole.
func TestStreams(t *testing.T) {
	s := serve(t, nil, nil)
	n, size := 20, 4<<20
	if os.Getenv("YODEL_TEST_LONG") != "" {
		n, size = 100, 64<<20
	}
	for i := range n {
		if err := s.stream(s.dial(), rand.IntN(size)); err != nil {
			t.Fatalf("stream %d: %v", i, err)
		}
	}
	st := s.Stats()
	t.Logf("relayed %d of %d bytes", s.Relayed(), st.BytesIn)
}

// Bytes, and the end, that came before the socket could join the map come back first.
func TestEarly(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var early []*net.TCPConn
	for i := range 100 {
		nc, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		nc.SetDeadline(time.Now().Add(time.Minute))
		fmt.Fprintf(nc, "early %d;", i)
		if i%3 == 0 {
			nc.(*net.TCPConn).CloseWrite()
		}
		early = append(early, nc.(*net.TCPConn))
	}
	serveOn(t, l, nil, nil)
	for i, nc := range early {
		want := fmt.Sprintf("early %d;", i)
		if i%3 != 0 {
			fmt.Fprintf(nc, "late %d", i)
			nc.CloseWrite()
			want += fmt.Sprintf("late %d", i)
		}
		if got, err := io.ReadAll(nc); string(got) != want || err != nil {
			t.Errorf("got %q, %v; want %q", got, err, want)
		}
	}
}
