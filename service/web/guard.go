package web

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// guard is a connection that speaks HTTP/1, as net/http is given it. Its Read hands out
// requests that are sound, and nothing else; it changes no byte of them.
//
// Read is called by one goroutine at a time: that of the connection when it waits for a
// request or reads a body, another one while a handler works, to learn whether the peer
// is gone. The fields without a note are that goroutine's.
type guard struct {
	net.Conn
	s      *Server
	remote string // the peer's address

	buf     []byte // what has come and was not handed out
	scanned int    // how much of buf was looked at for the end of a head
	lines   int    // where the line begins that scanned is in
	checked int    // how much of buf may be handed out

	left    int64  // of a body with a length, from behind buf[:checked]
	chunks  chunks // of a chunked one
	chunked bool

	rested time.Time // when the last answer was done
	asked  time.Time // when the first byte of an unfinished head came
	armed  time.Time // the read deadline that we have set; zero: perhaps none, perhaps net/http's
	failed error     // why nothing more is handed out

	unread    atomic.Bool   // some of the body has not been read
	idle      atomic.Bool   // net/http waits for a request, and has answered all before
	stopping  atomic.Bool   // stop was called
	turn      sync.Mutex    // held while idle ends, and while the guard itself answers
	interrupt chan struct{} // has room for one; sent to when a read must end
	closed    chan struct{}
	closing   sync.Once
}

func newGuard(s *Server, nc net.Conn) *guard {
	g := &guard{
		Conn: nc, s: s, remote: nc.RemoteAddr().String(), rested: time.Now(),
		interrupt: make(chan struct{}, 1), closed: make(chan struct{}),
	}
	g.idle.Store(true)
	return g
}

// tlsGuard is a guard above TLS, of which net/http asks it.
type tlsGuard struct {
	*guard
	tls *tls.Conn
}

// ConnectionState returns what net/http tells handlers of TLS.
func (g tlsGuard) ConnectionState() tls.ConnectionState { return g.tls.ConnectionState() }

// Read implements net.Conn.
func (g *guard) Read(p []byte) (int, error) {
	for {
		if n := g.give(p); n > 0 || len(p) == 0 {
			return n, nil
		}
		var err error
		switch {
		case g.failed != nil:
			err = g.failed
		case g.left > 0:
			return g.readBody(p)
		case g.chunked:
			err = g.readChunks()
		case g.idle.Load():
			err = g.awaitHead()
		default:
			err = g.watch()
		}
		if err != nil {
			return 0, err
		}
	}
}

// give hands out what was checked.
func (g *guard) give(p []byte) int {
	n := copy(p, g.buf[:g.checked])
	g.drop(n)
	g.checked -= n
	return n
}

// drop forgets the first n bytes of buf.
func (g *guard) drop(n int) {
	g.buf = g.buf[:copy(g.buf, g.buf[n:])]
	g.scanned, g.lines = max(g.scanned-n, 0), max(g.lines-n, 0)
}

// readBody reads a body with a length straight into p.
func (g *guard) readBody(p []byte) (int, error) {
	n, err := g.Conn.Read(p[:min(int64(len(p)), g.left)])
	if g.left -= int64(n); g.left == 0 {
		g.unread.Store(false)
	}
	return n, err
}

// readChunks reads more of a chunked body.
func (g *guard) readChunks() error {
	if len(g.buf) == 0 {
		if err := g.more(); err != nil {
			return err
		}
	}
	return g.checkChunks()
}

func (g *guard) checkChunks() error {
	n, why := g.chunks.feed(g.buf[g.checked:])
	g.checked += n
	if why != nil {
		g.failed = why
		return nil // what is sound comes first
	}
	g.chunked = g.chunks.state != ended
	g.unread.Store(g.chunked)
	return nil
}

// more reads what there is into buf, which has room.
func (g *guard) more() error {
	if len(g.buf) == cap(g.buf) {
		g.grow()
	}
	n, err := g.Conn.Read(g.buf[len(g.buf):cap(g.buf)])
	g.buf = g.buf[:len(g.buf)+n]
	if n > 0 {
		return nil
	}
	return err
}

func (g *guard) grow() {
	size := min(max(2*cap(g.buf), 2<<10), g.s.cfg.headMax())
	g.buf = append(make([]byte, 0, size), g.buf...)
}

// watch waits for the peer to leave, while a handler works. What the peer sends meanwhile
// is the next request, which is not handed out before it is due.
func (g *guard) watch() error {
	if len(g.buf) < g.s.cfg.headMax() {
		return g.more()
	}
	select {
	case <-g.interrupt:
		return os.ErrDeadlineExceeded
	case <-g.closed:
		return net.ErrClosed
	}
}

// SetReadDeadline implements net.Conn. net/http ends a read by a deadline that has
// passed.
func (g *guard) SetReadDeadline(t time.Time) error {
	if t.IsZero() || t.After(time.Now()) {
		select {
		case <-g.interrupt:
		default:
		}
	} else {
		select {
		case g.interrupt <- struct{}{}:
		default:
		}
	}
	return g.Conn.SetReadDeadline(t)
}

// SetDeadline implements net.Conn.
func (g *guard) SetDeadline(t time.Time) error {
	return errors.Join(g.SetReadDeadline(t), g.Conn.SetWriteDeadline(t))
}

// ReadFrom implements io.ReaderFrom, so that a file may go to the socket by itself.
func (g *guard) ReadFrom(r io.Reader) (int64, error) {
	if to, ok := g.Conn.(io.ReaderFrom); ok {
		return to.ReadFrom(r)
	}
	return io.Copy(struct{ io.Writer }{g.Conn}, r)
}

// CloseWrite ends our direction, where the connection has half-close.
func (g *guard) CloseWrite() error {
	if c, ok := g.Conn.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return errors.ErrUnsupported
}

// Close implements net.Conn. It waits for an answer that is under way, and sees to it that
// one to a request of which not all was read gets through.
func (g *guard) Close() error {
	g.closing.Do(func() { close(g.closed) })
	g.turn.Lock()
	defer g.turn.Unlock()
	if g.unread.Load() {
		closeSoftly(g.Conn)
	}
	return g.Conn.Close()
}

// stop ends the connection when it is at rest.
func (g *guard) stop() {
	g.turn.Lock()
	defer g.turn.Unlock()
	g.stopping.Store(true)
	if g.idle.Load() {
		g.Conn.SetReadDeadline(time.Unix(1, 0))
	}
}

// awaitHead waits for a request, and answers it if it can.
func (g *guard) awaitHead() error {
	for {
		end, why := g.scan()
		var h head
		if end > 0 && why == nil {
			h, why = parseHead(g.buf[:end])
		}
		switch {
		case why != nil:
			return g.refuse(why)
		case end == 0:
			if err := g.fill(); err != nil {
				return err
			}
		case g.express(&h):
			g.drop(end)
			g.await()
			if g.failed != nil {
				return g.failed
			}
		default:
			return g.begin(&h, end)
		}
	}
}

// scan looks for the empty line that ends a head, and returns where it ends; 0: it has
// not come yet.
func (g *guard) scan() (end int, why *refusal) {
	if len(g.buf) > 0 && classes[g.buf[0]]&tokenByte == 0 {
		return 0, bad("this is no request of HTTP/1")
	}
	for g.scanned < len(g.buf) {
		i := bytes.IndexByte(g.buf[g.scanned:], '\n')
		if i < 0 {
			g.scanned = len(g.buf)
			break
		}
		at := g.scanned + i
		if at == 0 || g.buf[at-1] != '\r' {
			return 0, bad("a line ends in LF alone, and not in CR LF")
		}
		empty := at-1 == g.lines
		g.scanned, g.lines = at+1, at+1
		if empty {
			return at + 1, nil
		}
	}
	if len(g.buf) >= g.s.cfg.headMax() {
		return 0, &refusal{http.StatusRequestHeaderFieldsTooLarge, fmt.Sprintf("the head of the request is longer than %d bytes", g.s.cfg.headMax())}
	}
	return 0, nil
}

// fill reads more of a head in its time.
func (g *guard) fill() error {
	due := g.due()
	if !due.IsZero() && (g.armed.IsZero() || g.armed.After(due)) {
		g.armed = due
		g.Conn.SetReadDeadline(due)
	}
	if g.stopping.Load() && len(g.buf) == 0 { // after arming: stop may have come before it
		return io.EOF
	}
	err := g.more()
	switch {
	case err == nil && g.asked.IsZero():
		g.asked = time.Now()
	case errors.Is(err, os.ErrDeadlineExceeded):
		return g.late()
	case err != nil:
		return io.EOF // net/http has nothing to say to who has left
	}
	return nil
}

// due returns when the read that comes must have ended; zero: never.
func (g *guard) due() time.Time {
	from, limit := g.rested, g.s.cfg.idle()
	if len(g.buf) > 0 {
		from, limit = g.asked, g.s.cfg.headerTimeout()
	}
	if limit == 0 {
		return time.Time{}
	}
	return from.Add(limit)
}

// late is called when a read deadline has passed: ours, an earlier one of net/http's, or
// that of stop.
func (g *guard) late() error {
	due := g.due()
	switch {
	case g.stopping.Load() && len(g.buf) == 0:
		return io.EOF
	case due.IsZero() || time.Now().Before(due):
		g.armed = due
		return g.Conn.SetReadDeadline(due)
	case len(g.buf) == 0:
		return io.EOF
	}
	return g.refuse(&refusal{http.StatusRequestTimeout, fmt.Sprintf("the head of the request took longer than %v", g.s.cfg.headerTimeout())})
}

// begin lets net/http have the request whose head ends there.
func (g *guard) begin(h *head, end int) error {
	g.turn.Lock()
	g.idle.Store(false)
	g.turn.Unlock()
	g.checked, g.scanned, g.lines = end, 0, 0
	if h.chunked {
		g.chunked, g.chunks = true, chunks{}
		return g.checkChunks()
	}
	g.left = max(h.length, 0)
	n := int(min(g.left, int64(len(g.buf)-end)))
	g.left -= int64(n)
	g.checked += n
	g.unread.Store(g.left > 0)
	return nil
}

// rest is called when net/http has answered a request and waits for the next. What is left
// of a body would be taken for that.
func (g *guard) rest() {
	if g.left > 0 || g.chunked || g.checked > 0 {
		g.failed = io.EOF
	}
	g.armed = time.Time{}
	g.await()
	g.idle.Store(true)
}

// await begins the time of the next request.
func (g *guard) await() {
	g.rested, g.asked = time.Now(), time.Time{}
	if len(g.buf) > 0 {
		g.asked = g.rested
	}
}

// refuse answers a request that is not served, and ends the connection: what comes behind
// it is nobody's guess.
func (g *guard) refuse(why *refusal) error {
	g.failed = io.EOF // to net/http the peer has left
	g.s.counts.refused.Add(1)
	body := fmt.Sprintf("%d %s: %s\n", why.code, http.StatusText(why.code), why.why)
	n, err := g.say(fmt.Sprintf("HTTP/1.1 %d %s\r\nDate: %s\r\nContent-Type: text/plain; charset=utf-8\r\n"+
		"X-Content-Type-Options: nosniff\r\nContent-Length: %d\r\nConnection: close\r\n\r\n",
		why.code, http.StatusText(why.code), g.s.clock.date(time.Now()), len(body)), body)
	g.s.account(g.remote, record{line: g.requestLine(), status: why.code, bytes: int64(n)})
	if err == nil {
		closeSoftly(g.Conn)
	}
	return g.failed
}

// say sends a head and a body and returns how many bytes of the body were sent.
func (g *guard) say(head, body string) (int, error) {
	g.turn.Lock()
	defer g.turn.Unlock()
	g.Conn.SetWriteDeadline(time.Now().Add(refuseFor))
	n, err := io.WriteString(g.Conn, head+body)
	return max(n-len(head), 0), err
}

// requestLine is what came of one, for the log.
func (g *guard) requestLine() string {
	line, _, _ := bytes.Cut(g.buf[:min(len(g.buf), logLineMax)], []byte{'\n'})
	return string(bytes.TrimSuffix(line, []byte{'\r'}))
}

// closeSoftly ends our direction and reads, briefly, what the peer still sends: closing
// before that would be a reset, by which the answer may be lost.
func closeSoftly(nc net.Conn) {
	if c, ok := nc.(interface{ CloseWrite() error }); !ok || c.CloseWrite() != nil {
		return
	}
	nc.SetReadDeadline(time.Now().Add(drainFor))
	io.CopyN(io.Discard, nc, drainMax)
}

const (
	refuseFor = 5 * time.Second
	drainFor  = time.Second
	drainMax  = 16 << 20 // bytes
)
