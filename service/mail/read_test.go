package mail

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"yodel/service/mail/spool"
)

// stocked is a spool with some mail, some of it hostile.
func stocked(t *testing.T, f spool.Format) string {
	t.Helper()
	dir := fastDir(t)
	s, err := spool.Open(&spool.Config{Dir: dir, Format: f})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, m := range []struct{ box, text string }{
		{spool.Name("alice", ""), "From: =?utf-8?q?J=C3=BCrgen?= <j@example.net>\nSubject: a folded\n\tsubject\n\nplain \x1b[31mtext\n\tindented\n"},
		{spool.Name("alice", ""), "from:\t=?utf-8?q?=1B[2J?= x\nSUBJECT: =?bad?\nContent-Transfer-Encoding: quoted-printable\n\ncaf=C3=A9 =\nau lait=1B\n"},
		{spool.Name("bob", "xn--bcher-kva.example"), "Content-Type: multipart/alternative; boundary=b\n\npreamble\n--b\nContent-Type: text/html\n\n<b>\n--b\nContent-Type: text/plain\nContent-Transfer-Encoding: base64\n\naGVsbG8=\n--b\nContent-Type: image/png\n\nz\n--b\n\nmore text\n--b--\n"},
		{spool.Name("\x1b[2J", ""), "Subject: x\n\ntext\n"},
	} {
		d := s.Begin(spool.Envelope{From: "s@example.net", Boxes: []string{m.box}, Time: noon})
		d.Write([]byte(m.text))
		if err := d.Commit(); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func read(t *testing.T, r Reading) string {
	t.Helper()
	var out strings.Builder
	if err := Read(&out, &r); err != nil {
		t.Errorf("%+v: %v", r, err)
	}
	return out.String()
}

func TestRead(t *testing.T) {
	t.Parallel()
	for _, f := range []spool.Format{spool.Mbox, spool.Maildir} {
		dir := stocked(t, f)
		for _, tt := range []struct {
			what Reading
			want string
		}{
			{Reading{}, "" +
				"    1 message            17 bytes  2026-03-07 11:30:00  \\x1b[2j\n" +
				"    2 messages          211 bytes  2026-03-07 11:30:00  alice\n" +
				"    1 message           216 bytes  2026-03-07 11:30:00  bob@xn--bcher-kva.example\n"},
			{Reading{Box: "alice"}, "" +
				"    1  2026-03-07 11:30:00       100  Jürgen <j@example.net>          a folded subject\n" +
				"    2  2026-03-07 11:30:00       111  \\x1b[2J x                       =?bad?\n"},
			{Reading{Box: "Alice@anywhere.example", Number: 1}, "" +
				"From: =?utf-8?q?J=C3=BCrgen?= <j@example.net>\nSubject: a folded\n\tsubject\n\nplain \\x1b[31mtext\n\tindented\n"},
			{Reading{Box: "alice", Number: 2}, "" +
				"from:\t=?utf-8?q?=1B[2J?= x\nSUBJECT: =?bad?\nContent-Transfer-Encoding: quoted-printable\n\ncafé au lait\\x1b\n"},
			{Reading{Box: "bob@bücher.example", Number: 1}, "" +
				"Content-Type: multipart/alternative; boundary=b\n\n[part 1: text/html]\nhello\n[part 3: image/png]\n[part 4: text/plain]\n"},
			{Reading{Box: "\x1b[2J", Number: 1}, "Subject: x\n\ntext\n"},
			{Reading{Box: "%1b%5b2j", Number: 1, Raw: true}, "Subject: x\n\ntext\n"},
		} {
			tt.what.Dir = dir
			if got := read(t, tt.what); got != tt.want {
				t.Errorf("%s, %+v:\ngot\n%s\nwant\n%s", f, tt.what, got, tt.want)
			}
		}
	}
}

func TestReadJSON(t *testing.T) {
	t.Parallel()
	dir := stocked(t, spool.Maildir)
	var boxes []boxLine
	for line := range strings.Lines(read(t, Reading{Dir: dir, JSON: true})) {
		var b boxLine
		if err := json.Unmarshal([]byte(line), &b); err != nil {
			t.Fatal(err)
		}
		boxes = append(boxes, b)
	}
	if len(boxes) != 3 || boxes[1] != (boxLine{"mailbox", noon.UTC(), "alice", "alice", 2, 211}) || boxes[0].Address != `\x1b[2j` {
		t.Errorf("the mailboxes are %+v", boxes)
	}
	for _, r := range []Reading{{Dir: dir, Box: "alice", JSON: true}, {Dir: dir, Box: "alice", Number: 1, JSON: true}} {
		line, _, _ := strings.Cut(read(t, r), "\n")
		var m messageLine
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatal(err)
		}
		if m.Type != "message" || m.Number != 1 || m.Bytes != 100 || m.From != "Jürgen <j@example.net>" || m.Subject != "a folded subject" || !m.Time.Equal(noon) {
			t.Errorf("%+v", m)
		}
		if has := len(m.Data) == 100; has != (r.Number == 1) {
			t.Errorf("it has %d bytes of text", len(m.Data))
		}
	}
	if got := read(t, Reading{Dir: t.TempDir(), JSON: true}); got != "" {
		t.Errorf("of nothing: %q", got)
	}
}

func TestReadFails(t *testing.T) {
	t.Parallel()
	dir := stocked(t, spool.Mbox)
	bad := func(text string) Reading {
		box := spool.Name(text, "")
		os.WriteFile(filepath.Join(dir, box), []byte("From a\n"+text+"\n"), 0o600)
		return Reading{Dir: dir, Box: box, Number: 1}
	}
	empty := t.TempDir()
	for want, r := range map[string]Reading{
		"no such file":                   {Dir: dir + "/nothing"},
		"there is no mailbox \"carol\";": {Dir: dir, Box: "carol"},
		"there is no mailbox yet":        {Dir: empty, Box: "carol"},
		"message 3 of mailbox alice":     {Dir: dir, Box: "alice", Number: 3},
		"can't be decoded":               bad("Content-Transfer-Encoding: base64\n\n!!!!"),
		"can't be told apart":            bad("Content-Type: multipart/x; boundary=b\n\n--b\nbroken"),
		"t be decoded":                   bad("Content-Type: multipart/x; boundary=b\n\n--b\nContent-Type: text/plain\nContent-Transfer-Encoding: base64\n\n!!!!\n--b--\n"),
	} {
		var out strings.Builder
		if err := Read(&out, &r); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\x1b") {
			t.Errorf("%+v: %v, want %q", r, err, want)
		}
	}
	for _, r := range []Reading{{Dir: dir, Box: "alice", Number: 3, Raw: true}, {Dir: dir, Box: "alice", Number: 3, JSON: true}} {
		if err := Read(new(strings.Builder), &r); !errors.Is(err, spool.ErrNoMessage) {
			t.Errorf("%+v: %v", r, err)
		}
	}
	for _, r := range []Reading{{Dir: dir}, {Dir: dir, JSON: true}, {Dir: dir, Box: "alice"}, {Dir: dir, Box: "alice", Number: 1}, {Dir: dir, Box: "alice", Number: 1, Raw: true}, {Dir: empty}} {
		if err := Read(failing{}, &r); err == nil {
			t.Errorf("%+v: a closed output is no error", r)
		}
	}
	if got := read(t, Reading{Dir: empty}); got != "no mailboxes\n" {
		t.Errorf("of nothing: %q", got)
	}
	os.Mkdir(filepath.Join(empty, "x"), 0o700)
	os.MkdirAll(filepath.Join(empty, "y", "new"), 0o700)
	for _, r := range []Reading{{Dir: empty}, {Dir: empty, Box: "x"}, {Dir: empty, Box: "x", Number: 1, JSON: true}} {
		if err := Read(new(strings.Builder), &r); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%+v: half a Maildir: %v", r, err)
		}
	}
	for i := range 20 {
		os.Mkdir(filepath.Join(empty, "z"+string(rune('a'+i))), 0o700)
	}
	if err := Read(new(strings.Builder), &Reading{Dir: empty, Box: "carol"}); err == nil || !strings.Contains(err.Error(), "14 more") {
		t.Errorf("many mailboxes: %v", err)
	}
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, os.ErrClosed }

// Whatever a message is, showing it ends, and nothing raw reaches the terminal.
func FuzzShow(f *testing.F) {
	f.Add("Content-Type: multipart/mixed; boundary=b\n\n--b\n\nx\n--b--\n")
	f.Add("Content-Transfer-Encoding: quoted-printable\n\n=1B=0D=\n")
	f.Add("Content-Type: text/plain\nContent-Transfer-Encoding: base64\n\nG1szMW0=")
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, text string) {
		os.WriteFile(filepath.Join(dir, "alice"), []byte("From a\n"+text), 0o600)
		var out strings.Builder
		Read(&out, &Reading{Dir: dir, Box: "alice", Number: 1})
		Read(&out, &Reading{Dir: dir, Box: "alice"})
		for _, r := range out.String() {
			if r < ' ' && r != '\n' && r != '\t' || 0x7f <= r && r < 0xa0 {
				t.Errorf("%q is shown as %q", text, out.String())
				break
			}
		}
	})
}
