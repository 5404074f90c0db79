package mail

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"yodel/rio"
	"yodel/trace"
)

const (
	leastBuffer = 4 << 10  // what a connection's buffer begins with
	mostBuffer  = 64 << 10 // and how far it grows while reads fill it
)

// conn is the I/O of one conversation. All but mu's fields are the serving goroutine's.
type conn struct {
	srv  *Server
	raw  net.Conn // as it was given to us
	nc   net.Conn // raw, or TLS above it
	peer netip.Addr
	sess session

	lines rio.Lines
	buf   []byte // buf[r:w] was read and not used
	r, w  int
	out   []byte // replies that were not sent
	late  reply  // what a peer is told that does not send in time

	mu       sync.Mutex
	stopping bool // the conversation is to end
	waiting  bool // for a command, and no message is under way
}

func newConn(s *Server, nc net.Conn) *conn {
	c := &conn{srv: s, raw: nc, nc: nc, buf: make([]byte, leastBuffer)}
	c.peer = trace.AddrPort(nc.RemoteAddr()).Addr().Unmap()
	c.lines = rio.Lines{Max: s.cfg.lineMax(), Mode: rio.RefuseLong}
	c.sess = session{policy: s.policy, state: fresh, here: trace.AddrPort(nc.LocalAddr()).Addr().Unmap()}
	if t, ok := nc.(interface{ ConnectionState() tls.ConnectionState }); ok {
		c.sess.tls = describeTLS(t.ConnectionState())
	}
	return c
}

func describeTLS(st tls.ConnectionState) string {
	return tls.VersionName(st.Version) + " " + tls.CipherSuiteName(st.CipherSuite)
}

// serve holds the conversation.
func (c *conn) serve() {
	if no := c.greet(); no.code != 0 {
		c.part(no)
		return
	}
	for {
		line, err := c.command()
		if err != nil && err != rio.ErrTooLong {
			c.part(c.lastWords(err))
			return
		}
		r, do := c.answer(line, err)
		if do == hangUp {
			c.part(r)
			return
		}
		if do == startTLS && !c.srv.shake() {
			r, do = replyBusy, goOn
		}
		c.out = r.appendTo(c.out)
		if do == startTLS && !c.startTLS() {
			return
		}
		if len(c.out) > mostBuffer && c.flush() != nil { // else it waits for what comes in one read
			return
		}
	}
}

// greet greets. The reply, if there is one, is why not.
func (c *conn) greet() reply {
	switch {
	case c.isStopping():
		return replyStopping
	case c.sess.acceptAll && c.peer.IsValid() && !c.peer.IsLoopback():
		return replyOnlyHere
	}
	if d := c.srv.cfg.GreetDelay; d > 0 {
		err := c.fill(time.Now().Add(d))
		if err == nil {
			return replyEarly
		}
		if !isTimeout(err) {
			return reply{}
		}
	}
	c.out = reply{code: 220, text: c.sess.hostname + " ESMTP yodel"}.appendTo(c.out)
	return reply{}
}

// answer answers a command line, or that it was too long, and reads the message where
// that is what comes.
func (c *conn) answer(line []byte, tooLong error) (reply, action) {
	switch n := len(line); {
	case tooLong != nil:
		return c.sess.count(replyLong, goOn)
	case n < 2 || line[n-2] != '\r':
		return c.sess.count(replyBareLF, goOn)
	}
	r, do := c.sess.hear(line[:len(line)-2])
	if do != readMessage {
		return r, do
	}
	c.out = r.appendTo(c.out)
	return c.message()
}

// command returns the next line, which is valid until more is read; or rio.ErrTooLong,
// once for each that is refused.
func (c *conn) command() ([]byte, error) {
	began := c.beginning()
	for {
		line, used, err := c.lines.Next(c.buf[c.r:c.w], false)
		c.r += used
		if line != nil || err != nil {
			return line, err
		}
		if used > 0 && c.buf[c.r-1] == '\n' { // of a refused line
			began = c.beginning()
		}
		if err := c.await(began); err != nil {
			return nil, err
		}
		if began.IsZero() {
			began = time.Now()
		}
	}
}

// beginning returns since when there is a part of a line: now, or not at all.
func (c *conn) beginning() time.Time {
	if c.w > c.r || c.r > 0 && c.buf[c.r-1] != '\n' {
		return time.Now()
	}
	return time.Time{}
}

// await sends what was answered and reads more of a command, of which the first byte came
// at began, if that is not zero.
func (c *conn) await(began time.Time) error {
	if err := c.flush(); err != nil {
		return err
	}
	due := deadline(began, c.srv.cfg.headerTimeout())
	c.late = replySlow
	if began.IsZero() {
		due = deadline(time.Now(), c.srv.cfg.idle())
		c.late = replyIdle
	}
	c.wait(began.IsZero() && c.sess.state <= greeted)
	defer c.wait(false)
	return c.fill(due)
}

// deadline returns the time limit after from; zero if there is no limit.
func deadline(from time.Time, limit time.Duration) time.Time {
	if limit == 0 {
		return time.Time{}
	}
	return from.Add(limit)
}

// wait says whether the peer may be told to go.
func (c *conn) wait(is bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting = is
}

// stop makes the conversation end when no message is under way. It is called by any
// goroutine.
func (c *conn) stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stopping = true
	if c.waiting {
		c.raw.SetReadDeadline(longAgo)
	}
}

var longAgo = time.Unix(1, 0)

// isStopping reports whether the peer is to be told to go.
func (c *conn) isStopping() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stopping
}

// fill reads once, more behind what was not used. due is when that has failed.
func (c *conn) fill(due time.Time) error {
	grow := c.w == len(c.buf) && len(c.buf) < mostBuffer // it was filled, so there is more
	if c.r > 0 {
		c.w = copy(c.buf, c.buf[c.r:c.w])
		c.r = 0
	}
	if grow || c.w == len(c.buf) {
		larger := make([]byte, 2*len(c.buf))
		copy(larger, c.buf[:c.w])
		c.buf = larger
	}
	c.arm(due)
	n, err := c.nc.Read(c.buf[c.w:])
	c.w += n
	if n > 0 {
		return nil
	}
	return err
}

// shrink gives back a buffer that has grown.
func (c *conn) shrink() {
	if c.r == c.w && len(c.buf) > 4*leastBuffer {
		c.r, c.w, c.buf = 0, 0, make([]byte, leastBuffer)
	}
}

// arm sets the deadline of reading, unless stop has set one.
func (c *conn) arm(due time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stopping && c.waiting {
		due = longAgo
	}
	c.nc.SetReadDeadline(due)
}

// flush sends the replies. A peer that does not take them is the engine's to find out;
// who has none waits as long as for a command.
func (c *conn) flush() error {
	if len(c.out) == 0 {
		return nil
	}
	c.nc.SetWriteDeadline(deadline(time.Now(), c.srv.cfg.idle()))
	_, err := c.nc.Write(c.out)
	c.out = c.out[:0]
	return err
}

// lastWords returns what a peer is told at the end that err makes.
func (c *conn) lastWords(err error) reply {
	switch {
	case !isTimeout(err):
		return reply{}
	case c.isStopping() && c.sess.state <= greeted:
		return replyStopping
	}
	return c.late
}

func isTimeout(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }

// part ends the conversation: it sends what is to be sent, ends our direction, and reads
// for a while what the peer may still be sending, so that it sees an end and not a reset
// which may destroy our last words.
func (c *conn) part(last reply) {
	if last.failed() && last != replyStopping {
		c.srv.cut(last.text, c.raw.RemoteAddr())
	}
	c.out = last.appendTo(c.out)
	if c.flush() != nil || closeWrite(c.nc) != nil {
		return
	}
	closeWrite(c.raw)
	c.nc.SetReadDeadline(time.Now().Add(lingerTime))
	io.Copy(io.Discard, io.LimitReader(c.nc, lingerBytes))
}

const (
	lingerTime  = 2 * time.Second
	lingerBytes = 1 << 20
)

var errNoHalfClose = errors.New("this kind of connection has no half-close")

func closeWrite(nc net.Conn) error {
	if c, ok := nc.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return errNoHalfClose
}

// startTLS does the handshake, and throws away what came before it in plain text. It
// returns false if the connection is lost.
func (c *conn) startTLS() bool {
	defer c.srv.shook()
	if c.flush() != nil {
		return false
	}
	c.r, c.w = 0, 0
	c.nc.SetReadDeadline(time.Time{})
	c.nc.SetWriteDeadline(time.Time{})
	ctx := context.Background()
	if d := c.srv.cfg.handshakeTimeout(); d > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, d)
		defer cancel()
	}
	t := tls.Server(c.raw, c.srv.cfg.TLS)
	if t.HandshakeContext(ctx) != nil {
		return false
	}
	c.nc = t
	c.sess.secured(describeTLS(t.ConnectionState()))
	return true
}

// shake reports whether one more handshake may begin; then shook is called at its end.
func (s *Server) shake() bool {
	if s.shakes == nil {
		return true
	}
	select {
	case s.shakes <- struct{}{}:
		return true
	default:
		return false
	}
}

func (s *Server) shook() {
	if s.shakes != nil {
		<-s.shakes
	}
}
