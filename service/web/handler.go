package web

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"
)

// cgiPrefix is below which programs are run.
const cgiPrefix = "/cgi-bin/"

// redirectsMax is how many local redirects of programs may follow each other. RFC 3875
// §6.2.2.
const redirectsMax = 5

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a := &answer{ResponseWriter: w, s: s, control: http.NewResponseController(w)}
	a.http2 = r.ProtoMajor == 2
	a.paced = a.http2 && s.cfg.minRate() > 0
	defer a.done(r)
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if a.http2 && !validHost([]byte(r.Host)) {
		a.fail(http.StatusBadRequest, "the authority is no host and port")
		return
	}
	if r.URL.Path == "" { // http://HOST is http://HOST/: RFC 9110 §4.2.3
		r.URL.Path = "/"
	}
	a.route(r)
}

// route answers r. A program may answer by naming another path of this server.
func (a *answer) route(r *http.Request) {
	s := a.s
	for range redirectsMax {
		if !a.program(r) {
			a.refuseBody(r)
			a.document(r)
			return
		}
		next := s.cgi.serve(a, r)
		if next == nil {
			return
		}
		r = next
	}
	s.warnings.say("CGI program sends clients in a circle", "path", logged(r.URL.Path))
	a.fail(http.StatusBadGateway, "the program names one path after the other")
}

func (a *answer) program(r *http.Request) bool {
	return a.s.cgi != nil && strings.HasPrefix(r.URL.Path, cgiPrefix)
}

// refuseBody keeps a body that nobody wants from being waited for.
func (a *answer) refuseBody(r *http.Request) {
	if r.ContentLength == 0 || r.Body == http.NoBody {
		return
	}
	a.close()
	if d := a.s.cfg.headerTimeout(); d > 0 {
		a.control.SetReadDeadline(time.Now().Add(d))
	}
}

// document answers with a file, a list, or what is known of the caller.
func (a *answer) document(r *http.Request) {
	switch {
	case r.Method == http.MethodOptions:
		a.Header().Set("Allow", allowed)
		a.WriteHeader(http.StatusNoContent)
	case !slices.Contains(strings.Split(allowed, ", "), r.Method):
		a.Header().Set("Allow", allowed)
		a.fail(http.StatusMethodNotAllowed, "a file can be got, not "+logged(strings.ToLower(r.Method)))
	case a.s.files != nil:
		a.s.files.serve(a, r)
	case a.s.cgi == nil:
		a.s.showCaller(a, r)
	default:
		a.notFound()
	}
}

const allowed = "GET, HEAD, OPTIONS"

// answer is the ResponseWriter that handlers here are given: it knows what was sent.
type answer struct {
	http.ResponseWriter
	s       *Server
	control *http.ResponseController
	http2   bool
	paced   bool // each piece has its time
	status  int
	bytes   int64
}

// WriteHeader implements http.ResponseWriter.
func (a *answer) WriteHeader(code int) {
	if a.status == 0 {
		a.status = code
	}
	a.ResponseWriter.WriteHeader(code)
}

// Write implements http.ResponseWriter.
func (a *answer) Write(p []byte) (sum int, err error) {
	if a.status == 0 {
		a.status = http.StatusOK
	}
	for {
		n, err := a.writePiece(p[sum:min(len(p), sum+pieceMax)])
		sum += n
		a.bytes += int64(n)
		if err != nil || sum == len(p) {
			return sum, err
		}
	}
}

// pieceMax is how many bytes of a stream of HTTP/2 have a time of their own. The
// connection door has the same for a connection.
const pieceMax = 16 << 10

func (a *answer) writePiece(p []byte) (int, error) {
	a.startClock(len(p))
	defer a.stopClock()
	return a.ResponseWriter.Write(p)
}

// startClock gives the peer its time for n bytes. HTTP/2 has a window for each stream, so
// that one which is not read does not show at the connection.
func (a *answer) startClock(n int) {
	if a.paced {
		patience := a.s.cfg.minRateAfter() + time.Duration(n)*time.Second/time.Duration(a.s.cfg.minRate())
		a.control.SetWriteDeadline(time.Now().Add(patience))
	}
}

func (a *answer) stopClock() {
	if a.paced {
		a.control.SetWriteDeadline(time.Time{})
	}
}

// ReadFrom implements io.ReaderFrom, so that a file may go to the socket by itself.
func (a *answer) ReadFrom(r io.Reader) (int64, error) {
	to, ok := a.ResponseWriter.(io.ReaderFrom)
	if !ok {
		return io.Copy(struct{ io.Writer }{a}, r)
	}
	if a.status == 0 {
		a.status = http.StatusOK
	}
	n, err := to.ReadFrom(r)
	a.bytes += n
	return n, err
}

// flush sends what was written so far.
func (a *answer) flush() {
	a.startClock(pieceMax)
	a.control.Flush()
	a.stopClock()
}

// done is called when all is said.
func (a *answer) done(r *http.Request) {
	a.startClock(pieceMax) // for what net/http still has to send
	if a.status == 0 {
		a.status = http.StatusOK
	}
	if r.Method == http.MethodHead {
		a.bytes = 0
	}
	a.s.account(r.RemoteAddr, record{method: r.Method, target: r.RequestURI, proto: r.Proto, status: a.status, bytes: a.bytes})
}

// fail answers with an error, in one line.
func (a *answer) fail(code int, why string) {
	text := fmt.Sprintf("%d %s: %s\n", code, http.StatusText(code), why)
	h := a.Header()
	for _, name := range []string{"Content-Encoding", "Etag", "Last-Modified", "Cache-Control", "Vary"} {
		h.Del(name)
	}
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("Content-Length", fmt.Sprint(len(text)))
	a.WriteHeader(code)
	io.WriteString(a, text)
}

// notFound is the one answer to all that is not there, or not for clients.
func (a *answer) notFound() { a.fail(http.StatusNotFound, "there is no such file") }

// failBody answers for a request's body that could not be read.
func (a *answer) failBody(err error) {
	var why *refusal
	switch {
	case errors.Is(err, errSlowBody):
		why = &refusal{http.StatusRequestTimeout, "the body of the request came too slowly"}
	case !errors.As(err, &why):
		why = bad("the body of the request ended too early")
	}
	a.close()
	a.fail(why.code, why.why)
}

// close makes the answer the last one of its connection; over HTTP/2 there is no need.
func (a *answer) close() {
	if !a.http2 {
		a.Header().Set("Connection", "close")
	}
}
