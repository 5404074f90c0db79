package web

import (
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"time"
)

// express answers a request itself if it is a plain one for a file that is kept, and
// reports whether it has. The answer is what net/http and the handlers would send.
func (g *guard) express(h *head) bool {
	form := g.s.keptFor(h)
	if form == nil {
		return false
	}
	body := form.data
	if string(h.method) == http.MethodHead {
		body = nil
	}
	g.s.counts.kept.Add(1)
	n, err := g.answer(form.head, body)
	if err != nil {
		g.failed = io.EOF
	}
	rec := record{status: http.StatusOK, bytes: int64(n)}
	if g.s.access.out != nil {
		rec.line = g.requestLine()
	}
	g.s.account(g.remote, rec)
	return true
}

// expressBuffer is how many bytes of an answer are sent in one piece with its head.
const expressBuffer = 8 << 10

// answer sends a head, which lacks the date, and a body. It returns how many bytes of the
// body were sent.
func (g *guard) answer(head, body []byte) (int, error) {
	lent := g.s.buffers.Get().(*[]byte)
	defer g.s.buffers.Put(lent)
	out := append((*lent)[:0], head...)
	out = append(out, g.s.clock.date(time.Now())...)
	out = append(out, "\r\n\r\n"...)
	first := min(len(body), max(expressBuffer-len(out), 0))
	start := len(out)
	out = append(out, body[:first]...)
	*lent = out
	g.turn.Lock()
	defer g.turn.Unlock()
	n, err := g.Conn.Write(out)
	sent := max(n-start, 0)
	if err == nil && first < len(body) {
		n, err = g.Conn.Write(body[first:])
		sent += n
	}
	return sent, err
}

// keptFor returns what a plain request is answered with; nil if it is not plain, or not for
// a file that is kept.
func (s *Server) keptFor(h *head) *form {
	if s.files == nil || !h.plain || h.minor != 1 || h.chunked || h.length > 0 || !isGet(h.method) {
		return nil
	}
	name, ok := strings.CutPrefix(string(h.target), "/")
	if !ok || strings.ContainsAny(name, "%?") || s.cgi != nil && strings.HasPrefix(string(h.target), cgiPrefix) {
		return nil
	}
	if name == "" || name[len(name)-1] == '/' {
		name += "index.html"
	}
	e := s.files.kept(name, time.Now())
	if e == nil {
		return nil
	}
	return e.form(h.encodings)
}

func isGet(method []byte) bool {
	return string(method) == http.MethodGet || string(method) == http.MethodHead
}

// clock tells the time as HTTP writes it, which changes once a second.
type clock struct{ last atomic.Pointer[date] }

type date struct {
	second int64
	text   string
}

func (c *clock) date(now time.Time) string {
	d := c.last.Load()
	if d == nil || d.second != now.Unix() {
		d = &date{now.Unix(), now.UTC().Format(http.TimeFormat)}
		c.last.Store(d)
	}
	return d.text
}
