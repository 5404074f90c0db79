package spool

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"
	"time"
)

// errLocked reports that somebody else has a mailbox locked.
var errLocked = errors.New("it is locked by another program")

// A lock file that is older than this was left behind; others touch theirs.
const staleAfter = 5 * time.Minute

// locked is a mailbox that is open and locked.
type locked struct {
	*os.File
	root *os.Root
	dot  string // the lock file
	size int64
}

// lockBox opens a mailbox, and makes it if it is not there. It takes the locks that
// Debian's policy (11.6) wants of all mail programs, in that order: fcntl, then the
// lock file. It does not wait: if somebody else has one of them it fails with errLocked.
func lockBox(root *os.Root, name string, now time.Time) (*locked, error) {
	if fi, err := root.Lstat(name); err == nil && !fi.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no file but %v", name, fi.Mode().Type()) // a FIFO would hang
	}
	f, err := root.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	l := &locked{File: f, root: root}
	if err := l.take(name, now); err != nil {
		l.unlock()
		return nil, err
	}
	return l, nil
}

func (l *locked) take(name string, now time.Time) error {
	if err := lockMail(l.File, true); err != nil {
		return err
	}
	if err := takeDot(l.root, name+".lock", now); err != nil {
		return err
	}
	l.dot = name + ".lock"
	mine, err := l.Stat()
	if err != nil {
		return err
	}
	is, err := l.root.Lstat(name)
	if err != nil || !os.SameFile(mine, is) { // it was replaced before it was locked
		return errors.Join(err, errLocked)
	}
	l.size = mine.Size()
	return nil
}

// unlock closes the mailbox.
func (l *locked) unlock() {
	if l.dot != "" {
		l.root.Remove(l.dot)
	}
	l.Close()
}

// takeDot makes the lock file. It appears with what it says, so that one which is left
// behind by a process that was killed can be told.
func takeDot(root *os.Root, dot string, now time.Time) error {
	draft := path.Join(tmpDir, dot)
	if err := root.WriteFile(draft, lockText(), 0o600); err != nil {
		return err
	}
	defer root.Remove(draft)
	err := uninterrupted(func() error { return root.Link(draft, dot) })
	if errors.Is(err, fs.ErrExist) {
		breakStale(root, dot, now)
		return errLocked
	}
	return err
}

// lockMark is in our lock files, behind the number of the process, where others read no
// more.
const lockMark = "yodel"

func lockText() []byte { return fmt.Appendf(nil, "%d\n%s\n", os.Getpid(), lockMark) }

// breakStale removes a lock file that a program which has ended has left behind; who
// wants the lock tries again. Between looking and removing, another program may have
// done the same and made its own: that one still has the fcntl lock.
func breakStale(root *os.Root, dot string, now time.Time) {
	if f, err := root.Open(dot); err == nil {
		stale := isStale(f, now)
		f.Close()
		if stale {
			root.Remove(dot)
		}
	}
}

// isStale reports whether a lock file is old, or of a process that is not there any more.
// One of ours is: of all processes only this one may make them now, and it has not.
func isStale(f *os.File, now time.Time) bool {
	text, _ := io.ReadAll(io.LimitReader(f, 40))
	number, rest, _ := strings.Cut(strings.TrimSpace(string(text)), "\n")
	if pid, err := strconv.Atoi(number); err == nil && pid > 0 && (rest == lockMark || !isAlive(pid)) {
		return true
	}
	fi, err := f.Stat()
	return err == nil && now.Sub(fi.ModTime()) > staleAfter
}
