package mail

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"yodel/engine"
	"yodel/engine/goroutine"
	"yodel/sock"
	"yodel/yodeltest"
)

const patience = 20 * time.Second

// A served is a server on an engine and a real socket.
type served struct {
	*Server
	t      testing.TB
	addr   string
	engine engine.Engine
}

func (s *served) port() string {
	_, port, _ := net.SplitHostPort(s.addr)
	return port
}

// serve serves s on loopback.
func serve(t testing.TB, s *Server, cfg engine.Config) *served {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cfg.Log = slog.New(slog.DiscardHandler)
	e, err := goroutine.New(s, &cfg)
	if err != nil {
		t.Fatal(err)
	}
	go e.Serve(l)
	t.Cleanup(func() { e.Close() })
	return &served{s, t, l.Addr().String(), e}
}

func testTLS(t testing.TB) *tls.Config {
	t.Helper()
	cert, _, err := sock.SelfSigned([]string{"localhost"})
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{cert}}
}

// A caller is a client on a real socket.
type caller struct {
	net.Conn
	t testing.TB
	r *bufio.Reader
}

func (s *served) call() *caller {
	s.t.Helper()
	c, err := net.Dial("tcp", s.addr)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { c.Close() })
	return on(s.t, c)
}

func on(t testing.TB, c net.Conn) *caller {
	c.SetDeadline(time.Now().Add(patience))
	return &caller{c, t, bufio.NewReader(c)}
}

func (c *caller) send(text string) {
	c.t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		c.t.Fatal(err)
	}
}

// reply returns the next reply, its last line without CR LF.
func (c *caller) reply() string {
	c.t.Helper()
	for {
		line, err := c.r.ReadString('\n')
		if err != nil {
			c.t.Fatalf("got %q, %v", line, err)
		}
		if len(line) < 4 || line[3] != '-' {
			return strings.TrimSuffix(line, "\r\n")
		}
	}
}

// say sends commands, and fails the test if the replies do not begin with want.
func (c *caller) say(commands string, want ...string) {
	c.t.Helper()
	if commands != "" {
		c.send(commands + "\r\n")
	}
	for _, w := range want {
		if got := c.reply(); !strings.HasPrefix(got, w) {
			c.t.Fatalf("%.100q is answered with %q, want %q", commands, got, w)
		}
	}
}

func (c *caller) wantEnd(why string) {
	c.t.Helper()
	if rest, err := io.ReadAll(c.r); len(rest) > 0 || err != nil {
		c.t.Errorf("%s: got %q, %v, wanted the end", why, rest, err)
	}
}

// overTLS begins TLS.
func (c *caller) overTLS() *caller {
	c.t.Helper()
	t := tls.Client(c.Conn, &tls.Config{InsecureSkipVerify: true})
	if err := t.Handshake(); err != nil {
		c.t.Fatal(err)
	}
	return on(c.t, t)
}

// D1: a message that another server would end elsewhere is refused as a whole, and what it
// hides is no command, nor a message of its own.
func TestSmuggling(t *testing.T) {
	t.Parallel()
	s := serve(t, newServer(t, nil), engine.Config{})
	hidden := "MAIL FROM:<forged@example.org>\r\nRCPT TO:<victim@example.org>\r\nDATA\r\nforged\r\n.\r\n"
	for _, end := range []string{"\n.\n", "\n.\r\n", "\r.\r", "\r.\r\n", "\r\n.\n", "\r\n.\r", "\r\n\x00.\r\n", "\r\r\n.\r\r\n", "\n.\r\r\n"} {
		c := s.call()
		c.say("EHLO x\r\nMAIL FROM:<s@example.net>\r\nRCPT TO:<alice@example.org>\r\nDATA", "220", "250", "250", "250", "354")
		c.say("Subject: x\r\n\r\nhi"+end+hidden+"\r\n.", "550 5.6.0")
		// The dot line of what is hidden is a true end; what follows it is not mail.
		c.say("QUIT", "500 5.5.2", "500 5.5.2", "221")
		c.wantEnd("QUIT")
	}
	wantMail(t, "refused", s.Server, "alice")
	wantMail(t, "forged", s.Server, "victim")
}

// D2: what is said in plain text with STARTTLS is thrown away, and the session starts over.
func TestStartTLS(t *testing.T) {
	t.Parallel()
	s := serve(t, newServer(t, func(c *Config) { c.TLS = testTLS(t) }), engine.Config{})
	c := s.call()
	c.say("EHLO x\r\nMAIL FROM:<forged@example.org>\r\nRSET", "220", "250", "250", "250")
	c.say("STARTTLS\r\nEHLO forged\r\nMAIL FROM:<forged@example.org>\r\nRCPT TO:<victim@example.org>\r\nDATA\r\nforged\r\n.", "220 2.0.0")
	c = c.overTLS()
	c.say("MAIL FROM:<s@example.net>", "503")
	c.say("EHLO x\r\nSTARTTLS\r\nMAIL FROM:<s@example.net>\r\nRCPT TO:<alice@example.org>\r\nDATA", "250 HELP", "503 5.5.1", "250", "250", "354")
	c.say("hi\r\n.\r\nQUIT", "250", "221")
	c.wantEnd("QUIT over TLS")
	wantMail(t, "over TLS", s.Server, "alice", "hi\n")
	wantMail(t, "forged", s.Server, "victim")
	text, err := os.ReadFile(filepath.Join(s.cfg.Dir, "alice"))
	if err != nil || !strings.Contains(string(text), "with ESMTPS (TLS 1.3 TLS_") {
		t.Errorf("its Received line does not tell of TLS: %s", text)
	}
}

// A handshake has its time and its number (A10).
func TestHandshakes(t *testing.T) {
	t.Parallel()
	s := serve(t, newServer(t, func(c *Config) {
		c.TLS, c.MaxHandshakes, c.HandshakeTimeout = testTLS(t), 1, 300*time.Millisecond
	}), engine.Config{})
	half, other := s.call(), s.call()
	half.say("HELO x\r\nSTARTTLS", "220", "250", "220")
	other.say("HELO x\r\nSTARTTLS", "220", "250", "454 4.7.0")
	half.wantEnd("half a handshake")
	for { // the place becomes free a moment after that end
		other.send("STARTTLS\r\n")
		if got := other.reply(); strings.HasPrefix(got, "220") {
			break
		}
	}
	other.overTLS().say("NOOP", "250")
	garbage := s.call()
	for garbage.say("HELO x", "220", "250"); ; garbage.say("NOOP", "250") {
		garbage.send("STARTTLS\r\n")
		if got := garbage.reply(); strings.HasPrefix(got, "220") {
			break
		}
	}
	garbage.send("this is no handshake\r\n")
	io.Copy(io.Discard, garbage) // an alert, or the end

	off := serve(t, newServer(t, func(c *Config) { c.TLS, c.MaxHandshakes, c.HandshakeTimeout = testTLS(t), -1, -1 }), engine.Config{})
	c := off.call()
	c.say("HELO x\r\nSTARTTLS", "220", "250", "220")
	c.overTLS().say("NOOP", "250")
}

// Where the engine does TLS, that is known and STARTTLS not offered.
func TestImplicitTLS(t *testing.T) {
	t.Parallel()
	conf := testTLS(t)
	s := serve(t, newServer(t, func(c *Config) { c.TLS = conf }), engine.Config{TLS: conf})
	c := s.call().overTLS()
	c.say("EHLO x\r\nSTARTTLS\r\nMAIL FROM:<s@example.net>\r\nRCPT TO:<alice@example.org>\r\nDATA", "220", "250 HELP", "503", "250", "250", "354")
	c.say("hi\r\n.\r\nQUIT", "250", "221")
	c.wantEnd("QUIT")
	text, _ := os.ReadFile(filepath.Join(s.cfg.Dir, "alice"))
	if !strings.Contains(string(text), "with ESMTPS (TLS 1.3 ") {
		t.Errorf("its Received line does not tell of TLS: %s", text)
	}
}

// D5: ends of lines and NUL in addresses, too many recipients, too many errors.
func TestBadCommands(t *testing.T) {
	t.Parallel()
	s := serve(t, newServer(t, func(c *Config) { c.MaxRecipients = 2 }), engine.Config{})
	c := s.call()
	c.say("EHLO x", "220", "250")
	for _, bad := range []string{"<a\r@b>", "<a\x00@b>", "<\"a\r\"@b>", "<a@b\r>", "<a@b\x00>"} {
		c.say("MAIL FROM:"+bad, "501 5.1.7")
	}
	c.say("MAIL FROM:<\"a\nRCPT TO:<x@example.org>\"@b>", "500 5.5.2", "503")
	c.say("MAIL FROM:<>", "250")
	c.say(strings.Repeat("RCPT TO:<alice@example.org>\r\n", 2)+strings.Repeat("RCPT TO:<bob@example.org>\r\n", 50)+"DATA",
		append(repeat("250", 2), append(repeat("452 4.5.3", 50), "354")...)...)
	c.say(strings.Repeat("Received: x\r\n", 51)+".", "554 5.4.6")
	c.say(strings.Repeat("XYZZY\r\n", 12), append(repeat("500", 11), "421 4.7.0")...)
	c.wantEnd("twenty errors")
}

func repeat(s string, n int) []string { return strings.Split(strings.Repeat(s+"|", n-1)+s, "|") }

// A7: a line of a gigabyte costs no memory.
func TestEndlessLines(t *testing.T) {
	t.Parallel()
	s := serve(t, newServer(t, nil), engine.Config{})
	chunk := strings.Repeat("x", 1<<20)
	c := s.call()
	c.say("HELO x", "220", "250")
	for range 32 {
		c.send(chunk)
	}
	c.say("\r\nNOOP", "500 5.5.2 that line", "250")
	c.say("MAIL FROM:<>\r\nRCPT TO:<alice@example.org>\r\nDATA", "250", "250", "354")
	for range 5 {
		c.send(chunk)
	}
	c.say("\r\n.\r\nNOOP", "554 5.6.0", "250")
	s.Server.mu.Lock()
	for served := range s.Server.conns {
		if n := cap(served.buf); n > mostBuffer {
			t.Errorf("a connection holds %d bytes", n)
		}
	}
	s.Server.mu.Unlock()
}

// A5: a peer that does not take its replies is cut by the engine.
func TestSlowReader(t *testing.T) {
	t.Parallel()
	s := serve(t, newServer(t, func(c *Config) { c.MaxCommands = -1 }), engine.Config{MinRate: 1 << 20, MinRateAfter: 200 * time.Millisecond})
	c := s.call()
	for {
		if _, err := io.WriteString(c, strings.Repeat("HELP\r\n", 1000)); err != nil {
			break // cut
		}
	}
}

// A6: peers that leave in the middle of things.
func TestReset(t *testing.T) {
	t.Parallel()
	s := serve(t, newServer(t, nil), engine.Config{})
	for _, said := range []string{"", "NO", hello + envelope + "half\r\n", hello + envelope, "QUIT\r\n"} {
		c := s.call()
		c.say("", "220")
		c.send(said)
		c.Conn.(*net.TCPConn).SetLinger(0)
		c.Close()
	}
	c := s.call()
	c.say("NOOP", "220", "250")
	wantMail(t, "half", s.Server, "alice")
}

// The engine's Shutdown lets the peers know.
func TestEngineShutdown(t *testing.T) {
	t.Parallel()
	s := serve(t, newServer(t, nil), engine.Config{})
	c := s.call()
	c.say("NOOP", "220", "250")
	go func() { // the peer reads to the end
		c.say("", "421 4.3.2")
		c.wantEnd("stopped")
		c.Close()
	}()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := s.engine.Shutdown(ctx); err != nil {
		t.Error(err)
	}
}

// Two listeners share a server, and so a spool.
func TestTwoListeners(t *testing.T) {
	t.Parallel()
	server := newServer(t, nil)
	for _, s := range []*served{serve(t, server, engine.Config{}), serve(t, server, engine.Config{})} {
		c := s.call()
		c.say(hello+envelope+"hi\r\n.\r\nQUIT", "220", "250", "250", "250", "354", "250", "221")
	}
	wantMail(t, "both", server, "alice", "hi\n", "hi\n")
}

// What an operator must know is logged once a second, with the peer.
func TestLog(t *testing.T) {
	t.Parallel()
	yodeltest.NeedLinux(t)
	var log strings.Builder
	s := newServer(t, func(c *Config) { c.Log, c.MaxErrors = slog.New(slog.NewTextHandler(&log, nil)), 1 })
	for range 3 {
		play(s, "X\r\n")
	}
	if n := strings.Count(log.String(), "mail peer cut"); n != 1 || s.Stats().Cut != 3 {
		t.Errorf("%d lines for %d peers:\n%s", n, s.Stats().Cut, &log)
	}
}
