package spool

import (
	"fmt"
	"io"
	"os"
	"path"
	"strconv"
	"sync"
)

const (
	segmentMax  = 4 << 20   // a segment that has this many bytes gets no more records
	segmentsMax = 256       // so many may wait for their messages to be delivered
	reserveSize = 256 << 10 // so many bytes are made ahead
	batchMax    = 256       // so many records are synced at once
)

// A journal is a row of files, the segments, to which records are appended. Records that
// come at the same time are synced together: one sync serves all who wait for it.
//
// Room for records is made ahead, by writing zeros: to sync what does not make a file
// longer costs a file system much less.
//
// Segments are removed from the oldest on, when all their messages are in their
// mailboxes. So a record is never gone while an older one is there.
type journal struct {
	root    *os.Root
	entries chan *entry
	stopped chan struct{} // closed when run has ended

	closing sync.RWMutex // held for reading by who sends to entries
	closed  bool

	mu       sync.Mutex
	segments []*segment // oldest first
	next     uint64     // number of the next one
	current  *segment   // what is appended to; nil: none yet
}

// A segment is one file of the journal. f, name and size are run's until the segment is
// full; live is guarded by the journal's mu.
type segment struct {
	name string
	f    *os.File
	size int64 // of whole records
	room int64 // so many bytes the file has, durably
	live int   // messages and announced appends that are not done
}

// An entry is a record that is to be written.
type entry struct {
	kind kind
	head []byte // header and meta
	text *Draft // of kindMessage
	size int64  // of the text

	seg  *segment   // where it was written,
	at   int64      // and where its text begins there
	done chan error // nil: nobody waits
}

// newEntry makes a record; text is nil unless it is a message.
func newEntry(k kind, m *meta, text *Draft) (*entry, error) {
	e := &entry{kind: k, text: text}
	var sum uint32
	if text != nil {
		e.size, sum = text.size, text.crc
	}
	var err error
	e.head, err = appendRecord(nil, k, m, e.size, sum)
	return e, err
}

func newJournal(root *os.Root, segments []*segment, next uint64) *journal {
	j := &journal{
		root: root, segments: segments, next: next,
		entries: make(chan *entry, batchMax), stopped: make(chan struct{}),
	}
	j.mu.Lock()
	j.trim()
	j.mu.Unlock()
	go j.run()
	return j
}

// append writes e and returns when it is durable. e.seg then has one thing more that
// is live, for the caller to release.
func (j *journal) append(e *entry) error {
	e.done = make(chan error, 1)
	if !j.post(e) {
		return ErrClosed
	}
	return <-e.done
}

// post has e written some time, if nothing goes wrong: it is for what may be lost. It
// returns false if the journal is closed.
func (j *journal) post(e *entry) bool {
	j.closing.RLock()
	defer j.closing.RUnlock()
	if !j.closed {
		j.entries <- e
	}
	return !j.closed
}

// close writes what waits to be written, and ends the journal.
func (j *journal) close() {
	j.closing.Lock()
	j.closed = true
	close(j.entries)
	j.closing.Unlock()
	<-j.stopped
	j.mu.Lock()
	defer j.mu.Unlock()
	j.current = nil
	j.trim()
	for _, s := range j.segments {
		s.f.Close()
	}
}

// run writes what comes until the journal is closed.
func (j *journal) run() {
	defer close(j.stopped)
	for e := range j.entries {
		j.commit(j.gather(e))
	}
}

// gather returns e and what else waits to be written.
func (j *journal) gather(e *entry) []*entry {
	batch := []*entry{e}
	for len(batch) < batchMax {
		select {
		case e, ok := <-j.entries:
			if !ok {
				return batch
			}
			batch = append(batch, e)
		default:
			return batch
		}
	}
	return batch
}

// commit writes a batch, syncs it if anybody waits for that, and tells those.
func (j *journal) commit(batch []*entry) {
	seg, err := j.write(batch)
	if err == nil && waitedFor(batch) {
		if err = syncData(seg.f); err != nil {
			j.abandon(seg)
		}
	}
	if err == nil {
		j.count(seg, batch)
	}
	for _, e := range batch {
		if e.done != nil {
			e.done <- err
		}
	}
}

func waitedFor(batch []*entry) bool {
	for _, e := range batch {
		if e.done != nil {
			return true
		}
	}
	return false
}

// count makes what was written a part of the segment.
func (j *journal) count(seg *segment, batch []*entry) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, e := range batch {
		e.seg = seg
		seg.size += int64(len(e.head)) + e.size
		if e.kind != kindDone {
			seg.live++
		}
	}
}

// write appends a batch to the current segment, all of it or nothing.
func (j *journal) write(batch []*entry) (*segment, error) {
	seg, err := j.segment()
	if err != nil {
		return nil, err
	}
	a := appender{f: seg.f, at: seg.size, err: seg.reserve(batch)}
	for _, e := range batch {
		a.add(e)
	}
	if a.flush(); a.err == nil {
		return seg, nil
	}
	if seg.room = seg.size; seg.f.Truncate(seg.size) != nil {
		j.abandon(seg)
	}
	return nil, a.err
}

// reserve makes sure that there is room for a batch.
func (s *segment) reserve(batch []*entry) error {
	need := s.size
	for _, e := range batch {
		need += int64(len(e.head)) + e.size
	}
	switch {
	case need <= s.room:
		return nil
	case need > s.room+reserveSize: // then the file becomes longer while it is written
		s.room = need
		return nil
	}
	if _, err := s.f.WriteAt(make([]byte, reserveSize), s.room); err != nil {
		return err
	}
	s.room += reserveSize
	return s.f.Sync()
}

// An appender writes entries to a segment, small ones many at once.
type appender struct {
	f   *os.File
	at  int64 // where buf is to be written
	buf []byte
	err error // the first one
}

func (a *appender) add(e *entry) {
	a.buf = append(a.buf, e.head...)
	e.at = a.at + int64(len(a.buf))
	switch {
	case e.text == nil:
	case e.text.file == nil:
		a.buf = append(a.buf, e.text.mem...)
	default:
		a.flush()
		a.copy(io.NewSectionReader(e.text.file, 0, e.size))
	}
}

func (a *appender) flush() {
	if a.err == nil {
		_, a.err = a.f.WriteAt(a.buf, a.at)
	}
	a.at += int64(len(a.buf))
	a.buf = a.buf[:0]
}

func (a *appender) copy(text *io.SectionReader) {
	if a.err == nil {
		_, a.err = io.Copy(io.NewOffsetWriter(a.f, a.at), text)
	}
	a.at += text.Size()
}

// segment returns the one to append to.
func (j *journal) segment() (*segment, error) {
	if s := j.current; s != nil && s.size < segmentMax {
		return s, nil
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.current = nil
	j.trim()
	if len(j.segments) >= segmentsMax {
		return nil, ErrBacklog
	}
	s := &segment{name: segmentName(j.next)}
	var err error
	if s.f, err = j.root.OpenFile(s.name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600); err != nil {
		return nil, err
	}
	j.next++ // also if it fails: a name is not used twice
	if err := syncDir(j.root, journalDir); err != nil {
		s.f.Close()
		j.root.Remove(s.name)
		return nil, err
	}
	j.segments = append(j.segments, s)
	j.current = s
	return s, nil
}

// abandon lets a segment be whose descriptor has failed to sync or to shrink: what a
// later call on it would mean nobody knows. What was not promised is cut off by
// another descriptor; if that fails too, it may be delivered after a crash, whole.
func (j *journal) abandon(s *segment) {
	j.mu.Lock()
	j.current = nil
	j.mu.Unlock()
	if f, err := j.root.OpenFile(s.name, os.O_RDWR, 0); err == nil {
		f.Truncate(s.size)
		f.Close()
	}
}

// release says that one thing in s is done.
func (j *journal) release(s *segment) {
	j.mu.Lock()
	defer j.mu.Unlock()
	s.live--
	j.trim()
}

// trim removes the oldest segments if nothing in them is live. j.mu is held.
func (j *journal) trim() {
	for len(j.segments) > 0 {
		s := j.segments[0]
		if s == j.current || s.live > 0 || j.root.Remove(s.name) != nil {
			return
		}
		s.f.Close()
		j.segments = j.segments[1:]
		if syncDir(j.root, journalDir) != nil {
			return // the next time, then
		}
	}
}

func segmentName(n uint64) string { return path.Join(journalDir, fmt.Sprintf("%016x", n)) }

// segmentNumber reads what segmentName writes, without its folder.
func segmentNumber(base string) (uint64, bool) {
	n, err := strconv.ParseUint(base, 16, 64)
	return n, err == nil && segmentName(n) == path.Join(journalDir, base)
}
