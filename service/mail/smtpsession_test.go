package mail

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"yodel/service/mail/spool"
)

// testPolicy is that of a server for example.org and bücher.example.
func testPolicy(t testing.TB, change func(*Config)) *policy {
	t.Helper()
	cfg := &Config{Hostname: "mx.example.org", Domains: []string{"Example.org.", "bücher.example"}, MaxSize: 1000}
	if change != nil {
		change(cfg)
	}
	p, err := cfg.policy()
	if err != nil {
		t.Fatal(err)
	}
	p.hasRoom, p.check = func() bool { return true }, func(string) error { return nil }
	return p
}

// script plays a conversation of lines "C: command" and "S: reply, as far as it is told",
// and returns the session and what the last command made the connection do.
func script(t *testing.T, p *policy, lines string) (*session, action) {
	t.Helper()
	s := &session{policy: p, state: fresh, here: netip.MustParseAddr("192.0.2.1")}
	var got []string
	var do action
	for line := range strings.Lines(lines) {
		line = strings.TrimSpace(line)
		switch {
		case line == "":
		case strings.HasPrefix(line, "C: "):
			if len(got) > 0 {
				t.Errorf("unexpected: %q", got)
			}
			var r reply
			r, do = s.hear([]byte(line[3:]))
			got = strings.Split(strings.TrimSuffix(string(r.appendTo(nil)), "\r\n"), "\r\n")
		case len(got) == 0 || !strings.HasPrefix(got[0], line[3:]):
			t.Errorf("wanted %q, got %q", line[3:], got)
		default:
			got = got[1:]
		}
	}
	if len(got) > 0 {
		t.Errorf("unexpected: %q", got)
	}
	return s, do
}

func TestSession(t *testing.T) {
	t.Parallel()
	s, do := script(t, testPolicy(t, nil), `
		C: NOOP
		S: 250 2.0.0
		C: MAIL FROM:<a@b>
		S: 503 5.5.1 say EHLO first
		C: EHLO client.example
		S: 250-mx.example.org
		S: 250-PIPELINING
		S: 250-SIZE 1000
		S: 250-8BITMIME
		S: 250-SMTPUTF8
		S: 250-ENHANCEDSTATUSCODES
		S: 250 HELP
		C: RCPT TO:<alice@example.org>
		S: 503 5.5.1 say MAIL first
		C: DATA
		S: 503 5.5.1
		C: mail from: <sender@example.net>  SIZE=1000 body=8bitmime SMTPUTF8
		S: 250 2.1.0
		C: MAIL FROM:<a@b>
		S: 503 5.5.1 say RCPT
		C: DATA
		S: 503 5.5.1 say RCPT
		C: rcpt to:<Alice@EXAMPLE.org>
		S: 250 2.1.5
		C: RCPT TO:<Postmaster>
		S: 250 2.1.5
		C: RCPT TO:<postMASTER@xn--bcher-kva.example>
		S: 250 2.1.5
		C: RCPT TO:<bob@[192.0.2.1]>
		S: 250 2.1.5
		C: HELP
		S: 214-2.0.0
		S: 214-2.0.0
		S: 214 2.0.0
		C: VRFY alice
		S: 252 2.5.2
		C: EXPN list
		S: 502 5.5.1
		C: STARTTLS
		S: 503 5.5.1
		C: DATA
		S: 354 go on
	`)
	if got := fmt.Sprint(s.boxes); do != readMessage || got != "[alice postmaster postmaster bob]" || s.from.String() != "sender@example.net" || !s.utf8 {
		t.Errorf("%v: from %s, to %s", do, s.from, got)
	}
	s.taken()
	if s.state != greeted || s.boxes != nil || s.errors != 0 || s.commands != 0 {
		t.Errorf("after a message: %+v", s)
	}
	if r, do := s.hear([]byte("QUIT")); do != hangUp || r.code != 221 {
		t.Errorf("QUIT: %v", r)
	}
}

func TestSessionSyntax(t *testing.T) {
	t.Parallel()
	script(t, testPolicy(t, func(c *Config) { c.MaxErrors = -1 }), `
		C: EHLO
		S: 501 5.5.4 say who you are
		C: EHLO two words
		S: 501 5.5.4
		C: EHLO bücher.example
		S: 501 5.5.4
		C: HELO [127.0.0.1]
		S: 250 mx.example.org
		C: helo my_pc.local.
		S: 250 mx.example.org
		C: MAIL
		S: 501 5.5.4
		C: MAIL TO:<a@b>
		S: 501 5.5.4
		C: MAIL FROM:a@b
		S: 501 5.1.7 write the address as <name@example.org>, or <>
		C: MAIL FROM:<a@b>SIZE=1
		S: 501 5.1.7
		C: MAIL FROM:<a@b> SIZE=1 SIZE=2
		S: 501 5.5.4
		C: MAIL FROM:<a@b> SIZE=x
		S: 501 5.5.4
		C: MAIL FROM:<a@b> SIZE=
		S: 501 5.5.4
		C: MAIL FROM:<a@b> SIZE=+1
		S: 501 5.5.4
		C: MAIL FROM:<a@b> SIZE=99999999999999999999999
		S: 501 5.5.4
		C: MAIL FROM:<a@b> SIZE=18446744073709551615
		S: 552 5.3.4
		C: MAIL FROM:<a@b> SIZE=1001
		S: 552 5.3.4
		C: MAIL FROM:<a@b> BODY=BINARYMIME
		S: 501 5.5.4
		C: MAIL FROM:<a@b> SMTPUTF8=yes
		S: 501 5.5.4
		C: MAIL FROM:<a@b> AUTH=<>
		S: 555 5.5.4
		C: MAIL FROM:<ü@b>
		S: 553 5.6.7
		C: MAIL FROM:<>
		S: 250 2.1.0
		C: RCPT
		S: 501 5.5.4
		C: RCPT TO:<>
		S: 501 5.1.3
		C: RCPT TO:alice@example.org
		S: 501 5.1.3
		C: RCPT TO:<alice@example.org> NOTIFY=NEVER
		S: 555 5.5.4
		C: RCPT TO:<ü@example.org>
		S: 553 5.6.7
		C: RCPT TO:<alice>
		S: 501 5.1.3
		C: RCPT TO:<alice@example.org>
		S: 250 2.1.5
		C: DATA now
		S: 501 5.5.4
		C: RSET now
		S: 501 5.5.4
		C: RSET
		S: 250 2.0.0
		C: DATA
		S: 503 5.5.1
		C: STARTTLS
		S: 502 5.5.1
		C: STARTTLS now
		S: 501 5.5.4
		C: QUIT now
		S: 501 5.5.4
		C: VRFY
		S: 501 5.5.4
		C: XYZZY
		S: 500 5.5.2
		C: MAILFROM:<a@b>
		S: 500 5.5.2
		C: ABCDEFGHIJKLMNOPQRSTUVWXYZ
		S: 500 5.5.2
		C: AUTH PLAIN
		S: 500 5.5.2
	`)
}

// Not one spelling of elsewhere is taken.
func TestNoRelay(t *testing.T) {
	t.Parallel()
	s, _ := script(t, testPolicy(t, func(c *Config) { c.MaxErrors = -1 }), `
		C: EHLO client.example
		S: 250-
		S: 250-
		S: 250-
		S: 250-
		S: 250-
		S: 250-
		S: 250 HELP
		C: MAIL FROM:<spammer@example.org> SMTPUTF8
		S: 250
	`)
	for _, to := range []string{
		"<victim@elsewhere.example>", "<victim@sub.example.org>", "<victim@example.org.elsewhere.example>", "<victim@xample.org>",
		"<victim%elsewhere.example@example.org>", "<victim%elsewhere.example>", "<victim%elsewhere.example@[192.0.2.1]>",
		"<elsewhere.example!victim@example.org>", "<elsewhere.example!victim>", "<elsewhere.example!victim@[192.0.2.1]>",
		`<"victim@elsewhere.example"@example.org>`, `<"victim@elsewhere.example">`, `<"victim%elsewhere.example"@example.org>`, `<"victim\@elsewhere.example">`,
		"<@example.org:victim@elsewhere.example>", "<@example.org,@[192.0.2.1]:victim@elsewhere.example>", "<@[192.0.2.1]:victim%elsewhere.example@example.org>",
		"<victim@[192.0.2.2]>", "<victim@[IPv6:2001:db8::2]>", "<victim@[127.0.0.1]>",
		"<victim@bücher.elsewhere.example>", "<victim@elsewhere。example>", "<postmaster@elsewhere.example>", "<victim@localhost>",
	} {
		if r, _ := s.hear([]byte("RCPT TO:" + to)); r.code != 550 || r.class != "5.7.1" {
			t.Errorf("%s: %v", to, r)
		}
	}
	for _, to := range []string{
		"<victim@elsewhere.example@example.org>", "<victim@elsewhere.example,@example.org>", "victim@elsewhere.example", "<victim@>", "<victim@elsewhere.example",
	} {
		if r, _ := s.hear([]byte("RCPT TO:" + to)); r.code != 501 {
			t.Errorf("%s: %v", to, r)
		}
	}
	if len(s.boxes) > 0 {
		t.Errorf("taken: %q", s.boxes)
	}
}

func TestAcceptAll(t *testing.T) {
	t.Parallel()
	s, _ := script(t, testPolicy(t, func(c *Config) { c.AcceptAll = true }), `
		C: HELO client.example
		S: 250
		C: MAIL FROM:<a@b> SMTPUTF8
		S: 250
		C: RCPT TO:<Alice@example.org>
		S: 250
		C: RCPT TO:<Bob%x@Elsewhere.example>
		S: 250
		C: RCPT TO:<carol@BÜCHER.elsewhere>
		S: 250
		C: RCPT TO:<dave@[192.0.2.9]>
		S: 250
		C: RCPT TO:<eve>
		S: 250
		C: RCPT TO:<frank@a_b.example>
		S: 250
	`)
	const want = "alice bob%25x@elsewhere.example carol@xn--bcher-kva.elsewhere dave@%5b192.0.2.9%5d eve frank@a_b.example"
	if got := strings.Join(s.boxes, " "); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestSessionBounds(t *testing.T) {
	t.Parallel()
	const hello = "C: HELO x\nS: 250\nC: MAIL FROM:<a@b>\nS: 250\n"
	many := testPolicy(t, func(c *Config) { c.MaxRecipients, c.MaxErrors = 2, 3 })
	s, do := script(t, many, hello+strings.Repeat("C: RCPT TO:<a@example.org>\nS: 250\n", 2)+
		strings.Repeat("C: RCPT TO:<b@example.org>\nS: 452 4.5.3\n", 10)+"C: DATA\nS: 354\n")
	if do != readMessage || len(s.boxes) != 2 {
		t.Errorf("too many recipients are no error; %v, %q", do, s.boxes)
	}
	s, do = script(t, testPolicy(t, nil), strings.Repeat("C: X\nS: 500\n", 19)+"C: X\nS: 421 4.7.0 too many errors")
	if do != hangUp {
		t.Errorf("after %d errors it goes on", s.errors)
	}
	_, do = script(t, testPolicy(t, func(c *Config) { c.MaxCommands = 3 }), strings.Repeat("C: NOOP\nS: 250\n", 3)+"C: NOOP\nS: 421 4.7.0 too many commands")
	if do != hangUp {
		t.Error("after too many commands it goes on")
	}
	for _, verb := range []string{"GET / HTTP/1.1", "post /", "PRI * HTTP/2.0", "Host: x"} {
		if _, do := script(t, testPolicy(t, nil), "C: "+verb+"\nS: 421 4.7.0 this is a mail server"); do != hangUp {
			t.Errorf("after %s it goes on", verb)
		}
	}
	if _, do := script(t, testPolicy(t, nil), "C: BDAT 5 LAST\nS: 502 5.5.1"); do != hangUp {
		t.Error("after BDAT it goes on: with the message as commands")
	}
	full := testPolicy(t, nil)
	full.hasRoom = func() bool { return false }
	script(t, full, "C: HELO x\nS: 250\nC: MAIL FROM:<a@b>\nS: 452 4.3.1\n")
	crowded := testPolicy(t, nil)
	crowded.check = func(box string) error {
		if box == "new" {
			return spool.ErrTooManyBoxes
		}
		return nil
	}
	script(t, crowded, hello+"C: RCPT TO:<old@example.org>\nS: 250\nC: RCPT TO:<new@example.org>\nS: 452 4.2.1\n")
}

func TestSessionTLS(t *testing.T) {
	t.Parallel()
	p := testPolicy(t, nil)
	p.offersTLS = true
	s, do := script(t, p, `
		C: STARTTLS
		S: 503 5.5.1
		C: HELO x
		S: 250
		C: STARTTLS
		S: 220 2.0.0
	`)
	if do != startTLS {
		t.Errorf("STARTTLS: %v", do)
	}
	s.secured("TLS 1.3 x")
	if r, _ := s.hear([]byte("MAIL FROM:<a@b>")); r.code != 503 {
		t.Errorf("what was said before TLS counts: %v", r)
	}
	if r, _ := s.hear([]byte("EHLO x")); strings.Contains(r.text, "STARTTLS") {
		t.Error("TLS is offered twice")
	}
	if r, _ := s.hear([]byte("STARTTLS")); r.code != 503 {
		t.Errorf("TLS within TLS: %v", r)
	}
}

func TestPolicy(t *testing.T) {
	t.Parallel()
	for _, cfg := range []Config{{Hostname: "a b"}, {Hostname: "x\r\n"}, {Domains: []string{"a b"}}, {Domains: []string{""}}, {Domains: []string{"a\n"}}} {
		if _, err := cfg.policy(); err == nil {
			t.Errorf("%+v is accepted", cfg)
		}
	}
	p, err := (&Config{MaxRecipients: -1, MaxSize: -1}).policy()
	if err != nil || !p.domains["localhost"] || !p.domains[strings.ToLower(p.hostname)] || p.maxRecipients != mostRecipients || p.maxSize != 0 {
		t.Errorf("the defaults are %+v, %v", p, err)
	}
}

// Whatever lines come, each has one reply that is well-formed and repeats nothing of
// what was said, and what was accepted can stand in a header.
func FuzzSession(f *testing.F) {
	f.Add("EHLO x\nMAIL FROM:<a@b> SIZE=1\nRCPT TO:<c@example.org>\nDATA")
	f.Add("HELO [IPv6:::1]\nMAIL FROM:<\"a b\"@[192.0.2.1]> SMTPUTF8\nRCPT TO:<@x:\"\\ü\"@bücher.example>\nDATA")
	f.Add("vrfy \x1b\nSTARTTLS\nQUIT")
	p := testPolicy(f, func(c *Config) { c.MaxErrors = -1 })
	p.offersTLS = true
	f.Fuzz(func(t *testing.T, lines string) {
		s := &session{policy: p, state: fresh}
		for line := range strings.SplitSeq(lines, "\n") {
			r, do := s.hear([]byte(line))
			checkReply(t, r)
			switch do {
			case hangUp:
				return
			case startTLS:
				s.secured("TLS")
			case readMessage:
				checkTrace(t, s.trace(netip.MustParseAddr("192.0.2.1"), "ID", noon))
				s.taken()
			}
		}
	})
}

func checkReply(t *testing.T, r reply) {
	t.Helper()
	if r.code < 200 || r.code > 599 || r.class != "" && int(r.class[0]-'0') != r.code/100 {
		t.Errorf("reply %+v", r)
	}
	for line := range strings.SplitAfterSeq(string(r.appendTo(nil)), "\r\n") {
		if len(line) > 512 || strings.ContainsAny(strings.TrimSuffix(line, "\r\n"), "\r\n\x00\x1b") {
			t.Errorf("reply line %q", line)
		}
	}
}

func checkTrace(t *testing.T, lines string) {
	t.Helper()
	for line := range strings.Lines(lines) {
		if len(line) > 998 || strings.ContainsAny(strings.TrimSuffix(line, "\n"), "\r\n\x00\x1b\x7f") {
			t.Errorf("trace line %q", line)
		}
		if line[0] != '\t' && !strings.HasPrefix(line, "Received: ") && !strings.HasPrefix(line, "Return-Path: <") {
			t.Errorf("trace line %q", line)
		}
	}
}
