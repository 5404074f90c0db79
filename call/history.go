package call

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"yodel/internal/escape"
)

const (
	// MaxHistory is how many lines a History keeps.
	MaxHistory = 1000

	maxHistoryFile = 1 << 20   // bytes that are read of the file
	cutHistoryFile = 512 << 10 // bytes from which on the file is cut
	maxEntry       = 4096      // bytes of a line that is kept
)

// A History is the lines that were typed before, the last MaxHistory of them. It is a
// History of package golang.org/x/term. The zero History is empty and in memory only.
//
// Empty lines, lines that begin with a space, and a line equal to the one before are not
// kept; nor are lines of more than 4096 bytes. So a password can be kept out of it by
// typing a space first, where the peer does not mind.
type History struct {
	path    string
	entries []string // the newest last
	err     error
}

// OpenHistory returns the lines of the file at path, to which each further line will be
// appended as it is typed, so that several programs can share it. A file that does not
// exist is made with the first line, mode 0600. One of more than half a MiB is cut to what
// is kept; if that fails there is an error, and the History can be used all the same.
// Lines in it that a terminal might obey are left out.
func OpenHistory(path string) (*History, error) {
	h := &History{path: path}
	lines, size, err := readHistory(path)
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(lines) {
		if line = strings.TrimSuffix(line, "\n"); isEntry(line) {
			h.remember(line)
		}
	}
	if size > cutHistoryFile {
		return h, h.rewrite()
	}
	return h, nil
}

// readHistory returns the end of the file, of at most maxHistoryFile bytes, from the
// start of a line, and how long the file is.
func readHistory(path string) (lines string, size int64, err error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", 0, nil
	}
	if err != nil {
		return "", 0, fmt.Errorf("history: %w", err)
	}
	if !info.Mode().IsRegular() { // to open a FIFO may take for ever
		return "", 0, fmt.Errorf("history: %s is not a regular file", escape.String(path))
	}
	f, err := os.Open(path)
	if err != nil {
		return "", 0, fmt.Errorf("history: %w", err)
	}
	defer f.Close()
	from := max(info.Size()-maxHistoryFile, 0)
	text, err := io.ReadAll(io.NewSectionReader(f, from, maxHistoryFile))
	if err != nil {
		return "", 0, fmt.Errorf("history: %w", err)
	}
	if from > 0 {
		_, text, _ = bytes.Cut(text, []byte("\n"))
	}
	return string(text), info.Size(), nil
}

// isEntry reports whether a line is worth keeping, and safe to show.
func isEntry(line string) bool {
	if line == "" || line[0] == ' ' || len(line) > maxEntry {
		return false
	}
	for _, r := range line {
		if !strconv.IsPrint(r) || r == '\uFFFD' {
			return false
		}
	}
	return true
}

// remember adds a line in memory and reports whether it is new.
func (h *History) remember(line string) bool {
	if n := len(h.entries); n > 0 && h.entries[n-1] == line {
		return false
	}
	if h.entries = append(h.entries, line); len(h.entries) > 2*MaxHistory {
		h.entries = append([]string(nil), h.entries[MaxHistory:]...)
	}
	return true
}

// rewrite replaces the file by one that has only what is kept.
func (h *History) rewrite() error {
	text := strings.Join(h.recent(), "\n") + "\n"
	tmp := h.path + ".new"
	if err := os.WriteFile(tmp, []byte(text), 0o600); err != nil {
		return fmt.Errorf("history: %w", err)
	}
	if err := os.Rename(tmp, h.path); err != nil {
		os.Remove(tmp)
		return fmt.Errorf("history: %w", err)
	}
	return nil
}

func (h *History) recent() []string { return h.entries[max(len(h.entries)-MaxHistory, 0):] }

// Add adds a line. That it cannot be written is for Err to tell.
func (h *History) Add(line string) {
	if isEntry(line) && h.remember(line) && h.path != "" && h.err == nil {
		h.err = h.appendLine(line)
	}
}

func (h *History) appendLine(line string) error {
	f, err := os.OpenFile(h.path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("history: %w", err)
	}
	_, err = f.WriteString(line + "\n") // one write, so that lines of two programs do not mix
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return fmt.Errorf("history: %w", err)
	}
	return nil
}

// Len returns how many lines there are.
func (h *History) Len() int { return len(h.recent()) }

// At returns a line: 0 is the newest. It panics if there is none.
func (h *History) At(i int) string {
	recent := h.recent()
	return recent[len(recent)-1-i]
}

// Err returns why the file could not be written; after that it is not tried again.
func (h *History) Err() error { return h.err }
