package spool

import (
	"errors"
	"io/fs"
	"path"
	"slices"
	"sync"
	"syscall"
)

// maildir is the store of a Maildir for each mailbox, as its author describes it
// (https://cr.yp.to/proto/maildir.html).
type maildir struct {
	s *Spool

	mu    sync.Mutex
	ready map[string]bool // mailboxes that are there, durably
}

func newMaildir(s *Spool) *maildir { return &maildir{s: s, ready: make(map[string]bool)} }

func (m *maildir) close() error { return nil }

// commit writes, syncs, renames, and syncs the folder.
func (m *maildir) commit(d *Draft) error {
	if err := d.spill(); err != nil {
		return err
	}
	if err := d.file.Sync(); err != nil {
		return err // what the next sync of this descriptor would mean nobody knows
	}
	err := m.place(d)
	if errors.Is(err, fs.ErrNotExist) && !d.moved { // somebody has removed a mailbox
		m.forget(d.env.Boxes)
		err = m.place(d)
	}
	return err
}

// place puts the message into all its mailboxes, or into none.
func (m *maildir) place(d *Draft) error {
	var placed []string
	for i, box := range slices.Backward(d.env.Boxes) { // the first one gets the file itself, at last
		name := path.Join(box, "new", d.id)
		if err := m.placeIn(d, box, name, i == 0); err != nil {
			m.takeBack(placed)
			return err
		}
		placed = append(placed, name)
	}
	for _, name := range placed {
		if err := syncDir(m.s.root, path.Dir(name)); err != nil {
			m.takeBack(placed)
			return err
		}
	}
	return nil
}

func (m *maildir) placeIn(d *Draft, box, name string, last bool) error {
	if err := m.ensure(box); err != nil {
		return err
	}
	if !last {
		return uninterrupted(func() error { return m.s.root.Link(d.tmp(), name) })
	}
	err := uninterrupted(func() error { return m.s.root.Rename(d.tmp(), name) })
	d.moved = err == nil
	return err
}

// uninterrupted calls do again if it was interrupted: unlike most of package os, the
// methods Link and Rename of os.Root do not.
func uninterrupted(do func() error) error {
	for {
		if err := do(); !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}

func (m *maildir) takeBack(names []string) {
	for _, name := range names {
		m.s.root.Remove(name)
	}
}

// ensure makes the mailbox if it is not there.
func (m *maildir) ensure(box string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ready[box] {
		return nil
	}
	for _, dir := range []string{box, path.Join(box, "tmp"), path.Join(box, "cur"), path.Join(box, "new")} {
		if err := m.s.root.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	err := errors.Join(syncDir(m.s.root, box), syncDir(m.s.root, "."))
	m.ready[box] = err == nil
	return err
}

func (m *maildir) forget(boxes []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, box := range boxes {
		delete(m.ready, box)
	}
}
