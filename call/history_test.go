package call

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

func lines(h *History) []string {
	var all []string
	for i := range h.Len() {
		all = append(all, h.At(i))
	}
	return all
}

func wantLines(t *testing.T, h *History, want ...string) {
	t.Helper()
	if got := lines(h); strings.Join(got, "|") != strings.Join(want, "|") {
		t.Errorf("history %q, want %q", got, want)
	}
}

func TestHistoryInMemory(t *testing.T) {
	t.Parallel()
	var h History
	for _, l := range []string{"one", "two", "two", "", " secret", "esc \x1b[2J", "\xff", strings.Repeat("x", maxEntry+1), "three", "two"} {
		h.Add(l)
	}
	wantLines(t, &h, "two", "three", "two", "one")
	if h.Err() != nil {
		t.Error(h.Err())
	}
}

func TestHistoryIsBounded(t *testing.T) {
	t.Parallel()
	var h History
	for i := range 10 * MaxHistory {
		h.Add(fmt.Sprint("line ", i))
		if len(h.entries) > 2*MaxHistory {
			t.Fatalf("%d lines are kept", len(h.entries))
		}
	}
	if h.Len() != MaxHistory || h.At(0) != "line 9999" || h.At(MaxHistory-1) != "line 9000" {
		t.Errorf("%d lines, from %q to %q", h.Len(), h.At(0), h.At(h.Len()-1))
	}
}

func TestHistoryFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "history")
	a, err := OpenHistory(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Error("a file was made before there was a line")
	}
	b, _ := OpenHistory(path) // a second program at the same time
	a.Add("from a")
	b.Add("from b")
	a.Add("again a")
	if a.Err() != nil || b.Err() != nil {
		t.Fatal(a.Err(), b.Err())
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if runtime.GOOS != "windows" && info.Mode() != 0o600 {
		t.Errorf("mode %v: others can read what was typed", info.Mode())
	}
	c, err := OpenHistory(path)
	if err != nil {
		t.Fatal(err)
	}
	wantLines(t, c, "again a", "from b", "from a")
}

func TestHistoryFileIsHostile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "history")
	text := "good\n\x1b]0;title\x07\n\n spaced\n\xff\xfe\nbidi \u202e\n" + strings.Repeat("x", 5000) + "\nalso good\nno newline"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	h, err := OpenHistory(path)
	if err != nil {
		t.Fatal(err)
	}
	wantLines(t, h, "no newline", "also good", "good")
}

func TestHistoryFileIsCut(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "history")
	var b strings.Builder
	for i := range 60_000 { // 1.2 MB
		fmt.Fprintf(&b, "line number %07d\n", i)
	}
	if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	h, err := OpenHistory(path)
	if err != nil || h.Len() != MaxHistory || h.At(0) != "line number 0059999" {
		t.Fatalf("%d lines, %v", h.Len(), err)
	}
	if info, _ := os.Stat(path); info.Size() != int64(MaxHistory*len("line number 0000000\n")) {
		t.Errorf("the file has %d bytes", info.Size())
	}
	again, err := OpenHistory(path)
	if err != nil || again.Len() != MaxHistory || again.At(MaxHistory-1) != h.At(MaxHistory-1) {
		t.Errorf("%d lines, %v", again.Len(), err)
	}
}

func TestHistoryFileFails(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if _, err := OpenHistory(dir); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("a folder: %v", err)
	}
	if _, err := OpenHistory(filepath.Join(dir, "a\x00b")); err == nil {
		t.Error("a name that cannot be: no error")
	}
	h, err := OpenHistory(filepath.Join(dir, "nosuch", "history"))
	if err != nil {
		t.Fatal(err)
	}
	h.Add("kept in memory")
	if h.Err() == nil || h.Len() != 1 {
		t.Errorf("%d lines, %v", h.Len(), h.Err())
	}
}

func TestHistoryFileCannotBeCut(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "history")
	if err := os.WriteFile(path, []byte(strings.Repeat("some line\nanother\n", 40_000)), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(path+".new", 0o700); err != nil { // in the way
		t.Fatal(err)
	}
	h, err := OpenHistory(path)
	if err == nil || h.Len() != MaxHistory {
		t.Errorf("%d lines, %v", h.Len(), err)
	}
}
