package mail

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"yodel/engine"
	"yodel/service/mail/spool"
	"yodel/yodeltest"
)

// run runs a real client and returns what it has said.
func run(t testing.TB, stdin, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), yodeltest.NeedProgram(t, name), args...)
	cmd.Stdin = strings.NewReader(stdin)
	cmd.Env = append(os.Environ(), "HOME="+t.TempDir(), "MAILRC=/dev/null", "LC_ALL=C.UTF-8")
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%s %q: %v\n%s", name, args, err, out)
	}
	return string(out)
}

// wantLetter fails the test unless a mailbox has one message which, as it is shown, has
// all of want.
func wantLetter(t testing.TB, s *served, box string, want ...string) {
	t.Helper()
	var got strings.Builder
	if err := Read(&got, &Reading{Dir: s.cfg.Dir, Box: box, Number: 1}); err != nil {
		t.Error(err)
	}
	wantMessages(t, s, box, 1)
	for _, w := range want {
		if !strings.Contains(got.String(), w) {
			t.Errorf("the message to %s lacks %q:\n%s", box, w, &got)
		}
	}
}

func wantMessages(t testing.TB, s *served, box string, n int) {
	t.Helper()
	if got := len(mailbox(t, s.Server, box)); got != n {
		t.Errorf("mailbox %s has %d messages, want %d", box, got, n)
	}
}

// Each real client sends a message in plain text and one over TLS, with lines that need
// care on the way.
func TestRealClients(t *testing.T) {
	t.Parallel()
	const text = "From here on:\n.\n..two\n>From\nend\n"
	const stored = "\n" + text
	letter := "From: s@example.net\nSubject: hi\n\n" + text
	for _, tt := range []struct {
		name string
		send func(t *testing.T, s *served)
	}{
		{"swaks", func(t *testing.T, s *served) {
			run(t, "", "swaks", "--server", s.addr, "--from", "s@example.net", "--to", "plain@example.org", "--body", text)
			run(t, "", "swaks", "--server", s.addr, "--from", "s@example.net", "--to", "tls@example.org", "--body", text, "--tls", "--pipeline")
		}},
		{"msmtp", func(t *testing.T, s *served) {
			args := []string{"--host=127.0.0.1", "--port=" + s.port(), "--from=s@example.net", "--file=/dev/null"}
			run(t, letter, "msmtp", append(args, "--tls=off", "plain@example.org")...)
			run(t, letter, "msmtp", append(args, "--tls=on", "--tls-starttls=on", "--tls-certcheck=off", "tls@example.org")...)
		}},
		{"s-nail", func(t *testing.T, s *served) {
			args := []string{"-n", "-S", "v15-compat=yes", "-S", "mta=smtp://" + s.addr, "-S", "smtp-auth=none", "-r", "s@example.net", "-s", "hi", "-S", "sendwait"}
			run(t, text, "s-nail", append(args, "plain@example.org")...)
			run(t, text, "s-nail", append(args, "-S", "smtp-use-starttls", "-S", "tls-verify=ignore", "tls@example.org")...)
		}},
		{"curl", func(t *testing.T, s *served) {
			args := []string{"-sS", "smtp://" + s.addr + "/client.example", "--mail-from", "s@example.net", "--crlf", "-T", "-"}
			run(t, letter, "curl", append(args, "--mail-rcpt", "plain@example.org")...)
			run(t, letter, "curl", append(args, "--mail-rcpt", "tls@example.org", "--ssl-reqd", "-k")...)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			yodeltest.NeedProgram(t, tt.name)
			s := serve(t, newServer(t, func(c *Config) { c.TLS = testTLS(t) }), engine.Config{})
			tt.send(t, s)
			wantLetter(t, s, "plain", stored, "Return-Path: <s@example.net>\n")
			wantLetter(t, s, "tls", stored, " (TLS 1.3 TLS_")
		})
	}
}

// nodemailerSends sends the messages as a program does with npm's nodemailer: a text with an
// attachment, and two over one connection of a pool.
const nodemailerSends = `
const nodemailer = require("nodemailer");
const [port, tls, to, text] = process.argv.slice(1);
(async () => {
	const options = { host: "127.0.0.1", port: +port, secure: tls === "implicit", ignoreTLS: !tls, requireTLS: tls === "starttls", tls: { rejectUnauthorized: false } };
	const message = { from: "s@example.net", to, subject: "grüße", text, attachments: [{ filename: "a.bin", content: Buffer.alloc(100000, 7) }] };
	const one = nodemailer.createTransport(options);
	await one.verify();
	const info = await one.sendMail(message);
	const pool = nodemailer.createTransport({ ...options, pool: true, maxConnections: 1 });
	await Promise.all(["pool1", "pool2"].map(p => pool.sendMail({ ...message, to: p + to })));
	const refused = await one.sendMail({ ...message, to: [to, "x@elsewhere.example"] });
	pool.close(); one.close();
	console.log(info.accepted, info.response, refused.rejected, refused.rejectedErrors[0].responseCode);
})().catch(e => { console.error(e); process.exit(1); });
`

func TestNodemailer(t *testing.T) {
	t.Parallel()
	node, modules := yodeltest.NeedNode(t, "nodemailer")
	const text = "From here on:\n.\n..two\n>From\nend"
	for _, over := range []string{"", "starttls", "implicit"} {
		t.Run(over, func(t *testing.T) {
			t.Parallel()
			cfg := engine.Config{}
			if over == "implicit" {
				cfg.TLS = testTLS(t)
			}
			s := serve(t, newServer(t, func(c *Config) { c.TLS = testTLS(t) }), cfg)
			out := run(t, "", "env", "NODE_PATH="+modules, node, "-e", nodemailerSends, s.port(), over, "alice@example.org", text)
			for _, want := range []string{"[ 'alice@example.org' ] 250 2.0.0 stored as ", "[ 'x@elsewhere.example' ] 550"} {
				if !strings.Contains(out, want) {
					t.Errorf("it does not say %q: %s", want, out)
				}
			}
			wantMessages(t, s, "alice", 2)
			for _, letter := range mailbox(t, s.Server, "alice") {
				if n := strings.Count(letter, "BwcH"); n != 100_000/3 {
					t.Errorf("its attachment has %d times three bytes", n)
				}
			}
			wants := []string{"\nSubject: =?UTF-8?Q?gr=C3=BC=C3=9Fe?=\n", "\n" + text + "\n", "[part 2: application/octet-stream]"}
			if over != "" {
				wants = append(wants, " (TLS 1.3 TLS_")
			}
			for _, box := range []string{"pool1alice", "pool2alice"} {
				wantLetter(t, s, box, wants...)
			}
		})
	}
}

// An address beyond ASCII, from a client that knows SMTPUTF8.
func TestInternationalMail(t *testing.T) {
	t.Parallel()
	yodeltest.NeedProgram(t, "curl")
	s := serve(t, newServer(t, func(c *Config) { c.Domains = []string{"bücher.example"} }), engine.Config{})
	run(t, "Subject: ü\n\nhi\n", "curl", "-sS", "smtp://"+s.addr, "--mail-from", "jürgen@bücher.example", "--mail-rcpt", "jürgen@bücher.example", "--crlf", "-T", "-")
	wantLetter(t, s, spool.Name("jürgen", ""), "Subject: ü\n")
	c := s.call()
	c.say("EHLO x\r\nMAIL FROM:<jürgen@bücher.example> SMTPUTF8\r\nRCPT TO:<jürgen@BÜCHER.example>\r\nRCPT TO:<jürgen@xn--bcher-kva.example>\r\nDATA",
		"220", "250", "250", "250", "250", "354")
	c.say("Subject: ü\r\n\r\nhi\r\n.\r\nQUIT", "250", "221")
	if n := len(mailbox(t, s.Server, spool.Name("jürgen", ""))); n != 2 {
		t.Errorf("%d messages", n)
	}
}

// OpenSSL's client, as a person uses it.
func TestOpenSSL(t *testing.T) {
	t.Parallel()
	s := serve(t, newServer(t, func(c *Config) { c.TLS = testTLS(t) }), engine.Config{})
	said := "EHLO x\nMAIL FROM:<s@example.net>\nRCPT TO:<alice@example.org>\nDATA\nSubject: by hand\n\nhi\n.\nQUIT\n"
	out := run(t, said, "openssl", "s_client", "-quiet", "-crlf", "-starttls", "smtp", "-connect", s.addr)
	wantLetter(t, s, "alice", "Subject: by hand\n")
	if !strings.Contains(out, "250 2.0.0 stored as ") {
		t.Errorf("it has said\n%s", out)
	}
}

// Postfix's load generator: a session for each message, and many messages in each.
func TestSMTPSource(t *testing.T) {
	t.Parallel()
	for _, f := range []spool.Format{spool.Mbox, spool.Maildir} {
		s := serve(t, newServer(t, func(c *Config) { c.Format = f }), engine.Config{})
		for _, args := range [][]string{{}, {"-d"}, {"-r", "3"}} {
			run(t, "", "smtp-source", append(args, "-s", "4", "-m", "40", "-l", "4096", "-f", "s@example.net", "-t", "alice@example.org", s.addr)...)
		}
		n := len(mailbox(t, s.Server, "alice"))
		for i := range 4 {
			n += len(mailbox(t, s.Server, fmt.Sprint(i, "alice")))
			n += len(mailbox(t, s.Server, fmt.Sprintf("alice%d", i)))
		}
		if got := s.Stats(); got.Messages != 120 || got.Recipients != 40+40+3*40 || n < 120 {
			t.Errorf("%s: %+v, %d in mailboxes", f, got, n)
		}
	}
}

// Mail readers find the messages as they were sent, in both formats.
func TestRealReaders(t *testing.T) {
	t.Parallel()
	for _, f := range []spool.Format{spool.Mbox, spool.Maildir} {
		s := serve(t, newServer(t, func(c *Config) { c.Format = f }), engine.Config{})
		c := s.call()
		c.say(hello, "220", "250", "500")
		for _, subject := range []string{"first", "second"} {
			c.say(strings.TrimSuffix(envelope, "\r\n"), "250", "250", "354")
			c.say("From: s@example.net\r\nSubject: "+subject+"\r\n\r\nFrom "+subject+"\r\n\r\n.", "250")
		}
		box := filepath.Join(s.cfg.Dir, "alice")
		out := run(t, "headers\nprint 2\nexit\n", "s-nail", "-n", "-R", "-f", box)
		for _, want := range []string{"first", "2 s@example.net", "second\n", "From second\n"} {
			if !strings.Contains(out, want) {
				t.Errorf("s-nail reads %s; it has not said %q:\n%s", f, want, out)
			}
		}
		out = run(t, "", "python3", "-c", `
import mailbox, sys
box = mailbox.mbox(sys.argv[2]) if sys.argv[1] == "mbox" else mailbox.Maildir(sys.argv[2])
print(sorted(m["Subject"] for m in box))
`, string(f), box)
		if out != "['first', 'second']\n" {
			t.Errorf("Python reads %s: %s", f, out)
		}
	}
}

// A mail reader that deletes messages, and so writes the mailbox anew, and a server that
// appends to it do not get into each other's way. (With -f, s-nail takes no lock between
// looking for new mail and writing: the mailbox must be its inbox.)
func TestReaderDeletesMeanwhile(t *testing.T) {
	t.Parallel()
	yodeltest.NeedProgram(t, "s-nail")
	s := serve(t, newServer(t, nil), engine.Config{})
	const senders, each, deletions = 2, 15, 5
	box := filepath.Join(s.cfg.Dir, "alice")
	send := func(text string) {
		c := s.call()
		c.say("HELO x\r\n"+strings.TrimSuffix(envelope, "\r\n"), "220", "250", "250", "250", "354")
		c.say("From: s@example.net\r\nSubject: "+text+"\r\n\r\n"+text+"\r\n.\r\nQUIT", "250", "221")
	}
	for i := range deletions {
		send(fmt.Sprint("to be deleted ", i))
	}
	var all sync.WaitGroup
	for i := range senders {
		all.Go(func() {
			for n := range each {
				send(fmt.Sprintf("to stay %d.%d", i, n))
			}
		})
	}
	for range deletions {
		run(t, "delete 1\nquit\n", "s-nail", "-n", "-S", "hold", "-S", "keep", "-S", "inbox="+box)
	}
	all.Wait()
	if err := s.engine.Close(); err != nil {
		t.Error(err)
	}
	got := strings.Join(mailbox(t, s.Server, "alice"), "")
	for i := range senders {
		for n := range each {
			if text := fmt.Sprintf("\nto stay %d.%d\n", i, n); strings.Count(got, text) != 1 {
				t.Errorf("%q is there %d times", text, strings.Count(got, text))
			}
		}
	}
	if strings.Contains(got, "to be deleted") {
		t.Errorf("what was deleted is there:\n%s", got)
	}
}
