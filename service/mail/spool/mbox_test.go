package spool

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"yodel/yodeltest"
)

// A mail reader that holds a mailbox locked delays nobody: the message is durable, and in
// the mailbox when that is unlocked.
func TestLockedMailbox(t *testing.T) {
	t.Parallel()
	yodeltest.NeedLinux(t) // elsewhere a lock of fcntl is the process's, so ours too
	synctest.Test(t, func(t *testing.T) {
		dir := fastDir(t)
		s := open(t, Config{Dir: dir, Log: silent})
		reader := readerLock(t, dir, "alice")
		begun := time.Now()
		deliver(t, s, "one\n", "alice", "bob")
		if took := time.Since(begun); took != commitPatience {
			t.Errorf("Commit has taken %v", took)
		}
		wantTexts(t, "who is not locked has it", dir, "bob", "one\n")
		if fi, err := os.Stat(filepath.Join(dir, "alice")); err != nil || fi.Size() != 0 {
			t.Errorf("a locked mailbox was written to, %v", err)
		}
		reader.Close()
		time.Sleep(2 * time.Second)
		wantTexts(t, "unlocked", dir, "alice", "one\n")
		if _, err := os.Stat(filepath.Join(dir, "alice.lock")); err == nil {
			t.Error("our lock file is left")
		}
	})
}

// readerLock locks a mailbox as another program does, until the file is closed.
func readerLock(t *testing.T, dir, box string) *os.File {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(dir, box), os.O_RDWR|os.O_CREATE, 0o600)
	if err == nil {
		err = lockMail(f, true)
	}
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// What can't be delivered before Close is delivered after the next Open.
func TestCloseWithALockedMailbox(t *testing.T) {
	t.Parallel()
	yodeltest.NeedLinux(t)
	synctest.Test(t, func(t *testing.T) {
		dir := fastDir(t)
		s := open(t, Config{Dir: dir, Log: silent})
		reader := readerLock(t, dir, "alice")
		deliver(t, s, "one\n", "alice", "bob")
		deliver(t, s, "two\n", "alice")
		begun := time.Now()
		s.Close()
		if took := time.Since(begun); took > closePatience {
			t.Errorf("Close has taken %v", took)
		}
		s = open(t, Config{Dir: dir, Log: silent})
		s.Close()
		reader.Close()
		s = open(t, Config{Dir: dir, Log: silent})
		wantTexts(t, "opened when it is not locked", dir, "alice", "one\n", "two\n")
		wantTexts(t, "what was delivered is not delivered again", dir, "bob", "one\n")
		s.Close()
		wantEmpty(t, dir, journalDir)
	})
}

// A lock file is respected, and broken when who has made it is gone.
func TestLockFiles(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		what, text string
		age        time.Duration
		waits      time.Duration // at least
	}{
		{"of a process that is gone", "999999999\n", 0, 0},
		{"of an earlier yodel, whose number another process has now", fmt.Sprintf("%d\nyodel\n", os.Getppid()), 0, 0},
		{"of a process that is there", fmt.Sprintln(os.Getppid()), 0, staleAfter},
		{"of who knows whom", "", 0, staleAfter},
		{"with hostile text", "\x1b[31m-1", 0, staleAfter},
		{"of who knows whom, old", "", staleAfter + time.Second, 0},
	} {
		t.Run(tt.what, func(t *testing.T) {
			if tt.text == "999999999\n" {
				yodeltest.NeedLinux(t)
			}
			synctest.Test(t, func(t *testing.T) {
				dir := fastDir(t)
				s := open(t, Config{Dir: dir, Log: silent})
				dot := filepath.Join(dir, "alice.lock")
				os.WriteFile(dot, []byte(tt.text), 0o600)
				at := time.Now().Add(-tt.age)
				os.Chtimes(dot, at, at)
				begun := time.Now()
				deliver(t, s, "one\n", "alice")
				for len(texts(t, dir, "alice")) == 0 {
					time.Sleep(time.Second)
				}
				if took := time.Since(begun); took < tt.waits || took > tt.waits+5*time.Second {
					t.Errorf("delivered after %v, want %v", took, tt.waits)
				}
			})
		})
	}
}

// A mailbox that can't be written to is complained of, not too often, and its mail waits.
func TestBrokenMailbox(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		dir := fastDir(t)
		var log bytes.Buffer
		s := open(t, Config{Dir: dir, Log: slog.New(slog.NewTextHandler(&log, nil))})
		os.Mkdir(filepath.Join(dir, "alice"), 0o700)
		deliver(t, s, "one\n", "alice")
		deliver(t, s, "two\n", "alice")
		time.Sleep(90 * time.Second)
		os.Remove(filepath.Join(dir, "alice"))
		time.Sleep(2 * time.Second)
		wantTexts(t, "repaired", dir, "alice", "one\n", "two\n")
		s.Close()
		if n := strings.Count(log.String(), "mail waits in the journal"); n != 2 {
			t.Errorf("in 90 seconds it has complained %d times:\n%s", n, &log)
		}
	})
}

// A mailbox that was put there by somebody else gets what ends its last message.
func TestGlue(t *testing.T) {
	t.Parallel()
	for before, want := range map[string]string{
		"":                   "From sender@example.org",
		"x":                  "x\n\nFrom sender@example.org",
		"From a\nhi":         "From a\nhi\n\nFrom sender@example.org",
		"From a\nhi\n":       "From a\nhi\n\nFrom sender@example.org",
		"From a\nhi\n\n":     "From a\nhi\n\nFrom sender@example.org",
		"From a\nhi\n\n\n\n": "From a\nhi\n\n\n\nFrom sender@example.org",
		"\n":                 "\n\nFrom sender@example.org",
	} {
		dir := fastDir(t)
		file := filepath.Join(dir, "alice")
		os.WriteFile(file, []byte(before), 0o600)
		deliver(t, open(t, Config{Dir: dir}), "hi\n", "alice")
		got, _ := os.ReadFile(file)
		if !strings.HasPrefix(string(got), want) {
			t.Errorf("behind %q: %q", before, got)
		}
	}
}

// crashed is a spool as a process leaves it that is killed.
type crashed struct {
	dir     string
	journal []byte
}

const (
	before = "From old@example.org Thu Jan  1 00:00:00 2026\nold\n\n"
	ofOne  = "From s@example.org Sat Mar  7 12:30:00 2026\none\n\n"
	ofTwo  = "From s@example.org Sat Mar  7 12:30:00 2026\n>From two\n\n"
)

// newCrashed returns one in which messages one and two are announced.
func newCrashed(t testing.TB) *crashed {
	t.Helper()
	c := &crashed{dir: fastDir(t)}
	os.MkdirAll(filepath.Join(c.dir, journalDir), 0o700)
	c.add(record(t, kindMessage, &meta{ID: "1", From: "s@example.org", Time: noon, Boxes: []string{"alice"}}, "one\n"))
	c.add(record(t, kindMessage, &meta{ID: "2", From: "s@example.org", Time: noon, Boxes: []string{"alice"}}, "From two\n"))
	c.add(record(t, kindAppend, &meta{Box: "alice", IDs: []string{"1", "2"}, Size: int64(len(before))}, ""))
	return c
}

func (c *crashed) add(record []byte) { c.journal = append(c.journal, record...) }

// recovered returns what is in the mailbox when the spool is opened and closed, in which
// before there was mailbox.
func (c *crashed) recovered(t testing.TB, mailbox string) string {
	t.Helper()
	file := filepath.Join(c.dir, "alice")
	if err := errors.Join(os.WriteFile(file, []byte(mailbox), 0o600),
		os.WriteFile(filepath.Join(c.dir, segmentName(3)), c.journal, 0o600)); err != nil {
		t.Fatal(err)
	}
	s, err := Open(&Config{Dir: c.dir, Log: silent})
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	wantEmpty(t, c.dir, journalDir)
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(got)
}

// However much of what was announced had reached the mailbox, it is there once, whole.
func TestRecoveryOfATornMailbox(t *testing.T) {
	t.Parallel()
	c := newCrashed(t)
	const all = before + ofOne + ofTwo
	for n := len(before); n <= len(all); n++ {
		if got := c.recovered(t, all[:n]); got != all {
			t.Fatalf("%d bytes had been written:\ngot  %q\nwant %q", n-len(before), got, all)
		}
		// The length had grown, and the bytes did not come before the power failed.
		if got := c.recovered(t, all[:n]+strings.Repeat("\x00", len(all)-n)); got != all {
			t.Fatalf("%d bytes had been written, and room made:\ngot  %q\nwant %q", n-len(before), got, all)
		}
	}
	for what, more := range map[string]string{
		"somebody has appended since": "From x\nmore\n\n",
		"the blocks of a disk":        strings.Repeat("\x00", 10_000),
	} {
		if got := c.recovered(t, all+more); got != all+more {
			t.Errorf("%s: got %q", what, got)
		}
	}
	if got := c.recovered(t, before+strings.Repeat("\x00", 10_000)); got != all {
		t.Errorf("nothing but room: got %q", got)
	}
}

// What somebody else has changed is not cut: better twice than not at all.
func TestRecoveryOfAChangedMailbox(t *testing.T) {
	t.Parallel()
	c := newCrashed(t)
	for _, mailbox := range []string{
		"", before[:10], before + "From x\nother\n\n", before + ofOne[:20] + "From x\nother\n\n",
		before + ofOne + strings.ToUpper(ofTwo), before + "\x00\x00\x00other\n\n",
	} {
		got := c.recovered(t, mailbox)
		if !strings.HasPrefix(got, mailbox) || !strings.HasSuffix(got, ofOne+ofTwo) {
			t.Errorf("of %q has become %q", mailbox, got)
		}
	}
}

func TestRecoveryOfJournals(t *testing.T) {
	t.Parallel()
	third := record(t, kindMessage, &meta{ID: "3", From: "s@example.org", Time: noon, Boxes: []string{"alice", "bob"}}, "three\n")
	ofThree := strings.Replace(ofOne, "one", "three", 1)
	for _, tt := range []struct {
		what    string
		more    [][]byte
		mailbox string
		want    string
	}{
		{"all is done", [][]byte{record(t, kindDone, &meta{Box: "alice", IDs: []string{"1", "2"}}, "")}, "changed since", "changed since"},
		{"one of them is done", [][]byte{record(t, kindDone, &meta{Box: "alice", IDs: []string{"1"}}, "")}, before + ofOne, before + ofOne + ofTwo},
		{"one is done, and an old announcement", [][]byte{
			record(t, kindDone, &meta{Box: "alice", IDs: []string{"1"}}, ""),
			record(t, kindAppend, &meta{Box: "alice", IDs: []string{"1", "2"}, Size: 0}, ""),
		}, before + ofOne, before + ofOne + ofTwo},
		{"a message that came later", [][]byte{third}, before + ofOne + ofTwo, before + ofOne + ofTwo + ofThree},
		{"a later one that was announced first", [][]byte{
			third,
			record(t, kindAppend, &meta{Box: "alice", IDs: []string{"3"}, Size: int64(len(before))}, ""),
		}, before + ofThree[:9], before + ofThree + ofOne + ofTwo},
		{"of what nobody knows", [][]byte{record(t, 99, &meta{Box: "alice"}, "x")}, before, before + ofOne + ofTwo},
	} {
		c := newCrashed(t)
		for _, r := range tt.more {
			c.add(r)
		}
		if got := c.recovered(t, tt.mailbox); got != tt.want {
			t.Errorf("%s:\ngot  %q\nwant %q", tt.what, got, tt.want)
		}
	}
}

// Any rest of a journal and any mailbox: opening ends, and nothing of the mailbox that
// was there before is lost.
func FuzzRecovery(f *testing.F) {
	f.Add([]byte(ofOne), 10)
	f.Add([]byte("\x00\x00"), 1000)
	f.Fuzz(func(t *testing.T, tail []byte, torn int) {
		c := newCrashed(t)
		c.journal = c.journal[:len(c.journal)-min(max(torn, 0), len(c.journal))]
		if got := c.recovered(t, before+string(tail)); !strings.HasPrefix(got, before) {
			t.Errorf("the mailbox has become %q", got)
		}
	})
}

// When a sync has failed, what can be read is not believed to be on the disk.
func TestRepairAfterAFailedSync(t *testing.T) {
	t.Parallel()
	dir := fastDir(t)
	s := open(t, Config{Dir: dir})
	m := s.store.(*mbox)
	d := s.Begin(Envelope{From: "s@example.org", Time: noon})
	d.Write([]byte("one\n"))
	e, err := newEntry(kindMessage, &meta{ID: "1"}, d)
	if err == nil {
		err = m.journal.append(e)
	}
	if err != nil {
		t.Fatal(err)
	}
	g := newMessage(&meta{ID: "1", From: "s@example.org", Time: noon}, 1)
	g.seg, g.off, g.size = e.seg, e.at, e.size
	b := m.box("alice")
	b.queue, b.running = []*message{g}, true

	e.seg.live++ // for the announcement
	b.announced = &announced{seg: e.seg, messages: b.queue, unsure: true}
	os.WriteFile(filepath.Join(dir, "alice"), []byte(ofOne), 0o600)
	if err := m.deliver(b, b.queue); err != nil || b.announced != nil {
		t.Fatalf("repair: %v", err)
	}
	if got := texts(t, dir, "alice"); len(got) != 0 {
		t.Errorf("the mailbox has %q", got)
	}
	if err := m.deliver(b, b.queue); err != nil {
		t.Fatal(err)
	}
	wantTexts(t, "written anew", dir, "alice", "one\n")
}

// What can't be appended is taken back.
func TestTakeBack(t *testing.T) {
	t.Parallel()
	dir := fastDir(t)
	s := open(t, Config{Dir: dir})
	m := s.store.(*mbox)
	file := filepath.Join(dir, "alice")
	os.WriteFile(file, []byte(before), 0o600)
	b := m.box("alice")
	seg := &segment{f: mustOpen(t, file), live: 2}
	seg.f.Close() // the text can't be read
	g := newMessage(&meta{ID: "1"}, 1)
	g.seg, g.size = seg, 10
	b.running, b.queue = true, []*message{g}
	if err := m.deliver(b, b.queue); !errors.Is(err, os.ErrClosed) || b.announced != nil {
		t.Errorf("the error is %v", err)
	}
	if got, _ := os.ReadFile(file); string(got) != before {
		t.Errorf("the mailbox is %q", got)
	}
	b.announced = &announced{seg: seg, size: 0, messages: b.queue}
	if err := m.deliver(b, b.queue); !errors.Is(err, os.ErrClosed) {
		t.Errorf("comparing with what can't be read: %v", err)
	}
	os.Remove(file)
	if err := m.takeBack(b); err == nil || b.announced == nil {
		t.Errorf("a mailbox that is gone: %v", err)
	}
	b.announced, b.queue = nil, nil
}

func mustOpen(t *testing.T, name string) *os.File {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// A mailbox whose content can't be read is not judged.
func TestCompareFails(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "x")
	os.WriteFile(name, []byte("some text"), 0o600)
	f := mustOpen(t, name)
	f.Close()
	a := &announced{glue: "\n"}
	if _, err := a.compare(&locked{File: f, size: 9}); !errors.Is(err, os.ErrClosed) {
		t.Errorf("the error is %v", err)
	}
	if _, err := (&locked{File: f, size: 9}).glue(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("glue: %v", err)
	}
}
