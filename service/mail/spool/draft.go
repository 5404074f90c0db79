package spool

import (
	"hash/crc32"
	"os"
	"path"
	"strings"
	"time"
)

// memoryMax is how many bytes of a message are kept in memory; the rest is in a file
// while it is received.
const memoryMax = 32 << 10

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Envelope is what is known of a message beside its text.
type Envelope struct {
	From  string    // the sender's address without <>, "" for a bounce
	Boxes []string  // mailboxes, as Name has named them, each once; at least one
	Time  time.Time // when it came
}

// A Draft is a message that is being received. It ends with Commit or Discard. It is
// for one goroutine.
type Draft struct {
	s    *Spool
	env  Envelope
	id   string
	mem  []byte // what is not in file yet
	file *os.File
	size int64
	crc  uint32 // Castagnoli, of all that was written
	err  error

	moved bool // file is a mailbox's
}

// Begin begins a message.
func (s *Spool) Begin(env Envelope) *Draft {
	return &Draft{s: s, env: env, id: s.unique(env.Time)}
}

// ID returns a name that no other message of this spool has: letters and digits.
func (d *Draft) ID() string {
	return strings.Replace(strings.TrimSuffix(d.id, "."+d.s.host), ".", "", 1)
}

// Size returns how many bytes were written so far.
func (d *Draft) Size() int64 { return d.size }

// Write appends to the message. Lines end in LF. An error stays: Commit reports it
// too.
func (d *Draft) Write(p []byte) (int, error) {
	if d.err != nil {
		return 0, d.err
	}
	if len(d.mem)+len(p) > memoryMax {
		if d.err = d.spill(); d.err != nil {
			return 0, d.err
		}
	}
	d.mem = append(d.mem, p...)
	d.size += int64(len(p))
	d.crc = crc32.Update(d.crc, castagnoli, p)
	return len(p), nil
}

// spill writes what is in memory to the draft's file.
func (d *Draft) spill() (err error) {
	if d.file == nil {
		d.file, err = d.s.root.OpenFile(d.tmp(), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return err
		}
	}
	_, err = d.file.WriteAt(d.mem, d.size-int64(len(d.mem)))
	d.mem = d.mem[:0]
	return err
}

func (d *Draft) tmp() string { return path.Join(tmpDir, d.id) }

// Commit stores the message. When it returns nil the message is durable; otherwise
// nothing of it is left. IsFull tells whether the error is for lack of space.
func (d *Draft) Commit() error {
	if d.err == nil && d.s.closed.Load() {
		d.err = ErrClosed
	}
	if d.err == nil {
		d.err = d.s.admit(d.env.Boxes)
	}
	if d.err == nil {
		d.err = d.s.store.commit(d)
	}
	err := d.err
	d.Discard()
	return err
}

// Discard forgets the message. After Commit it does nothing.
func (d *Draft) Discard() {
	if d.err == nil {
		d.err = ErrClosed
	}
	d.mem = nil
	if d.file != nil {
		d.file.Close()
		if !d.moved {
			d.s.root.Remove(d.tmp()) // if that fails, the next Open does it
		}
		d.file = nil
	}
}
