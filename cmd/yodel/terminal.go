package main

import (
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/term"

	"yodel/call"
)

// terminal is the terminal that a person types at.
type terminal struct{ in, out *os.File }

// terminalOf returns the terminal that standard input and output are, nil if they are
// none.
func terminalOf(s std) *terminal {
	in, ok := s.in.(*os.File)
	if !ok || !term.IsTerminal(int(in.Fd())) || !isTerminal(s.out) {
		return nil
	}
	return &terminal{in, s.out.(*os.File)}
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// atTerminal holds the dialogue with a person: lines are edited, and what the peer
// says meanwhile is shown above the line.
func (c *calling) atTerminal(ctx context.Context, cancel context.CancelCauseFunc, conn net.Conn, cfg *call.Config) error {
	before, err := term.MakeRaw(int(c.tty.in.Fd()))
	if err != nil {
		return err
	}
	defer term.Restore(int(c.tty.in.Fd()), before)
	keys := call.NewKeys(c.tty.in, cancel)
	defer keys.Close()
	t := term.NewTerminal(readWriter{keys, c.tty.out}, "")
	t.History = c.typed
	if width, height, err := term.GetSize(int(c.tty.out.Fd())); err == nil && width > 0 { // a new pty may have none
		t.SetSize(width, height)
	}
	defer c.tty.out.WriteString("\r\x1b[K") // what was typed and not sent
	defer c.status.through(t)()
	defer c.show.through(t)()
	out := c.output()
	if out != io.Discard {
		out = call.NewScreen(t)
	}
	if c.prompt {
		return call.Prompt(ctx, conn, t, out, cfg)
	}
	return call.Dialogue(ctx, conn, t, out, cfg)
}

type readWriter struct {
	io.Reader
	io.Writer
}

func (c *calling) openHistory() (*call.History, error) {
	switch {
	case c.noHistory:
		return &call.History{}, nil
	case c.history != "":
		return call.OpenHistory(c.history)
	}
	dir, err := stateDir()
	if err != nil { // no home: nothing is kept
		return &call.History{}, nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return &call.History{}, nil
	}
	h, err := call.OpenHistory(filepath.Join(dir, "history"))
	if h == nil || err != nil && h.Len() == 0 {
		return &call.History{}, nil // a convenience must not keep anyone from calling
	}
	return h, nil
}

// stateDir is where yodel keeps what should survive (XDG Base Directory
// Specification: $XDG_STATE_HOME, else ~/.local/state).
func stateDir() (string, error) {
	if dir := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "yodel"), nil
	}
	home, err := os.UserHomeDir()
	return filepath.Join(home, ".local", "state", "yodel"), err
}

// rawWriter writes to an output, or through the terminal while that is in
// raw mode, where a bare newline would not return the carriage.
type rawWriter struct {
	mu sync.Mutex
	w  io.Writer
}

// Write implements io.Writer.
func (s *rawWriter) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.w.Write(p)
}

// through makes Write go to w until the returned function is called.
func (s *rawWriter) through(w io.Writer) (back func()) {
	before := s.set(w)
	return func() { s.set(before) }
}

func (s *rawWriter) set(w io.Writer) (before io.Writer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before, s.w = s.w, w
	return before
}
