package load

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"time"

	"yodel/sock"
	"yodel/trace"
)

// A fetcher gets a page over and over: HTTP/1.1 by net/http's client.
type fetcher struct {
	url    string
	client http.Client
	page   original
}

func newFetcher(to *target, conns int, p *Plan) *fetcher {
	f := &fetcher{url: to.Address.Network + "://" + to.Address.HostPort() + to.Address.Path}
	f.client.Timeout = p.Timeout
	f.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	f.client.Transport = &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialFor(ctx, ctx.Value(caller{}).(*talker))
		},
		TLSClientConfig:     tlsFor(p.TLS, to.Address.Host),
		MaxIdleConnsPerHost: conns,
		MaxConnsPerHost:     conns,
		DisableKeepAlives:   p.NewConns,
		DisableCompression:  true, // what is compared is what was sent
	}
	return f
}

// dialFor makes a connection for a request of t's, though another's may come to have it.
func dialFor(ctx context.Context, t *talker) (net.Conn, error) {
	to := t.group.addr
	c, err := sock.Dial(ctx, sock.Address{Network: "tcp", Host: to.Addr().String(), Port: to.Port()},
		&sock.Options{Sink: t.run.plan.Sink, Source: t.run.source(t.number)})
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.group.tally.Connections++
	t.group.tally.connect.record(int64(c.Phases().Connect))
	return c, nil
}

// tlsFor returns cfg for a host. What the system trusts if it is nil.
func tlsFor(cfg *tls.Config, host string) *tls.Config {
	if cfg == nil {
		cfg = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	cfg = cfg.Clone()
	if cfg.ServerName == "" {
		cfg.ServerName = host
	}
	return cfg
}

// caller is the key under which a request's context has its talker.
type caller struct{}

// fetch makes one request and compares what comes.
func (f *fetcher) fetch(t *talker, s *slot) error {
	ctx := httptrace.WithClientTrace(context.WithValue(t.ctx, caller{}, t), f.phases(t))
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, f.url, nil)
	if err != nil {
		return err
	}
	req.Header.Set("User-Agent", "yodel")
	req.Body = onlyOnce{}
	s.sent = t.run.now()
	answer, err := f.client.Do(req)
	if err != nil {
		return ended(err)
	}
	defer answer.Body.Close()
	body := reading{page: &f.page, conn: t.number}
	if t.run.plan.NoVerify || answer.StatusCode != http.StatusOK {
		body.page = nil
	}
	err = body.read(answer.Body)
	t.mu.Lock()
	t.group.tally.BytesIn += int64(body.at)
	t.mu.Unlock()
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return &Fault{Class: Truncated, Conn: t.number, Offset: int64(body.at), Bytes: max(answer.ContentLength-int64(body.at), 0)}
	case err != nil:
		return err
	case answer.StatusCode != http.StatusOK:
		return &StatusError{Code: answer.StatusCode}
	}
	if fault := body.end(); fault != nil {
		return fault
	}
	return nil
}

// onlyOnce is the body of a request, which has none. Of a request that has nothing but a body that
// can't be read again, net/http's client makes no second one in silence when a server has closed
// the connection; and what goes out is the same.
type onlyOnce struct{ eof }

type eof struct{}

func (eof) Read([]byte) (int, error) { return 0, io.EOF }

// Close implements io.Closer.
func (onlyOnce) Close() error { return nil }

// errUnasked is of a server that goes on after its answer.
var errUnasked = errors.New("bytes came that are of no answer, and the connection was given up")

// ended makes what net/http says of a connection that was given up when a request was to be sent
// an end as any other. It has no errors that could be compared for it.
func ended(err error) error {
	var u *url.Error
	if !errors.As(err, &u) {
		return err
	}
	switch u.Err.Error() {
	case "http: server closed idle connection":
		return fmt.Errorf("%w: %w", err, io.EOF)
	case "readLoopPeekFailLocked: %!w(<nil>)":
		return errUnasked
	}
	return err
}

// phases counts how long each phase of a connection takes.
func (f *fetcher) phases(t *talker) *httptrace.ClientTrace {
	var handshake, got time.Time
	first := false // of a connection's requests
	count := func(how func(*tally)) {
		t.mu.Lock()
		defer t.mu.Unlock()
		how(t.group.tally)
	}
	return &httptrace.ClientTrace{
		GotConn: func(info httptrace.GotConnInfo) {
			got, first = time.Now(), !info.Reused
			t.id = idOf(info.Conn)
		},
		TLSHandshakeStart: func() { handshake = time.Now() },
		TLSHandshakeDone: func(_ tls.ConnectionState, err error) {
			if err == nil {
				count(func(y *tally) { y.tls.record(int64(time.Since(handshake))) })
			}
		},
		GotFirstResponseByte: func() {
			if first {
				count(func(y *tally) { y.firstByte.record(int64(time.Since(got))) })
			}
		},
	}
}

// idOf returns the name of a connection, which may have TLS over it.
func idOf(c net.Conn) trace.ConnID {
	if over, ok := c.(*tls.Conn); ok {
		c = over.NetConn()
	}
	if s, ok := c.(*sock.Conn); ok {
		return s.ID()
	}
	return trace.ConnID{}
}

// A StatusError is an HTTP status that is not 200.
type StatusError struct{ Code int }

// Error says which.
func (e *StatusError) Error() string {
	return fmt.Sprintf("HTTP status %d %s, must be 200", e.Code, http.StatusText(e.Code))
}
