package trace_test

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"yodel/trace"
)

// host is a name server: each address answers after so many milliseconds.
type host struct {
	slow    map[string]time.Duration
	running atomic.Int32
	most    atomic.Int32
	asked   atomic.Int32
}

func (h *host) lookup(ctx context.Context, peer netip.Addr) string {
	h.asked.Add(1)
	h.begin()
	defer h.running.Add(-1)
	select {
	case <-time.After(h.slow[peer.String()]):
		return "name-of-" + peer.String()
	case <-ctx.Done():
		return "too late"
	}
}

func (h *host) begin() {
	now := h.running.Add(1)
	for most := h.most.Load(); now > most && !h.most.CompareAndSwap(most, now); most = h.most.Load() {
	}
}

// peer returns the events of connection n, from 192.0.2.n.
type peer int

func (n peer) event(op trace.Op) *trace.Event {
	return &trace.Event{
		Conn: trace.ConnID{Run: 1, Seq: uint64(n)}, Op: op, Side: trace.Server,
		Remote: netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(n)}), 4711),
	}
}

// told returns the events as "1 accept name-of-192.0.2.1".
func told(r *recorder) []string {
	var lines []string
	for _, e := range r.all() {
		lines = append(lines, strings.TrimSpace(fmt.Sprintf("%d %s %s", e.Conn.Seq, e.Op, e.Name)))
	}
	return lines
}

func wantTold(t *testing.T, r *recorder, want ...string) {
	t.Helper()
	check(t, "events", strings.Join(told(r), "\n"), strings.Join(want, "\n"))
}

func TestNamesWaitAndOrderStays(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := &host{slow: map[string]time.Duration{"192.0.2.1": 300 * time.Millisecond, "192.0.2.2": 100 * time.Millisecond}}
		rec := newRecorder()
		n := &trace.Namer{Next: rec, Lookup: h.lookup}
		began := time.Now()
		for _, e := range []*trace.Event{
			peer(1).event(trace.Accept), peer(2).event(trace.Accept), peer(2).event(trace.Message),
			peer(1).event(trace.Message), peer(2).event(trace.Close), peer(3).event(trace.Note),
		} {
			n.Emit(e)
		}
		if d := time.Since(began); d != 0 {
			t.Errorf("those who emit waited for %v", d)
		}
		time.Sleep(299 * time.Millisecond)
		synctest.Wait()
		wantTold(t, rec)
		time.Sleep(time.Millisecond)
		synctest.Wait()
		const one, two = "name-of-192.0.2.1", "name-of-192.0.2.2"
		wantTold(t, rec,
			"1 accept "+one, "2 accept "+two, "2 message "+two, "1 message "+one, "2 close "+two, "3 note")

		n.Emit(peer(1).event(trace.Close)) // known: passes at once
		n.Emit(peer(2).event(trace.Note))  // a connection that has ended: forgotten
		synctest.Wait()
		check(t, "the last events", strings.Join(told(rec)[6:], ", "), "1 close "+one+", 2 note")
	}) // no goroutine is left, though nobody has called Close
}

func TestNamesHaveABudget(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		budget time.Duration
		want   time.Duration
	}{
		{"default", 0, 2 * time.Second},
		{"set", 50 * time.Millisecond, 50 * time.Millisecond},
	} {
		synctest.Test(t, func(t *testing.T) {
			deaf := make(chan bool) // a Lookup that does not heed its context
			rec := newRecorder()
			n := &trace.Namer{Next: rec, Budget: c.budget, Lookup: func(context.Context, netip.Addr) string {
				<-deaf
				return "too late"
			}}
			n.Emit(peer(1).event(trace.Accept))
			n.Emit(peer(2).event(trace.Note))
			time.Sleep(c.want - time.Nanosecond)
			synctest.Wait()
			wantTold(t, rec)
			time.Sleep(time.Nanosecond)
			synctest.Wait()
			wantTold(t, rec, "1 accept", "2 note")
			close(deaf)
			n.Emit(peer(1).event(trace.Close))
			synctest.Wait()
			wantTold(t, rec, "1 accept", "2 note", "1 close")
		})
	}
}

func TestWhatIsLookedUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := &host{}
		rec := newRecorder()
		n := &trace.Namer{Next: rec, Lookup: h.lookup}
		client, unix, nobody, mapped := peer(1).event(trace.Accept), peer(2).event(trace.Accept), peer(3).event(trace.Accept), peer(4).event(trace.Accept)
		client.Side = trace.Client
		unix.Remote = netip.AddrPort{}
		nobody.Conn = trace.ConnID{}
		mapped.Remote = netip.MustParseAddrPort("[::ffff:192.0.2.4]:4711")
		known := peer(5).event(trace.Note)
		known.Name = "known"
		for _, e := range []*trace.Event{client, unix, nobody, mapped, known, peer(6).event(trace.Connect)} {
			n.Emit(e)
		}
		n.Close()
		wantTold(t, rec, "1 accept", "2 accept", "0 accept", "4 accept name-of-192.0.2.4", "5 note known", "6 connect")
		check(t, "lookups", h.asked.Load(), 1)
	})
}

func TestRefusedPeersAreForgotten(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		rec := newRecorder()
		n := &trace.Namer{Next: rec, Lookup: (&host{}).lookup}
		n.Emit(peer(1).event(trace.Accept))
		n.Emit(peer(1).event(trace.Refuse))
		n.Emit(peer(1).event(trace.Note))
		n.Close()
		wantTold(t, rec, "1 accept name-of-192.0.2.1", "1 refuse name-of-192.0.2.1", "1 note")
	})
}

func TestNameThatNoHostHas(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		rec := newRecorder()
		n := &trace.Namer{Next: rec, Lookup: func(context.Context, netip.Addr) string { return strings.Repeat("x", 1025) }}
		n.Emit(peer(1).event(trace.Accept))
		n.Close()
		wantTold(t, rec, "1 accept")
	})
}

func TestNoLookupNoWaiting(t *testing.T) {
	t.Parallel()
	for _, n := range []*trace.Namer{{}, {Lookup: (&host{}).lookup, Budget: -1}} {
		rec := newRecorder()
		n.Next = rec
		n.Emit(peer(1).event(trace.Accept))
		wantTold(t, rec, "1 accept")
		check(t, "close", n.Close(), nil)
	}
}

// TestFullQueue: no event is lost and nobody waits; what is given up is the name that
// holds up the queue.
func TestFullQueue(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := &host{slow: map[string]time.Duration{"192.0.2.1": time.Second, "192.0.2.2": time.Second}}
		rec := newRecorder()
		n := &trace.Namer{Next: rec, Lookup: h.lookup, QueueMax: 5}
		began := time.Now()
		n.Emit(peer(1).event(trace.Accept))
		n.Emit(peer(2).event(trace.Accept))
		for range 3 {
			n.Emit(peer(1).event(trace.Message))
		}
		synctest.Wait()
		wantTold(t, rec)
		n.Emit(peer(2).event(trace.Message))
		synctest.Wait()
		wantTold(t, rec, "1 accept")
		n.Emit(peer(1).event(trace.Close))
		if d := time.Since(began); d != 0 {
			t.Errorf("those who emit waited for %v", d)
		}
		n.Close()
		wantTold(t, rec, "1 accept", "2 accept", "1 message", "1 message", "1 message", "2 message", "1 close")
	})
}

// TestSlowNext: a Next that is slower than the events come makes Emit wait, and nothing
// is lost or out of order.
func TestSlowNext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		rec := newRecorder()
		n := &trace.Namer{QueueMax: 3, Lookup: (&host{}).lookup, Next: trace.Func(func(e *trace.Event) {
			time.Sleep(time.Second)
			rec.Emit(e)
		})}
		began := time.Now()
		var want []string
		for i := range 10 {
			n.Emit(peer(i).event(trace.Note))
			want = append(want, fmt.Sprintf("%d note", i))
		}
		if d := time.Since(began); d < 6*time.Second {
			t.Errorf("10 events were taken in %v, though Next takes 10 s for them", d)
		}
		n.Close()
		wantTold(t, rec, want...)
	})
}

func TestManyNamesAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := &host{slow: make(map[string]time.Duration)}
		for i := range 256 {
			h.slow[fmt.Sprintf("192.0.2.%d", i)] = time.Duration(i%7+1) * 100 * time.Millisecond
		}
		rec := newRecorder()
		n := &trace.Namer{Next: rec, Lookup: h.lookup}
		for i := range 200 {
			n.Emit(peer(i + 1).event(trace.Accept))
		}
		for i := range 200 {
			n.Emit(peer(i + 1).event(trace.Close))
		}
		began := time.Now()
		n.Close()
		if d := time.Since(began); d > 2*time.Second {
			t.Errorf("Close took %v, want no more than the budget", d)
		}
		check(t, "most lookups at once", h.most.Load(), 64)
		lines := told(rec)
		check(t, "events", len(lines), 400)
		for i, line := range lines {
			op := "accept"
			if i >= 200 {
				op = "close"
			}
			if want := fmt.Sprintf("%d %s name-of-192.0.2.%d", i%200+1, op, i%200+1); line != want {
				t.Errorf("event %d: %s, want %s", i, line, want)
			}
		}
	})
}

func TestLookupsThatGetNoTurn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := &host{slow: make(map[string]time.Duration)}
		for i := range 256 {
			h.slow[fmt.Sprintf("192.0.2.%d", i)] = time.Hour
		}
		rec := newRecorder()
		n := &trace.Namer{Next: rec, Lookup: h.lookup}
		for i := range 100 {
			n.Emit(peer(i + 1).event(trace.Accept))
		}
		began := time.Now()
		n.Close()
		check(t, "Close took", time.Since(began), 2*time.Second)
		synctest.Wait()
		check(t, "lookups that run", h.running.Load(), 0)
		check(t, "most lookups at once", h.most.Load(), 64)
		check(t, "events", len(rec.all()), 100)
	})
}

func TestAfterCloseEventsPassWithoutNames(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := &host{}
		rec := newRecorder()
		n := &trace.Namer{Next: rec, Lookup: h.lookup}
		n.Close()
		n.Emit(peer(1).event(trace.Accept))
		n.Close()
		wantTold(t, rec, "1 accept")
		check(t, "lookups", h.asked.Load(), 0)
	})
}

// TestManyEmitters: events of each goroutine stay in their order, whatever the queue
// goes through.
func TestManyEmitters(t *testing.T) {
	t.Parallel()
	rec := newRecorder()
	n := &trace.Namer{Next: rec, QueueMax: 700, Budget: time.Millisecond, Lookup: func(ctx context.Context, a netip.Addr) string {
		if a.As4()[3]%2 == 0 {
			<-ctx.Done()
		}
		return a.String()
	}}
	var all sync.WaitGroup
	const each = 300
	for i := range 8 {
		all.Go(func() {
			n.Emit(peer(i).event(trace.Accept))
			for j := range each {
				e := peer(i).event(trace.Message)
				e.Bytes = j
				n.Emit(e)
			}
		})
	}
	all.Wait()
	n.Close()
	next := make(map[uint64]int)
	for _, e := range rec.all() {
		if e.Op == trace.Accept {
			continue
		}
		if e.Bytes != next[e.Conn.Seq] {
			t.Fatalf("of connection %d, event %d comes when %d is due", e.Conn.Seq, e.Bytes, next[e.Conn.Seq])
		}
		next[e.Conn.Seq]++
	}
	check(t, "events", len(rec.all()), 8*(each+1))
}

func BenchmarkNamer(b *testing.B) {
	n := &trace.Namer{Next: trace.Discard, Lookup: (&host{}).lookup}
	defer n.Close()
	e := peer(1).event(trace.Read)
	b.ReportAllocs()
	for b.Loop() {
		n.Emit(e)
	}
}
