package spool

import (
	"bufio"
	"io"
	"log/slog"
	"os"
	"path"
	"slices"
)

// recovered is what the journal of an earlier process has.
type recovered struct {
	segments  []*segment
	next      uint64                // number of the next segment
	queues    map[string][]*message // what is not in a mailbox, by its name
	announced map[string]*announced // what may be there in part
	messages  []*message            // all of queues, each once
}

// recoverJournal reads the journal.
func recoverJournal(root *os.Root, log *slog.Logger) (*recovered, error) {
	r := &recovered{queues: make(map[string][]*message), announced: make(map[string]*announced)}
	files, err := readDir(root, journalDir)
	if err != nil {
		return nil, err
	}
	for _, n := range segmentNumbers(files) {
		seg := &segment{name: segmentName(n)}
		r.segments, r.next = append(r.segments, seg), n+1
		if err := r.read(root, seg, log); err != nil {
			r.close()
			return nil, err
		}
	}
	r.settle()
	return r, nil
}

func segmentNumbers(files []os.DirEntry) []uint64 {
	var all []uint64
	for _, f := range files {
		if n, ok := segmentNumber(f.Name()); ok {
			all = append(all, n)
		}
	}
	slices.Sort(all)
	return all
}

func (r *recovered) close() {
	for _, s := range r.segments {
		if s.f != nil {
			s.f.Close()
		}
	}
}

// read takes in all whole records of a segment. What is behind the last one was never
// promised to anybody.
func (r *recovered) read(root *os.Root, s *segment, log *slog.Logger) error {
	f, err := root.OpenFile(s.name, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	s.f = f
	in := bufio.NewReaderSize(f, 64<<10)
	for {
		k, md, text, size, err := readRecord(in)
		switch {
		case err == io.EOF:
			return nil
		case err == errTorn:
			log.Warn("a segment of the mail journal ends in what is no whole record: it was being written when the process ended",
				"segment", path.Base(s.name), "whole", s.size)
			return nil
		case err != nil:
			return err
		}
		r.take(k, &md, s, s.size+text, size)
		s.size += text + size
	}
}

// take takes in a record, whose text is at off in s.
func (r *recovered) take(k kind, md *meta, s *segment, off, size int64) {
	switch k {
	case kindMessage:
		g := newMessage(md, len(md.Boxes))
		g.seg, g.off, g.size = s, off, size
		for _, box := range md.Boxes {
			r.queues[box] = append(r.queues[box], g)
		}
	case kindAppend:
		r.announced[md.Box] = &announced{seg: s, size: md.Size, glue: md.Glue, messages: r.find(md.Box, md.IDs)}
	case kindDone:
		r.done(md.Box, md.IDs)
	}
}

// find returns the messages of those names, nil if one of them is not in the queue: it
// has been delivered, and so have all of them.
func (r *recovered) find(box string, ids []string) []*message {
	var found []*message
	for _, id := range ids {
		i := slices.IndexFunc(r.queues[box], func(g *message) bool { return g.id == id })
		if i < 0 {
			return nil
		}
		found = append(found, r.queues[box][i])
	}
	return found
}

func (r *recovered) done(box string, ids []string) {
	delete(r.announced, box)
	r.queues[box] = slices.DeleteFunc(r.queues[box], func(g *message) bool {
		is := slices.Contains(ids, g.id)
		if is {
			g.unsynced.Add(-1)
			g.unseen.Add(-1)
		}
		return is
	})
}

// settle counts what is live when all is read.
func (r *recovered) settle() {
	seen := make(map[*message]bool)
	for box, queue := range r.queues {
		if len(queue) == 0 {
			delete(r.queues, box)
		}
		for _, g := range queue {
			if !seen[g] {
				seen[g] = true
				g.seg.live++
				r.messages = append(r.messages, g)
			}
		}
	}
	for box, a := range r.announced {
		if len(a.messages) == 0 {
			delete(r.announced, box)
			continue
		}
		a.seg.live++
		r.queues[box] = inFront(r.queues[box], a.messages)
	}
}

// inFront returns queue with some of its messages moved to its head.
func inFront(queue, first []*message) []*message {
	rest := slices.DeleteFunc(slices.Clone(queue), func(g *message) bool { return slices.Contains(first, g) })
	return append(slices.Clone(first), rest...)
}
