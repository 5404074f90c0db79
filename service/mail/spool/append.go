package spool

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
	"time"
)

// A mailbox is one of mbox's. While it has a queue, one goroutine delivers that, which
// owns the other fields.
type mailbox struct {
	name      string
	announced *announced // nil: nothing is left half done
	logged    time.Time  // when trouble was last logged

	shown int // so many at the head of the queue have been seen in it

	queue   []*message // these two are guarded by mbox.mu
	running bool
}

// announced is what the journal says of an append: it may have been done, in part or
// not at all.
type announced struct {
	seg      *segment
	size     int64      // that the mailbox had
	glue     string     // what is written first, to end the message before
	messages []*message // those at the head of the queue
	unsure   bool       // a sync has failed: what can be read may not be on the disk
}

// deliver appends a batch, the head of b's queue, to its mailbox; or, if that was begun
// before, sees what has come of it.
func (m *mbox) deliver(b *mailbox, batch []*message) error {
	l, err := lockBox(m.s.root, b.name, time.Now())
	if err != nil {
		return err
	}
	defer l.unlock()
	if b.announced != nil {
		return m.repair(b, l)
	}
	if err := m.announce(b, l, batch); err != nil {
		return err
	}
	if err := m.append(b, l); err != nil {
		return errors.Join(err, m.takeBack(b))
	}
	m.finish(b)
	return nil
}

// announce writes down, durably, what is about to be appended, and where.
func (m *mbox) announce(b *mailbox, l *locked, batch []*message) error {
	glue, err := l.glue()
	if err != nil {
		return err
	}
	md := &meta{Box: b.name, Size: l.size, Glue: glue, IDs: idsOf(batch)}
	e, err := newEntry(kindAppend, md, nil)
	if err == nil {
		err = m.journal.append(e)
	}
	if err == nil {
		b.announced = &announced{seg: e.seg, size: l.size, glue: glue, messages: batch}
	}
	return err
}

func idsOf(messages []*message) []string {
	ids := make([]string, len(messages))
	for i, g := range messages {
		ids[i] = g.id
	}
	return ids
}

// glue returns what must stand between the mailbox as it is and a new message: an empty
// line, unless there is one.
func (l *locked) glue() (string, error) {
	end := make([]byte, min(l.size, 2))
	if _, err := l.ReadAt(end, l.size-int64(len(end))); err != nil && err != io.EOF {
		return "", err
	}
	switch {
	case len(end) == 0, string(end) == "\n\n":
		return "", nil
	case bytes.HasSuffix(end, []byte("\n")):
		return "\n", nil
	}
	return "\n\n", nil
}

// append appends what was announced, and makes it durable.
func (m *mbox) append(b *mailbox, l *locked) error {
	if err := b.announced.writeTo(io.NewOffsetWriter(l, l.size)); err != nil {
		return err
	}
	b.show()
	err := l.Sync()
	if err == nil && l.size == 0 { // it may be new
		err = syncDir(m.s.root, ".")
	}
	b.announced.unsure = err != nil
	return err
}

// show tells who waits for it that what was announced can be read. That is told once,
// also of messages that must be appended again.
func (b *mailbox) show() {
	for _, g := range b.announced.messages[min(b.shown, len(b.announced.messages)):] {
		b.shown++
		if g.unseen.Add(-1) == 0 {
			close(g.seen)
		}
	}
}

func (a *announced) writeTo(w io.Writer) error {
	out := bufio.NewWriterSize(w, 64<<10)
	out.WriteString(a.glue)
	for _, g := range a.messages {
		if err := writeMbox(out, g.from, g.at, g.text()); err != nil {
			return err
		}
	}
	return out.Flush()
}

// takeBack cuts off what was appended when that has failed, by a descriptor that has not
// failed. If it can't, that is left to repair.
func (m *mbox) takeBack(b *mailbox) error {
	f, err := m.s.root.OpenFile(b.name, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	err = f.Truncate(b.announced.size)
	f.Close()
	if err == nil {
		m.retract(b)
	}
	return err
}

// retract forgets what was announced: it is to be done anew.
func (m *mbox) retract(b *mailbox) {
	m.journal.release(b.announced.seg)
	b.announced = nil
}

// finish is called when what was announced is in the mailbox, durably.
func (m *mbox) finish(b *mailbox) {
	a := b.announced
	b.show()
	b.shown -= len(a.messages)
	if e, err := newEntry(kindDone, &meta{Box: b.name, IDs: idsOf(a.messages)}, nil); err == nil {
		m.journal.post(e) // if it is lost, repair sees the messages
	}
	m.mu.Lock()
	b.queue = b.queue[len(a.messages):]
	m.mu.Unlock()
	m.retract(b)
	for _, g := range a.messages {
		if g.unsynced.Add(-1) == 0 {
			m.journal.release(g.seg)
		}
	}
}

// repair sees what has become of an append that was announced and not finished.
func (m *mbox) repair(b *mailbox, l *locked) error {
	a := b.announced
	found, err := a.compare(l)
	if err != nil {
		return err
	}
	switch {
	case found == whole && !a.unsure:
		if err := errors.Join(l.Sync(), syncDir(m.s.root, ".")); err != nil {
			a.unsure = true
			return err
		}
		m.finish(b)
	case found == changed:
		m.s.log.Warn("a mailbox was changed while mail was being appended: that is appended again", "mailbox", b.name, "messages", len(a.messages))
		m.retract(b)
	default:
		if err := l.Truncate(a.size); err != nil {
			return err
		}
		m.retract(b)
	}
	return nil
}

// extent is how much of what was announced is in a mailbox.
type extent uint8

const (
	whole   extent = iota // all of it
	torn                  // a part, or nothing
	changed               // cannot tell: somebody else has changed it
)

// compare looks for what was announced behind the length that the mailbox had.
func (a *announced) compare(l *locked) (extent, error) {
	if l.size < a.size {
		return changed, nil
	}
	c := comparer{r: bufio.NewReaderSize(io.NewSectionReader(l, a.size, l.size-a.size), 64<<10)}
	if err := a.writeTo(&c); err != nil && err != errDiffers {
		return changed, err
	}
	return c.found, c.err
}

var errDiffers = errors.New("spool: the mailbox differs")

// A comparer compares what is written to it with what it reads.
type comparer struct {
	r     *bufio.Reader
	found extent
	err   error // a failure to read
}

// Write implements io.Writer. At the first difference it returns errDiffers.
func (c *comparer) Write(p []byte) (int, error) {
	is := make([]byte, len(p))
	n, err := io.ReadFull(c.r, is)
	switch {
	case err != nil && err != io.EOF && err != io.ErrUnexpectedEOF:
		c.err = err
		return 0, err
	case err == nil && bytes.Equal(is, p):
		return len(p), nil
	}
	same := 0
	for same < n && is[same] == p[same] {
		same++
	}
	c.found = changed
	if blank(is[same:n]) && c.restIsBlank() {
		c.found = torn
	}
	return 0, errDiffers
}

// restIsBlank reports whether all that is left to read are NULs: room in the file that
// was made and not written to before the power failed.
func (c *comparer) restIsBlank() bool {
	buf := make([]byte, 4096)
	for {
		n, err := c.r.Read(buf)
		if !blank(buf[:n]) {
			return false
		}
		if err != nil {
			return err == io.EOF
		}
	}
}

func blank(p []byte) bool { return len(bytes.TrimLeft(p, "\x00")) == 0 }
