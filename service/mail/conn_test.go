package mail

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"yodel/service/mail/spool"
	"yodel/yodeltest"
)

// fastDir returns a folder for tests that do not ask what a disk does: in memory, where
// there is such a place.
func fastDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "yodel-mail-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// newServer returns a server for example.org that is closed at the end of the test.
func newServer(t testing.TB, change func(*Config)) *Server {
	t.Helper()
	cfg := &Config{
		Dir: fastDir(t), Hostname: "mx.example.org", Domains: []string{"example.org"}, Log: slog.New(slog.DiscardHandler),
	}
	if change != nil {
		change(cfg)
	}
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// mailbox returns the texts of all messages of a mailbox, the lines that we put in front
// cut off.
func mailbox(t testing.TB, s *Server, box string) []string {
	t.Helper()
	v, err := spool.OpenView(s.cfg.Dir)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	var all []string
	for m, err := range v.Messages(box) {
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		var text []byte
		if err == nil {
			text, err = io.ReadAll(m.Text)
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, ownLines.ReplaceAllString(string(text), ""))
	}
	return all
}

var ownLines = regexp.MustCompile(`^Return-Path: <.*>\nReceived: .*\n(\t.*\n)+`)

func wantMail(t testing.TB, why string, s *Server, box string, want ...string) {
	t.Helper()
	if got := mailbox(t, s, box); !slices.Equal(got, want) {
		t.Errorf("%s: mailbox %s has\n%.300q\nwant\n%.300q", why, box, got, want)
	}
}

// A pieces is a connection whose peer has sent some pieces, each of which is one Read,
// and ended.
type pieces struct {
	net.Conn
	in  []string
	out bytes.Buffer
}

func (p *pieces) Read(b []byte) (int, error) {
	if len(p.in) == 0 {
		return 0, io.EOF
	}
	n := copy(b, p.in[0])
	if p.in[0] = p.in[0][n:]; p.in[0] == "" {
		p.in = p.in[1:]
	}
	return n, nil
}

func (p *pieces) Write(b []byte) (int, error)      { return p.out.Write(b) }
func (p *pieces) SetReadDeadline(time.Time) error  { return nil }
func (p *pieces) SetWriteDeadline(time.Time) error { return nil }
func (p *pieces) Close() error                     { return nil }
func (p *pieces) LocalAddr() net.Addr              { return yodeltest.Addr("here") }
func (p *pieces) RemoteAddr() net.Addr             { return yodeltest.Addr("there") }

// play holds a conversation and returns what the server has said, IDs left out.
func play(s *Server, parts ...string) string {
	p := &pieces{in: slices.Clone(parts)}
	s.ServeConn(p)
	return storedAs.ReplaceAllString(p.out.String(), "stored")
}

var storedAs = regexp.MustCompile("stored as [0-9A-Z]+")

const greeting = "220 mx.example.org ESMTP yodel\r\n"

const (
	hello         = "HELO x\r\n"
	helloReply    = greeting + "250 mx.example.org\r\n"
	envelope      = "MAIL FROM:<s@example.net>\r\nRCPT TO:<alice@example.org>\r\nDATA\r\n"
	envelopeReply = "250 2.1.0 ok\r\n250 2.1.5 ok\r\n354 go on, and end with a line that has only a dot\r\n"
)

// However a conversation is cut on its way, pipelined or not, the replies are the same
// (A8), and a line that is too long is refused once, in its turn (A7).
func TestCutsDoNotShow(t *testing.T) {
	t.Parallel()
	s := newServer(t, func(c *Config) { c.LineMax = 60 })
	in := hello + envelope + "hi\r\n..\r\n\r\n.\r\nNOOP\r\n" + strings.Repeat("x", 150) + "\r\nNOOP\nRSET\r\n" +
		envelope + "a\n.\r\nRCPT\r\n.\r\nQUIT\r\n"
	want := helloReply + envelopeReply + "250 2.0.0 stored\r\n250 2.0.0 ok\r\n500 5.5.2 that line is too long\r\n" +
		"500 5.5.2 a line ends in CR LF, not in LF alone\r\n250 2.0.0 ok\r\n" + envelopeReply +
		"550 5.6.0 the message has a CR or LF that stands alone, or a NUL\r\n221 2.0.0 goodbye\r\n"
	ways := 0
	for cut, parts := range yodeltest.Cuts(in) {
		ways++
		if got := play(s, parts...); got != want {
			t.Fatalf("%s:\ngot  %q\nwant %q", cut, got, want)
		}
	}
	got := mailbox(t, s, "alice")
	if len(got) != ways || slices.ContainsFunc(got, func(m string) bool { return m != "hi\n.\n\n" }) {
		t.Errorf("%d messages in %d conversations: %.100q", len(got), ways, got)
	}
}

func TestConversationEnds(t *testing.T) {
	t.Parallel()
	s := newServer(t, func(c *Config) { c.MaxErrors = 3 })
	for _, tt := range []struct{ what, in, want string }{
		{"nothing is said", "", greeting},
		{"half a command", "NOO", greeting},
		{"the end within a message", hello + envelope + "hi\r\n", helloReply + envelopeReply},
		{"errors, of which lines that are too long are some", "X\r\n\n" + strings.Repeat("x", 10_000) + "\r\nNOOP\r\n", greeting +
			"500 5.5.2 there is no such command; HELP lists them\r\n500 5.5.2 a line ends in CR LF, not in LF alone\r\n421 4.7.0 too many errors; closing\r\n"},
		{"a web page", "POST / HTTP/1.1\r\nHost: x\r\n\r\n" + hello, greeting + "421 4.7.0 this is a mail server; closing\r\n"},
		{"a line without an end", "NOOP\r\n" + strings.Repeat("x", 1<<20), greeting + "250 2.0.0 ok\r\n500 5.5.2 that line is too long\r\n"},
	} {
		if got := play(s, tt.in); got != tt.want {
			t.Errorf("%s:\ngot  %q\nwant %q", tt.what, got, tt.want)
		}
	}
	wantMail(t, "nothing of it is mail", s, "alice")
}

// A message that is refused is read to its end, but not for ever.
func TestTooLarge(t *testing.T) {
	t.Parallel()
	s := newServer(t, func(c *Config) { c.MaxSize = 10_000 })
	refused := "552 5.3.4 the message is longer than what EHLO says\r\n"
	line := strings.Repeat("x", 998) + "\r\n"
	for _, tt := range []struct {
		lines int
		want  string
	}{
		{10, "250 2.0.0 stored\r\n250 2.0.0 ok\r\n"},
		{11, refused + "250 2.0.0 ok\r\n"},
		{1000, refused + "250 2.0.0 ok\r\n"},
		{2000, refused},
	} {
		if got := play(s, hello+envelope, strings.Repeat(line, tt.lines)+".\r\nNOOP\r\n"); got != helloReply+envelopeReply+tt.want {
			t.Errorf("%d lines: %q", tt.lines, got)
		}
	}
	wantMail(t, "one was not too large", s, "alice", strings.ReplaceAll(strings.Repeat(line, 10), "\r", ""))
	if got := s.Stats(); got.Messages != 1 || got.Recipients != 1 || got.Bytes < 10_000-20 || got.Refused != 2 || got.Cut != 1 {
		t.Errorf("%+v", got)
	}
}

// One copy is enough where two recipients share a mailbox.
func TestRecipientsOfOneMailbox(t *testing.T) {
	t.Parallel()
	s := newServer(t, nil)
	play(s, hello+strings.Replace(envelope, "DATA", "RCPT TO:<ALICE@example.org>\r\nRCPT TO:<bob@example.org>\r\nDATA", 1)+"hi\r\n.\r\nQUIT\r\n")
	wantMail(t, "alice and ALICE", s, "alice", "hi\n")
	wantMail(t, "and bob", s, "bob", "hi\n")
}

// A message that can't be stored is answered with 451 or 452, and the next one may be.
func TestUnstored(t *testing.T) {
	t.Parallel()
	s := newServer(t, func(c *Config) { c.Format, c.MaxBoxes = spool.Maildir, 1 })
	os.WriteFile(s.cfg.Dir+"/alice", nil, 0o600) // where the mailbox should be
	send := envelope + "hi\r\n.\r\n"
	const broken = "451 4.3.0 the message can't be stored now; try again later\r\n"
	if got := play(s, hello+send+"QUIT\r\n"); got != helloReply+envelopeReply+broken+"221 2.0.0 goodbye\r\n" {
		t.Errorf("got %q", got)
	}
	os.Remove(s.cfg.Dir + "/alice")
	bob := strings.Replace(envelope, "alice", "bob", 1)
	two := strings.Replace(envelope, "DATA", "RCPT TO:<bob@example.org>\r\nDATA", 1)
	if got := play(s, hello+send+bob); !strings.Contains(got, "stored\r\n250 2.1.0 ok\r\n452 4.2.1") {
		t.Errorf("a second mailbox: %q", got)
	}
	if got := play(s, hello+two+"hi\r\n.\r\n"); !strings.Contains(got, "452 4.2.1 there may be no more mailboxes here\r\n354") {
		t.Errorf("a second mailbox beside the first: %q", got)
	}
	s.policy.check = func(string) error { return nil }
	if got := play(s, hello+two+"hi\r\n.\r\n"); !strings.HasSuffix(got, "452 4.3.1 there is not enough room for the message; try again later\r\n") {
		t.Errorf("too many mailboxes: %q", got)
	}
	if got := s.Stats(); got.Unstored != 2 || got.Messages != 2 {
		t.Errorf("%+v", got)
	}
}

// A peer is a test's end of a connection in memory.
type peer struct {
	*yodeltest.Conn
	t *testing.T
}

// dial serves a connection in memory.
func dial(t *testing.T, s *Server) *peer {
	t.Helper()
	client, server := new(yodeltest.Net).Pipe()
	go func() {
		s.ServeConn(server)
		server.Close()
	}()
	t.Cleanup(func() { client.Close() })
	return &peer{client, t}
}

func (p *peer) send(text string) {
	p.t.Helper()
	if _, err := io.WriteString(p, text); err != nil {
		p.t.Fatal(err)
	}
}

func (p *peer) want(why, want string) {
	p.t.Helper()
	got := make([]byte, len(want))
	n, err := io.ReadFull(p, got)
	if string(got[:n]) != want {
		p.t.Fatalf("%s:\ngot  %q, %v\nwant %q", why, got[:n], err, want)
	}
}

func (p *peer) wantEnd(why string) {
	p.t.Helper()
	if rest, err := io.ReadAll(p); len(rest) > 0 || err != nil {
		p.t.Fatalf("%s: got %q, %v, wanted the end", why, rest, err)
	}
}

// Time is bounded (A1): of a command from its first byte, of a line of a message, of a
// message, and of silence; and a person who types is left in peace.
func TestTimes(t *testing.T) {
	t.Parallel()
	const slow = "421 4.4.2 that comes too slowly; closing\r\n"
	const idle = "421 4.4.2 nothing has come for too long; closing\r\n"
	for _, tt := range []struct {
		what string
		talk func(p *peer)
		last string
		at   time.Duration // when it ends
	}{
		{"silence", func(p *peer) {}, idle, 5 * time.Minute},
		{"silence after a long while", func(p *peer) {
			time.Sleep(290 * time.Second)
			p.send("NOOP\r\n")
			p.want("a person thinks", "250 2.0.0 ok\r\n")
		}, idle, 590 * time.Second},
		{"half a command", func(p *peer) { p.send("NO") }, slow, 10 * time.Second},
		{"a command byte by byte", func(p *peer) {
			for range 3 {
				p.send("N")
				time.Sleep(3 * time.Second)
			}
		}, slow, 10 * time.Second},
		{"half a command behind a whole one", func(p *peer) {
			p.send("NOOP\r\nNO")
			p.want("the whole one", "250 2.0.0 ok\r\n")
		}, slow, 10 * time.Second},
		{"the rest of a line that is too long", func(p *peer) {
			p.send(strings.Repeat("x", 10_000))
			p.want("refused", "500 5.5.2 that line is too long\r\n")
			time.Sleep(9 * time.Second)
			p.send("x")
		}, slow, 10 * time.Second},
		{"silence after a line that was too long", func(p *peer) {
			p.send(strings.Repeat("x", 10_000))
			p.want("refused", "500 5.5.2 that line is too long\r\n")
			p.send("\r\n")
		}, idle, 5 * time.Minute},
		{"silence instead of a message", func(p *peer) {
			p.send(hello + envelope)
			p.want("go on", "250 mx.example.org\r\n"+envelopeReply)
		}, slow, 5 * time.Minute},
		{"a line of a message byte by byte", func(p *peer) {
			p.send(hello + envelope)
			p.want("go on", "250 mx.example.org\r\n"+envelopeReply)
			time.Sleep(time.Minute)
			p.send("Subject: hi\r\nx")
			time.Sleep(4 * time.Second)
			p.send("x")
		}, slow, 65 * time.Second},
		{"lines for ever", func(p *peer) {
			p.send(hello + envelope)
			p.want("go on", "250 mx.example.org\r\n"+envelopeReply)
			for range 59 {
				p.send(strings.Repeat("x", 498) + "\r\n") // 500 bytes in 6 s
				time.Sleep(6 * time.Second)
			}
		}, slow, 300*time.Second + 59*time.Second},
		{"silence after much of a message", func(p *peer) {
			p.send(hello + envelope)
			p.want("go on", "250 mx.example.org\r\n"+envelopeReply)
			p.send(strings.Repeat("x\r\n", 100_000))
		}, slow, 5 * time.Minute},
		{"a person who types a message", func(p *peer) {
			p.send(hello + envelope)
			p.want("go on", "250 mx.example.org\r\n"+envelopeReply)
			for range 20 {
				time.Sleep(14 * time.Second)
				p.send("I think.\r\n")
			}
			p.send(".\r\n")
			io.ReadFull(p, make([]byte, len("250 2.0.0 stored as ")))
			p.send("QUIT\r\n")
			io.CopyN(io.Discard, p, 10)
		}, "", 280 * time.Second},
	} {
		t.Run(tt.what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newServer(t, nil)
				p := dial(t, s)
				begun := time.Now()
				p.want("greeting", greeting)
				tt.talk(p)
				if tt.last != "" {
					p.want("last words", tt.last)
					p.wantEnd("it is over")
				} else {
					io.ReadAll(p)
				}
				if took := time.Since(begun); took < tt.at || took > tt.at+time.Second {
					t.Errorf("it has ended after %v, want %v", took, tt.at)
				}
				if cuts := s.Stats().Cut; tt.last != "" && cuts != 1 {
					t.Errorf("%d peers were cut", cuts)
				}
			})
		})
	}
}

// With negative times there is no bound.
func TestTimesOff(t *testing.T) {
	t.Parallel()
	for _, off := range []func(*Config){
		func(c *Config) { c.Idle, c.HeaderTimeout = -1, -1 },
		func(c *Config) { c.Idle, c.HeaderTimeout, c.MinRate = -1, -1, -1 },
	} {
		synctest.Test(t, func(t *testing.T) {
			p := dial(t, newServer(t, off))
			p.want("greeting", greeting)
			time.Sleep(24 * time.Hour)
			p.send("NO")
			time.Sleep(24 * time.Hour)
			p.send("OP\r\n" + hello + envelope)
			p.want("it was waited for", "250 2.0.0 ok\r\n250 mx.example.org\r\n"+envelopeReply)
			time.Sleep(24 * time.Hour)
			p.send("hi\r\n.\r\n")
			p.want("and it is stored", "250 2.0.0 stored as ")
		})
	}
}

// Who talks before the greeting is no mail client.
func TestEarlyTalker(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, func(c *Config) { c.GreetDelay = time.Second })
		p := dial(t, s)
		p.send(hello)
		p.want("too early", "554 5.5.0 wait for the greeting; closing\r\n")
		p.wantEnd("too early")
		begun := time.Now()
		p = dial(t, s)
		p.want("who waits is greeted", greeting)
		if took := time.Since(begun); took != time.Second {
			t.Errorf("greeted after %v", took)
		}
		p = dial(t, s)
		p.Close() // before the greeting
		synctest.Wait()
	})
}

// Mail for everybody is taken from this host only.
func TestAcceptAllIsForThisHost(t *testing.T) {
	t.Parallel()
	s := newServer(t, func(c *Config) { c.AcceptAll = true })
	n := new(yodeltest.Net)
	for from, want := range map[string]string{
		"192.0.2.9:4000": "554 5.7.1 only programs on this host are served; closing\r\n",
		"127.0.0.1:4000": greeting, "[::1]:4000": greeting, "[::ffff:127.0.0.1]:4000": greeting, "unix": greeting,
	} {
		l, err := n.Listen(from + " calls")
		if err != nil {
			t.Fatal(err)
		}
		c, err := n.DialFrom(t.Context(), from, from+" calls")
		if err != nil {
			t.Fatal(err)
		}
		server, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		go s.ServeConn(server)
		p := &peer{c, t}
		p.want(from, want)
		c.Close()
	}
}

// Shutdown tells each peer that it is over, when it has no message under way.
func TestShutdown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, nil)
		idle, half, busy := dial(t, s), dial(t, s), dial(t, s)
		idle.want("greeting", greeting)
		half.send("NOO")
		half.want("greeting", greeting)
		busy.send(hello + envelope)
		busy.want("greeting", helloReply+envelopeReply)
		synctest.Wait()
		done := make(chan error, 1)
		go func() { done <- s.Shutdown(t.Context()) }()
		const stopping = "421 4.3.2 the server is being stopped; closing\r\n"
		idle.want("who says nothing", stopping)
		idle.wantEnd("who says nothing")
		half.send("P\r\n")
		half.want("who was about to say something", "250 2.0.0 ok\r\n"+stopping)
		half.wantEnd("who was about to say something")
		time.Sleep(time.Second)
		if len(done) > 0 {
			t.Fatal("Shutdown has returned")
		}
		late := dial(t, s)
		late.want("who comes now", stopping)
		late.Close()
		busy.send("hi\r\n.\r\n")
		busy.want("the message is stored", "250 2.0.0 stored as ")
		io.CopyN(io.Discard, busy, int64(len("1772886600M000000P1Q1R00000000")))
		if rest, _ := io.ReadAll(busy); !strings.HasSuffix(string(rest), stopping) {
			t.Errorf("after the message: %q", rest)
		}
		busy.Close()
		if err := <-done; err != nil {
			t.Error(err)
		}
		wantMail(t, "it is stored", s, "alice", "hi\n")
	})
}

// Shutdown gives up with its context, and Close cuts.
func TestClose(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, nil)
		p := dial(t, s)
		p.send(hello + envelope)
		p.want("greeting", helloReply+envelopeReply)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := s.Shutdown(ctx); err != context.DeadlineExceeded {
			t.Errorf("Shutdown: %v", err)
		}
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
		if rest, err := io.ReadAll(p); len(rest) > 0 {
			t.Errorf("cut: %q, %v", rest, err)
		}
		if err := s.Close(); err != nil {
			t.Errorf("Close again: %v", err)
		}
		p = dial(t, s)
		p.wantEnd("a closed server")
	})
}

func TestNewFails(t *testing.T) {
	t.Parallel()
	for _, cfg := range []Config{{}, {Dir: fastDir(t), Hostname: "a b"}, {Dir: fastDir(t), Format: "x"}} {
		if s, err := New(&cfg); err == nil {
			t.Errorf("%+v is accepted", cfg)
			s.Close()
		}
	}
}
