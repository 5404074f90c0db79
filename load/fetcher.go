package load

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync"
	"time"
)

// A fetcher gets a page over and over: HTTP/1.1 by net/http's client. The first body that
// comes is what the others are compared with.
type fetcher struct {
	url    string
	client http.Client

	mu    sync.Mutex
	first []byte // nil: none has come
}

func newFetcher(to *target, conns int, p *Plan) *fetcher {
	f := &fetcher{url: to.Address.Network + "://" + to.Address.HostPort() + to.Address.Path}
	f.client.Timeout = p.Timeout
	f.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	f.client.Transport = &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			var d net.Dialer
			if who, ok := ctx.Value(caller{}).(*talker); ok {
				if from := who.run.source(who.number); from.IsValid() {
					d.LocalAddr = &net.TCPAddr{IP: from.AsSlice()}
				}
			}
			return d.DialContext(ctx, network, to.addr.String())
		},
		TLSClientConfig:     tlsFor(p.TLS, to.Address.Host),
		MaxIdleConnsPerHost: conns,
		MaxConnsPerHost:     conns,
		DisableKeepAlives:   p.NewConns,
		DisableCompression:  true, // what is compared is what was sent
	}
	return f
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
	s.sent = t.run.now()
	answer, err := f.client.Do(req)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxSize+1))
	t.mu.Lock()
	t.group.tally.BytesIn += int64(len(body))
	t.mu.Unlock()
	switch {
	case err == io.ErrUnexpectedEOF:
		return &Fault{Class: Truncated, Conn: t.number, Offset: int64(len(body)), Bytes: answer.ContentLength - int64(len(body))}
	case err != nil:
		return err
	case answer.StatusCode != http.StatusOK:
		return &StatusError{Code: answer.StatusCode}
	case len(body) > maxSize:
		return fmt.Errorf("the page is longer than %d bytes: more is not held", maxSize)
	case t.run.plan.NoVerify:
		return nil
	}
	return f.compare(t.number, body)
}

// phases counts connections, and how long each phase of them takes.
func (f *fetcher) phases(t *talker) *httptrace.ClientTrace {
	var began, handshake time.Time
	count := func(how func(*tally)) {
		t.mu.Lock()
		defer t.mu.Unlock()
		how(t.group.tally)
	}
	var wrote time.Time
	return &httptrace.ClientTrace{
		ConnectStart: func(string, string) { began = time.Now() },
		ConnectDone: func(_, _ string, err error) {
			if err == nil {
				count(func(y *tally) { y.Connections++; y.connect.record(int64(time.Since(began))) })
			}
		},
		TLSHandshakeStart: func() { handshake = time.Now() },
		TLSHandshakeDone: func(_ tls.ConnectionState, err error) {
			if err == nil {
				count(func(y *tally) { y.tls.record(int64(time.Since(handshake))) })
			}
		},
		WroteRequest:         func(httptrace.WroteRequestInfo) { wrote = time.Now() },
		GotFirstResponseByte: func() { count(func(y *tally) { y.firstByte.record(int64(time.Since(wrote))) }) },
	}
}

// compare finds where body differs from the first one.
func (f *fetcher) compare(conn int, body []byte) error {
	f.mu.Lock()
	if f.first == nil {
		f.first = append([]byte{}, body...)
	}
	first := f.first
	f.mu.Unlock()
	if bytes.Equal(body, first) {
		return nil
	}
	i := 0
	for i < min(len(body), len(first)) && body[i] == first[i] {
		i++
	}
	fault := &Fault{Class: Corrupt, Conn: conn, Offset: int64(i)}
	switch {
	case i == len(body):
		fault.Class, fault.Bytes = Truncated, int64(len(first)-i)
	case i == len(first):
		fault.Class, fault.Got = Unasked, body[i]
	default:
		fault.Got, fault.Want = body[i], first[i]
	}
	return fault
}

// A StatusError is an HTTP status that is not 200.
type StatusError struct{ Code int }

// Error says which.
func (e *StatusError) Error() string {
	return fmt.Sprintf("HTTP status %d %s, must be 200", e.Code, http.StatusText(e.Code))
}
