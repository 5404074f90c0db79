package call

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"yodel/rio"
)

// chunkSize is how much is read at once, in bytes. No datagram is longer, so none is
// cut short.
const chunkSize = 64 << 10

// longAgo is a deadline that has passed.
var longAgo = time.Unix(1, 0)

// errQuiet ends a conversation over datagrams: there is no more input, and no more
// answers have come.
var errQuiet = errors.New("no more datagrams")

// An exchange is a mode at work on a connection. Its context ends when the
// conversation must: when the caller's does, when nothing moves for too long, when
// one direction has failed. From then on every Read and Write of the connection
// fails at once, with the cause of the context.
type exchange struct {
	conn    net.Conn
	ctx     context.Context
	cancel  context.CancelCauseFunc
	unhook  func() bool
	cfg     Config
	packets bool         // the connection is of datagrams
	sent    atomic.Int64 // bytes that the connection took

	mu    sync.Mutex    // guards what follows
	timer *time.Timer   // ends the exchange, unless it is put off; nil: none
	after time.Duration // when, after the last traffic
}

// begin takes over conn. timeout is the default of Config.Timeout. end must follow.
func begin(ctx context.Context, conn net.Conn, cfg Config, timeout time.Duration) *exchange {
	x := &exchange{conn: conn, cfg: cfg, packets: isPackets(conn)}
	x.ctx, x.cancel = context.WithCancelCause(ctx)
	x.unhook = context.AfterFunc(x.ctx, func() { conn.SetDeadline(longAgo) })
	if d := cfg.timeout(timeout); d > 0 {
		x.endAfter(d, &TimeoutError{After: d, Until: "nothing moved"})
	}
	return x
}

// isPackets reports whether conn is of datagrams.
func isPackets(conn net.Conn) bool {
	a := conn.LocalAddr()
	return a != nil && (strings.HasPrefix(a.Network(), "udp") || a.Network() == "unixgram")
}

// endAfter makes the exchange end with err when nothing has moved for d. It replaces
// what an earlier call has set.
func (x *exchange) endAfter(d time.Duration, err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.stopTimer()
	x.timer, x.after = time.AfterFunc(d, func() { x.cancel(err) }), d
}

func (x *exchange) stopTimer() {
	if x.timer != nil {
		x.timer.Stop()
		x.timer = nil
	}
}

// moved notes that there was traffic.
func (x *exchange) moved() {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.timer != nil {
		x.timer.Reset(x.after)
	}
}

// Read reads from the connection.
func (x *exchange) Read(p []byte) (int, error) {
	n, err := x.conn.Read(p)
	if n > 0 {
		x.moved()
	}
	return n, x.why(err)
}

// readWithin is Read that fails with os.ErrDeadlineExceeded after d; 0: never.
func (x *exchange) readWithin(d time.Duration, p []byte) (int, error) {
	x.setDeadline(x.conn.SetReadDeadline, d)
	return x.Read(p)
}

// setDeadline sets a deadline of the connection, unless the exchange has ended: that
// has set one which must stay.
func (x *exchange) setDeadline(set func(time.Time) error, d time.Duration) {
	if d > 0 {
		set(time.Now().Add(d))
	} else {
		set(time.Time{})
	}
	if x.ctx.Err() != nil {
		set(longAgo)
	}
}

// Write writes to the connection.
func (x *exchange) Write(p []byte) (int, error) {
	n, err := x.conn.Write(p)
	x.sent.Add(int64(n))
	if n > 0 {
		x.moved()
	}
	return n, x.why(err)
}

// why returns the cause of the exchange's end in place of an error that only follows
// from it. An error of the connection itself becomes a *BrokenError.
func (x *exchange) why(err error) error {
	var output *OutputError
	switch {
	case err == nil, err == io.EOF, errors.As(err, &output):
		return err
	case x.ctx.Err() != nil:
		return context.Cause(x.ctx)
	}
	return &BrokenError{Sent: x.sent.Load(), Err: withoutOp(err)}
}

// finishSending ends our direction. Over datagrams nothing says so to the peer: what
// still comes within Config.Wait is waited for.
func (x *exchange) finishSending() error {
	if x.packets {
		if d := x.cfg.wait(); d > 0 {
			x.endAfter(d, errQuiet)
		}
		return nil
	}
	half, ok := x.conn.(interface{ CloseWrite() error })
	if !ok {
		return errors.New("this connection cannot be half-closed")
	}
	return x.why(half.CloseWrite())
}

// receive copies what the peer sends to out, until the peer ends its direction.
func (x *exchange) receive(out io.Writer) error {
	buf := make([]byte, chunkSize)
	for {
		n, err := x.Read(buf)
		if n > 0 {
			if _, err := out.Write(buf[:n]); err != nil {
				return &OutputError{err}
			}
		}
		if err == nil {
			continue
		}
		if flushErr := flush(out); err == io.EOF {
			return flushErr
		}
		return err
	}
}

// lineReader returns a reader of the lines of src, which reads the connection. Longer
// ones than max come in pieces.
func (x *exchange) lineReader(src io.Reader, max int) *rio.Reader {
	if x.packets { // one that does not fit into what it is read into is cut short
		src = bufio.NewReaderSize(src, chunkSize)
	}
	return rio.NewReader(src, max, rio.SplitLong)
}

// flush writes out what a Screen holds back.
func flush(out io.Writer) error {
	f, ok := out.(interface{ Flush() error })
	if !ok {
		return nil
	}
	if err := f.Flush(); err != nil {
		return &OutputError{err}
	}
	return nil
}

// end closes the connection and returns err, or nil where that is a normal end.
func (x *exchange) end(err error) error {
	x.cancel(nil)
	x.mu.Lock()
	x.stopTimer()
	x.mu.Unlock()
	x.unhook()
	x.conn.Close()
	if err == errQuiet || err == errPeerEnded || errors.Is(err, ErrEscape) {
		err = nil
	}
	if r, ok := x.conn.(*Recorder); ok && err == nil {
		err = r.Err() // of an event that is neither Sent nor Received
	}
	return err
}
