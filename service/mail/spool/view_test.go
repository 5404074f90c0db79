package spool

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"yodel/yodeltest"
)

func view(t *testing.T, dir string) *View {
	t.Helper()
	v, err := OpenView(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { v.Close() })
	return v
}

func TestView(t *testing.T) {
	t.Parallel()
	eachFormat(t, func(t *testing.T, f Format) {
		dir := fastDir(t)
		s := open(t, Config{Dir: dir, Format: f})
		deliver(t, s, "Subject: one\n\nhi\n", "alice", "bob")
		deliver(t, s, "Subject: two\n\n", "alice")
		v := view(t, dir) // while the spool is open
		if v.Format() != f {
			t.Errorf("its format is %s", v.Format())
		}
		if boxes, err := v.Boxes(); strings.Join(boxes, " ") != "alice bob" || err != nil {
			t.Errorf("the mailboxes are %q, %v", boxes, err)
		}
		var heads []string
		for m, err := range v.Messages("alice") {
			if err != nil {
				t.Fatal(err)
			}
			head, size, err := ReadHead(m.Text)
			if err != nil || size != int64(len(head)+1) && size != int64(len(head)+4) {
				t.Errorf("the header is %q of %d bytes, %v", head, size, err)
			}
			heads = append(heads, string(head))
			if m.Number != len(heads) || !m.Time.Equal(noon) {
				t.Errorf("%+v", m)
			}
		}
		if got := strings.Join(heads, ""); got != "Subject: one\nSubject: two\n" {
			t.Errorf("the headers are %q", got)
		}
		var text bytes.Buffer
		if err := v.Message(&text, "alice", 2); err != nil || text.String() != "Subject: two\n\n" {
			t.Errorf("message 2 is %q, %v", &text, err)
		}
		if err := v.Message(&text, "alice", 3); !errors.Is(err, ErrNoMessage) {
			t.Errorf("message 3: %v", err)
		}
		for range v.Messages("alice") {
			break // is allowed
		}
	})
}

func TestViewOfNames(t *testing.T) {
	t.Parallel()
	dir := fastDir(t)
	open(t, Config{Dir: dir})
	v := view(t, dir)
	for _, box := range []string{"", ".", "..", "../x", "/etc/passwd", "a/b", ".yodel", "nobody"} {
		n := 0
		for _, err := range v.Messages(box) {
			if n++; !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("mailbox %q: %v", box, err)
			}
		}
		if n != 1 || !errors.Is(v.Message(io.Discard, box, 1), fs.ErrNotExist) {
			t.Errorf("mailbox %q has %d messages", box, n)
		}
	}
	os.Mkdir(filepath.Join(dir, "folder"), 0o700)
	if err := v.Message(io.Discard, "folder", 1); err == nil {
		t.Error("a folder is a mailbox")
	}
	if _, err := OpenView(filepath.Join(dir, "nothing")); err == nil {
		t.Error("what is not there can be viewed")
	}
	os.WriteFile(filepath.Join(dir, formatFile), []byte("x"), 0o600)
	if _, err := OpenView(dir); err == nil {
		t.Error("a spool of no format can be viewed")
	}
}

// Folders that no spool has made are viewed too.
func TestViewOfForeignFolders(t *testing.T) {
	t.Parallel()
	dir := fastDir(t)
	os.WriteFile(filepath.Join(dir, "root"), []byte("From a Thu Jan  1 00:00:01 1970\nhi\n"), 0o600)
	os.WriteFile(filepath.Join(dir, "root.lock"), nil, 0o600)
	os.WriteFile(filepath.Join(dir, ".hidden"), nil, 0o600)
	if boxes, _ := view(t, dir).Boxes(); strings.Join(boxes, " ") != "root" {
		t.Errorf("the mailboxes are %q", boxes)
	}
	for m := range view(t, dir).Messages("root") {
		if m.Time.Unix() != 1 {
			t.Errorf("%+v", m)
		}
	}

	dir = fastDir(t)
	for _, sub := range []string{"new", "cur"} {
		os.MkdirAll(filepath.Join(dir, "root", sub), 0o700)
	}
	for name, text := range map[string]string{
		"new/20.x.host": "second\r\n\r\n", "cur/10.M000001P1.host:2,S": "first\n\n", "new/odd": "none\n", "new/.hidden": "x",
	} {
		os.WriteFile(filepath.Join(dir, "root", name), []byte(text), 0o600)
	}
	v := view(t, dir)
	if v.Format() != Maildir {
		t.Errorf("the format is %s", v.Format())
	}
	var heads []string
	for m, err := range v.Messages("root") {
		if err != nil {
			t.Error(err)
		}
		head, _, _ := ReadHead(m.Text)
		heads = append(heads, string(head))
	}
	if got := strings.Join(heads, ""); got != "none\nfirst\nsecond\r\n" {
		t.Errorf("the headers are %q", got)
	}
	os.RemoveAll(filepath.Join(dir, "root", "cur"))
	if err := v.Message(io.Discard, "root", 1); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("half a Maildir: %v", err)
	}
}

// A message that a mail reader takes away meanwhile is left out.
func TestViewOfWhatIsMoved(t *testing.T) {
	t.Parallel()
	dir := fastDir(t)
	s := open(t, Config{Dir: dir, Format: Maildir})
	deliver(t, s, "one\n", "alice")
	deliver(t, s, "two\n", "alice")
	n := 0
	for range view(t, dir).Messages("alice") {
		n++
		os.RemoveAll(filepath.Join(dir, "alice/new"))
	}
	if n != 1 {
		t.Errorf("%d messages", n)
	}
}

// A mailbox that is being written to is waited for.
func TestViewOfALockedMailbox(t *testing.T) {
	t.Parallel()
	yodeltest.NeedLinux(t)
	synctest.Test(t, func(t *testing.T) {
		dir := fastDir(t)
		s := open(t, Config{Dir: dir})
		deliver(t, s, "one\n", "alice")
		writer := readerLock(t, dir, "alice")
		v := view(t, dir)
		if err := v.Message(io.Discard, "alice", 1); !errors.Is(err, errLocked) {
			t.Errorf("locked for long: %v", err)
		}
		time.AfterFunc(viewPatience/2, func() { writer.Close() })
		if err := v.Message(io.Discard, "alice", 1); err != nil {
			t.Errorf("locked for a while: %v", err)
		}
	})
}

func TestHeader(t *testing.T) {
	t.Parallel()
	long := "X: " + strings.Repeat("x", headMax)
	for text, want := range map[string]string{
		"":                  "",
		"A: b":              "A: b",
		"A: b\n\ntext\n\n":  "A: b\n",
		"A: b\r\n\r\ntext":  "A: b\r\n",
		"\ntext\n\nmore":    "",
		"A: b\n c\n\n\n\nx": "A: b\n c\n",
		long:                long[:headMax],
	} {
		for _, r := range []io.Reader{strings.NewReader(text), iotest.OneByteReader(strings.NewReader(text))} {
			h := &header{}
			if n, err := io.Copy(h, r); int(n) != len(text) || err != nil || string(h.text) != want {
				t.Errorf("the header of %.40q is %.40q", text, h.text)
			}
		}
	}
}

func TestTimes(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"", "a@b", "a@b Sat Mar  7 12:30:00", strings.Repeat("x", 100)} {
		if at := fromTime(s); !at.IsZero() {
			t.Errorf("the time of %q is %v", s, at)
		}
	}
	for name, want := range map[string]int64{"12.x": 12_000_000, "12.M000003P1": 12_000_003, "12.Mx": 12_000_000, "12.Mabcdef": 12_000_000} {
		if got := deliveryTime(name).UnixMicro(); got != want {
			t.Errorf("the time of %s is %d", name, got)
		}
	}
}
