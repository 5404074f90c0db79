package ftp

import (
	"os"
	"strings"
	"sync"
	"time"
)

// orphans removes what was being received when a server was killed.
type orphans struct {
	mu   sync.Mutex
	seen []os.FileInfo // folders that were swept since the server began
}

// Bounds of a sweep.
const (
	maxSwept   = 256  // folders that are remembered
	sweepNames = 1000 // names that are read at once in one of them
	sweepReads = 10   // as often
	sweepAfter = time.Minute
	sweepBlind = 24 * time.Hour // where nothing tells whether somebody still writes
)

// sweep removes orphans from a folder, once for each folder.
func (o *orphans) sweep(dir *os.Root) {
	fi, err := dir.Stat(".")
	if err != nil || !o.isNew(fi) {
		return
	}
	d, err := dir.Open(".")
	if err != nil {
		return
	}
	defer d.Close()
	for range sweepReads {
		names, err := d.Readdirnames(sweepNames)
		for _, name := range names {
			if strings.HasPrefix(name, TempPrefix) {
				removeOrphan(dir, name, time.Now())
			}
		}
		if err != nil {
			return
		}
	}
}

// isNew reports whether a folder was not swept yet, as far as is remembered.
func (o *orphans) isNew(fi os.FileInfo) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, old := range o.seen {
		if os.SameFile(old, fi) {
			return false
		}
	}
	if len(o.seen) == maxSwept {
		o.seen = o.seen[1:]
	}
	o.seen = append(o.seen, fi)
	return true
}

// removeOrphan removes a file that nobody is receiving: nobody holds its lock.
func removeOrphan(dir *os.Root, name string, now time.Time) {
	fi, err := dir.Lstat(name)
	if err != nil || !fi.Mode().IsRegular() || now.Sub(fi.ModTime()) < sweepAfter {
		return
	}
	f, err := dir.Open(name)
	if err != nil {
		return
	}
	defer f.Close()
	if held, known := isLocked(f); held || !known && now.Sub(fi.ModTime()) < sweepBlind {
		return
	}
	dir.Remove(name)
}
