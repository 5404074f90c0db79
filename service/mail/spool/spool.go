package spool

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"path"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Format is how mailboxes are kept.
type Format string

// The formats.
const (
	Mbox    Format = "mbox"    // a file for each mailbox
	Maildir Format = "maildir" // a folder for each mailbox, a file for each message
)

// Config says where and how a spool is kept.
type Config struct {
	// Dir is the folder. It is made if it is not there. It must be set.
	Dir string

	// Format is how mailboxes are kept. If empty, as the folder has it already, and
	// Mbox in a new one.
	Format Format

	// MaxBoxes is how many mailboxes there may be: each recipient makes one. If zero,
	// 10,000; if negative, there is no bound.
	MaxBoxes int

	// Log takes what an operator must know: mailboxes that can't be written to. If
	// nil, slog.Default().
	Log *slog.Logger
}

// The errors of a spool that are told apart. Others are the system's.
var (
	ErrClosed       = errors.New("spool: closed")
	ErrTooManyBoxes = errors.New("spool: there may be no more mailboxes")
	ErrBacklog      = errors.New("spool: too much mail waits for locked mailboxes")
	ErrInUse        = errors.New("spool: another process has it open")
)

// The files of the spool's own, below its folder.
const (
	ownDir     = ".yodel"
	lockFile   = ownDir + "/lock"
	formatFile = ownDir + "/format"
	tmpDir     = ownDir + "/tmp"
	journalDir = ownDir + "/journal"
)

// A Spool is a folder of mailboxes that this process, and no other, delivers to. It
// is safe for concurrent use.
type Spool struct {
	root   *os.Root
	lock   *os.File
	format Format
	log    *slog.Logger
	store  store
	host   string
	run    uint32 // by chance: the number of this process may come again
	serial atomic.Uint64
	closed atomic.Bool

	maxBoxes int
	mu       sync.Mutex
	known    map[string]bool // mailboxes that are there
}

// A store is what the formats do differently.
type store interface {
	commit(*Draft) error
	close() error
}

// Open opens the spool in cfg.Dir, and finishes what a process that was killed has left
// behind. It fails with ErrInUse while another process has it open.
func Open(cfg *Config) (*Spool, error) {
	if cfg.Dir == "" {
		return nil, errors.New("spool: no folder is named")
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(cfg.Dir)
	if err != nil {
		return nil, err
	}
	s := &Spool{root: root, log: cfg.Log, run: rand.Uint32(), known: make(map[string]bool)}
	if s.log == nil {
		s.log = slog.Default()
	}
	s.maxBoxes = max(cmp.Or(cfg.MaxBoxes, 10_000), 0)
	if err := s.open(cfg.Format); err != nil {
		s.release()
		return nil, fmt.Errorf("open the spool %s: %w", cfg.Dir, err)
	}
	return s, nil
}

func (s *Spool) open(want Format) error {
	for _, dir := range []string{tmpDir, journalDir} {
		if err := s.root.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	if err := s.takeLock(); err != nil {
		return err
	}
	if err := s.settleFormat(want); err != nil {
		return err
	}
	if err := s.clean(); err != nil {
		return err
	}
	s.host = hostName()
	var err error
	if s.format == Maildir {
		s.store = newMaildir(s)
	} else {
		s.store, err = openMbox(s)
	}
	return err
}

func (s *Spool) takeLock() error {
	f, err := s.root.OpenFile(lockFile, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	if err := lockWhole(f); err != nil {
		f.Close()
		return err
	}
	s.lock = f
	return nil
}

// settleFormat finds out the format, and writes it down for the next time.
func (s *Spool) settleFormat(want Format) error {
	has, err := formatOf(s.root)
	switch {
	case err != nil:
		return err
	case has != "" && want != "" && has != want:
		return fmt.Errorf("its format is %s, not %s; take another folder, or leave the format out", has, want)
	case has != "":
		s.format = has
		return nil
	}
	s.format = cmp.Or(want, Mbox)
	if s.format != Mbox && s.format != Maildir {
		return fmt.Errorf("there is no format %q; there are %s and %s", s.format, Mbox, Maildir)
	}
	if err := s.root.WriteFile(formatFile, []byte(s.format+"\n"), 0o600); err != nil {
		return err
	}
	return errors.Join(syncDir(s.root, ownDir), syncDir(s.root, "."))
}

// formatOf returns the format that is written down in a spool, "" if none is.
func formatOf(root *os.Root) (Format, error) {
	text, err := root.ReadFile(formatFile)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	switch f := Format(strings.TrimSpace(string(text))); f {
	case Mbox, Maildir:
		return f, nil
	}
	return "", fmt.Errorf("%s says %.20q; it must say %s or %s", formatFile, text, Mbox, Maildir)
}

// clean removes what was being received when the last process ended, and learns which
// mailboxes there are.
func (s *Spool) clean() error {
	left, err := readDir(s.root, tmpDir)
	if err != nil {
		return err
	}
	for _, e := range left {
		if err := s.root.Remove(path.Join(tmpDir, e.Name())); err != nil {
			return err
		}
	}
	all, err := readDir(s.root, ".")
	for _, e := range all {
		if isBox(e, s.format) {
			s.known[e.Name()] = true
		}
	}
	return err
}

// isBox reports whether an entry of the spool's folder is a mailbox.
func isBox(e fs.DirEntry, f Format) bool {
	if strings.HasPrefix(e.Name(), ".") || strings.HasSuffix(e.Name(), ".lock") {
		return false
	}
	return f == Maildir && e.IsDir() || f == Mbox && e.Type().IsRegular()
}

func readDir(root *os.Root, dir string) ([]fs.DirEntry, error) {
	f, err := root.Open(dir)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.ReadDir(-1)
}

// isFull is IsFull for the spool's own errors.
func isFull(err error) bool {
	return errors.Is(err, ErrTooManyBoxes) || errors.Is(err, ErrBacklog)
}

// Format returns how mailboxes are kept.
func (s *Spool) Format() Format { return s.format }

// Check returns ErrTooManyBoxes if a message for the mailbox could not be stored
// because there are too many already.
func (s *Spool) Check(box string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.maxBoxes > 0 && len(s.known) >= s.maxBoxes && !s.known[box] {
		return ErrTooManyBoxes
	}
	return nil
}

// admit counts mailboxes that may be new, all or none of them.
func (s *Spool) admit(boxes []string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	more := 0
	for _, box := range boxes {
		if !s.known[box] {
			more++
		}
	}
	if more > 0 && s.maxBoxes > 0 && len(s.known)+more > s.maxBoxes {
		return ErrTooManyBoxes
	}
	for _, box := range boxes {
		s.known[box] = true
	}
	return nil
}

// Free returns how many bytes this process may still write to the spool's file
// system; errors.ErrUnsupported where the system does not tell.
func (s *Spool) Free() (int64, error) { return freeBytes(s.lock) }

// Close waits for what is on its way into mailboxes, for a short time where they are
// locked (what is left is delivered when the spool is opened again), and lets the
// folder go.
func (s *Spool) Close() error {
	if s.closed.Swap(true) {
		return nil
	}
	err := s.store.close()
	s.release()
	return err
}

func (s *Spool) release() {
	if s.lock != nil {
		s.lock.Close()
	}
	s.root.Close()
}

// unique returns a name that no other message in this folder, or in another one that
// this host serves, has had: as Maildir's description asks for it.
func (s *Spool) unique(now time.Time) string {
	return fmt.Sprintf("%d.M%06dP%dQ%dR%08X.%s", now.Unix(), now.Nanosecond()/1000, os.Getpid(), s.serial.Add(1), s.run, s.host)
}

// hostName returns this host's name as it may stand in a Maildir's file names.
func hostName() string {
	name, err := os.Hostname()
	if err != nil || name == "" {
		name = "localhost"
	}
	out := appendName(make([]byte, 0, len(name)), name)
	return string(out[:min(len(out), 64)])
}
