package engine

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"yodel"
	"yodel/internal/await"
	"yodel/internal/lograte"
	"yodel/trace"
)

// Blocking is the body of the engines whose I/O blocks: it accepts, admits, and
// drives each connection on one goroutine. Which goroutine that is makes the
// difference between them.
type Blocking struct {
	svc    any
	form   Form
	cfg    Config
	gate   *Gate
	shared *Shared // sessions only
	count  Counters
	run    func(serve func())
	take   func(*Handed) trace.Event // nil: connections are served here

	refusals, acceptFailures lograte.Lines

	stopping atomic.Bool     // Shutdown or Close was called
	open     context.Context // ends when stopping begins; handshakes end with it
	unopen   context.CancelFunc
	cutting  atomic.Bool // Close was called
	cut      chan struct{}
	cutOnce  sync.Once

	mu        sync.Mutex
	listeners map[*net.Listener]bool // by address: not every Listener is a key
	conns     map[*conn]bool
	handlers  sync.WaitGroup // one for each of conns, and for each Serve
}

// NewBlocking returns an engine for svc that calls run for each admitted
// connection; serve returns when the connection is closed. cfg may be nil. The
// error wraps ErrUnfit if svc has no form.
func NewBlocking(svc any, cfg *Config, run func(serve func())) (*Blocking, error) {
	if err := CheckService(svc); err != nil {
		return nil, err
	}
	if cfg == nil {
		cfg = &Config{}
	}
	b := &Blocking{
		svc: svc, form: FormOf(svc), cfg: *cfg, gate: cfg.Gate, run: run,
		cut:       make(chan struct{}),
		listeners: make(map[*net.Listener]bool), conns: make(map[*conn]bool),
	}
	b.open, b.unopen = context.WithCancel(context.Background())
	if b.gate == nil {
		b.gate = NewGate(nil)
	}
	if s, ok := svc.(yodel.Service); ok {
		b.shared = NewShared(s, &b.cfg, &b.count)
	}
	return b, nil
}

// Stats implements Engine.
func (b *Blocking) Stats() Stats { return b.count.Read() }

// Serve implements Engine.
func (b *Blocking) Serve(l net.Listener) error {
	if !b.addListener(&l) {
		l.Close()
		return ErrClosed
	}
	defer b.removeListener(&l)
	if s, ok := b.svc.(ListenerServer); ok && b.form == ListenerForm {
		return b.serveDoor(s, l)
	}
	for {
		c, err := b.next(l)
		if err != nil {
			return err
		}
		b.run(func() { b.serve(c) })
	}
}

// next returns the next admitted connection of l.
func (b *Blocking) next(l net.Listener) (*conn, error) {
	for {
		nc, err := b.accept(l)
		if err != nil {
			return nil, err
		}
		place, ok := b.reserve()
		if !ok {
			nc.Close()
			return nil, ErrClosed
		}
		if c := b.admit(nc, place); c != nil {
			return c, nil
		}
	}
}

// accept waits for room and for a connection. Failures that pass, such as a lack of
// descriptors, are waited out: clients wait in the accept queue meanwhile.
func (b *Blocking) accept(l net.Listener) (net.Conn, error) {
	var delay time.Duration
	for {
		if !b.waitRoom() {
			return nil, ErrClosed
		}
		nc, err := l.Accept()
		switch {
		case err == nil:
			return nc, nil
		case b.stopping.Load():
			return nil, ErrClosed
		case isFatal(err):
			return nil, fmt.Errorf("accept on %v: %w", l.Addr(), err)
		case errors.Is(err, syscall.ECONNABORTED), errors.Is(err, syscall.EPROTO):
			continue // that peer has left again
		}
		b.count.acceptErrors.Add(1)
		if n, ok := b.acceptFailures.Take(time.Now()); ok {
			b.cfg.log().Warn("accept failed; waiting clients stay in the accept queue", "listener", l.Addr(), "error", err, "times", n)
		}
		delay = min(max(2*delay, 5*time.Millisecond), 80*time.Millisecond)
		b.pause(delay)
	}
}

// waitRoom waits until one more connection may be accepted; false means that the
// engine was stopped.
func (b *Blocking) waitRoom() bool {
	for {
		room := b.gate.Room()
		if room == nil {
			return !b.stopping.Load()
		}
		if !b.await(room) {
			return false
		}
	}
}

// reserve waits for the place of a connection that was accepted: while its accept was
// waiting, others may have come by other listeners. false means that the engine was
// stopped.
func (b *Blocking) reserve() (Pass, bool) {
	for {
		place, room := b.gate.reserve()
		if room == nil {
			return place, true
		}
		if !b.await(room) {
			return Pass{}, false
		}
	}
}

// await waits for room; false means that the engine was stopped.
func (b *Blocking) await(room <-chan struct{}) bool {
	select {
	case <-room:
		return true
	case <-b.open.Done():
		return false
	}
}

// pause waits for d, or less if a connection ends, which frees a descriptor.
func (b *Blocking) pause(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-b.gate.Ended():
	case <-b.open.Done():
	}
}

// admit asks the gate about nc, which has a place. It returns nil, and has closed nc and
// freed the place, if it may not be served.
func (b *Blocking) admit(nc net.Conn, place Pass) *conn {
	b.count.accepted.Add(1)
	c := &conn{raw: nc, pass: place, id: idOf(nc), peer: PeerOf(nc), began: time.Now(), drained: make(chan struct{}), door: b.form != SessionForm}
	if b.cfg.TLS != nil {
		c.peer.Network = "tls"
	}
	why := b.knock(c)
	if why == None && !b.addConn(c) {
		why = Cut
	}
	if why != None {
		b.refuse(c, why)
		return nil
	}
	if b.cfg.ProxyFrom == nil {
		b.emitAccept(c)
	}
	return c
}

// knock asks whether the connection may come in: as a proxy, of which introduce will
// find out whom it brings, or for itself.
func (b *Blocking) knock(c *conn) Reason {
	if b.cfg.ProxyFrom == nil {
		return b.enter(c, c.peer.Remote)
	}
	if from := c.peer.Remote; from.IsValid() && !contains(b.cfg.ProxyFrom, from.Addr()) {
		return Denied
	}
	return None // it has a place, and is not counted by address
}

// enter asks the gate about the client of c.
func (b *Blocking) enter(c *conn, client netip.AddrPort) (why Reason) {
	if client.IsValid() && slices.Contains(b.cfg.RefuseFrom, client.Port()) {
		return BouncePort
	}
	c.pass, why = c.pass.enter(client)
	return why
}

func (b *Blocking) refuse(c *conn, why Reason) {
	c.raw.Close()
	c.pass.Leave()
	b.count.ended[why].Add(1)
	if b.cfg.Sink != nil {
		b.emit(c, trace.Event{Op: trace.Refuse, Text: why.String()})
	}
	if n, ok := b.refusals.Take(time.Now()); ok {
		b.cfg.log().Warn("connection refused", "service", b.cfg.Service, "peer", c.peer.String(), "why", why.String(), "times", n)
	}
}

func (b *Blocking) emitAccept(c *conn) {
	if b.cfg.Sink == nil {
		return
	}
	c.fd = trace.Descriptor(c.raw)
	b.emit(c, trace.Event{Op: trace.Accept, Text: c.via, Queued: trace.Queued(c.raw)})
}

// emit completes e with what is known of c. It is called only when there is a
// sink.
func (b *Blocking) emit(c *conn, e trace.Event) {
	e.Conn, e.Side, e.FD, e.Service = c.id, trace.Server, c.fd, b.cfg.Service
	e.Network, e.Local, e.Remote, e.Path = c.peer.Network, c.peer.Local, c.peer.Remote, c.peer.Path
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	b.cfg.Sink.Emit(&e)
}

func (b *Blocking) addListener(l *net.Listener) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.stopping.Load() {
		return false
	}
	b.listeners[l] = true
	b.handlers.Add(1)
	return true
}

func (b *Blocking) removeListener(l *net.Listener) {
	(*l).Close()
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.listeners, l)
	b.handlers.Done()
}

func (b *Blocking) addConn(c *conn) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.cutting.Load() {
		return false
	}
	b.conns[c] = true
	b.handlers.Add(1)
	if b.stopping.Load() {
		c.nudge()
	}
	return true
}

func (b *Blocking) removeConn(c *conn) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.conns, c)
	b.handlers.Done()
}

// stop ends accepting and tells all connections. It is safe to call again.
func (b *Blocking) stop() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.stopping.Swap(true) {
		return
	}
	b.unopen()
	for l := range b.listeners {
		(*l).Close()
	}
	for c := range b.conns {
		c.nudge()
	}
}

// Shutdown implements Engine.
func (b *Blocking) Shutdown(ctx context.Context) error {
	b.stop()
	var err error
	if s, ok := b.svc.(interface{ Shutdown(context.Context) error }); ok {
		err = s.Shutdown(ctx)
	}
	if late := await.Done(ctx, b.handlers.Wait); late != nil {
		return late
	}
	return err
}

// Close implements Engine.
func (b *Blocking) Close() error {
	b.cutting.Store(true)
	b.stop()
	var err error
	if s, ok := b.svc.(interface{ Close() error }); ok {
		err = s.Close()
	}
	b.cutOnce.Do(func() { close(b.cut) })
	b.mu.Lock()
	for c := range b.conns {
		c.abort()
	}
	b.mu.Unlock()
	b.handlers.Wait()
	return err
}

// isFatal reports whether an error of accept will not pass: the listener itself is
// unusable. accept(2) asks to treat all others as "try again".
func isFatal(err error) bool {
	if errors.Is(err, net.ErrClosed) {
		return true
	}
	return slices.ContainsFunc(fatalErrnos, func(e error) bool { return errors.Is(err, e) })
}
