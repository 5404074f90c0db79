package web

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"yodel/yodeltest"
)

// small is a site with a few small files, asked for once, so that they are kept.
func small(t testing.TB, cfg *Config) *site {
	t.Helper()
	cfg.Root = folder(t, map[string]string{"a.txt": "the file a\n", "b.txt": "the file b\n"})
	s := newSite(t, cfg)
	s.want("a", "/a.txt", 200, "the file a\n")
	s.want("b", "/b.txt", 200, "the file b\n")
	s.browser.CloseIdleConnections()
	return s
}

const wantA = "GET /a.txt HTTP/1.1\r\nHost: x\r\n\r\n"

// What is refused gets one answer that says why, and the end, behind the answers to what
// came before it; what comes behind it is not looked at. E1.
func TestRefusal(t *testing.T) {
	t.Parallel()
	s := small(t, &Config{HeadMax: 4 << 10})
	for name, c := range map[string]struct {
		sent string
		code int
		say  string
	}{
		"both lengths":     {get("Content-Length: 5", "Transfer-Encoding: chunked"), 400, "both a Content-Length and"},
		"LF alone":         {"GET / HTTP/1.1\nHost: x\n\n", 400, "LF alone"},
		"LF alone at last": {"GET / HTTP/1.1\r\nHost: x\n\r\n", 400, "LF alone"},
		"LF alone, early":  {"GET / HTTP/1.1\n", 400, "LF alone"},
		"an empty line":    {"\r\n" + wantA, 400, "no request"},
		"TLS":              {"\x16\x03\x01\x02\x00\x01", 400, "no request"},
		"HTTP/2":           {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, "only HTTP/1.0 and HTTP/1.1"},
		"a long head":      {"GET / HTTP/1.1\r\nX: " + strings.Repeat("y", 5<<10), 431, "longer than 4096 bytes"},
		"a long target":    {"GET /" + strings.Repeat("y", 5<<10), 431, "longer than 4096 bytes"},
		"many fields":      {"GET / HTTP/1.1\r\n" + strings.Repeat("X: y\r\n", 101) + "\r\n", 431, "more than 100"},
		"a bad escape":     {"GET /%zz HTTP/1.1\r\nHost: x\r\n\r\n", 400, "percent sign"},
	} {
		for before, requests := range map[string]string{
			"alone": "", "behind an answer from memory": wantA,
			"behind an answer of net/http": "GET /?slow HTTP/1.1\r\nHost: x\r\n\r\n",
		} {
			w := s.dial()
			w.send(requests + c.sent + wantA)
			if requests != "" {
				w.want(name+" "+before+": the answer to what was before", 200)
			}
			r := w.want(name+" "+before, c.code)
			if !strings.Contains(r.body, c.say) || !r.Close || r.Header.Get("Date") == "" {
				t.Errorf("%s %s: %q, close %v", name, before, r.body, r.Close)
			}
			w.wantEnd(name + " " + before)
		}
	}
	if n := s.Stats().Refused; n == 0 {
		t.Error("none is counted")
	}
	s.access.await(t, `"GET / HTTP/1.1" 400 `)
	s.access.await(t, `"\x16\x03\x01\x02\x00\x01GET /a.txt HTTP/1.1" 400 `)
}

// Requests may come in any pieces, and all at once.
func TestPiecesAndPipelines(t *testing.T) {
	t.Parallel()
	s := small(t, &Config{})
	talk := wantA + "HEAD /b.txt HTTP/1.1\r\nHost: x\r\n\r\n" + "GET /b.txt?slow HTTP/1.1\r\nHost: x\r\n\r\n" +
		"POST /a.txt HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello"
	check := func(why string, w *wire) {
		t.Helper()
		if r := w.want(why, 200); r.body != "the file a\n" {
			t.Errorf("%s: %q", why, r.body)
		}
		if r := w.reply(http.MethodHead); r.StatusCode != 200 || r.body != "" || r.ContentLength != 11 {
			t.Errorf("%s: HEAD: %s %q", why, r.Status, r.body)
		}
		if r := w.want(why, 200); r.body != "the file b\n" {
			t.Errorf("%s: %q", why, r.body)
		}
		w.want(why, 405)
		w.wantEnd(why)
	}
	for cut := range len(talk) + 1 {
		if testing.Short() && cut%7 != 0 {
			continue
		}
		w := s.dial()
		w.send(talk[:cut])
		w.send(talk[cut:])
		check(fmt.Sprintf("cut after %d bytes", cut), w)
	}
	w := s.dial()
	for _, c := range talk {
		w.send(string(c))
	}
	check("byte by byte", w)
}

// The target may be a whole URI, as a proxy is sent. RFC 9112 §3.2.2.
func TestWholeTarget(t *testing.T) {
	t.Parallel()
	s := small(t, &Config{})
	w := s.dial()
	w.send("GET http://x/a.txt HTTP/1.1\r\nHost: x\r\n\r\n", "GET http://x HTTP/1.1\r\nHost: X\r\n\r\n")
	if r := w.want("a file", 200); r.body != "the file a\n" {
		t.Errorf("%q", r.body)
	}
	if r := w.want("no path", 200); !strings.Contains(r.body, "Folder /<") {
		t.Errorf("%q", r.body)
	}
}

// A thousand requests at once, of which some are net/http's, are answered in order.
func TestLongPipeline(t *testing.T) {
	t.Parallel()
	s := small(t, &Config{HeadMax: 2 << 10})
	const n = 1000
	w := s.dial()
	go func() {
		for i := range n {
			if i%3 == 0 {
				io.WriteString(w.Conn, "GET /b.txt?slow HTTP/1.1\r\nHost: x\r\n\r\n")
			} else {
				io.WriteString(w.Conn, wantA)
			}
		}
	}()
	for i := range n {
		want := "the file a\n"
		if i%3 == 0 {
			want = "the file b\n"
		}
		if r := w.want("one of many", 200); r.body != want {
			t.Fatalf("answer %d is %q", i, r.body)
		}
	}
}

// inMemory serves cfg in a bubble, and returns a way to call.
func inMemory(t *testing.T, cfg *Config) func() *wire {
	t.Helper()
	cfg.Log = slog.New(slog.DiscardHandler)
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	var n yodeltest.Net
	l, err := n.Listen("192.0.2.1:80")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Close()
		<-served
	})
	return func() *wire {
		nc, err := n.Dial(context.Background(), "192.0.2.1:80")
		if err != nil {
			t.Fatal(err)
		}
		w := newWire(t, nc)
		nc.SetDeadline(time.Time{})
		return w
	}
}

// A head has ten seconds from its first byte, however it comes; who says nothing is left
// alone for a minute. A1.
func TestClocks(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		first  string // a whole request first
		pieces []string
		every  time.Duration
		after  time.Duration // when it ends
		code   int           // 0: without an answer
	}{
		"nothing":                     {"", nil, 0, time.Minute, 0},
		"nothing more":                {wantA, nil, 0, time.Minute, 0},
		"a byte and no more":          {"", []string{"G"}, 0, 10 * time.Second, 408},
		"half a head, later":          {wantA, []string{"GET / HT"}, 30 * time.Second, 40 * time.Second, 408},
		"a byte every four seconds":   {"", strings.Split("GET / HTTP", ""), 4 * time.Second, 14 * time.Second, 408},
		"a field every three seconds": {"", []string{"GET / HTTP/1.1\r\n", "A: b\r\n", "C: d\r\n", "E: f\r\n", "G: h\r\n"}, 3 * time.Second, 13 * time.Second, 408},
		"net/http's, and nothing":     {"GET /no HTTP/1.1\r\nHost: x\r\n\r\n", nil, 0, time.Minute, 0},
		"net/http's, and half a head": {"GET /no HTTP/1.1\r\nHost: x\r\n\r\n", []string{"GET"}, 59 * time.Second, 69 * time.Second, 408},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := inMemory(t, &Config{})()
				if c.first != "" {
					w.send(c.first)
					w.reply(http.MethodGet)
				}
				begun, sent := time.Now(), make(chan bool)
				go func() {
					defer close(sent)
					for _, p := range c.pieces {
						time.Sleep(c.every)
						if _, err := io.WriteString(w.Conn, p); err != nil {
							return
						}
					}
				}()
				if c.code != 0 {
					w.want("it is late", c.code)
				} else {
					w.wantEnd("it is at rest")
				}
				if took := time.Since(begun); took < c.after || took > c.after+time.Second {
					t.Errorf("it ends after %v, want %v", took, c.after)
				}
				w.Close()
				<-sent
			})
		})
	}
}

func TestClocksThatAreOff(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := inMemory(t, &Config{Idle: -1, HeaderTimeout: -1})()
		time.Sleep(time.Hour)
		w.send("GET / HTTP/1.1\r\n")
		time.Sleep(time.Hour)
		w.send("Host: x\r\n\r\n")
		w.want("in two hours", 200)
	})
}

// Shutdown ends connections at rest at once, those too of which net/http has seen nothing,
// and lets an answer be finished.
func TestShutdownOfConnections(t *testing.T) {
	t.Parallel()
	s := small(t, &Config{})
	fresh, rested, other, half := s.dial(), s.dial(), s.dial(), s.dial()
	before := s.engine.Stats().BytesIn
	const wantList = "GET /?slow HTTP/1.1\r\nHost: x\r\n\r\n"
	rested.send(wantA)
	rested.want("from memory", 200)
	other.send(wantList)
	other.want("by net/http", 200)
	half.send(wantA[:20])
	eventually(t, "all has come", func() bool {
		st := s.engine.Stats()
		return st.Active == 4 && st.BytesIn-before == int64(len(wantA)+len(wantList)+20)
	})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	done := make(chan error, 1)
	begun := time.Now()
	go func() { done <- s.engine.Shutdown(ctx) }()
	fresh.wantEnd("nothing was asked")
	rested.wantEnd("all was answered")
	other.wantEnd("all was answered by net/http")
	half.send(wantA[20:])
	half.want("what was begun is answered", 200)
	half.wantEnd("and then it ends")
	if err := <-done; err != nil {
		t.Errorf("Shutdown: %v", err)
	}
	if took := time.Since(begun); took > 4*time.Second {
		t.Errorf("Shutdown took %v", took)
	}
}

// eventually waits for what has no event.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); <-time.After(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("it never comes that %s", what)
		}
	}
}

// Close cuts all at once, also an answer that nobody reads.
func TestCloseCuts(t *testing.T) {
	t.Parallel()
	cfg := &Config{CacheFileMax: 8 << 20}
	cfg.Root = folder(t, map[string]string{"big": strings.Repeat("0123456789abcdef", 1<<17)})
	s := newSite(t, cfg)
	s.want("it is kept then", "/big", 200, "")
	w := s.dial()
	w.send(strings.Repeat("GET /big HTTP/1.1\r\nHost: x\r\n\r\n", 10))
	w.in.Peek(1)
	s.engine.Close()
	if n, err := io.Copy(io.Discard, w.in); n >= 10<<21 {
		t.Errorf("all %d bytes came, %v", n, err)
	}
}

// brokenConn is a connection whose Write fails, or that has no half-close.
type brokenConn struct {
	net.Conn
	fail error
}

func (c brokenConn) Write(p []byte) (int, error) {
	if c.fail != nil {
		return 0, c.fail
	}
	return c.Conn.Write(p)
}

// guardOn returns a guard above one end of a pipe, and the other end.
func guardOn(t *testing.T, cfg *Config, wrap func(net.Conn) net.Conn) (*guard, net.Conn) {
	t.Helper()
	cfg.Log = slog.New(slog.DiscardHandler)
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := net.Pipe()
	t.Cleanup(func() { ours.Close(); theirs.Close() })
	return newGuard(s, wrap(ours)), theirs
}

// A peer that is gone when its answer is sent has ended the connection.
func TestAnswerThatCannotBeSent(t *testing.T) {
	t.Parallel()
	g, peer := guardOn(t, &Config{}, func(nc net.Conn) net.Conn { return brokenConn{nc, io.ErrClosedPipe} })
	go io.WriteString(peer, "\n")
	if n, err := g.Read(make([]byte, 10)); n != 0 || err != io.EOF {
		t.Errorf("Read: %d, %v", n, err)
	}
	dir := folder(t, map[string]string{"a": "a"})
	g, peer = guardOn(t, &Config{Root: dir}, func(nc net.Conn) net.Conn { return brokenConn{nc, io.ErrClosedPipe} })
	file, info, err := g.s.files.open("a")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	g.s.files.keep("a", file, info, time.Now())
	go io.WriteString(peer, "GET /a HTTP/1.1\r\nHost: x\r\n\r\n")
	if n, err := g.Read(make([]byte, 10)); n != 0 || err != io.EOF {
		t.Errorf("Read: %d, %v", n, err)
	}
}

// Nothing is lost and nothing is asked for where there is no half-close and no file.
func TestGuardOnAPipe(t *testing.T) {
	t.Parallel()
	g, peer := guardOn(t, &Config{}, func(nc net.Conn) net.Conn { return nc })
	if err := g.CloseWrite(); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("CloseWrite: %v", err)
	}
	got := make(chan string, 1)
	go func() {
		all := make([]byte, 5)
		io.ReadFull(peer, all)
		got <- string(all)
	}()
	if n, err := g.ReadFrom(strings.NewReader("hello")); n != 5 || err != nil {
		t.Errorf("ReadFrom: %d, %v", n, err)
	}
	if text := <-got; text != "hello" {
		t.Errorf("%q", text)
	}
	if n, err := g.Read(nil); n != 0 || err != nil {
		t.Errorf("Read of nothing: %d, %v", n, err)
	}
}

// While a handler works the guard reads what comes next, up to a bound, hands out
// nothing, and is woken by a deadline or by Close.
func TestGuardWatches(t *testing.T) {
	t.Parallel()
	const room = 2 << 10
	g, peer := guardOn(t, &Config{HeadMax: room}, func(nc net.Conn) net.Conn { return nc })
	ended := make(chan error, 1)
	read := func() {
		n, err := g.Read(make([]byte, 1))
		if n > 0 {
			err = fmt.Errorf("%d bytes", n)
		}
		ended <- err
	}
	peerSays := func(s string) {
		t.Helper()
		peer.SetWriteDeadline(time.Now().Add(patience))
		if _, err := io.WriteString(peer, s); err != nil {
			t.Fatal(err)
		}
	}
	go io.WriteString(peer, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	if _, err := io.ReadFull(g, make([]byte, 27)); err != nil {
		t.Fatal(err)
	}
	g.SetReadDeadline(time.Time{})
	go read()
	peerSays(strings.Repeat("x", room))
	peer.SetWriteDeadline(time.Now().Add(10 * time.Millisecond))
	if n, err := io.WriteString(peer, "more"); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("more than there is room for is read: %d, %v", n, err)
	}
	g.SetDeadline(time.Unix(1, 0))
	g.SetDeadline(time.Unix(1, 0))
	if err := <-ended; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a deadline: %v", err)
	}
	g.SetReadDeadline(time.Time{})
	go read()
	g.Close()
	if err := <-ended; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Close: %v", err)
	}
}

// The guard's own answer is the one that net/http and the handlers give.
func TestExpressIsNoDifferent(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a line that comes again and again\n", 1000)
	root := folder(t, map[string]string{
		"a.txt": "a", "empty": "", "long.txt": long, "index.html": "<p>", "sub/index.html": "<b>",
		"b.css": "body{}", "b.css.br": "not really brotli", "b.css.gz": "nor gzip",
	})
	s := newSite(t, &Config{Root: root, CacheFor: time.Hour}) // on a busy machine a second is soon over
	for _, path := range []string{"/a.txt", "/empty", "/long.txt", "/", "/sub/", "/b.css"} {
		for _, accept := range []string{"", "Accept-Encoding: gzip\r\n", "Accept-Encoding: br\r\n", "Accept-Encoding: br;q=0, *\r\n"} {
			for _, method := range []string{"GET", "HEAD"} {
				s.get(path)
				w := s.dial()
				before := s.Stats().Kept
				ask := func(query string) reply {
					w.send(method + " " + path + query + " HTTP/1.1\r\nHost: x\r\n" + accept + "\r\n")
					return w.reply(method)
				}
				express, usual := ask(""), ask("?x")
				if n := s.Stats().Kept - before; n != 1 {
					t.Errorf("%s %s: the guard has answered %d times", method, path, n)
				}
				express.Header.Del("Date")
				usual.Header.Del("Date")
				if got, want := fmt.Sprint(express.Status, express.Proto, express.Header), fmt.Sprint(usual.Status, usual.Proto, usual.Header); got != want {
					t.Errorf("%s %s %q:\nthe guard  %s\nnet/http   %s", method, path, accept, got, want)
				}
				if express.body != usual.body {
					t.Errorf("%s %s %q: %q, and %q", method, path, accept, cut(express.body), cut(usual.body))
				}
			}
		}
	}
}

// A name that is kept is not found by a path that means another.
func TestExpressNames(t *testing.T) {
	t.Parallel()
	root := folder(t, map[string]string{"a b": "a b", "c": "c"})
	for name, content := range map[string]string{"a%20b": "percent", "q?x": "question"} {
		put(t, filepath.Join(root, name), content, 0o644)
	}
	s := newSite(t, &Config{Root: root})
	for range 3 {
		s.want("a space", "/a%20b", 200, "a b")
		s.want("a percent sign", "/a%2520b", 200, "percent")
		s.want("a question mark", "/q%3Fx", 200, "question")
		s.want("a query", "/q?x", 404, "")
		s.want("a query of a file that is kept", "/c?x", 200, "c")
	}
}

// Over TLS the guard does the same.
func TestExpressOverTLS(t *testing.T) {
	t.Parallel()
	s := newTLSSite(t, &Config{Root: folder(t, map[string]string{"a.txt": "the file a\n"})})
	w := s.dial()
	for range 3 {
		w.send(wantA)
		if r := w.want("over TLS", 200); r.body != "the file a\n" {
			t.Errorf("%q", r.body)
		}
	}
	w.send("GET /\r\n\r\n")
	w.want("over TLS", 400)
	w.wantEnd("over TLS")
	if n := s.Stats().Kept; n != 2 {
		t.Errorf("the guard has answered %d times", n)
	}
}

// A listener that leaves the TLS handshake to others is a mistake that is told.
func TestHandshakeMustBeMade(t *testing.T) {
	t.Parallel()
	s := newTLSSite(t, &Config{})
	ours, theirs := net.Pipe()
	defer theirs.Close()
	if _, err := s.admit(tlsServer(s, ours)); !errors.Is(err, errNoHandshake) {
		t.Errorf("%v", err)
	}
	if _, err := theirs.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("it is not closed: %v", err)
	}
}

func TestDrop(t *testing.T) {
	t.Parallel()
	g := &guard{buf: []byte("abcdef"), scanned: 4, lines: 2}
	g.drop(3)
	if !bytes.Equal(g.buf, []byte("def")) || g.scanned != 1 || g.lines != 0 {
		t.Errorf("%q, %d, %d", g.buf, g.scanned, g.lines)
	}
}
