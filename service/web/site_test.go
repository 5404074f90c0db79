package web

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"yodel/engine"
	"yodel/engine/goroutine"
	"yodel/sock"
)

const patience = 20 * time.Second

// text is what was written to it so far: a log.
type text struct {
	mu  sync.Mutex
	buf bytes.Buffer
	new chan struct{} // closed at the next Write
}

func (x *text) Write(p []byte) (int, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.new != nil {
		close(x.new)
		x.new = nil
	}
	return x.buf.Write(p)
}

func (x *text) String() string {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.buf.String()
}

// await waits until what was written has a piece of text.
func (x *text) await(t testing.TB, piece string) {
	t.Helper()
	late := time.After(patience)
	for {
		x.mu.Lock()
		if x.new == nil {
			x.new = make(chan struct{})
		}
		more, found := x.new, strings.Contains(x.buf.String(), piece)
		x.mu.Unlock()
		if found {
			return
		}
		select {
		case <-more:
		case <-late:
			t.Fatalf("%q is never said, but\n%s", piece, x)
		}
	}
}

// site is a Server under test, on an engine and a socket.
type site struct {
	*Server
	t       testing.TB
	engine  goroutine.Engine
	addr    string
	log     *text
	access  *text
	cert    *tls.Certificate
	served  chan error
	browser *http.Client
}

// newSite serves cfg until the test is over.
func newSite(t testing.TB, cfg *Config) *site {
	t.Helper()
	return newSiteOn(t, cfg, &engine.Config{}, false)
}

func newTLSSite(t testing.TB, cfg *Config) *site {
	t.Helper()
	return newSiteOn(t, cfg, &engine.Config{}, true)
}

func newSiteOn(t testing.TB, cfg *Config, ec *engine.Config, overTLS bool) *site {
	t.Helper()
	s := &site{t: t, log: new(text), access: new(text), served: make(chan error, 1)}
	cfg.Log, cfg.AccessLog = slog.New(slog.NewTextHandler(s.log, nil)), s.access
	ec.Log, ec.Service, ec.Linger = cfg.Log, "web", -1
	tr := &http.Transport{DisableCompression: true, ForceAttemptHTTP2: true}
	var err error
	if overTLS {
		cert, _, err := sock.SelfSigned([]string{"localhost", "127.0.0.1"})
		if err != nil {
			t.Fatal(err)
		}
		s.cert = &cert
		ec.TLS = &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"h2", "http/1.1"}}
		tr.TLSClientConfig = s.clientTLS()
	}
	if s.Server, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	if s.engine, err = goroutine.New(s.Server, ec); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.addr = l.Addr().String()
	go func() { s.served <- s.engine.Serve(l) }()
	s.browser = &http.Client{Transport: tr, Timeout: patience, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	t.Cleanup(func() {
		tr.CloseIdleConnections()
		s.engine.Close()
		if err := <-s.served; !errors.Is(err, engine.ErrClosed) {
			t.Errorf("Serve: %v", err)
		}
	})
	return s
}

func (s *site) clientTLS() *tls.Config {
	pool := x509.NewCertPool()
	leaf, err := x509.ParseCertificate(s.cert.Certificate[0])
	if err != nil {
		s.t.Fatal(err)
	}
	pool.AddCert(leaf)
	return &tls.Config{RootCAs: pool, ServerName: "localhost"}
}

func (s *site) url(path string) string {
	if s.cert != nil {
		return "https://" + s.addr + path
	}
	return "http://" + s.addr + path
}

// reply is an answer with its whole body.
type reply struct {
	*http.Response
	body string
}

// do sends a request; fields are NAME: VALUE.
func (s *site) do(method, path, body string, fields ...string) reply {
	s.t.Helper()
	var content io.Reader
	if body != "" {
		content = strings.NewReader(body)
	}
	r, err := http.NewRequestWithContext(context.Background(), method, s.url(path), content)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, f := range fields {
		name, value, _ := strings.Cut(f, ": ")
		r.Header.Add(name, value)
		if name == "Host" {
			r.Host = value
		}
	}
	resp, err := s.browser.Do(r)
	if err != nil {
		s.t.Fatalf("%s %s: %v\n%s", method, path, err, s.log)
	}
	defer resp.Body.Close()
	all, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Errorf("%s %s: reading the body: %v", method, path, err)
	}
	return reply{resp, string(all)}
}

func (s *site) get(path string, fields ...string) reply {
	s.t.Helper()
	return s.do(http.MethodGet, path, "", fields...)
}

// want gets path and wants that status and body.
func (s *site) want(why, path string, code int, body string, fields ...string) reply {
	s.t.Helper()
	r := s.get(path, fields...)
	if r.StatusCode != code || body != "" && r.body != body {
		s.t.Errorf("%s: GET %s: %s %q, want %d %q", why, path, r.Status, cut(r.body), code, cut(body))
	}
	return r
}

func cut(s string) string { return s[:min(len(s), 300)] }

// wire is a client that writes bytes as they are.
type wire struct {
	net.Conn
	t  testing.TB
	in *bufio.Reader
}

func (s *site) dial() *wire {
	s.t.Helper()
	nc, err := net.Dial("tcp", s.addr)
	if err != nil {
		s.t.Fatal(err)
	}
	if s.cert != nil {
		nc = tls.Client(nc, s.clientTLS()) // without ALPN: HTTP/1.1
	}
	return newWire(s.t, nc)
}

func newWire(t testing.TB, nc net.Conn) *wire {
	t.Cleanup(func() { nc.Close() })
	nc.SetDeadline(time.Now().Add(patience))
	return &wire{nc, t, bufio.NewReader(nc)}
}

func (w *wire) send(parts ...string) {
	w.t.Helper()
	for _, p := range parts {
		if _, err := io.WriteString(w.Conn, p); err != nil {
			w.t.Fatalf("sending %q: %v", cut(p), err)
		}
	}
}

// reply reads an answer to a request with that method.
func (w *wire) reply(method string) reply {
	w.t.Helper()
	resp, err := http.ReadResponse(w.in, &http.Request{Method: method})
	if err != nil {
		w.t.Fatalf("reading an answer: %v", err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Errorf("reading the body: %v", err)
	}
	return reply{resp, string(body)}
}

// want reads an answer and wants that status.
func (w *wire) want(why string, code int) reply {
	w.t.Helper()
	r := w.reply(http.MethodGet)
	if r.StatusCode != code {
		w.t.Fatalf("%s: %s %q, want %d", why, r.Status, cut(r.body), code)
	}
	return r
}

// wantEnd wants the connection to be closed, without a reset.
func (w *wire) wantEnd(why string) {
	w.t.Helper()
	if rest, err := io.ReadAll(w.in); len(rest) > 0 || err != nil {
		w.t.Errorf("%s: %q, %v, want the end", why, cut(string(rest)), err)
	}
}

// longAgo is when the files of these tests were changed.
var longAgo = time.Date(2020, time.February, 29, 12, 30, 0, 5000, time.UTC)

// folder makes a folder of files with contents, which were changed long ago.
func folder(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		put(t, filepath.Join(dir, name), content, 0o644)
	}
	return dir
}

func put(t testing.TB, name, content string, mode os.FileMode) {
	t.Helper()
	err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte(content), mode), os.Chmod(name, mode), os.Chtimes(name, longAgo, longAgo))
	if err != nil {
		t.Fatal(err)
	}
}

func tlsServer(s *site, nc net.Conn) *tls.Conn {
	return tls.Server(nc, &tls.Config{Certificates: []tls.Certificate{*s.cert}})
}

var (
	loopback   = netip.MustParseAddr("127.0.0.1")
	everywhere = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
)

var quiet = slog.New(slog.DiscardHandler)
