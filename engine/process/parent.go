package process

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"slices"
	"sync"
	"syscall"
	"time"

	"yodel/engine"
	"yodel/internal/escape"
	"yodel/rio"
	"yodel/trace"
)

// parent starts children and hears what they report.
type parent struct {
	cfg      *engine.Config // its Gate is set
	settings []byte
	places   tokens // one for each child there may be
	turn     tokens // one: who has it may start a child
	stopped  <-chan struct{}
	waits    logLimit
}

// tokens are taken before something is done, and put back behind it.
type tokens chan struct{}

func newTokens(n int) tokens {
	t := make(tokens, n)
	for range n {
		t.put()
	}
	return t
}

func (t tokens) put() { t <- struct{}{} }

// await waits until there is a token, or done is closed.
func (t tokens) await(done <-chan struct{}) {
	select {
	case <-t:
		t.put()
	case <-done:
	}
}

// run serves one connection and returns when its child has been started and there is
// a place for another, so that clients wait in the accept queue and not here, where
// each holds a descriptor that a child needs to start.
func (p *parent) run(serve func()) {
	<-p.places // run has waited for it when it was called before
	if !p.introduced() {
		<-p.turn // serve puts it back
	}
	go func() {
		defer p.places.put()
		serve()
	}()
	p.turn.await(p.stopped)
	p.places.await(p.stopped)
}

// introduced reports whether connections come by a proxy, which has its time to say
// whom it brings: then a child is not started at once.
func (p *parent) introduced() bool { return p.cfg.ProxyFrom != nil }

// serve runs a child for one connection and returns the connection's last event.
func (p *parent) serve(h *engine.Handed) trace.Event {
	if p.introduced() {
		<-p.turn
	}
	c := &child{p: p, h: h, began: time.Now(), shook: func() {}, dying: rio.Head{Max: 4000}}
	if p.cfg.TLS != nil && !c.admitHandshake() {
		p.turn.put()
		h.Conn.Close()
		return c.failed(engine.Busy, nil)
	}
	defer c.handshakeDone()
	err := c.startInTime()
	p.turn.put()
	h.Conn.Close() // ours is closed; the child's goes on
	if err != nil {
		return c.notServed(err)
	}
	h.Count.Add(engine.Stats{Active: 1})
	defer h.Count.Add(engine.Stats{Active: -1})
	defer c.control.Close()
	watched := make(chan struct{})
	go c.watch(watched)
	err = c.hear()
	close(watched)
	c.end()
	if c.last.Op == trace.Close {
		return c.last
	}
	return c.lost(err)
}

func (p *parent) log() *slog.Logger {
	if p.cfg.Log == nil {
		return slog.Default()
	}
	return p.cfg.Log
}

// logLimit lets one line a second through.
type logLimit struct {
	mu   sync.Mutex
	next time.Time
}

func (l *logLimit) ok(now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now.Before(l.next) {
		return false
	}
	l.next = now.Add(time.Second)
	return true
}

// child is one child, seen from the parent.
type child struct {
	p       *parent
	h       *engine.Handed
	began   time.Time
	cmd     *exec.Cmd
	control net.Conn
	reports *rio.Reader
	last    trace.Event
	sums    engine.Stats // as reported, or as events have told
	dying   rio.Head     // what it says when the runtime gives up

	messages int64 // of which events have told
	ending   sync.Once
	shook    func() // gives up its place among the handshakes
}

// stopReason returns how the connection ends if the server is stopping, else None.
func (c *child) stopReason() engine.Reason {
	select {
	case <-c.h.Cut:
		return engine.Cut
	default:
	}
	select {
	case <-c.h.Stopping:
		return engine.Drained
	default:
		return engine.None
	}
}

// failed is the last event of a connection whose child does not tell it.
func (c *child) failed(reason engine.Reason, err error) trace.Event {
	c.h.Count.Add(engine.Stats{Ended: map[engine.Reason]int64{reason: 1}})
	return trace.Event{
		Op: trace.Close, Took: time.Since(c.began), Text: reason.String(), Err: err, In: c.sums.BytesIn, Out: c.sums.BytesOut,
	}
}

// notServed is for a child that could not be started.
func (c *child) notServed(err error) trace.Event {
	if why := c.stopReason(); why != engine.None {
		return c.failed(why, nil)
	}
	err = fmt.Errorf("start a process: %w", err)
	c.p.log().Warn("connection not served", "conn", c.h.ID, "service", c.p.cfg.Service, "error", err)
	return c.failed(engine.Fault, err)
}

// lost is for a child that has not said how the connection ended. If it was to end at
// once, nothing is wrong with that.
func (c *child) lost(err error) trace.Event {
	if c.stopReason() == engine.Cut {
		return c.failed(engine.Cut, nil)
	}
	if err == nil {
		err = errors.New("the child ended: " + c.cmd.ProcessState.String())
	}
	c.p.log().Warn("connection lost with its process", "conn", c.h.ID, "service", c.p.cfg.Service,
		"error", err, "stderr", escape.String(c.dying.String()))
	return c.failed(engine.Fault, err)
}

// Handshakes are the child's, but how many there may be at once is the server's.

func (c *child) admitHandshake() bool {
	gate := c.p.cfg.Gate
	if !gate.Handshake() {
		return false
	}
	c.shook = sync.OnceFunc(gate.HandshakeDone)
	return true
}

func (c *child) handshakeDone() { c.shook() }

// startInTime starts the child. What it needs and can't have now, such as descriptors,
// is waited for, until the server stops.
func (c *child) startInTime() error {
	var delay time.Duration
	for {
		err := c.start()
		if err == nil || !passes(err) || c.stopReason() != engine.None {
			return err
		}
		c.h.Count.Add(engine.Stats{AcceptErrors: 1})
		if now := time.Now(); c.p.waits.ok(now) {
			c.p.log().Warn("accept failed: no process can be started; waiting clients stay in the accept queue", "conn", c.h.ID, "service", c.p.cfg.Service, "error", err)
		}
		delay = min(max(2*delay, 5*time.Millisecond), 80*time.Millisecond)
		c.pause(delay)
	}
}

// passes reports whether err is a lack of something that others may give back.
func passes(err error) bool {
	return slices.ContainsFunc(lacks, func(e error) bool { return errors.Is(err, e) })
}

// pause waits for d, or less if a connection ends or the server stops.
func (c *child) pause(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-c.p.cfg.Gate.Ended():
	case <-c.h.Stopping:
	case <-c.h.Cut:
	}
}

// start starts the child and tells it what to do.
func (c *child) start() error {
	order, err := c.p.order(c.h)
	if err != nil {
		return err
	}
	socket, err := fileOf(c.h.Conn)
	if err != nil {
		return err
	}
	defer socket.Close()
	ours, theirs, err := controlPipe()
	if err != nil {
		return err
	}
	defer theirs.Close()
	c.control, c.reports, c.cmd = ours, rio.NewReader(ours, maxReport, rio.RefuseLong), command()
	c.cmd.ExtraFiles = []*os.File{socket, theirs}
	c.cmd.Stderr = &c.dying
	c.cmd.WaitDelay = time.Second // a process that it left behind may hold its standard error
	if err := c.cmd.Start(); err != nil {
		ours.Close()
		return err
	}
	ours.Write(order) // fails if it has gone: then hear sees that
	return nil
}

// fileOf returns the socket of nc as a file of its own.
func fileOf(nc net.Conn) (*os.File, error) {
	for {
		if f, ok := nc.(interface{ File() (*os.File, error) }); ok {
			return f.File()
		}
		w, ok := nc.(interface{ NetConn() net.Conn })
		if !ok {
			return nil, fmt.Errorf("%w: a %T is no socket, and only a socket can be handed to a process", engine.ErrUnfit, nc)
		}
		nc = w.NetConn()
	}
}

// watch tells the child when the server stops, until done is closed.
func (c *child) watch(done <-chan struct{}) {
	select {
	case <-c.h.Stopping:
		c.tell(wordDrain)
	case <-done:
		return
	}
	select {
	case <-c.h.Cut:
		c.tell(wordCut)
	case <-done:
		return
	}
	t := time.NewTimer(exitGrace)
	defer t.Stop()
	select {
	case <-t.C:
	case <-done:
		return
	}
	select {
	case <-done: // it may have been reaped, and its id be somebody else's
	default:
		c.kill()
	}
}

// tell says a word to the child, if it is there and listens.
func (c *child) tell(word string) {
	c.control.SetWriteDeadline(time.Now().Add(exitGrace))
	io.WriteString(c.control, word+"\n")
}

// hear takes the child's reports until its end of the pipe is closed.
func (c *child) hear() error {
	for {
		line, err := c.reports.ReadLine()
		if err == io.EOF || errors.Is(err, syscall.ECONNRESET) { // it left without reading all we said
			return nil
		}
		if err != nil {
			return err
		}
		r, err := decode[report](line)
		if err != nil {
			return fmt.Errorf("what the child reports: %w", err)
		}
		c.take(r)
	}
}

func (c *child) take(r report) {
	switch {
	case r.Stats != nil:
		c.h.Count.Add(difference(*r.Stats, c.sums))
		c.sums = *r.Stats
	case r.Log != nil:
		attrs := make([]any, 0, len(r.Log.Attrs))
		for _, a := range r.Log.Attrs {
			attrs = append(attrs, a)
		}
		c.p.log().Log(context.Background(), r.Log.Level, r.Log.Message, attrs...)
	case r.Event != nil && r.Event.Op == trace.Close:
		c.last = r.Event.event()
	case r.Event != nil:
		if r.Event.Op == trace.Handshake {
			c.handshakeDone()
		}
		e := r.Event.event()
		c.heard(e)
		c.h.Emit(e)
	}
}

// heard counts what an event tells before the sums do, which come now and then: a child that
// is killed reports none.
func (c *child) heard(e trace.Event) {
	if e.Op == trace.Message {
		c.messages++
	}
	more := engine.Stats{
		BytesIn: max(0, e.In-c.sums.BytesIn), BytesOut: max(0, e.Out-c.sums.BytesOut), Messages: max(0, c.messages-c.sums.Messages),
	}
	c.h.Count.Add(more)
	c.sums.BytesIn += more.BytesIn
	c.sums.BytesOut += more.BytesOut
	c.sums.Messages += more.Messages
}

// difference returns what was counted since before. The connection itself, accepted
// and active, was counted by the parent.
func difference(now, before engine.Stats) engine.Stats {
	d := engine.Stats{
		BytesIn: now.BytesIn - before.BytesIn, BytesOut: now.BytesOut - before.BytesOut,
		Messages: now.Messages - before.Messages, Unread: now.Unread - before.Unread, Unsent: now.Unsent - before.Unsent,
		Ended: make(map[engine.Reason]int64),
	}
	for r, n := range now.Ended {
		if n != before.Ended[r] {
			d.Ended[r] = n - before.Ended[r]
		}
	}
	return d
}

// end reaps the child, once. A child that has closed its end of the pipe and does not
// exit is not waited for.
func (c *child) end() {
	c.ending.Do(func() {
		t := time.AfterFunc(exitGrace, c.kill)
		defer t.Stop()
		c.cmd.Wait()
	})
}

// exitGrace is how long a child may take to exit when it has nothing more to report,
// or was told to end at once.
const exitGrace = 2 * time.Second
