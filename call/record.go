package call

import (
	"net"
	"sync"
	"time"

	"yodel/sock"
	"yodel/trace"
)

// answerGrace is how long a received piece waits for the event of a write that is
// under way, to which it may be the answer.
const answerGrace = 10 * time.Millisecond

// A Recorder is a connection whose events a View sees. Each event of one direction
// comes in order; what was received in answer to a write comes after it.
//
// When the View fails, Read and Write return an [*OutputError].
type Recorder struct {
	*trace.Conn
	view    View
	payload bool

	writing chan struct{} // has an element while a write is under way

	mu       sync.Mutex // guards what follows, and the View
	base     Event
	in, out  int64
	late     int64
	peerDone bool
	broken   error // what the View returned
}

// Record returns conn with its events shown in view, which may be nil, beginning with
// Connected. to is what was asked for. If conn is a [*sock.Conn], or has the methods
// ID, Network and Phases of one, they are used.
func Record(conn net.Conn, to sock.Address, view View) *Recorder {
	r := &Recorder{view: view, payload: view != nil && view.Payload(), writing: make(chan struct{}, 1)}
	r.base = Event{Conn: idOf(conn), Target: to, Network: networkOf(conn)}
	var sink trace.Sink
	if view != nil {
		sink = trace.Func(r.emit)
	}
	r.Conn = trace.NewConn(conn, r.base.Conn, trace.Client, sink)
	pair := sock.PairOf(conn, trace.Client)
	e := Event{Type: Connected, Local: pair.Client, Remote: pair.Server, Path: to.Path}
	if with, ok := conn.(interface{ Phases() sock.Phases }); ok {
		e.Phases = with.Phases()
	}
	r.show(e)
	return r
}

func idOf(conn net.Conn) trace.ConnID {
	if with, ok := conn.(interface{ ID() trace.ConnID }); ok {
		return with.ID()
	}
	return trace.NewID()
}

func networkOf(conn net.Conn) string {
	if with, ok := conn.(interface{ Network() string }); ok {
		return with.Network()
	}
	return conn.LocalAddr().Network()
}

// emit turns the events of the trace into those of a call.
func (r *Recorder) emit(e *trace.Event) {
	switch e.Op {
	case trace.Shutdown:
		if e.Err == nil {
			r.show(Event{Type: Shutdown, Time: e.Time})
		}
	case trace.EOF:
		r.show(Event{Type: EOF, Time: e.Time})
	case trace.Close:
		r.show(Event{Type: Closed, Time: e.Time, End: e.Text, In: e.In, Out: e.Out, Took: e.Took, Err: e.Err})
	}
}

// show completes an event and shows it.
func (r *Recorder) show(e Event) error {
	if r.view == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	e.Conn, e.Target, e.Network = r.base.Conn, r.base.Target, r.base.Network
	r.account(&e)
	if err := r.view.Show(&e); err != nil && r.broken == nil {
		r.broken = &OutputError{err}
	}
	return r.broken
}

// account counts what goes by.
func (r *Recorder) account(e *Event) {
	n := int64(len(e.Data))
	switch e.Type {
	case Received:
		e.Offset = r.in
		r.in += n
	case Sent:
		e.Offset = r.out
		r.out += n
	case EOF:
		r.peerDone = true
	case Closed:
		e.Late = r.late
	}
}

// Read reads from the connection and shows what came.
func (r *Recorder) Read(p []byte) (int, error) {
	n, err := r.Conn.Read(p)
	if n == 0 || !r.payload {
		return n, err
	}
	now := time.Now()
	r.awaitWrite()
	if viewErr := r.show(Event{Type: Received, Time: now, Data: p[:n]}); viewErr != nil {
		err = viewErr
	}
	return n, err
}

// awaitWrite waits until no write is under way, but not for long: one that the peer
// does not take may last.
func (r *Recorder) awaitWrite() {
	select {
	case r.writing <- struct{}{}:
	default:
		timer := time.NewTimer(answerGrace)
		defer timer.Stop()
		select {
		case r.writing <- struct{}{}:
		case <-timer.C:
			return
		}
	}
	<-r.writing
}

// Write writes to the connection and shows what it took.
func (r *Recorder) Write(p []byte) (int, error) {
	if r.payload {
		r.writing <- struct{}{}
		defer func() { <-r.writing }()
	}
	began := time.Now()
	n, err := r.Conn.Write(p)
	r.countLate(n)
	if n == 0 || !r.payload {
		return n, err
	}
	if viewErr := r.show(Event{Type: Sent, Time: began, Data: p[:n]}); viewErr != nil {
		err = viewErr
	}
	return n, err
}

// countLate counts what was sent when the peer had already ended its direction: whether
// it took that cannot be told.
func (r *Recorder) countLate(n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.peerDone {
		r.late += int64(n)
	}
}

// Err returns the [*OutputError] of the View's first failure; nil if there was none.
func (r *Recorder) Err() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.broken
}
