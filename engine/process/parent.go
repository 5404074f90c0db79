package process

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"sync"
	"time"

	"yodel/engine"
	"yodel/internal/escape"
	"yodel/trace"
)

// parent starts children and hears what they report.
type parent struct {
	cfg     *engine.Config
	order   order
	places  places
	stopped <-chan struct{}
}

// places are tokens, one for each child there may be.
type places chan struct{}

func newPlaces(n int) places {
	if n <= 0 {
		n = DefaultMaxChildren
	}
	p := make(places, n)
	for range n {
		p <- struct{}{}
	}
	return p
}

// run serves one connection and returns when there is a place for another, so that
// clients wait in the accept queue and not here.
func (p *parent) run(serve func()) {
	<-p.places // run has waited for it when it was called before
	go func() {
		defer func() { p.places <- struct{}{} }()
		serve()
	}()
	select {
	case token := <-p.places:
		p.places <- token
	case <-p.stopped:
	}
}

// serve runs a child for one connection and returns the connection's last event.
func (p *parent) serve(h *engine.Handed) trace.Event {
	began := time.Now()
	h.Count.Add(engine.Stats{Active: 1})
	defer h.Count.Add(engine.Stats{Active: -1})
	c, err := p.start(h)
	h.Conn.Close() // ours is closed; the child's goes on
	if err != nil {
		err = fmt.Errorf("start a process: %w", err)
		p.log().Warn("connection not served", "conn", h.ID, "service", p.cfg.Service, "error", err)
		return failed(h, engine.Stats{}, began, err)
	}
	defer c.control.Close()
	watched := make(chan struct{})
	go c.watch(h, watched)
	err = c.hear(h)
	close(watched)
	c.end()
	if c.last.Op == trace.Close {
		return c.last
	}
	return failed(h, c.sums, began, c.why(h, err))
}

func (p *parent) log() *slog.Logger {
	if p.cfg.Log == nil {
		return slog.Default()
	}
	return p.cfg.Log
}

// failed is the last event of a connection whose child can't tell it.
func failed(h *engine.Handed, sums engine.Stats, began time.Time, err error) trace.Event {
	reason := engine.Fault
	select {
	case <-h.Cut:
		reason, err = engine.Cut, nil
	default:
	}
	h.Count.Add(engine.Stats{Ended: map[engine.Reason]int64{reason: 1}})
	return trace.Event{
		Op: trace.Close, Took: time.Since(began), Text: reason.String(), Err: err, In: sums.BytesIn, Out: sums.BytesOut,
	}
}

// child is one child, seen from the parent.
type child struct {
	p       *parent
	cmd     *exec.Cmd
	control *os.File
	words   *bufio.Reader
	last    trace.Event
	sums    engine.Stats // as reported
	dying   firstWords   // what it says when the runtime gives up
	ending  sync.Once
}

func (p *parent) start(h *engine.Handed) (*child, error) {
	socket, err := fileOf(h.Conn)
	if err != nil {
		return nil, err
	}
	defer socket.Close()
	ours, theirs, err := controlPipe()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	c := &child{p: p, control: ours, words: bufio.NewReader(ours), cmd: command()}
	c.cmd.ExtraFiles = []*os.File{socket, theirs}
	c.cmd.Stderr = &c.dying
	c.cmd.WaitDelay = time.Second // a process that it left behind may hold its standard error
	if err := c.cmd.Start(); err != nil {
		ours.Close()
		return nil, err
	}
	o := p.order
	o.ID, o.Local, o.Remote = h.ID, h.Peer.Local, h.Peer.Remote
	if err := json.NewEncoder(ours).Encode(o); err != nil {
		c.kill()
		c.end()
		ours.Close()
		return nil, err
	}
	return c, nil
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
func (c *child) watch(h *engine.Handed, done <-chan struct{}) {
	select {
	case <-h.Stopping:
		io.WriteString(c.control, wordDrain+"\n") // fails if it has gone: then hear sees that
	case <-done:
		return
	}
	select {
	case <-h.Cut:
	case <-done:
		return
	}
	select {
	case <-done: // it may have been reaped, and its id be somebody else's
	default:
		c.kill()
	}
}

// hear takes the child's reports until its end of the pipe is closed.
func (c *child) hear(h *engine.Handed) error {
	for {
		line, err := c.words.ReadBytes('\n')
		if err == io.EOF && len(line) == 0 {
			return nil
		}
		if err != nil {
			return err
		}
		r, err := decode[report](line)
		if err != nil {
			return fmt.Errorf("what the child reports: %w", err)
		}
		c.take(h, r)
	}
}

func (c *child) take(h *engine.Handed, r report) {
	switch {
	case r.Stats != nil:
		h.Count.Add(difference(*r.Stats, c.sums))
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
		h.Emit(r.Event.event())
	}
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

// exitGrace is how long a child may take to exit when it has nothing more to report.
const exitGrace = 5 * time.Second

// why says how a child ended that did not report it.
func (c *child) why(h *engine.Handed, err error) error {
	if err == nil {
		err = errors.New("the child ended: " + c.cmd.ProcessState.String())
	}
	c.p.log().Warn("connection lost with its process", "conn", h.ID, "service", c.p.cfg.Service,
		"error", err, "stderr", escape.String(string(c.dying)))
	return err
}

// firstWords keeps the beginning of what is written to it.
type firstWords []byte

// Write implements io.Writer; it never fails.
func (w *firstWords) Write(p []byte) (int, error) {
	const most = 4000
	*w = append(*w, p[:min(len(p), most-min(len(*w), most))]...)
	return len(p), nil
}
