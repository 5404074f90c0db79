// Package lograte keeps a log small that peers could fill: of each kind of line one a
// second is written, and it says for how many it stands.
package lograte

import (
	"sync"
	"time"
)

// Lines are those of one kind. The zero Lines has written none. It is safe for concurrent
// use.
type Lines struct {
	mu   sync.Mutex
	next time.Time
	n    int
}

// Take is called for each line, and reports whether it may be written now: then n is for how
// many lines it stands, those that were not written before and itself.
func (l *Lines) Take(now time.Time) (n int, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.n++
	if now.Before(l.next) {
		return 0, false
	}
	n, l.n, l.next = l.n, 0, now.Add(time.Second)
	return n, true
}
