package web

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// frames is a client of HTTP/2 that writes frames as they are.
type frames struct {
	*http2.Framer
	t    testing.TB
	head bytes.Buffer
	enc  *hpack.Encoder
}

func (s *site) frames() *frames {
	s.t.Helper()
	cfg := s.clientTLS()
	cfg.NextProtos = []string{"h2"}
	nc, err := tls.Dial("tcp", s.addr, cfg)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { nc.Close() })
	nc.SetDeadline(time.Now().Add(patience))
	f := &frames{Framer: http2.NewFramer(nc, nc), t: s.t}
	f.enc = hpack.NewEncoder(&f.head)
	f.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	if _, err := io.WriteString(nc, http2.ClientPreface); err != nil {
		s.t.Fatal(err)
	}
	f.must(f.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 100}))
	return f
}

func (f *frames) must(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

// ask sends a request on a stream; end says that it has no body.
func (f *frames) ask(stream uint32, method, path, authority string, end bool, more ...string) {
	f.t.Helper()
	f.head.Reset()
	for _, field := range append([]string{":method: " + method, ":path: " + path, ":scheme: https", ":authority: " + authority}, more...) {
		i := strings.Index(field[1:], ": ") + 1
		f.enc.WriteField(hpack.HeaderField{Name: field[:i], Value: field[i+2:]})
	}
	f.must(f.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: f.head.Bytes(), EndHeaders: true, EndStream: end}))
}

// next returns the next frame of a stream that is not DATA.
func (f *frames) next(stream uint32) http2.Frame {
	f.t.Helper()
	for {
		fr, err := f.ReadFrame()
		if err != nil {
			f.t.Fatalf("waiting for stream %d: %v", stream, err)
		}
		if _, isData := fr.(*http2.DataFrame); fr.Header().StreamID == stream && !isData {
			return fr
		}
	}
}

// status wants an answer on a stream.
func (f *frames) status(stream uint32) string {
	f.t.Helper()
	h, ok := f.next(stream).(*http2.MetaHeadersFrame)
	if !ok {
		f.t.Fatalf("no answer on stream %d", stream)
	}
	return h.PseudoValue("status")
}

// A stream that is not read is reset, and the others of its connection go on; so is one
// whose body does not come. A1, A5.
func TestSlowStreams(t *testing.T) {
	t.Parallel()
	s := newTLSSite(t, &Config{
		Root:    folder(t, map[string]string{"large": strings.Repeat("x", 100_000), "small": "small"}),
		MinRate: 1 << 20, MinRateAfter: 100 * time.Millisecond,
	})
	f := s.frames()
	f.ask(1, "GET", "/large", "localhost", true)
	if code := f.status(1); code != "200" {
		t.Errorf("status %s", code)
	}
	f.ask(3, "GET", "/small", "localhost", true)
	if code := f.status(3); code != "200" {
		t.Errorf("status %s meanwhile", code)
	}
	if r, ok := f.next(1).(*http2.RSTStreamFrame); !ok {
		t.Errorf("%v", r)
	}
	f.ask(5, "GET", "/small", "localhost", true)
	if code := f.status(5); code != "200" {
		t.Errorf("status %s afterwards", code)
	}
}

// A body that comes too slowly is 408 on its stream.
func TestSlowBodyOverHTTP2(t *testing.T) {
	t.Parallel()
	s := newTLSSite(t, &Config{CGI: hellos(t), CGIUser: nobody(), MinRate: 1 << 20, MinRateAfter: 100 * time.Millisecond})
	f := s.frames()
	f.ask(1, "POST", "/cgi-bin/count", "localhost", false, "content-length: 100")
	f.must(f.WriteData(1, false, []byte("some")))
	if code := f.status(1); code != "408" {
		t.Errorf("status %s", code)
	}
	f.ask(3, "POST", "/cgi-bin/cat", "localhost", false)
	f.must(f.WriteData(3, false, []byte("some")))
	if code := f.status(3); code != "408" {
		t.Errorf("status %s without a length", code)
	}
	f.ask(5, "POST", "/", "localhost", false)
	f.must(f.WriteData(5, false, []byte("some")))
	if code := f.status(5); code != "405" {
		t.Errorf("status %s for what takes no body", code)
	}
	f.ask(7, "POST", "/cgi-bin/cat", "localhost", false, "content-length: 100")
	f.must(f.WriteData(7, false, []byte("some")))
	if code := f.status(7); code != "200" {
		t.Errorf("status %s of a program that answers at once", code)
	}
	if r, ok := f.next(7).(*http2.RSTStreamFrame); !ok {
		t.Errorf("it ends with %v", r)
	}
}

// The authority is checked as the Host field is.
func TestAuthorities(t *testing.T) {
	t.Parallel()
	s := newTLSSite(t, &Config{})
	f := s.frames()
	stream := uint32(1)
	for authority, code := range map[string]string{"localhost": "200", "[::1]:443": "200", "a.example%00": "400", "a.example,b.example": "400", "a.example:x": "400"} {
		f.ask(stream, "GET", "/", authority, true)
		if got := f.status(stream); got != code {
			t.Errorf("%q: %s", authority, got)
		}
		stream += 2
	}
}

// Without TLS there is no HTTP/2, by whatever way it is asked for. E4.
func TestNoHTTP2WithoutTLS(t *testing.T) {
	t.Parallel()
	s := newSite(t, &Config{})
	w := s.dial()
	w.send("GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n\r\n")
	if r := w.want("an upgrade", 200); r.ProtoMajor != 1 || r.Header.Get("Upgrade") != "" {
		t.Errorf("%s %v", r.Proto, r.Header)
	}
	w = s.dial()
	w.send(http2.ClientPreface)
	w.want("prior knowledge", 505)
	w.wantEnd("prior knowledge")
}

// What net/http logs of a handler's panic is an error; the rest is not worth a line.
func TestErrorLog(t *testing.T) {
	t.Parallel()
	s := newSite(t, &Config{})
	s.http.ErrorLog.Print("http: TLS handshake error from x")
	s.http.ErrorLog.Print("http: panic serving x: ouch\x1b\n\nstack")
	s.log.await(t, `ouch\\x1b`)
	if strings.Contains(s.log.String(), "handshake") {
		t.Errorf("%s", s.log)
	}
}

// A listener that fails ends Serve.
func TestServeEnds(t *testing.T) {
	t.Parallel()
	s, err := New(nil)
	if err != nil {
		t.Fatal(err)
	}
	l := &oneConn{conns: make(chan net.Conn), closed: make(chan bool)}
	l.Close()
	if err := s.Serve(l); !errors.Is(err, net.ErrClosed) {
		t.Errorf("%v", err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		t.Errorf("%v", err)
	}
}

// A connection whose handshake is not made is closed, logged, and the next one taken.
func TestAcceptGoesOn(t *testing.T) {
	t.Parallel()
	s := newTLSSite(t, &Config{})
	bad, _ := net.Pipe()
	good, peer := net.Pipe()
	l := &oneConn{conns: make(chan net.Conn, 2), closed: make(chan bool)}
	l.conns <- tlsServer(s, bad)
	l.conns <- good
	served := make(chan error)
	go func() { served <- s.Serve(l) }()
	w := newWire(t, peer)
	w.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	w.want("the next one", 200)
	s.log.await(t, "does not make the TLS handshake")
	l.Close()
	<-served
}
