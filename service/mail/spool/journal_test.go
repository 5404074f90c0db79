package spool

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
)

var silent = slog.New(slog.DiscardHandler)

func record(t testing.TB, k kind, m *meta, text string) []byte {
	t.Helper()
	d := &Draft{}
	d.Write([]byte(text))
	b, err := appendRecord(nil, k, m, d.size, d.crc)
	if err != nil {
		t.Fatal(err)
	}
	return append(b, text...)
}

func TestRecords(t *testing.T) {
	t.Parallel()
	md := &meta{ID: "1.2", From: "ü@example.org", Time: noon, Boxes: []string{"alice", "bob"}}
	b := record(t, kindMessage, md, "hello\n")
	k, got, at, size, err := readRecord(bytes.NewReader(b))
	if err != nil || k != kindMessage || got.ID != md.ID || got.From != md.From || !got.Time.Equal(noon) || len(got.Boxes) != 2 {
		t.Errorf("got %v %+v, %v", k, got, err)
	}
	if string(b[at:at+size]) != "hello\n" {
		t.Errorf("the text is at %d, %d bytes", at, size)
	}
	for n := range b {
		_, _, _, _, err := readRecord(bytes.NewReader(b[:n]))
		if n > 0 && err != errTorn || n == 0 && err != io.EOF {
			t.Errorf("of %d bytes %d: %v", len(b), n, err)
		}
		bad := bytes.Clone(b)
		bad[n] ^= 0x20
		if _, _, _, _, err := readRecord(bytes.NewReader(bad)); err != errTorn {
			t.Errorf("byte %d is another one: %v", n, err)
		}
		_, _, _, _, err = readRecord(io.MultiReader(bytes.NewReader(b[:n]), iotest.ErrReader(io.ErrClosedPipe)))
		if err != io.ErrClosedPipe {
			t.Errorf("a failure after %d bytes: %v", n, err)
		}
	}
	if _, err := appendRecord(nil, kindMessage, &meta{ID: strings.Repeat("x", metaMax)}, 0, 0); err == nil {
		t.Error("an envelope without a bound")
	}
}

// What is not a record is not taken for one, and no length in it is believed.
func FuzzReadRecord(f *testing.F) {
	f.Add(record(f, kindDone, &meta{Box: "alice", IDs: []string{"1"}}, ""))
	f.Add(record(f, kindMessage, &meta{ID: "1", Boxes: []string{"a"}}, "text"))
	f.Add([]byte(magic + "\x01\x00\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, b []byte) {
		k, md, at, size, err := readRecord(bytes.NewReader(b))
		if err != nil {
			return
		}
		if at+size > int64(len(b)) || k == 0 && b[4] != 0 {
			t.Errorf("a record of kind %d and %d+%d bytes in %d: %+v", k, at, size, len(b), md)
		}
	})
}

// testJournal is a journal in a folder of its own.
func testJournal(t *testing.T) (*journal, *os.Root) {
	t.Helper()
	root, err := os.OpenRoot(fastDir(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	root.MkdirAll(journalDir, 0o700)
	return newJournal(root, nil, 0), root
}

func put(t *testing.T, j *journal, text string) (*entry, error) {
	t.Helper()
	d := &Draft{}
	d.Write([]byte(text))
	e, err := newEntry(kindMessage, &meta{ID: text, Boxes: []string{"alice"}}, d)
	if err != nil {
		t.Fatal(err)
	}
	return e, j.append(e)
}

func mustPut(t *testing.T, j *journal, text string) *entry {
	t.Helper()
	e, err := put(t, j, text)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// idsIn returns the messages that an Open would find.
func idsIn(t *testing.T, root *os.Root) (ids []string) {
	t.Helper()
	r, err := recoverJournal(root, silent)
	if err != nil {
		t.Fatal(err)
	}
	defer r.close()
	for _, g := range r.queues["alice"] {
		ids = append(ids, g.id)
	}
	return ids
}

// A segment whose descriptor has failed is not used again, and what it has is not lost.
func TestJournalAbandonsASegment(t *testing.T) {
	t.Parallel()
	j, root := testJournal(t)
	first := mustPut(t, j, "one")
	first.seg.f.Close() // now each call on it fails
	if _, err := put(t, j, "two"); !errors.Is(err, os.ErrClosed) {
		t.Errorf("the error is %v", err)
	}
	third := mustPut(t, j, "three")
	if third.seg == first.seg {
		t.Error("a descriptor that has failed was used again")
	}
	if got := fmt.Sprint(idsIn(t, root)); got != "[one three]" {
		t.Errorf("the journal has %v", got)
	}
	j.release(third.seg)
	if _, err := root.Stat(first.seg.name); err != nil {
		t.Error("a segment with a message that is not delivered was removed")
	}
	j.release(first.seg)
	if _, err := root.Stat(first.seg.name); err == nil {
		t.Error("a segment that is done is still there")
	}
	j.close()
	if _, err := root.Stat(third.seg.name); err == nil {
		t.Error("a segment is still there after close")
	}
	if _, err := put(t, j, "four"); err != ErrClosed {
		t.Errorf("after close: %v", err)
	}
}

// Segments are not removed before older ones, so that what says that a message was
// delivered is not gone before the message.
func TestJournalRemovesInOrder(t *testing.T) {
	t.Parallel()
	j, root := testJournal(t)
	large := strings.Repeat("x", segmentMax)
	var entries []*entry
	for i := range 3 {
		entries = append(entries, mustPut(t, j, large[:i]+"y"))
		entries[i].seg.size = segmentMax // full
	}
	mustPut(t, j, "current")
	j.release(entries[1].seg)
	j.release(entries[2].seg)
	if files, _ := readDir(root, journalDir); len(files) != 4 {
		t.Errorf("%d segments are left, want 4", len(files))
	}
	j.release(entries[0].seg)
	if files, _ := readDir(root, journalDir); len(files) != 1 {
		t.Errorf("%d segments are left, want 1", len(files))
	}
	j.close()
}

func TestJournalBacklog(t *testing.T) {
	t.Parallel()
	j, _ := testJournal(t)
	defer j.close()
	for i := range segmentsMax {
		mustPut(t, j, fmt.Sprint(i)).seg.size = segmentMax
	}
	if _, err := put(t, j, "one more"); err != ErrBacklog || !IsFull(err) {
		t.Errorf("the error is %v", err)
	}
}

// A segment that can't be made is an error, and the next one is tried.
func TestJournalWithoutAFolder(t *testing.T) {
	t.Parallel()
	j, root := testJournal(t)
	defer j.close()
	root.Remove(journalDir)
	if _, err := put(t, j, "one"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the error is %v", err)
	}
	root.Mkdir(journalDir, 0o700)
	mustPut(t, j, "two")
}

// The journal is read up to what is no whole record, wherever that was torn; a message is
// there when its last byte is.
func TestJournalTornAnywhere(t *testing.T) {
	t.Parallel()
	root, err := os.OpenRoot(fastDir(t))
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	root.MkdirAll(journalDir, 0o700)
	one := record(t, kindMessage, &meta{ID: "one", Boxes: []string{"alice"}}, "hello\n")
	two := record(t, kindMessage, &meta{ID: "two", Boxes: []string{"alice"}}, "hello again\n")
	next := record(t, kindMessage, &meta{ID: "next", Boxes: []string{"alice"}}, "in the next segment\n")
	root.WriteFile(segmentName(8), next, 0o600)
	root.WriteFile(filepath.Join(journalDir, "README"), []byte("no segment"), 0o600)
	both := append(bytes.Clone(one), two...)
	for n := range len(both) + 1 {
		root.WriteFile(segmentName(7), both[:n], 0o600)
		want := "[next]"
		switch {
		case n == len(both):
			want = "[one two next]"
		case n >= len(one):
			want = "[one next]"
		}
		if got := fmt.Sprint(idsIn(t, root)); got != want {
			t.Fatalf("of %d bytes %d: %v, want %v", len(both), n, got, want)
		}
	}
}
