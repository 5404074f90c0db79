package engine

import (
	"errors"
	"io"
	"net"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"yodel/trace"
)

// doorConn is what a service that does its own I/O is given: the accepted
// connection, counted, and watched by a timer of its own, since its deadlines are
// the service's. With TLS it is below TLS, so its bytes are those of the records.
type doorConn struct {
	net.Conn
	b *Blocking
	c *conn

	bytesIn, bytesOut atomic.Int64
	moved             atomic.Int64 // when bytes last went, in ns since c.began
	reading           atomic.Int32 // calls of Read under way
	writing           atomic.Int64 // when the Write under way must have ended; 0: none is
	reason            atomic.Int32 // Reason; set once
	closed            sync.Once
	onClose           func()
}

func (b *Blocking) newDoorConn(c *conn, onClose func()) *doorConn {
	b.count.active.Add(1)
	return &doorConn{Conn: c.raw, b: b, c: c, onClose: onClose}
}

func (d *doorConn) since() int64 { return int64(time.Since(d.c.began)) }

// Read implements net.Conn.
func (d *doorConn) Read(p []byte) (int, error) {
	d.reading.Add(1)
	n, err := d.Conn.Read(p)
	d.reading.Add(-1)
	if n > 0 {
		d.moved.Store(d.since())
		d.b.count.bytesIn.Add(int64(n))
		if d.bytesIn.Add(int64(n)) == int64(n) {
			d.first(trace.Read, n)
		}
	}
	if err != nil {
		d.noteRead(err)
	}
	return n, err
}

func (d *doorConn) noteRead(err error) {
	switch {
	case isTimeout(err):
	case errors.Is(err, net.ErrClosed):
	case err == io.EOF:
		d.note(Peer)
	default:
		d.note(ReasonOf(err))
	}
}

// Write implements net.Conn.
func (d *doorConn) Write(p []byte) (int, error) {
	sum := 0
	for {
		chunk := p[sum:min(len(p), sum+64<<10)]
		d.writing.Store(d.since() + int64(d.b.patience(len(chunk))))
		n, err := d.Conn.Write(chunk)
		d.writing.Store(0)
		sum += n
		d.wrote(n)
		if err != nil && !isTimeout(err) && !errors.Is(err, net.ErrClosed) {
			d.note(ReasonOf(err))
		}
		if err != nil || sum == len(p) {
			return sum, err
		}
	}
}

func (d *doorConn) wrote(n int) {
	if n == 0 {
		return
	}
	d.moved.Store(d.since())
	d.b.count.bytesOut.Add(int64(n))
	if d.bytesOut.Add(int64(n)) == int64(n) {
		d.first(trace.Write, n)
	}
}

func (d *doorConn) first(op trace.Op, n int) {
	if d.b.cfg.Sink != nil {
		d.b.emit(d.c, trace.Event{Op: op, Bytes: n, In: d.bytesIn.Load(), Out: d.bytesOut.Load()})
	}
}

// patience is how long a peer may take for n bytes.
func (b *Blocking) patience(n int) time.Duration {
	rate := b.cfg.minRate()
	if rate == 0 {
		return 0
	}
	return b.cfg.minRateAfter() + time.Duration(n)*time.Second/time.Duration(rate)
}

// note sets how the connection ends; the first reason counts.
func (d *doorConn) note(r Reason) { d.reason.CompareAndSwap(int32(None), int32(r)) }

// CloseWrite ends our direction, where the connection has half-close.
func (d *doorConn) CloseWrite() error {
	if d.b.cfg.Sink != nil {
		d.b.emit(d.c, trace.Event{Op: trace.Shutdown})
	}
	return closeWrite(d.Conn)
}

// SyscallConn gives the descriptor, where there is one.
func (d *doorConn) SyscallConn() (syscall.RawConn, error) {
	s, ok := d.Conn.(syscall.Conn)
	if !ok {
		return nil, errors.ErrUnsupported
	}
	return s.SyscallConn()
}

// Close implements net.Conn.
func (d *doorConn) Close() error {
	err := net.ErrClosed
	d.closed.Do(func() {
		err = d.Conn.Close()
		d.note(Done)
		d.b.count.active.Add(-1)
		d.b.count.ended[Reason(d.reason.Load())].Add(1)
		if d.onClose != nil {
			d.onClose()
		}
	})
	return err
}

// last returns the connection's last event.
func (d *doorConn) last() trace.Event {
	return trace.Event{
		Op: trace.Close, Took: time.Since(d.c.began), Text: Reason(d.reason.Load()).String(),
		In: d.bytesIn.Load(), Out: d.bytesOut.Load(),
	}
}

// cutFor ends the connection for a limit: by a reset, unless it is at rest.
func (d *doorConn) cutFor(r Reason) {
	d.note(r)
	if r == Idle || r == Drained {
		d.Conn.Close()
		return
	}
	d.c.abort()
}

// watch applies the limits until done is closed.
func (d *doorConn) watch(done <-chan struct{}) {
	t := time.NewTimer(0)
	defer t.Stop()
	drained := d.c.drained
	draining := false
	for {
		select {
		case <-done:
			return
		case <-drained:
			drained, draining = nil, true
		case <-d.b.cut:
			d.cutFor(Cut)
			return
		case <-t.C:
		}
		next := d.check(draining)
		if next < 0 {
			return
		}
		if next > 0 {
			t.Reset(next)
		}
	}
}

// check cuts the connection if a limit is passed, and returns when to look again: 0
// for not at all, negative when it was cut.
func (d *doorConn) check(draining bool) time.Duration {
	now := d.since()
	next := time.Duration(0)
	sooner := func(in int64) {
		if next == 0 || time.Duration(in) < next {
			next = max(time.Duration(in), time.Millisecond)
		}
	}
	if at := d.writing.Load(); d.b.cfg.minRate() > 0 {
		if at != 0 && now >= at {
			d.cutFor(SlowReader)
			return -1
		}
		sooner(int64(d.b.cfg.minRateAfter()))
	}
	atRest := now - d.moved.Load()
	waits := d.reading.Load() > 0
	for _, limit := range []struct {
		on     bool
		after  time.Duration
		reason Reason
	}{{true, d.b.cfg.idle(), Idle}, {draining && !d.b.ownShutdown(), d.b.cfg.quiet(), Drained}} {
		if !limit.on || limit.after == 0 {
			continue
		}
		if waits && atRest >= int64(limit.after) {
			d.cutFor(limit.reason)
			return -1
		}
		sooner(max(int64(limit.after)-atRest, int64(limit.after)/4))
	}
	return next
}

// serveConn runs a ConnServer on c, closes c, and returns its last event.
func (b *Blocking) serveConn(s ConnServer, c *conn) trace.Event {
	d := b.newDoorConn(c, nil)
	done := make(chan struct{})
	go d.watch(done)
	defer close(done)
	nc, err := b.secure(c, d)
	if err != nil {
		d.note(handshakeReason(err))
		d.Close()
		e := d.last()
		e.Err = err
		return e
	}
	if err := callConnServer(s, nc); err != nil {
		d.note(Panic)
		b.logFault(c, Panic, err)
	}
	nc.Close()
	d.Close()
	return d.last()
}

func callConnServer(s ConnServer, nc net.Conn) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &PanicError{Value: v, Stack: debug.Stack()}
		}
	}()
	s.ServeConn(nc)
	return nil
}
