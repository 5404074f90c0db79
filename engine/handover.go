package engine

import (
	"net"

	"yodel"
	"yodel/trace"
)

// Handed is an admitted connection that somebody else serves: a process of its own.
type Handed struct {
	Conn  net.Conn // as accepted
	ID    trace.ConnID
	Peer  yodel.Peer
	Count *Counters // for what is done with the connection; it is in Accepted already

	Stopping <-chan struct{} // closed when the connection should end at rest
	Cut      <-chan struct{} // closed when it must end at once

	// Emit completes an event of the connection and gives it to the sink.
	Emit func(trace.Event)
}

// NewHandover returns an engine that admits connections as the others do, and then
// calls take with each, by way of run. take serves the connection, closes it,
// and returns its last event. svc says what is served; cfg may be nil.
func NewHandover(svc any, cfg *Config, run func(serve func()), take func(*Handed) trace.Event) (*Blocking, error) {
	b, err := NewBlocking(svc, cfg, run)
	if err != nil {
		return nil, err
	}
	b.take, b.form = take, ConnForm // whose connections are not nudged
	return b, nil
}

func (b *Blocking) hand(c *conn) trace.Event {
	emit := func(trace.Event) {}
	if b.cfg.Sink != nil {
		emit = func(e trace.Event) { b.emit(c, e) }
	}
	return b.take(&Handed{
		Conn: c.raw, ID: c.id, Peer: c.peer, Count: &b.count,
		Stopping: c.drained, Cut: b.cut, Emit: emit,
	})
}

// Stopped returns a channel that is closed when the engine stops accepting.
func (b *Blocking) Stopped() <-chan struct{} { return b.open.Done() }
