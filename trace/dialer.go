package trace

import (
	"context"
	"net"
	"net/http/httptrace"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"time"
)

// A Dialer makes connections that leave a trace: [Resolve] (the addresses, and how
// long the name took), [Socket] and [Connect] for each address tried, and then the
// events of a [*Conn] on the client's side. The zero Dialer dials as a zero
// [net.Dialer] and leaves none.
//
//	client := &http.Client{Transport: &http.Transport{
//		DialContext: (&trace.Dialer{Sink: sink}).DialContext,
//	}}
type Dialer struct {
	// Sink takes the events. If nil, connections are returned as the net.Dialer
	// below made them.
	Sink Sink

	// Dialer is what dials. Its Control and ControlContext are called as usual.
	Dialer net.Dialer
}

// Dial is DialContext without a context.
func (d *Dialer) Dial(network, address string) (net.Conn, error) {
	return d.DialContext(context.Background(), network, address)
}

// DialContext connects to address, as [net.Dialer.DialContext] does. The attempts
// race (RFC 8305): one that is still under way, or has connected, when another was
// taken leaves no Connect event.
func (d *Dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	if d.Sink == nil {
		return d.Dialer.DialContext(ctx, network, address)
	}
	t := &dialTrace{id: NewID(), sink: d.Sink, began: time.Now(), attempts: make(map[string]*attempt)}
	nd := d.Dialer
	below := nd.ControlContext
	if control := nd.Control; below == nil && control != nil {
		below = func(_ context.Context, network, address string, rc syscall.RawConn) error {
			return control(network, address, rc)
		}
	}
	nd.ControlContext = func(ctx context.Context, network, address string, rc syscall.RawConn) error {
		t.socket(network, address, rc)
		if below == nil {
			return nil
		}
		return below(ctx, network, address, rc)
	}
	nc, err := nd.DialContext(httptrace.WithClientTrace(ctx, t.hooks()), network, address)
	if err != nil {
		t.failed(network, err)
		return nil, err
	}
	return t.connected(nc), nil
}

// dialTrace is the trace of one DialContext. Package net calls it from a goroutine
// for each of the attempts that race, and calls on when the race is over.
type dialTrace struct {
	id    ConnID
	sink  Sink
	began time.Time // of the dial

	mu       sync.Mutex
	over     bool // DialContext has returned: no more events
	told     bool // an event has told an error
	asked    time.Time
	attempts map[string]*attempt // by address as package net writes it
}

type attempt struct {
	fd    int
	began time.Time
	took  time.Duration // 0: not connected
}

func (t *dialTrace) hooks() *httptrace.ClientTrace {
	return &httptrace.ClientTrace{
		DNSStart:     t.ask,
		DNSDone:      t.resolved,
		ConnectStart: t.start,
		ConnectDone:  t.done,
	}
}

// emit is called with mu held, so that nothing follows the last event.
func (t *dialTrace) emit(e Event) {
	if t.over {
		return
	}
	e.Conn, e.Side, e.Time = t.id, Client, time.Now()
	t.told = t.told || e.Err != nil
	t.sink.Emit(&e)
}

func (t *dialTrace) ask(httptrace.DNSStartInfo) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.asked = time.Now()
}

func (t *dialTrace) resolved(info httptrace.DNSDoneInfo) {
	t.mu.Lock()
	defer t.mu.Unlock()
	addrs := make([]string, len(info.Addrs))
	for i, a := range info.Addrs {
		addrs[i] = a.String()
	}
	t.emit(Event{Op: Resolve, Took: time.Since(t.asked), Text: strings.Join(addrs, " "), Err: info.Err})
}

// of returns the attempt to reach address. It is called with mu held.
func (t *dialTrace) of(address string) *attempt {
	a := t.attempts[address]
	if a == nil {
		a = &attempt{}
		t.attempts[address] = a
	}
	return a
}

func (t *dialTrace) start(_, address string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.of(address).began = time.Now()
}

func (t *dialTrace) socket(network, address string, rc syscall.RawConn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	a := t.of(address)
	rc.Control(func(fd uintptr) { a.fd = int(fd) })
	t.emit(Event{Op: Socket, FD: a.fd, Network: plainNetwork(network)})
}

// done tells of an attempt that failed. Which of those that succeed is taken, only
// connected knows.
func (t *dialTrace) done(network, address string, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	a := t.of(address)
	took := time.Since(a.began)
	if err == nil {
		a.took = took
		return
	}
	e := Event{Op: Connect, FD: a.fd, Network: plainNetwork(network), Took: took, Err: err}
	e.to(address)
	t.emit(e)
}

// to sets where an attempt went that came to no connection.
func (e *Event) to(address string) {
	if e.Network == "unix" {
		e.Path = address
		return
	}
	e.Remote, _ = netip.ParseAddrPort(address) // zero if it is none: the error names it
}

// failed ends a dial without a connection. Some failures are not of an attempt: an
// address that cannot be parsed, a context that has ended.
func (t *dialTrace) failed(network string, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.told {
		t.emit(Event{Op: Connect, Network: plainNetwork(network), Took: time.Since(t.began), Err: err})
	}
	t.over = true
}

// connected ends a dial with a connection.
func (t *dialTrace) connected(nc net.Conn) *Conn {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.over = true
	c := NewConn(nc, t.id, Client, t.sink)
	c.emit(Event{Op: Connect, Took: t.of(nc.RemoteAddr().String()).took})
	return c
}

// plainNetwork returns the network without the version that package net may put
// behind it.
func plainNetwork(s string) string {
	switch s {
	case "tcp4", "tcp6":
		return "tcp"
	case "udp4", "udp6":
		return "udp"
	}
	return s
}
