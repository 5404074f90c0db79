package yodeltest

import (
	"bytes"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// Conn is one end of a connection in a [Net]. Like a TCP connection it is buffered
// in both directions up to a bound, has deadlines, and ends in two ways:
//
//   - Close and CloseWrite let the peer read what was written, and then io.EOF;
//   - Reset throws that away: the peer's calls fail with ECONNRESET.
//
// A Close becomes a Reset where TCP makes it one (RFC 1122 §4.2.2.13): when bytes
// were received that nobody read, or when the peer writes afterwards. The peer then
// loses what it has not read, which real systems allow but do not always do.
type Conn struct {
	*link
	local, remote net.Addr
	in, out       *half
	closed        bool
	read, write   deadline
}

// link is what both ends share. mu guards it, and all that both ends hold.
type link struct {
	mu      sync.Mutex
	changed sync.Cond // broadcast after every change of anything
	reset   bool
}

// half is one direction.
type half struct {
	buf     bytes.Buffer
	size    int  // Write blocks while buf has so many bytes
	writing bool // a Write has begun and not returned; the others wait
	ended   bool // no more will be written
	deaf    bool // the reading end is closed
}

func newPair(client, server net.Addr, size int) (c, s *Conn) {
	l := new(link)
	l.changed.L = &l.mu
	up, down := &half{size: size}, &half{size: size}
	c = &Conn{link: l, local: client, remote: server, in: down, out: up}
	s = &Conn{link: l, local: server, remote: client, in: up, out: down}
	return c, s
}

func opError(op string, local, remote net.Addr, err error) error {
	return &net.OpError{Op: op, Net: "memory", Source: local, Addr: remote, Err: err}
}

func (c *Conn) fail(op string, err error) error { return opError(op, c.local, c.remote, err) }

// Read reads what has come, and waits where nothing has.
func (c *Conn) Read(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		switch err := c.readable(); {
		case err != nil:
			return 0, err
		case len(p) == 0:
			return 0, nil
		case c.in.buf.Len() > 0:
			defer c.changed.Broadcast()
			return c.in.buf.Read(p)
		case c.in.ended:
			return 0, io.EOF
		}
		c.changed.Wait()
	}
}

func (c *Conn) readable() error {
	switch {
	case c.closed:
		return c.fail("read", net.ErrClosed)
	case c.reset:
		return c.fail("read", os.NewSyscallError("read", syscall.ECONNRESET))
	case c.read.passed:
		return c.fail("read", os.ErrDeadlineExceeded)
	}
	return nil
}

// Write writes all of p and waits for room where there is none. What several
// goroutines write at once is not mixed.
func (c *Conn) Write(p []byte) (n int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.beginWrite(); err != nil {
		return 0, err
	}
	defer c.endWrite()
	for {
		m := min(len(p)-n, c.out.size-c.out.buf.Len())
		if m > 0 {
			c.out.buf.Write(p[n : n+m])
			c.changed.Broadcast()
			n += m
		}
		if n == len(p) {
			return n, nil
		}
		c.changed.Wait()
		if err := c.writable(); err != nil {
			return n, err
		}
	}
}

// beginWrite waits until no other Write is under way.
func (c *Conn) beginWrite() error {
	for {
		if err := c.writable(); err != nil {
			return err
		}
		if !c.out.writing {
			c.out.writing = true
			return nil
		}
		c.changed.Wait()
	}
}

func (c *Conn) endWrite() {
	c.out.writing = false
	c.changed.Broadcast()
}

func (c *Conn) writable() error {
	switch {
	case c.closed:
		return c.fail("write", net.ErrClosed)
	case c.write.passed:
		return c.fail("write", os.ErrDeadlineExceeded)
	case c.out.ended:
		return c.fail("write", os.NewSyscallError("write", syscall.EPIPE))
	case c.out.deaf: // the closed end answers with a reset
		c.cut()
	}
	if c.reset {
		return c.fail("write", os.NewSyscallError("write", syscall.ECONNRESET))
	}
	return nil
}

// CloseWrite ends this direction (half-close): the peer reads io.EOF after what was
// written. Reading goes on.
func (c *Conn) CloseWrite() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.closed:
		return c.fail("close", net.ErrClosed)
	case c.reset:
		return c.fail("close", os.NewSyscallError("shutdown", syscall.ENOTCONN))
	}
	c.out.ended = true
	c.changed.Broadcast()
	return nil
}

// Close ends both directions. A second Close is net.ErrClosed.
func (c *Conn) Close() error { return c.close(false) }

// Reset ends the connection at once and throws away what is under way in both
// directions.
func (c *Conn) Reset() error { return c.close(true) }

func (c *Conn) close(hard bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return c.fail("close", net.ErrClosed)
	}
	c.closed, c.out.ended, c.in.deaf = true, true, true
	c.read.stop()
	c.write.stop()
	if hard || c.in.buf.Len() > 0 {
		c.cut()
	}
	c.changed.Broadcast()
	return nil
}

// cut makes the connection a broken one and wakes whoever waits on it.
func (l *link) cut() {
	l.reset = true
	l.changed.Broadcast()
}

// LocalAddr returns the address of this end.
func (c *Conn) LocalAddr() net.Addr { return c.local }

// RemoteAddr returns the address of the other end.
func (c *Conn) RemoteAddr() net.Addr { return c.remote }

// SetDeadline sets both deadlines; the zero time means none.
func (c *Conn) SetDeadline(t time.Time) error { return c.setDeadlines(t, &c.read, &c.write) }

// SetReadDeadline makes Read fail from t on, also one that waits already.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.setDeadlines(t, &c.read) }

// SetWriteDeadline makes Write fail from t on, also one that waits already.
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.setDeadlines(t, &c.write) }

func (c *Conn) setDeadlines(t time.Time, ds ...*deadline) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return c.fail("set", net.ErrClosed)
	}
	for _, d := range ds {
		d.set(c.link, t)
	}
	c.changed.Broadcast()
	return nil
}

// deadline is guarded by the mu of the link.
type deadline struct {
	timer  *time.Timer // nil: none is set, or it has passed
	passed bool
}

func (d *deadline) stop() {
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
}

func (d *deadline) set(l *link, t time.Time) {
	d.stop()
	left := time.Until(t)
	d.passed = !t.IsZero() && left <= 0
	if t.IsZero() || d.passed {
		return
	}
	var timer *time.Timer
	timer = time.AfterFunc(left, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if d.timer == timer { // else it was set anew while this one fired
			d.timer, d.passed = nil, true
			l.changed.Broadcast()
		}
	})
	d.timer = timer
}
