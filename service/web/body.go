package web

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"time"
)

// gatherMax is how long a body may be whose length was not said, in bytes: a program is
// told the length before it reads, so such a body is held in memory first. gathersMax is
// how many there are at once.
const (
	gatherMax  = 1 << 20
	gathersMax = 64
)

var (
	errSlowBody = errors.New("slow body")
	errGivenUp  = errors.New("the body is not read any more")
)

// takesBody makes r's body one that a program can be given: with a length, not too long,
// and read in its time. Otherwise it answers, and returns false.
func (g *gateway) takesBody(a *answer, r *http.Request) bool {
	if limit := g.cfg.bodyMax(); limit > 0 && r.ContentLength > limit {
		a.refuseBody(r)
		a.fail(http.StatusRequestEntityTooLarge, fmt.Sprintf("a body may have %d bytes", limit))
		return false
	}
	if r.ContentLength == 0 {
		return true
	}
	r.Body = &pacedBody{ReadCloser: r.Body, a: a}
	if r.ContentLength > 0 {
		a.control.EnableFullDuplex() // a program may answer while it reads; HTTP/2 always does
		if strings.EqualFold(r.Header.Get("Expect"), "100-continue") {
			a.ResponseWriter.WriteHeader(http.StatusContinue) // before the program says anything
		}
		return true
	}
	return g.gather(a, r)
}

// gather reads a body whole.
func (g *gateway) gather(a *answer, r *http.Request) bool {
	select {
	case g.gathers <- struct{}{}:
		defer func() { <-g.gathers }()
	default:
		g.busy(a, r)
		return false
	}
	data, err := io.ReadAll(io.LimitReader(r.Body, gatherMax+1))
	switch {
	case err != nil:
		a.failBody(err)
		return false
	case len(data) > gatherMax:
		a.refuseBody(r)
		a.fail(http.StatusLengthRequired, fmt.Sprintf("a body of more than %d bytes needs a Content-Length", gatherMax))
		return false
	}
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(data)), int64(len(data))
	return true
}

// pacedBody is a body that must come at MinRate while it is waited for; the time that a
// program takes to read it does not count.
type pacedBody struct {
	io.ReadCloser
	a      *answer
	waited time.Duration // in this window
	got    int           // in this window
	ended  atomic.Bool   // giveUp was called
	whole  atomic.Bool   // it has been read to its end
}

// Read implements io.Reader.
func (b *pacedBody) Read(p []byte) (int, error) {
	window := b.a.s.cfg.minRateAfter()
	paced := b.a.s.cfg.minRate() > 0
	from := time.Now()
	if paced {
		b.a.control.SetReadDeadline(from.Add(window - b.waited))
	}
	if b.ended.Load() { // after arming: giveUp may have come before it
		return 0, errGivenUp
	}
	n, err := b.ReadCloser.Read(p)
	switch {
	case b.ended.Load():
		return n, errGivenUp
	case err == io.EOF:
		b.whole.Store(true)
		b.a.control.SetReadDeadline(time.Time{})
	case paced:
		err = b.judge(n, time.Since(from), window, err)
	}
	return n, err
}

// judge decides, after a read, whether the body comes fast enough.
func (b *pacedBody) judge(n int, waited, window time.Duration, err error) error {
	b.got += n
	if b.waited += waited; b.waited < window {
		return err
	}
	if float64(b.got) < float64(b.a.s.cfg.minRate())*window.Seconds() {
		return errSlowBody
	}
	b.waited, b.got = 0, 0
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil
	}
	return err
}

// discard is called when nobody reads any more. What has come of the rest is thrown away,
// and what has not is not waited for; the connection can't be used again then. It must be
// done before the handler returns: net/http would begin to listen for the client's end
// and for its next request at once (https://go.dev/issue/68560).
func (b *pacedBody) discard() {
	if !b.whole.Load() {
		b.giveUp()
		b.Close()
	}
}

// giveUp ends a Read that is under way, and all that follow.
func (b *pacedBody) giveUp() {
	b.ended.Store(true)
	b.a.control.SetReadDeadline(time.Unix(1, 0))
}
