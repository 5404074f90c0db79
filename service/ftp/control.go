package ftp

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"os"
	"sync"
	"time"

	"yodel/rio"
)

// Why readLine has no line, besides rio.ErrTooLong, io.EOF and what the connection
// failed with.
var (
	errIdle = errors.New("ftp: nothing was said for too long")
	errSlow = errors.New("ftp: a command took too long")

	// errPoked says that poke was called. It passes: the next readLine goes on.
	errPoked error = poked{}
)

type poked struct{}

func (poked) Error() string { return "ftp: woken up" }
func (poked) Timeout() bool { return true } // what rio takes for an error that passes

// A control is a control connection. All but poke belongs to the session's goroutine.
type control struct {
	cfg    *Config
	raw    net.Conn // as the engine gave it; deadlines are set here
	conn   net.Conn // raw, or TLS over it
	in     *rio.Reader
	telnet telnet
	begun  time.Time     // when the first byte of an unfinished command was there; zero: none is
	idle   time.Duration // how long readLine may wait for that byte; 0: for ever
	buf    []byte        // for what is written
	failed error         // of a write; nothing is written then

	mu     sync.Mutex
	isPoke bool
}

func newControl(nc net.Conn, cfg *Config) *control {
	c := &control{cfg: cfg, raw: nc, conn: nc}
	c.in = rio.NewReader(c, cfg.lineMax(), rio.RefuseLong)
	inlineUrgent(nc)
	return c
}

// readLine returns the next line. It waits at most idle for its beginning, for ever if
// that is 0, and Config.HeaderTimeout for the rest.
func (c *control) readLine(idle time.Duration) ([]byte, error) {
	if c.failed != nil {
		return nil, c.failed
	}
	c.idle = idle
	if !c.begun.IsZero() {
		c.begun = time.Now() // nobody has waited for it meanwhile
	}
	line, err := c.in.ReadLine()
	if err == nil {
		c.begun = time.Time{}
		if c.in.Buffered() > 0 {
			c.begun = time.Now()
		}
	}
	return line, err
}

// Read is what the line reader reads from: the text of the connection.
func (c *control) Read(p []byte) (int, error) {
	for {
		if err := c.arm(); err != nil {
			return 0, err
		}
		n, err := c.conn.Read(p)
		if n == 0 && err != nil {
			return 0, c.why(err)
		}
		if n > 0 && c.begun.IsZero() {
			c.begun = time.Now()
		}
		text, answer, err := c.telnet.filter(p[:n], nil)
		if len(answer) > 0 {
			c.write(answer)
		}
		if len(text) > 0 || err != nil {
			return len(text), err
		}
	}
}

// arm sets the deadline for the next Read of the connection.
func (c *control) arm() error {
	var by time.Time
	switch limit := c.cfg.headerTimeout(); {
	case !c.begun.IsZero() && limit > 0:
		by = c.begun.Add(limit)
	case c.begun.IsZero() && c.idle > 0:
		by = time.Now().Add(c.idle)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.isPoke {
		c.isPoke = false
		return errPoked
	}
	return c.raw.SetReadDeadline(by)
}

// why returns what an error of Read means.
func (c *control) why(err error) error {
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.isPoke:
		c.isPoke = false
		return errPoked
	case !c.begun.IsZero():
		return errSlow
	}
	return errIdle
}

// poke makes readLine return errPoked, now or when it is next called. Any goroutine may
// call it.
func (c *control) poke() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.isPoke = true
	c.raw.SetReadDeadline(time.Unix(1, 0))
}

// send writes a reply. That it failed, readLine says.
func (c *control) send(r reply) {
	if r.code != 0 {
		c.buf = r.append(c.buf[:0])
		c.write(c.buf)
	}
}

func (c *control) write(p []byte) {
	if c.failed != nil {
		return
	}
	pace := c.cfg.pace()
	if d := pace.patience(len(p)); d > 0 {
		c.raw.SetWriteDeadline(time.Now().Add(d))
	}
	_, c.failed = rio.WriteFull(c.conn, p)
}

// secure begins TLS. What came in plain text behind the command that asked for it is
// thrown away: somebody else may have put it there.
func (c *control) secure(ctx context.Context, cfg *tls.Config) error {
	c.raw.SetDeadline(time.Time{}) // also that of the reply to the command
	t := tls.Server(c.raw, cfg)
	c.conn, c.telnet, c.begun = t, telnet{}, time.Time{}
	c.in = rio.NewReader(c, c.cfg.lineMax(), rio.RefuseLong)
	return handshake(ctx, t, c.cfg.handshakeTimeout())
}

func handshake(ctx context.Context, t *tls.Conn, limit time.Duration) error {
	if limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, limit)
		defer cancel()
	}
	return t.HandshakeContext(ctx)
}

// isTLS reports whether nobody on the way can read what is said.
func (c *control) isTLS() bool {
	_, ok := c.conn.(interface{ ConnectionState() tls.ConnectionState })
	return ok
}

// lastWords bounds how much is read of a client that is not listened to any more, and
// how long.
const (
	lastWords     = 64 << 10
	lastWordsTime = time.Second
)

// end closes our direction, and then reads for a moment, so that a last reply is not lost
// by a reset for what the client still sends.
func (c *control) end() {
	half, ok := c.conn.(interface{ CloseWrite() error })
	if c.failed != nil || !ok || half.CloseWrite() != nil {
		return
	}
	c.mu.Lock()
	if !c.isPoke {
		c.raw.SetReadDeadline(time.Now().Add(lastWordsTime))
	}
	c.mu.Unlock()
	buf := make([]byte, 4<<10)
	for left := lastWords; left > 0; {
		n, err := c.conn.Read(buf)
		left -= n
		if err != nil {
			return
		}
	}
}
