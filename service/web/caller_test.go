package web

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"

	"yodel/engine"
	"yodel/sock"
)

// Without files, the caller is shown what is known of him: as text, as a page, as JSON.
func TestCaller(t *testing.T) {
	t.Parallel()
	s := newSite(t, &Config{})
	w := s.dial()
	w.send("GET /?a=b HTTP/1.1\r\nHost: h.example\r\nX-Note: \xe2\x80\xae<b>\r\nCookie: secret\r\n\r\n")
	r := w.want("text", 200)
	want := fmt.Sprintf(`socket pair: (%s, %s)
request: GET /?a=b HTTP/1.1
host: h.example
headers:
  Cookie: (6 bytes, not shown)
  X-Note: \u202e<b>
`, w.LocalAddr(), s.addr)
	if r.body != want || r.Header.Get("Content-Type") != plain {
		t.Errorf("%s:\n%s\nwant\n%s", r.Header.Get("Content-Type"), r.body, want)
	}
	page := s.want("a page", "/", 200, "", "Accept: text/html,*/*", "X-Note: <script>alert(1)</script>")
	if _, text := linksOf(t, page.body); strings.Contains(page.body, "<script") || !strings.Contains(text, "<script>") &&
		!strings.Contains(text, "&lt;script&gt;") {
		t.Errorf("%s", page.body)
	}
	if page.Header.Get("Content-Type") != hypertext || page.Header.Get("Cache-Control") == "" {
		t.Errorf("%v", page.Header)
	}
	for _, field := range []string{"/json", "/"} {
		var c caller
		r := s.want("JSON", field, 200, "", "Accept: application/json")
		if err := json.Unmarshal([]byte(r.body), &c); err != nil || c.Server != s.addr || c.Target != field || c.TLS != nil {
			t.Errorf("%s: %v: %+v", field, err, c)
		}
	}
	s.want("anything else", "/x", 404, "")
	s.want("anything else", "/cgi-bin/x", 404, "")
	if r := s.do("HEAD", "/", ""); r.StatusCode != 200 || r.body != "" {
		t.Errorf("HEAD: %s %q", r.Status, r.body)
	}
	if z := s.get("/", "Accept-Encoding: gzip", "X-Long: "+strings.Repeat("x", 3000)); z.Header.Get("Content-Encoding") != "gzip" {
		t.Errorf("%v", z.Header)
	}
}

// With CGI alone there is nothing to show.
func TestNoCallerBesideCGI(t *testing.T) {
	t.Parallel()
	s := &Server{cgi: &gateway{}}
	w := new(recorder)
	a := &answer{ResponseWriter: w, s: s}
	r, _ := http.NewRequestWithContext(t.Context(), "GET", "/", nil)
	a.document(r)
	if w.code != 404 {
		t.Errorf("%d", w.code)
	}
}

// Over TLS it is told too, with HTTP/1.1 and with HTTP/2.
func TestCallerOverTLS(t *testing.T) {
	t.Parallel()
	s := newTLSSite(t, &Config{})
	w := s.dial()
	w.send("GET /json HTTP/1.1\r\nHost: x\r\n\r\n")
	for proto, r := range map[string]reply{"HTTP/1.1": w.want("TLS", 200), "HTTP/2.0": s.get("/json")} {
		var c caller
		if err := json.Unmarshal([]byte(r.body), &c); err != nil || c.TLS == nil {
			t.Fatalf("%v: %s", err, r.body)
		}
		if c.Protocol != proto || c.TLS.Version != "TLS 1.3" || c.TLS.ServerName != "localhost" || c.TLS.KeyExchange == "" {
			t.Errorf("%s: %+v, %+v", proto, c, c.TLS)
		}
	}
	text := s.get("/").body
	for _, piece := range []string{"TLS: TLS 1.3, TLS_", ", new session\n", "TLS server name: localhost\n", "TLS protocol (ALPN): h2\n"} {
		if !strings.Contains(text, piece) {
			t.Errorf("%q is not in\n%s", piece, text)
		}
	}
}

// The name is looked up where that is asked for; it must lead back to the address.
func TestCallerName(t *testing.T) {
	t.Parallel()
	s := newSite(t, &Config{Names: &sock.Resolver{}})
	if name := (&sock.Resolver{}).Reverse(t.Context(), loopback); name.Confirmed {
		if text := s.get("/").body; !strings.Contains(text, "\nname: "+name.Name+"\n") {
			t.Errorf("%q is not in\n%s", name.Name, text)
		}
	}
}

// Behind a proxy that is believed the caller is the client.
func TestCallerBehindAProxy(t *testing.T) {
	t.Parallel()
	s := newSiteOn(t, &Config{}, &engine.Config{ProxyFrom: everywhere}, false)
	w := s.dial()
	w.send("PROXY TCP4 192.0.2.7 192.0.2.1 4711 80\r\n", "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	if r := w.want("by a proxy", 200); !strings.HasPrefix(r.body, "socket pair: (192.0.2.7:4711, 192.0.2.1:80)\n") {
		t.Errorf("%s", r.body)
	}
	s.access.await(t, "192.0.2.7 - - [")
}

// Over a Unix socket there are no addresses.
func TestCallerOverAUnixSocket(t *testing.T) {
	t.Parallel()
	s := newSite(t, &Config{})
	ours, theirs := net.Pipe()
	l := &oneConn{conns: make(chan net.Conn, 1), closed: make(chan bool)}
	l.conns <- unixEnd{ours}
	served := make(chan error)
	go func() { served <- s.Serve(l) }()
	w := newWire(t, theirs)
	w.send("GET / HTTP/1.0\r\n\r\n")
	if r := w.want("no addresses", 200); !strings.HasPrefix(r.body, "socket pair: (unix, unix)\n") {
		t.Errorf("%s", r.body)
	}
	s.access.await(t, "- - - [")
	l.Close()
	<-served
}

// unixEnd is a connection with the addresses of a Unix socket's client.
type unixEnd struct{ net.Conn }

func (unixEnd) LocalAddr() net.Addr  { return &net.UnixAddr{Name: "/run/web.sock", Net: "unix"} }
func (unixEnd) RemoteAddr() net.Addr { return &net.UnixAddr{Name: "", Net: "unix"} }

// oneConn is a listener with the connections that it is given.
type oneConn struct {
	conns  chan net.Conn
	closed chan bool
}

func (l *oneConn) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}
func (l *oneConn) Addr() net.Addr { return &net.UnixAddr{Name: "/run/web.sock", Net: "unix"} }
func (l *oneConn) Close() error {
	select {
	case <-l.closed:
	default:
		close(l.closed)
	}
	return nil
}

func TestFieldsOf(t *testing.T) {
	t.Parallel()
	got := fieldsOf(http.Header{"B": {"2", "1"}, "A": {""}, "Authorization": {"Basic x"}})
	want := []field{{"A", ""}, {"Authorization", "(7 bytes, not shown)"}, {"B", "2"}, {"B", "1"}}
	if !slices.Equal(got, want) {
		t.Errorf("%v", got)
	}
}

// All that a caller sends comes out as text, and as one line.
func FuzzCaller(f *testing.F) {
	f.Add("name", "a\x1b[2J</td><script>", "/?\"'")
	f.Fuzz(func(t *testing.T, name, value, target string) {
		c := caller{Method: "GET", Target: target, Headers: []field{{name, value}}}
		text := c.text()
		if n := strings.Count(text, "\n"); n != 4 && value != "" {
			t.Errorf("%d lines: %q", n, text)
		}
		plainPage := string((&caller{Method: "GET", Target: "/", Headers: []field{{"a", "b"}}}).page())
		if got, want := strings.Count(string(c.page()), "<"), strings.Count(plainPage, "<"); got != want {
			t.Errorf("%q brings tags of its own", c.page())
		}
		io.WriteString(io.Discard, text)
	})
}
