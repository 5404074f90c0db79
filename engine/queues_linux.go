package engine

import (
	"time"

	"yodel/internal/loop"
)

// acceptQuantum is how many connections a loop accepts before others have their turn.
const acceptQuantum = 64

// Queues are the accept queues of a Worker that runs a loop.Loop: a part of it that
// implements Accept and Hold. The listening sockets are level-triggered: what is left in a
// queue is told again.
type Queues struct {
	loop *loop.Loop
	list map[int32]*Queue // by descriptor
}

// NewQueues returns those of a Worker that runs l.
func NewQueues(l *loop.Loop) Queues { return Queues{loop: l, list: make(map[int32]*Queue)} }

// Accept implements Worker.
func (s *Queues) Accept(q *Queue) {
	if err := s.loop.Add(q.FD, int32(q.FD), loop.Readable); err != nil {
		q.Failed(err)
		return
	}
	s.list[int32(q.FD)] = q
}

// Hold implements Worker.
func (s *Queues) Hold(q *Queue) {
	if s.list[int32(q.FD)] != nil {
		delete(s.list, int32(q.FD))
		s.loop.Remove(q.FD)
	}
}

// ReadyQueue accepts from a queue that is ready, and reports whether key is one's. clock reads
// the time.
func (s *Queues) ReadyQueue(key int32, clock func() time.Time) bool {
	q := s.list[key]
	if q == nil {
		return false
	}
	if _, hold := q.AcceptSome(acceptQuantum, clock); hold {
		s.Hold(q)
	}
	return true
}
