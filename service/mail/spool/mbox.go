package spool

import (
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

// How long Commit waits, at most, until a durable message can be read in its mailboxes;
// and Open and Close for all that are on their way.
const (
	commitPatience = time.Second
	closePatience  = 3 * time.Second
)

// mbox is the store of an mbox file for each mailbox.
type mbox struct {
	s       *Spool
	journal *journal
	quit    chan struct{} // closed when deliveries that fail are not tried again

	mu      sync.Mutex
	closing bool
	boxes   map[string]*mailbox
	runners sync.WaitGroup
}

// A message is durable, in the journal, and on its way into mailboxes.
type message struct {
	id   string
	from string
	at   time.Time // when it came

	seg  *segment // where its text is,
	off  int64    // from here on
	size int64

	unsynced atomic.Int32  // mailboxes in which it is not, durably
	unseen   atomic.Int32  // mailboxes in which it can't be read yet
	seen     chan struct{} // closed when there is none of those
}

func newMessage(md *meta, boxes int) *message {
	g := &message{id: md.ID, from: md.From, at: md.Time, seen: make(chan struct{})}
	g.unsynced.Store(int32(boxes))
	g.unseen.Store(int32(boxes))
	return g
}

func (g *message) text() io.Reader { return io.NewSectionReader(g.seg.f, g.off, g.size) }

// openMbox opens the store, and delivers what the journal has.
func openMbox(s *Spool) (*mbox, error) {
	r, err := recoverJournal(s.root, s.log)
	if err != nil {
		return nil, err
	}
	m := &mbox{
		s: s, journal: newJournal(s.root, r.segments, r.next),
		quit: make(chan struct{}), boxes: make(map[string]*mailbox),
	}
	for name, queue := range r.queues {
		b := m.box(name)
		b.queue, b.announced = queue, r.announced[name]
		b.running = true
		m.runners.Go(func() { m.run(b) })
	}
	await(r.messages, closePatience)
	return m, nil
}

// commit makes the message durable, and waits a while for it to be seen in its mailboxes.
func (m *mbox) commit(d *Draft) error {
	if d.file != nil {
		if err := d.spill(); err != nil {
			return err
		}
	}
	md := meta{ID: d.id, From: d.env.From, Time: d.env.Time, Boxes: d.env.Boxes}
	e, err := newEntry(kindMessage, &md, d)
	if err == nil {
		err = m.journal.append(e)
	}
	if err != nil {
		return err
	}
	g := newMessage(&md, len(md.Boxes))
	g.seg, g.off, g.size = e.seg, e.at, e.size
	for _, name := range md.Boxes {
		m.enqueue(name, g)
	}
	await([]*message{g}, commitPatience)
	return nil
}

// await waits until all messages can be read in their mailboxes, or for so long.
func await(messages []*message, patience time.Duration) {
	t := time.NewTimer(patience)
	defer t.Stop()
	for _, g := range messages {
		select {
		case <-g.seen:
		case <-t.C:
			return
		}
	}
}

// enqueue puts g into the queue of a mailbox, and starts a goroutine for that if there
// is none. When the store is being closed there will be none: it is delivered when the
// spool is opened again.
func (m *mbox) enqueue(name string, g *message) {
	b := m.box(name)
	m.mu.Lock()
	defer m.mu.Unlock()
	b.queue = append(b.queue, g)
	if !b.running && !m.closing {
		b.running = true
		m.runners.Go(func() { m.run(b) })
	}
}

func (m *mbox) box(name string) *mailbox {
	m.mu.Lock()
	defer m.mu.Unlock()
	b := m.boxes[name]
	if b == nil {
		b = &mailbox{name: name}
		m.boxes[name] = b
	}
	return b
}

// close waits for deliveries, and no longer than closePatience for those that fail.
func (m *mbox) close() error {
	m.mu.Lock()
	m.closing = true
	m.mu.Unlock()
	late := time.AfterFunc(closePatience, func() { close(m.quit) })
	defer late.Stop()
	m.runners.Wait()
	m.journal.close()
	return nil
}

// run delivers to b until its queue is empty.
func (m *mbox) run(b *mailbox) {
	wait := time.Duration(0)
	for {
		batch := m.next(b)
		if batch == nil {
			return
		}
		err := m.deliver(b, batch)
		if err == nil {
			wait = 0
			continue
		}
		wait = min(max(2*wait, 5*time.Millisecond), time.Second)
		m.complain(b, err, wait)
		if !m.pause(wait) {
			return
		}
	}
}

// batchBytes bounds how much is appended to a mailbox under one lock, if it is more than
// one message.
const batchBytes = 4 << 20

// next returns the messages at the head of b's queue; nil, and b is not running any
// more, if there is none.
func (m *mbox) next(b *mailbox) []*message {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(b.queue) == 0 {
		b.running = false
		return nil
	}
	n, size := 1, b.queue[0].size
	for n < len(b.queue) && n < batchMax && size+b.queue[n].size <= batchBytes {
		size += b.queue[n].size
		n++
	}
	return b.queue[:n:n]
}

// pause waits, and returns false if there is no more time.
func (m *mbox) pause(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-m.quit:
		return false
	}
}

// complain logs that mail waits, once a minute for each mailbox. A lock is worth that
// only when it is held for long.
func (m *mbox) complain(b *mailbox, err error, wait time.Duration) {
	now := time.Now()
	if wait < time.Second && errors.Is(err, errLocked) || now.Sub(b.logged) < time.Minute {
		return
	}
	b.logged = now
	m.s.log.Warn("mail waits in the journal: its mailbox can't be appended to", "mailbox", b.name, "error", err)
}
