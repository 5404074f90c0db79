package web

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"yodel/internal/child"
	"yodel/rio"
)

// run is one program that answers one request.
type run struct {
	g *gateway
	a *answer
	r *http.Request
	t target
	p *child.Process

	out   *rio.Reader // what the program says
	total int64       // bytes of it
	quick bool        // the next read is not waited for long

	fed     chan struct{}              // closed when the program gets no more of the body
	fedAt   atomic.Int64               // when it last took something, in ns since 1970
	bodyErr atomic.Pointer[error]      // why the body did not come whole
	unhook  func() bool                // of the request's context
	stopped atomic.Bool                // stop was called
	gone    atomic.Pointer[time.Timer] // nil: the client has not gone
}

// Times of a program that are no settings.
const (
	flushAfter = 20 * time.Millisecond // what it has said is sent when it says nothing more for this long
	goneAfter  = 2 * time.Second       // how long it may go on when its client has ended, perhaps just its own direction
)

// What a program may do wrong.
var (
	errSilent  = errors.New("it was silent for too long")
	errTooMuch = errors.New("it sends more than it may")
)

func (g *gateway) start(a *answer, r *http.Request, t target) (*run, error) {
	name := filepath.Join(g.dir, filepath.FromSlash(t.name))
	p, err := child.Start(g.over, &child.Config{
		Path: name, Dir: filepath.Dir(name), Env: child.Environ(meta(r, t, g.dir, g.files)...),
		PipeIn: true, PipeOut: true, User: g.cfg.CGIUser,
		Errors: func(line string) { g.warnings.say("CGI program says", "program", logged(t.name), "line", line) },
	})
	if err != nil {
		return nil, err
	}
	g.counts.cgiStarted.Add(1)
	u := &run{g: g, a: a, r: r, t: t, p: p, fed: make(chan struct{})}
	u.out = rio.NewReader(patientReader{u}, cgiLineMax, rio.RefuseLong)
	u.unhook = context.AfterFunc(r.Context(), u.clientGone)
	go u.feed()
	return u, nil
}

func (u *run) stop() {
	u.stopped.Store(true)
	u.p.Stop()
}

// clientGone is called when the client has ended its direction, or has left.
func (u *run) clientGone() {
	u.gone.Store(time.AfterFunc(goneAfter, u.stop))
}

// feed gives the program the request's body. A body that does not come whole is not
// passed off as one: the program has ended before its input does.
func (u *run) feed() {
	defer close(u.fed)
	defer u.p.In.Close()
	buf := make([]byte, min(u.r.ContentLength, 32<<10))
	for len(buf) > 0 {
		n, err := u.r.Body.Read(buf)
		if n > 0 {
			if _, err := u.p.In.Write(buf[:n]); err != nil {
				return // it does not want more, or has ended
			}
			u.fedAt.Store(time.Now().UnixNano())
		}
		switch {
		case err == io.EOF, err == errGivenUp:
			return
		case err != nil:
			u.bodyErr.Store(&err)
			u.stop()
			<-u.p.Done()
			return
		}
	}
}

// endFeed ends feed, wherever it is.
func (u *run) endFeed() {
	b, ok := u.r.Body.(*pacedBody)
	select {
	case <-u.fed:
	default:
		if ok && !b.whole.Load() {
			b.giveUp()
		}
		u.p.In.Close()
		<-u.fed
	}
	if ok {
		b.discard()
	}
}

// finish ends what is left of the run. The program may work on; what it does is not
// waited for here.
func (u *run) finish() {
	u.unhook()
	u.endFeed()
	u.p.Out.Close()
	u.g.answers.Done()
	go u.bury()
}

// bury waits for the program, for as long as it may be silent, and gives its place back.
func (u *run) bury() {
	defer u.g.leave()
	t := time.NewTimer(max(u.g.cfg.cgiTimeout(), time.Second))
	defer t.Stop()
	select {
	case <-u.p.Done():
	case <-t.C:
		u.stop()
	}
	state, err := u.p.Wait()
	if t := u.gone.Load(); t != nil {
		t.Stop()
	}
	if err == nil && !state.Success() && !u.stopped.Load() {
		u.g.warnings.say("CGI program ended", "program", logged(u.t.name), "with", state.String())
	}
}

// patientReader reads what a program says, for as long as it may be silent.
type patientReader struct{ *run }

// Read implements io.Reader.
func (u patientReader) Read(b []byte) (int, error) {
	for {
		u.p.Out.SetReadDeadline(u.due(time.Now()))
		n, err := u.p.Out.Read(b)
		u.total += int64(n)
		switch limit := u.g.cfg.cgiOutputMax(); {
		case limit > 0 && u.total > limit:
			return 0, errTooMuch
		case !errors.Is(err, os.ErrDeadlineExceeded), u.quick:
			return n, err
		case time.Now().UnixNano()-u.fedAt.Load() >= int64(u.g.cfg.cgiTimeout()):
			return 0, errSilent
		}
	}
}

// due returns until when the program is waited for; zero: for ever.
func (u *run) due(now time.Time) time.Time {
	switch d := u.g.cfg.cgiTimeout(); {
	case u.quick:
		return now.Add(flushAfter)
	case d > 0:
		return now.Add(d)
	}
	return time.Time{}
}

// answer answers with what the program says, or returns the request to serve instead.
func (u *run) answer() (next *http.Request) {
	if strings.HasPrefix(path.Base(u.t.name), "nph-") {
		u.answerAsItIs()
		return nil
	}
	p, err := readResponse(u.out)
	if err != nil {
		u.failed(err)
		return nil
	}
	if p.isLocal() {
		return u.redirect(p.location)
	}
	u.send(p)
	return nil
}

// failed answers for a program that has given no answer.
func (u *run) failed(err error) {
	u.stop()
	if why := u.bodyErr.Load(); why != nil {
		u.a.failBody(*why)
		return
	}
	u.g.counts.cgiFailed.Add(1)
	if errors.Is(err, io.EOF) {
		err = errNoHeader
	}
	u.g.warnings.say("CGI program failed", "program", logged(u.t.name), "error", logged(err.Error()))
	if errors.Is(err, errSilent) {
		u.g.counts.cgiTimedOut.Add(1)
		u.a.fail(http.StatusGatewayTimeout, "the program did not answer in time")
		return
	}
	u.a.fail(http.StatusBadGateway, "the program gave no sound answer")
}

// redirect returns the request for another path of this server.
func (u *run) redirect(to *url.URL) *http.Request {
	next := u.r.Clone(u.r.Context())
	next.URL, next.RequestURI = to, to.RequestURI()
	next.Body, next.ContentLength = http.NoBody, 0
	next.Header.Del("Content-Type")
	if next.Method != http.MethodHead {
		next.Method = http.MethodGet
	}
	return next
}

// send answers with a header and all that follows it.
func (u *run) send(p *response) {
	h := u.a.Header()
	h["Content-Type"] = nil // net/http would guess one
	for name, values := range p.header {
		h[name] = values
	}
	if p.location != nil {
		h.Set("Location", p.location.String())
	}
	to := io.Writer(u.a)
	if n, err := strconv.ParseInt(h.Get("Content-Length"), 10, 64); err == nil {
		to = &promised{u.a, n}
	}
	u.a.WriteHeader(p.code())
	if err := u.copy(to, u.a.flush); err != nil {
		panic(http.ErrAbortHandler) // the client must not take what it has for all
	}
}

// promised writes as much as was said to come.
type promised struct {
	io.Writer
	left int64
}

func (w *promised) Write(p []byte) (int, error) {
	fits := p[:min(int64(len(p)), w.left)]
	n, err := w.Writer.Write(fits)
	w.left -= int64(n)
	if err == nil && n < len(p) {
		err = http.ErrContentLength
	}
	return n, err
}

// copy sends what the program says, at once where it makes a pause. It returns an error if
// the client must be told by a broken connection that this was not all.
func (u *run) copy(to io.Writer, flush func()) error {
	buf := make([]byte, 32<<10)
	for {
		n, err := u.read(buf, flush)
		if _, err := to.Write(buf[:n]); err != nil {
			u.notTaken(err)
			return nil
		}
		if why := u.bodyErr.Load(); err == io.EOF && why != nil {
			return *why
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			u.g.counts.cgiFailed.Add(1)
			u.g.warnings.say("CGI program failed", "program", logged(u.t.name), "error", logged(err.Error()))
			u.stop()
			return err
		}
	}
}

func (u *run) read(buf []byte, flush func()) (int, error) {
	u.quick = true
	n, err := u.out.Read(buf)
	u.quick = false
	if errors.Is(err, os.ErrDeadlineExceeded) {
		flush()
		return u.out.Read(buf)
	}
	return n, err
}

// notTaken is called when the client does not take what the program says: it has left, or
// it was promised less.
func (u *run) notTaken(err error) {
	switch {
	case errors.Is(err, http.ErrContentLength):
		u.g.warnings.say("CGI program sends more than its Content-Length says", "program", logged(u.t.name))
	case !errors.Is(err, http.ErrBodyNotAllowed):
		u.stop()
	}
}

// answerAsItIs answers with what an nph- program says, which is a whole answer of HTTP:
// RFC 3875 §5. Over HTTP/2, which has another form, it is translated.
func (u *run) answerAsItIs() {
	status, line, err := readStatusLine(u.out)
	if err != nil {
		u.failed(err)
		return
	}
	if u.a.http2 {
		u.translate(status)
		return
	}
	u.endFeed() // nobody reads a body from a connection that was taken away
	nc, _, err := u.a.control.Hijack()
	if err != nil {
		u.failed(err)
		return
	}
	defer nc.Close()
	gone := make(chan struct{})
	go func() {
		io.Copy(io.Discard, nc)
		close(gone)
		u.clientGone()
	}()
	u.a.status = status
	if _, err := nc.Write(line); err != nil {
		u.stop()
		return
	}
	u.copy(&countingWriter{nc, &u.a.bytes}, func() {})
	if c, ok := nc.(interface{ CloseWrite() error }); ok && c.CloseWrite() == nil {
		select {
		case <-gone:
		case <-time.After(drainFor):
		}
	}
}

func (u *run) translate(status int) {
	p, err := readHeader(u.out)
	if err != nil {
		u.failed(err)
		return
	}
	p.status = status
	u.send(p)
}

type countingWriter struct {
	net.Conn
	n *int64
}

func (w *countingWriter) Write(p []byte) (int, error) {
	n, err := w.Conn.Write(p)
	*w.n += int64(n)
	return n, err
}
