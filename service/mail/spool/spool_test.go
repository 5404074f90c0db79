package spool

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"yodel/yodeltest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var formats = []Format{Mbox, Maildir}

// fastDir returns a folder for tests that do not ask what a disk does: in memory, where
// there is such a place.
func fastDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "yodel-spool-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// open opens a spool that is closed at the end of the test.
func open(t testing.TB, cfg Config) *Spool {
	t.Helper()
	s, err := Open(&cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// deliver stores a message.
func deliver(t testing.TB, s *Spool, text string, boxes ...string) {
	t.Helper()
	if err := try(s, text, boxes...); err != nil {
		t.Fatal(err)
	}
}

func try(s *Spool, text string, boxes ...string) error {
	d := s.Begin(Envelope{From: "sender@example.org", Boxes: boxes, Time: noon})
	for piece := range slices.Chunk([]byte(text), 1000) {
		d.Write(piece)
	}
	return d.Commit()
}

// texts returns the messages of a mailbox.
func texts(t testing.TB, dir, box string) []string {
	t.Helper()
	v, err := OpenView(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	var all []string
	for m, err := range v.Messages(box) {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(m.Text)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, string(text))
	}
	return all
}

// wantTexts fails the test if the mailbox does not hold just these, in any order.
func wantTexts(t testing.TB, why, dir, box string, want ...string) {
	t.Helper()
	got := texts(t, dir, box)
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("%s: mailbox %s has\n%.200q\nwant\n%.200q", why, box, got, want)
	}
}

func eachFormat(t *testing.T, try func(t *testing.T, f Format)) {
	for _, f := range formats {
		t.Run(string(f), func(t *testing.T) {
			t.Parallel()
			try(t, f)
		})
	}
}

// inBubble tries both formats where time flies while all wait.
func inBubble(t *testing.T, try func(t *testing.T, f Format)) {
	for _, f := range formats {
		t.Run(string(f), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { try(t, f) })
		})
	}
}

func TestDelivery(t *testing.T) {
	t.Parallel()
	eachFormat(t, func(t *testing.T, f Format) {
		dir := filepath.Join(fastDir(t), "made", "anew")
		s := open(t, Config{Dir: dir, Format: f})
		deliver(t, s, "Subject: one\n\nFrom here\n", "alice", "bob")
		deliver(t, s, "Subject: two\n\n", "bob")
		wantTexts(t, "as soon as Commit has returned", dir, "alice", "Subject: one\n\nFrom here\n")
		wantTexts(t, "as soon as Commit has returned", dir, "bob", "Subject: one\n\nFrom here\n", "Subject: two\n\n")
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		wantTexts(t, "after Close", dir, "alice", "Subject: one\n\nFrom here\n")
		wantEmpty(t, dir, tmpDir, journalDir)
		s = open(t, Config{Dir: dir})
		if s.Format() != f {
			t.Errorf("the format of an old spool is %s", s.Format())
		}
		deliver(t, s, "Subject: three\n\n", "alice")
		wantTexts(t, "opened again", dir, "alice", "Subject: one\n\nFrom here\n", "Subject: three\n\n")
	})
}

func wantEmpty(t testing.TB, dir string, folders ...string) {
	t.Helper()
	for _, f := range folders {
		left, err := os.ReadDir(filepath.Join(dir, f))
		if len(left) > 0 || err != nil {
			t.Errorf("%s has %v, %v", f, left, err)
		}
	}
}

// Messages that do not fit into memory are the same.
func TestLargeMessages(t *testing.T) {
	t.Parallel()
	eachFormat(t, func(t *testing.T, f Format) {
		dir := fastDir(t)
		s := open(t, Config{Dir: dir, Format: f})
		large := strings.Repeat(strings.Repeat("x", 999)+"\n", 300)
		deliver(t, s, large, "alice", "bob")
		deliver(t, s, "small\n", "alice")
		deliver(t, s, large+"too\n", "alice")
		wantTexts(t, "large", dir, "alice", large, "small\n", large+"too\n")
		wantTexts(t, "large", dir, "bob", large)
		wantEmpty(t, dir, tmpDir)
	})
}

func TestManySendersAtOnce(t *testing.T) {
	t.Parallel()
	eachFormat(t, func(t *testing.T, f Format) {
		dir := fastDir(t)
		s := open(t, Config{Dir: dir, Format: f})
		var all sync.WaitGroup
		var want []string
		for i := range 8 {
			for n := range 20 {
				want = append(want, fmt.Sprintf("message %d of %d\n", n, i))
			}
			all.Go(func() {
				for n := range 20 {
					if err := try(s, fmt.Sprintf("message %d of %d\n", n, i), "alice", fmt.Sprint("bob", n%3)); err != nil {
						t.Error(err)
					}
				}
			})
		}
		all.Wait()
		wantTexts(t, "eight senders", dir, "alice", want...)
		sum := 0
		for n := range 3 {
			sum += len(texts(t, dir, fmt.Sprint("bob", n)))
		}
		if sum != len(want) {
			t.Errorf("%d messages in the other mailboxes, want %d", sum, len(want))
		}
	})
}

func TestDiscard(t *testing.T) {
	t.Parallel()
	eachFormat(t, func(t *testing.T, f Format) {
		dir := fastDir(t)
		s := open(t, Config{Dir: dir, Format: f})
		d := s.Begin(Envelope{Boxes: []string{"alice"}, Time: noon})
		d.Write(bytes.Repeat([]byte("x"), memoryMax))
		d.Write(bytes.Repeat([]byte("x"), memoryMax))
		if d.Size() != 2*memoryMax {
			t.Errorf("it has %d bytes", d.Size())
		}
		d.Discard()
		if err := d.Commit(); err == nil {
			t.Error("what was discarded is committed")
		}
		if _, err := d.Write([]byte("more")); err == nil {
			t.Error("what was discarded is written to")
		}
		wantEmpty(t, dir, tmpDir)
		wantTexts(t, "discarded", dir, "alice")
	})
}

func TestOneProcessAtATime(t *testing.T) {
	t.Parallel()
	dir := fastDir(t)
	s := open(t, Config{Dir: dir})
	if _, err := Open(&Config{Dir: dir}); !errors.Is(err, ErrInUse) {
		t.Errorf("opened twice: %v", err)
	}
	s.Close()
	if err := s.Close(); err != nil {
		t.Errorf("closed twice: %v", err)
	}
	if err := try(s, "late\n", "alice"); err != ErrClosed {
		t.Errorf("a message after Close: %v", err)
	}
	open(t, Config{Dir: dir})
}

func TestFormats(t *testing.T) {
	t.Parallel()
	dir := fastDir(t)
	if _, err := Open(&Config{Dir: dir, Format: "mh"}); err == nil || !strings.Contains(err.Error(), "there are mbox and maildir") {
		t.Errorf("an unknown format: %v", err)
	}
	if s := open(t, Config{Dir: dir}); s.Format() != Mbox {
		t.Errorf("the default is %s", s.Format())
	} else {
		s.Close()
	}
	if _, err := Open(&Config{Dir: dir, Format: Maildir}); err == nil || !strings.Contains(err.Error(), "its format is mbox") {
		t.Errorf("another format: %v", err)
	}
	os.WriteFile(filepath.Join(dir, formatFile), []byte("\x1b[31m"), 0o600)
	if _, err := Open(&Config{Dir: dir}); err == nil || strings.Contains(err.Error(), "\x1b") {
		t.Errorf("a broken spool: %v", err)
	}
}

func TestOpenFails(t *testing.T) {
	t.Parallel()
	dir := fastDir(t)
	file := filepath.Join(dir, "file")
	os.WriteFile(file, nil, 0o600)
	for what, prepare := range map[string]func(dir string){
		"no folder":                      func(dir string) { os.Remove(dir); os.WriteFile(dir, nil, 0o600) },
		"no folder of its own":           func(dir string) { os.WriteFile(filepath.Join(dir, ownDir), nil, 0o600) },
		"a lock that is a folder":        func(dir string) { os.MkdirAll(filepath.Join(dir, lockFile), 0o700) },
		"a format that is a folder":      func(dir string) { os.MkdirAll(filepath.Join(dir, formatFile), 0o700) },
		"a journal with a folder in it":  func(dir string) { os.MkdirAll(filepath.Join(dir, segmentName(1)), 0o700) },
		"what can't be removed from tmp": func(dir string) { os.MkdirAll(filepath.Join(dir, tmpDir, "a/b"), 0o700) },
	} {
		at := filepath.Join(dir, what)
		os.Mkdir(at, 0o700)
		prepare(at)
		if s, err := Open(&Config{Dir: at}); err == nil {
			t.Errorf("%s: opened", what)
			s.Close()
		}
	}
	if _, err := Open(&Config{}); err == nil {
		t.Error("a spool without a name")
	}
}

func TestMaxBoxes(t *testing.T) {
	t.Parallel()
	eachFormat(t, func(t *testing.T, f Format) {
		dir := fastDir(t)
		s := open(t, Config{Dir: dir, Format: f, MaxBoxes: 2})
		deliver(t, s, "hi\n", "alice")
		if err := try(s, "hi\n", "alice", "bob", "carol"); err != ErrTooManyBoxes || !IsFull(err) {
			t.Errorf("two more than there may be: %v", err)
		}
		wantTexts(t, "nothing of it is stored", dir, "alice", "hi\n")
		deliver(t, s, "hi\n", "alice", "bob")
		if s.Check("bob") != nil || s.Check("carol") != ErrTooManyBoxes {
			t.Error("Check does not know who is there")
		}
		s.Close()
		s = open(t, Config{Dir: dir, MaxBoxes: 2})
		if s.Check("alice") != nil || s.Check("carol") != ErrTooManyBoxes {
			t.Error("a spool that is opened again has forgotten its mailboxes")
		}
		s.Close()
		if s = open(t, Config{Dir: dir, MaxBoxes: -1}); s.Check("carol") != nil {
			t.Error("there is a bound")
		}
	})
}

// What an earlier process was receiving when it ended is gone.
func TestLeftOversAreRemoved(t *testing.T) {
	t.Parallel()
	eachFormat(t, func(t *testing.T, f Format) {
		dir := fastDir(t)
		open(t, Config{Dir: dir, Format: f}).Close()
		os.WriteFile(filepath.Join(dir, tmpDir, "half"), []byte("Subject: ha"), 0o600)
		open(t, Config{Dir: dir})
		wantEmpty(t, dir, tmpDir)
	})
}

func TestFree(t *testing.T) {
	t.Parallel()
	s := open(t, Config{Dir: fastDir(t)})
	if n, err := s.Free(); n <= 0 && !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("%d bytes are free, %v", n, err)
	}
}

// A mailbox of a Maildir that is removed is made again; what is in its place is left
// alone, and the message is in none of its mailboxes.
func TestMaildirPlaces(t *testing.T) {
	t.Parallel()
	dir := fastDir(t)
	s := open(t, Config{Dir: dir, Format: Maildir})
	deliver(t, s, "one\n", "alice", "bob")
	os.RemoveAll(filepath.Join(dir, "alice"))
	deliver(t, s, "two\n", "alice", "bob")
	wantTexts(t, "removed", dir, "alice", "two\n")
	wantTexts(t, "beside it", dir, "bob", "one\n", "two\n")

	os.WriteFile(filepath.Join(dir, "carol"), nil, 0o600)
	if err := try(s, "three\n", "carol", "bob"); err == nil {
		t.Error("a file is a mailbox")
	}
	wantTexts(t, "nothing was placed", dir, "bob", "one\n", "two\n")
	wantEmpty(t, dir, tmpDir)
}

// A mailbox that leads out of the spool is not followed.
func TestSymbolicLinks(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, f Format) {
		outside, dir := fastDir(t), fastDir(t)
		if f == Mbox {
			os.WriteFile(filepath.Join(outside, "x"), nil, 0o600)
		} else {
			os.MkdirAll(filepath.Join(outside, "x/new"), 0o700)
		}
		if err := os.Symlink(filepath.Join(outside, "x"), filepath.Join(dir, "alice")); err != nil {
			yodeltest.Skip(t, err.Error(), "run it as a user who may make symbolic links")
		}
		s := open(t, Config{Dir: dir, Format: f, Log: slog.New(slog.DiscardHandler)})
		try(s, "out\n", "alice")
		filepath.WalkDir(outside, func(path string, e fs.DirEntry, _ error) error {
			if fi, err := e.Info(); err != nil || fi.Mode().IsRegular() && fi.Size() > 0 || strings.Contains(path, ".lock") {
				t.Errorf("%s was written to, %v", path, err)
			}
			return nil
		})
	})
}

func TestIDs(t *testing.T) {
	t.Parallel()
	s := open(t, Config{Dir: fastDir(t)})
	seen := make(map[string]bool)
	for range 100 {
		id := s.Begin(Envelope{Time: time.Now()}).ID()
		if seen[id] || strings.ContainsFunc(id, func(r rune) bool { return !('0' <= r && r <= '9' || 'A' <= r && r <= 'Z') }) {
			t.Errorf("ID %q", id)
		}
		seen[id] = true
	}
}
