package main

import (
	"bytes"
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"yodel/trace"
)

// What is kept for "yodel story last": recent traces, and the packets of calls that were
// watched, in a ring of files. Packets are kept only where they are captured anyway: to
// begin a capture takes privilege and longer than a call.
const (
	recentDir      = "recent"
	recentFileSize = 4 << 20  // of one file; a program that runs on begins another one
	recentSize     = 64 << 20 // of all together: the oldest go
	recentFiles    = 1000
)

// A recorder keeps the events of connections for "yodel story last". It leaves out what
// there may be a great many of: messages, and reads and writes after the first.
type recorder struct {
	lines *trace.Writer
	ring  *ring
}

// openRecorder opens the recorder. It is nil if there is no place to keep anything: a
// convenience must not keep anyone from working.
func openRecorder(off bool) *recorder {
	if off {
		return nil
	}
	dir, err := stateDir()
	if err != nil {
		return nil
	}
	r := &ring{dir: filepath.Join(dir, recentDir)}
	if os.MkdirAll(r.dir, 0o700) != nil || r.next() != nil {
		return nil
	}
	return &recorder{trace.NewWriter(r), r}
}

// sink returns where events go; nil for a nil recorder.
func (r *recorder) sink() trace.Sink {
	if r == nil {
		return nil
	}
	return r
}

// Emit implements trace.Sink.
func (r *recorder) Emit(e *trace.Event) {
	switch {
	case e.Op == trace.Message,
		e.Op == trace.Read && e.In != int64(e.Bytes),
		e.Op == trace.Write && e.Out != int64(e.Bytes):
		return
	}
	r.lines.Emit(e)
}

// close writes what waits. What could not be kept is no error of the command.
func (r *recorder) close() error {
	if r != nil {
		r.lines.Close()
		r.ring.close()
	}
	return nil
}

// ring is the files of one process. It is a Writer of a trace: whole lines, the first of
// which is the header, with which each file begins.
type ring struct {
	dir string

	mu     sync.Mutex
	file   *os.File // nil: nothing can be kept any more
	size   int
	header []byte
}

// Write never fails: what can't be kept is left out.
func (r *ring) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.header == nil {
		r.header = bytes.Clone(b[:bytes.IndexByte(b, '\n')+1])
	} else if r.file != nil && r.size+len(b) > recentFileSize {
		r.file.Close()
		r.file, r.size = nil, 0
		if r.next() == nil {
			r.put(r.header)
		}
	}
	r.put(b)
	return len(b), nil
}

func (r *ring) put(b []byte) {
	if r.file == nil {
		return
	}
	n, err := r.file.Write(b)
	if r.size += n; err != nil {
		r.file.Close()
		r.file = nil
	}
}

// next begins a file, and makes room for it.
func (r *ring) next() error {
	sweepRecent(r.dir, recentSize-recentFileSize)
	var err error
	r.file, err = createRecent(r.dir, ".jsonl")
	return err
}

func createRecent(dir, suffix string) (*os.File, error) {
	name := fmt.Sprintf("%s-%d%s", time.Now().UTC().Format("20060102T150405.000000000"), os.Getpid(), suffix)
	return os.OpenFile(filepath.Join(dir, name), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
}

func (r *ring) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.file != nil {
		r.file.Close()
		if r.size == 0 {
			os.Remove(r.file.Name())
		}
		r.file = nil
	}
}

// recentSuffixes are those of traces and of captures.
var recentSuffixes = []string{".jsonl", ".pcapng"}

// recentFile is a file of the ring.
type recentFile struct {
	path    string
	size    int64
	changed time.Time
}

// recent returns the files of the ring, the one that was changed last first.
func recent(dir string) []recentFile {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	var files []recentFile
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || !info.Mode().IsRegular() || !slices.Contains(recentSuffixes, filepath.Ext(e.Name())) {
			continue
		}
		files = append(files, recentFile{filepath.Join(dir, e.Name()), info.Size(), info.ModTime()})
	}
	slices.SortFunc(files, func(a, b recentFile) int {
		return cmp.Or(b.changed.Compare(a.changed), cmp.Compare(b.path, a.path))
	})
	return files
}

// sweepRecent removes the files that are too many, or too much.
func sweepRecent(dir string, most int64) {
	var sum int64
	for i, f := range recent(dir) {
		if sum += f.size; sum > most || i >= recentFiles-1 {
			os.Remove(f.path)
		}
	}
}

// lastFiles returns the files in which the last connection is: those that were changed
// within a minute of the newest, 16 MiB at most.
func lastFiles() ([]string, error) {
	dir, err := stateDir()
	if err != nil {
		return nil, err
	}
	dir = filepath.Join(dir, recentDir)
	files := recent(dir)
	if len(files) == 0 {
		return nil, fmt.Errorf("nothing is kept in %s: make a connection first, with yodel call for example", dir)
	}
	var names []string
	var sum int64
	for _, f := range files {
		if sum += f.size; len(names) > 0 && (files[0].changed.Sub(f.changed) > time.Minute || sum > 16<<20) {
			break
		}
		names = append(names, f.path)
	}
	return names, nil
}
