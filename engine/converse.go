package engine

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"time"

	"yodel"
	"yodel/trace"
)

const (
	leastRead = 4 << 10  // what a connection's read buffer begins with
	mostRead  = 64 << 10 // and how far it grows while reads fill it
)

// driver runs one session over blocking I/O, on one goroutine.
type driver struct {
	b    *Blocking
	c    *conn
	nc   net.Conn // what is read and written: c.raw, or TLS above it
	core Core
	buf  []byte

	told       bool // the Core knows that the engine is stopping
	readArmed  time.Time
	writeArmed time.Time
}

// converse runs the session of c, closes c, and returns its last event.
func (b *Blocking) converse(c *conn) trace.Event {
	d := &driver{b: b, c: c}
	nc, err := b.secure(c, &paced{Conn: c.raw, d: d})
	if err != nil {
		return b.failedHandshake(c, err)
	}
	d.nc = nc
	if b.cfg.TLS == nil {
		d.nc = c.raw
	}
	d.run()
	if d.core.Next()&Abort != 0 {
		c.abort()
	} else {
		d.nc.Close()
	}
	e := d.core.Finish(time.Now())
	b.logFault(c, d.core.Reason(), d.core.Err())
	return e
}

func (b *Blocking) failedHandshake(c *conn, err error) trace.Event {
	c.raw.Close()
	reason := b.handshakeReason(err)
	b.count.ended[reason].Add(1)
	return trace.Event{Op: trace.Close, Took: time.Since(c.began), Text: reason.String(), Err: err}
}

func (d *driver) run() {
	d.core.Start(d.b.shared, d.c.peer, d.c.id, time.Now())
	if d.b.cfg.TLS != nil {
		d.core.CountWire()
	}
	for {
		do := d.core.Next()
		switch {
		case do&Close != 0:
			return
		case do&Write != 0:
			d.write()
		case do&Shut != 0:
			d.shut()
		case do&Read != 0:
			d.read()
		default:
			d.wait()
		}
	}
}

// stopSeen tells the Core, once, that the engine is stopping.
func (d *driver) stopSeen() bool {
	if d.b.cutting.Load() {
		d.core.Cut(Cut)
		return true
	}
	if d.told || !d.b.stopping.Load() {
		return false
	}
	d.told = true
	d.core.Drain(time.Now())
	return true
}

func (d *driver) read() {
	d.readArmed = arm(d.core.Deadline(), d.readArmed, d.nc.SetReadDeadline)
	if d.stopSeen() { // after arming: nudge may have come before it
		d.readArmed = time.Time{}
		return
	}
	if d.buf == nil {
		d.buf = make([]byte, leastRead)
	}
	n, err := fairly(d.nc.Read, d.buf, d.nc.SetReadDeadline)
	now := time.Now()
	d.core.Received(d.buf[:n], now)
	if n == len(d.buf) && n < mostRead {
		d.buf = make([]byte, 2*n)
	}
	switch {
	case err == nil:
	case err == io.EOF:
		d.core.Ended(now)
	case isTimeout(err):
		d.readArmed = disarm(d.nc.SetReadDeadline)
		d.core.Tick(now)
	default:
		d.failed(err, now)
	}
}

func (d *driver) write() {
	n, err := d.writeSome()
	now := time.Now()
	d.core.Sent(n, now)
	switch {
	case err == nil:
	case isTimeout(err):
		d.writeArmed = disarm(d.nc.SetWriteDeadline)
		d.core.Tick(now)
	default:
		d.failed(err, now)
	}
}

func (d *driver) writeSome() (int, error) {
	if d.b.cfg.TLS != nil { // above TLS a write that timed out is lost: see paced
		return d.nc.Write(d.core.Pending())
	}
	d.writeArmed = arm(d.core.Deadline(), d.writeArmed, d.nc.SetWriteDeadline)
	return fairly(d.nc.Write, d.core.Pending(), d.nc.SetWriteDeadline)
}

func (d *driver) failed(err error, now time.Time) {
	if d.b.cutting.Load() {
		d.core.Cut(Cut)
		return
	}
	var errno syscall.Errno
	if d.b.cfg.TLS != nil && ReasonOf(err) == Fault && !errors.As(err, &errno) {
		err = &yodel.PeerError{Msg: "broke TLS", Err: err} // the kernel did not say it, so TLS did
	}
	d.core.Failed(err, now)
}

// shut ends our direction: for TLS with its own alert, and with a FIN below it.
func (d *driver) shut() {
	err := closeWrite(d.nc)
	if d.b.cfg.TLS != nil && err == nil {
		err = closeWrite(d.c.raw)
	}
	now := time.Now()
	switch {
	case err == errNoHalfClose:
		d.core.NoHalfClose()
	case err != nil:
		d.failed(err, now)
	default:
		d.core.ShutDone(now)
	}
}

var errNoHalfClose = errors.New("this kind of connection has no half-close")

func closeWrite(nc net.Conn) error {
	c, ok := nc.(interface{ CloseWrite() error })
	if !ok {
		return errNoHalfClose
	}
	return c.CloseWrite()
}

// wait is for a session that wants neither to hear nor to speak: until its
// deadline, or until the engine stops.
func (d *driver) wait() {
	var alarm <-chan time.Time
	if dl := d.core.Deadline(); !dl.IsZero() {
		t := time.NewTimer(time.Until(dl))
		defer t.Stop()
		alarm = t.C
	}
	drained := d.c.drained
	if d.told {
		drained = nil
	}
	select {
	case now := <-alarm:
		d.core.Tick(now)
	case <-drained:
		d.stopSeen()
	case <-d.b.cut:
		d.core.Cut(Cut)
	}
}

// arm makes sure that the deadline that set sets comes no later than want (zero:
// none is needed) and returns what is armed now. A deadline that comes early costs
// one spurious timeout; setting one for each call would cost more.
func arm(want, armed time.Time, set func(time.Time) error) time.Time {
	if want.IsZero() || !armed.IsZero() && !want.Before(armed) {
		return armed
	}
	set(want)
	return want
}

// disarm takes back a deadline that has passed, be it one of arm's or nudge's: every
// call would fail while it stands. It returns what is armed then.
func disarm(set func(time.Time) error) time.Time {
	set(time.Time{})
	return time.Time{}
}

// fairly calls do, which is a Read or Write, and once more if it timed out without
// having moved a byte: where the deadline had passed before the call, because this
// program was late, nothing was tried, and the peer is not to blame for that.
func fairly(do func([]byte) (int, error), p []byte, set func(time.Time) error) (int, error) {
	n, err := do(p)
	if n > 0 || !isTimeout(err) {
		return n, err
	}
	set(time.Now().Add(5 * time.Millisecond))
	return do(p)
}

func isTimeout(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }

// paced is the connection below TLS. A Write that TLS makes must not time out, or
// TLS is broken for good; so paced waits in steps and asks the Core at each whether
// the peer takes enough.
type paced struct {
	net.Conn
	d *driver
}

// Write writes all of p unless the connection fails or the peer is too slow.
func (p *paced) Write(b []byte) (n int, err error) {
	core := &p.d.core
	if core.sh == nil { // still in the handshake, which has its own clock
		return p.Conn.Write(b)
	}
	for n < len(b) {
		due := core.PendingDeadline()
		p.d.writeArmed = arm(due, p.d.writeArmed, p.Conn.SetWriteDeadline)
		m, err := fairly(p.Conn.Write, b[n:], p.Conn.SetWriteDeadline)
		n += m
		now := time.Now()
		core.Moved(m, now)
		switch {
		case err == nil:
		case !isTimeout(err), due.IsZero(): // TLS itself bounds the alert that ends it
			return n, err
		default:
			p.d.writeArmed = disarm(p.Conn.SetWriteDeadline)
			if !core.CheckPending(now) {
				return n, errNotTaken
			}
		}
	}
	return n, nil
}

var errNotTaken = errors.New("the peer does not take what is sent")
