package load

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"yodel/rio"
	"yodel/sock"
)

// Class is what kind of error ended a connection.
type Class string

// The classes of errors.
const (
	Refused    Class = "refused"     // the connection could not be made
	Timeout    Class = "timeout"     // no connection, or no answer, in Plan.Timeout
	ResetClass Class = "reset"       // the peer reset the connection
	EarlyClose Class = "early close" // the peer ended before it had answered
	Corrupt    Class = "corrupt"     // a byte came back wrong
	Other      Class = "other"
)

// A Report is what a run came to.
type Report struct {
	Conns    int
	Size     int
	Elapsed  time.Duration // from the first connection's start to the last answer
	Sent     int64         // bytes
	Received int64         // bytes
	Verified int64         // messages whose answers were right
	Lost     int64         // messages sent and not answered in full

	// Unfinished counts messages under way when ctx ended the run.
	Unfinished int64

	// Errors counts connections by what ended them; FirstError is one of them.
	Errors     map[Class]int
	FirstError error

	// Latency has one value for each verified message, in nanoseconds, three
	// significant digits.
	Latency *hdrhistogram.Histogram
}

// Rate returns the verified messages a second.
func (r *Report) Rate() float64 {
	if r.Elapsed <= 0 {
		return 0
	}
	return float64(r.Verified) / r.Elapsed.Seconds()
}

// Quantile returns the latency below which q percent of the messages were.
func (r *Report) Quantile(q float64) time.Duration {
	return time.Duration(r.Latency.ValueAtQuantile(q))
}

// run is one run under way.
type run struct {
	plan  Plan
	left  atomic.Int64 // messages that may still be sent; for ever if Count is 0
	until time.Time    // zero: no end

	mu     sync.Mutex
	report Report
}

// Run connects, pushes until the plan is done or ctx ends, and returns what came of
// it. Errors of connections are in the Report; the error is for a plan that makes
// no sense.
func Run(ctx context.Context, plan Plan) (*Report, error) {
	if err := plan.complete(); err != nil {
		return nil, fmt.Errorf("load: %w", err)
	}
	r := &run{plan: plan, report: Report{Conns: plan.Conns, Size: plan.Size, Errors: make(map[Class]int), Latency: newHistogram()}}
	r.left.Store(plan.Count)
	began := time.Now()
	if plan.Duration > 0 {
		r.until = began.Add(plan.Duration)
	}
	var wg sync.WaitGroup
	for i := range plan.Conns {
		wg.Go(func() { r.add(r.connection(ctx, i)) })
	}
	wg.Wait()
	r.report.Elapsed = time.Since(began)
	return &r.report, nil
}

// newHistogram holds 1 µs to 1 h, in nanoseconds.
func newHistogram() *hdrhistogram.Histogram {
	return hdrhistogram.New(int64(time.Microsecond), int64(time.Hour), 3)
}

// more reports whether one more message is to be sent.
func (r *run) more(ctx context.Context) bool {
	if ctx.Err() != nil || !r.until.IsZero() && !time.Now().Before(r.until) {
		return false
	}
	return r.plan.Count == 0 || r.left.Add(-1) >= 0
}

// worker is one connection of a run.
type worker struct {
	run  *run
	nr   int
	conn *sock.Conn

	message, want, got []byte

	sent, received, verified, lost, unfinished int64
	latency                                    []time.Duration // not yet in the report's histogram
	err                                        error
	stopped                                    bool // by ctx: err says nothing of the server
}

// connection makes one connection and pushes until the plan is done.
func (r *run) connection(ctx context.Context, nr int) *worker {
	w := &worker{run: r, nr: nr}
	dialCtx, cancel := context.WithTimeout(ctx, r.plan.Timeout)
	defer cancel()
	w.conn, w.err = sock.Dial(dialCtx, r.plan.Target, r.plan.Options)
	if w.err != nil {
		return w
	}
	defer w.conn.Close()
	stop := context.AfterFunc(ctx, func() { w.conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	w.message, w.want, w.got = make([]byte, r.plan.Size), make([]byte, r.plan.Size), make([]byte, r.plan.Size)
	s := newStream(r.plan.Seed, nr, r.plan.Upper)
	for n := int64(0); w.err == nil && r.more(ctx); n++ {
		w.err = w.exchange(ctx, s, n)
	}
	w.stopped = ctx.Err() != nil && errors.Is(w.err, ctx.Err())
	return w
}

// batch is how many latencies a worker keeps before it hands them in.
const batch = 1024

// exchange sends one message and compares its answer.
func (w *worker) exchange(ctx context.Context, s stream, n int64) error {
	s.message(w.message, n)
	copy(w.want, w.message)
	if s.line {
		raise(w.want)
	}
	w.conn.SetDeadline(time.Now().Add(w.run.plan.Timeout))
	if ctx.Err() != nil { // after setting the deadline, which would undo the one of a stop
		return ctx.Err()
	}
	from := time.Now()
	if err := w.roundTrip(); err != nil {
		return w.failed(ctx, err)
	}
	took := time.Since(from)
	if err := compare(w.nr, n*int64(len(w.got)), w.got, w.want); err != nil {
		return err
	}
	w.verified++
	if w.latency = append(w.latency, took); len(w.latency) == batch {
		w.run.record(w)
	}
	return nil
}

// failed counts the message that has no answer: as unfinished if the run was
// stopped, else as lost.
func (w *worker) failed(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		w.unfinished++
		return ctx.Err()
	}
	w.lost++
	return err
}

// inOneGo is how many bytes the kernel surely takes without the peer reading.
const inOneGo = 16 << 10

// roundTrip sends the message and reads as many bytes. A long message is sent while
// the answer is read: else both ends could wait for the other to read.
func (w *worker) roundTrip() error {
	if len(w.message) <= inOneGo {
		if err := w.send(); err != nil {
			return err
		}
		return w.receive()
	}
	sent := make(chan error, 1)
	go func() { sent <- w.send() }()
	err := w.receive()
	if err != nil {
		w.conn.SetDeadline(time.Unix(1, 0)) // ends a send that still waits
	}
	return cmp.Or(err, <-sent)
}

func (w *worker) send() error {
	n, err := rio.WriteFull(w.conn, w.message)
	w.sent += int64(n)
	return err
}

func (w *worker) receive() error {
	n, err := rio.ReadFull(w.conn, w.got)
	w.received += int64(n)
	return err
}

func (r *run) record(w *worker) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, d := range w.latency {
		r.report.Latency.RecordValue(max(int64(d), int64(time.Microsecond)))
	}
	w.latency = w.latency[:0]
}

// add sums a finished worker up.
func (r *run) add(w *worker) {
	r.record(w)
	r.mu.Lock()
	defer r.mu.Unlock()
	p := &r.report
	p.Sent += w.sent
	p.Received += w.received
	p.Verified += w.verified
	p.Lost += w.lost
	p.Unfinished += w.unfinished
	if w.err == nil || w.stopped {
		return
	}
	p.Errors[classOf(w.err)]++
	if p.FirstError == nil {
		p.FirstError = w.err
	}
}

func classOf(err error) Class {
	var corrupt *CorruptError
	switch {
	case errors.As(err, &corrupt):
		return Corrupt
	case errors.Is(err, syscall.ECONNREFUSED):
		return Refused
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded), errors.Is(err, syscall.ETIMEDOUT):
		return Timeout
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return ResetClass
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return EarlyClose
	}
	return Other
}
