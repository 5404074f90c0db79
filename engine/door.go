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

	each bool // the sink wants each Read and Write

	bytesIn, bytesOut atomic.Int64
	moved             atomic.Int64 // when bytes last went, in ns since c.began
	calls             sync.RWMutex // held for reading by each Read and Write
	reading           atomic.Int32 // calls of Read under way
	writes            sync.Mutex   // held by Write
	writing           atomic.Int64 // when the piece under way must have been taken; 0: none is
	eof               atomic.Bool  // the event is out
	reason            atomic.Int32 // Reason: see note and set
	closed            sync.Once
	onClose           func()
}

func (b *Blocking) newDoorConn(c *conn, onClose func()) *doorConn {
	b.count.active.Add(1)
	return &doorConn{Conn: c.raw, b: b, c: c, each: trace.WantsEach(b.cfg.Sink), onClose: onClose}
}

func (d *doorConn) since() int64 { return int64(time.Since(d.c.began)) }

// Read implements net.Conn.
func (d *doorConn) Read(p []byte) (int, error) {
	d.calls.RLock()
	defer d.calls.RUnlock()
	d.reading.Add(1)
	n, err := d.Conn.Read(p)
	d.reading.Add(-1)
	if n > 0 {
		d.moved.Store(d.since())
		d.b.count.bytesIn.Add(int64(n))
		if d.bytesIn.Add(int64(n)) == int64(n) || d.each {
			d.emit(trace.Read, n, nil)
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
		if !d.eof.Swap(true) {
			d.emit(trace.EOF, 0, nil)
		}
	default:
		d.note(ReasonOf(err))
	}
}

// Write implements net.Conn. It writes in pieces, each of which the peer must take in
// time; what several goroutines write at once is not mixed.
func (d *doorConn) Write(p []byte) (sum int, err error) {
	d.calls.RLock()
	defer d.calls.RUnlock()
	d.writes.Lock()
	defer d.writes.Unlock()
	for {
		n, err := d.writePiece(p[sum:min(len(p), sum+doorPiece)])
		sum += n
		if err != nil || sum == len(p) {
			return sum, err
		}
	}
}

// doorPiece is how many bytes the door writes in one call. A peer that takes nothing
// is found out in the time that MinRate grants for them.
const doorPiece = 16 << 10

func (d *doorConn) writePiece(p []byte) (int, error) {
	d.writing.Store(d.since() + int64(d.b.patience(len(p))))
	n, err := d.Conn.Write(p)
	d.writing.Store(0)
	d.wrote(n)
	d.noteWrite(err)
	return n, err
}

func (d *doorConn) wrote(n int) {
	if n == 0 {
		return
	}
	d.moved.Store(d.since())
	d.b.count.bytesOut.Add(int64(n))
	if d.bytesOut.Add(int64(n)) == int64(n) || d.each {
		d.emit(trace.Write, n, nil)
	}
}

// Past counts bytes that went past d: a service that has given the descriptor to another
// process tells of them at the end.
func (d *doorConn) Past(in, out int64) {
	d.b.count.bytesIn.Add(in)
	d.b.count.bytesOut.Add(out)
	d.bytesIn.Add(in)
	d.bytesOut.Add(out)
}

func (d *doorConn) emit(op trace.Op, n int, err error) {
	if d.b.cfg.Sink != nil {
		d.b.emit(d.c, trace.Event{Op: op, Bytes: n, In: d.bytesIn.Load(), Out: d.bytesOut.Load(), Err: err})
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

// set is note for a reason that counts more than an earlier one.
func (d *doorConn) set(r Reason) { d.reason.Store(int32(r)) }

// CloseWrite ends our direction, where the connection has half-close.
func (d *doorConn) CloseWrite() error {
	err := closeWrite(d.Conn)
	if err != errNoHalfClose {
		d.emit(trace.Shutdown, 0, err)
	}
	return err
}

// SyscallConn gives the descriptor, where there is one.
func (d *doorConn) SyscallConn() (syscall.RawConn, error) {
	s, ok := d.Conn.(syscall.Conn)
	if !ok {
		return nil, errors.ErrUnsupported
	}
	raw, err := s.SyscallConn()
	return rawConn{raw}, err
}

// rawConn hides what package os would take for a socket of package net: it would copy
// between that and a file past the counts and the limits, which ReadFrom does not.
type rawConn struct{ syscall.RawConn }

// Close implements net.Conn.
func (d *doorConn) Close() error {
	err := net.ErrClosed
	d.closed.Do(func() {
		if d.b.cutting.Load() {
			d.note(Cut)
		}
		d.note(Done)
		err = d.Conn.Close()
		if d.onClose != nil {
			d.onClose()
		}
	})
	return err
}

// last counts how the connection ended and returns its last event. It is called once,
// when the connection is closed, and waits for calls that are still on their way out.
func (d *doorConn) last() trace.Event {
	d.calls.Lock()
	defer d.calls.Unlock()
	d.b.count.active.Add(-1)
	d.b.count.ended[Reason(d.reason.Load())].Add(1)
	return trace.Event{
		Op: trace.Close, Took: time.Since(d.c.began), Text: Reason(d.reason.Load()).String(),
		In: d.bytesIn.Load(), Out: d.bytesOut.Load(),
	}
}

// cutFor ends the connection for a limit: by a reset, unless it is at rest.
func (d *doorConn) cutFor(r Reason) {
	d.note(r)
	if (r == Idle || r == Drained) && d.writing.Load() == 0 {
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
	cfg := &d.b.cfg
	now, due, paced := d.since(), d.writing.Load(), cfg.minRate() > 0
	rest := time.Duration(now - d.moved.Load())
	waits := due == 0 && d.reading.Load() > 0 // else the service is at work
	stuck := due != 0 && !paced               // a peer that MinRate does not bound
	idle, quiet := cfg.idle(), time.Duration(0)
	if draining && !d.b.ownShutdown() {
		quiet = cfg.quiet()
	}
	why := None
	switch {
	case paced && due != 0 && now >= due:
		why = SlowReader
	case idle > 0 && rest >= idle && (waits || stuck):
		why = Idle
	case quiet > 0 && rest >= quiet && waits:
		why = Drained
	}
	if why != None {
		d.cutFor(why)
		return -1
	}
	rate := time.Duration(0)
	switch {
	case paced && due != 0:
		rate = time.Duration(due - now)
	case paced:
		rate = cfg.minRateAfter() // a write may begin meanwhile
	}
	return soonest(rate, left(idle, rest), left(quiet, rest))
}

// left returns after what time limit may be passed by a connection that has been at
// rest for so long; 0 if the limit is off. If the service was at work when it was
// passed, that is looked at again soon.
func left(limit, rest time.Duration) time.Duration {
	if limit == 0 {
		return 0
	}
	return max(limit-rest, limit/4, time.Millisecond)
}

// soonest returns the least of times, those that are 0 left out.
func soonest(times ...time.Duration) (first time.Duration) {
	for _, t := range times {
		if t != 0 && (first == 0 || t < first) {
			first = t
		}
	}
	return first
}

// serveConn runs a ConnServer on c, closes c, and returns its last event.
func (b *Blocking) serveConn(s ConnServer, c *conn) trace.Event {
	d := b.newDoorConn(c, nil)
	done := make(chan struct{})
	go d.watch(done)
	defer close(done)
	nc, err := b.secure(c, d)
	if err != nil {
		d.set(b.handshakeReason(err))
		d.Close()
		e := d.last()
		e.Err = err
		return e
	}
	if err := callConnServer(s, nc); err != nil {
		d.set(Panic)
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
