package trace

import (
	"cmp"
	"context"
	"net/netip"
	"sync"
	"time"
)

const (
	defaultBudget   = 2 * time.Second
	defaultQueueMax = 10_000
	keepQueue       = 256   // events that an empty queue has room for
	lookupsAtOnce   = 64    // each may hold a descriptor
	longestName     = 1_024 // a DNS name has 255 bytes, each up to four when written out
)

// A Namer is a Sink in front of another. It looks up the name of each peer that
// connects to a server and puts it into every event of that connection, and it never
// keeps a connection waiting for a name: what waits are the events. An event of a
// connection whose name is still being looked up holds back all that come after it,
// so that they reach Next in the order in which they happened.
//
// Set the fields before the first event. Next's Emit is called from one goroutine at a
// time, which is there only while events wait.
type Namer struct {
	// Next takes the events. It must not be nil.
	Next Sink

	// Lookup returns the name of an address, or "" if it has none. It is called
	// for each Accept with a Remote address, on a goroutine of its own, at most 64 at
	// once. It should return when ctx ends, which is after Budget; the events no
	// longer wait for it then. If nil, Namer passes all events on as they are.
	Lookup func(ctx context.Context, peer netip.Addr) string

	// Budget is how long events wait for a name. If zero, 2 s. If negative, no name
	// is looked up.
	Budget time.Duration

	// QueueMax is how many events may wait. If zero, 10,000. When as many wait, the
	// connection whose event is the oldest gets no name. If Next is slower than the
	// events come, Emit waits until there is room.
	QueueMax int

	mu      sync.Mutex
	changed *sync.Cond // on mu: the queue has become shorter, or drain has ended
	queue   []Event    // queue[head:] waits, oldest first
	head    int
	names   map[ConnID]*naming // of connections whose last event has not passed
	slots   chan struct{}      // one for each Lookup that runs
	running bool               // drain runs
	closed  bool
}

// naming is the name of one connection, or the search for it.
type naming struct {
	name  string
	known bool   // the search is over
	end   func() // ends it
}

// Emit takes an event. It looks up the name if that is a peer's [Accept].
func (n *Namer) Emit(e *Event) {
	if n.Lookup == nil || n.Budget < 0 {
		n.Next.Emit(e)
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.init()
	n.makeRoom()
	if e.Op == Accept && e.Side == Server && e.Remote.IsValid() && !e.Conn.IsZero() && !n.closed {
		n.search(e)
	}
	n.queue = append(n.queue, *e)
	n.wake()
}

// EachCall reports what Next wants.
func (n *Namer) EachCall() bool { return WantsEach(n.Next) }

// Close waits until all events have passed, which takes no longer than Budget and the
// time that Next takes. Later events pass without names.
func (n *Namer) Close() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.init()
	n.closed = true
	for n.waiting() > 0 || n.running {
		n.changed.Wait()
	}
	return nil
}

// All that follows is called with mu held, except where noted.

func (n *Namer) init() {
	if n.changed == nil {
		n.changed = sync.NewCond(&n.mu)
		n.names = make(map[ConnID]*naming)
		n.slots = make(chan struct{}, lookupsAtOnce)
	}
}

func (n *Namer) waiting() int { return len(n.queue) - n.head }

// makeRoom returns when one more event may wait.
func (n *Namer) makeRoom() {
	for n.waiting() >= cmp.Or(n.QueueMax, defaultQueueMax) {
		if s := n.names[n.queue[n.head].Conn]; s != nil && !s.known {
			n.settle(s, "")
		}
		n.changed.Wait() // for drain
	}
	if n.head > n.waiting() && len(n.queue) == cap(n.queue) { // moving costs less than growing
		rest := copy(n.queue, n.queue[n.head:])
		clear(n.queue[rest:])
		n.queue, n.head = n.queue[:rest], 0
	}
}

// search begins the search for the name of e's peer.
func (n *Namer) search(e *Event) {
	ctx, cancel := context.WithTimeout(context.Background(), cmp.Or(n.Budget, defaultBudget))
	s := &naming{}
	n.names[e.Conn] = s
	peer := e.Remote.Addr().Unmap()
	late := context.AfterFunc(ctx, func() { n.found(s, "") }) // also if Lookup does not heed ctx
	s.end = func() {
		late()
		cancel()
	}
	go func() { n.found(s, n.ask(ctx, peer)) }()
}

// ask calls Lookup when it is its turn. It is called without mu.
func (n *Namer) ask(ctx context.Context, peer netip.Addr) string {
	select {
	case n.slots <- struct{}{}:
		defer func() { <-n.slots }()
	case <-ctx.Done():
		return ""
	}
	name := n.Lookup(ctx, peer)
	if len(name) > longestName {
		return "" // no host has it
	}
	return name
}

// found ends the search for s. It is called without mu.
func (n *Namer) found(s *naming, name string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.settle(s, name)
}

func (n *Namer) settle(s *naming, name string) {
	if s.known {
		return
	}
	s.known, s.name = true, name
	s.end()
	n.wake()
}

// wake has the queue drained, if its first event need not wait.
func (n *Namer) wake() {
	if !n.running && n.ready() {
		n.running = true
		go n.drain()
	}
}

func (n *Namer) ready() bool {
	if n.waiting() == 0 {
		return false
	}
	s := n.names[n.queue[n.head].Conn]
	return s == nil || s.known
}

// drain passes events on until one has to wait. It is called without mu.
func (n *Namer) drain() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for n.ready() {
		e := n.take()
		n.mu.Unlock()
		n.Next.Emit(&e)
		n.mu.Lock()
		n.changed.Broadcast()
	}
	n.running = false
	n.changed.Broadcast()
}

// take removes the first event from the queue and names it.
func (n *Namer) take() Event {
	e := n.queue[n.head]
	n.queue[n.head] = Event{} // let go of what it points to
	if n.head++; n.head == len(n.queue) {
		n.queue, n.head = n.queue[:0], 0
		if cap(n.queue) > keepQueue {
			n.queue = nil
		}
	}
	if s := n.names[e.Conn]; s != nil && s.name != "" {
		e.Name = s.name
	}
	if e.Op == Close || e.Op == Refuse {
		delete(n.names, e.Conn)
	}
	return e
}
