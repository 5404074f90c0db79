package call

import (
	"bytes"
	"context"
	"sync"
)

// windowSize bounds what Verify has sent and not seen again, in bytes.
const windowSize = 1 << 20

// A window holds the bytes that are due from the peer. One goroutine puts, another
// one takes.
type window struct {
	mu   sync.Mutex
	buf  []byte // a ring
	from int    // where what is due begins
	n    int    // how much is due
	over bool   // no more will be taken

	room chan struct{} // has an element when something was taken
}

func newWindow(size int) *window {
	return &window{buf: make([]byte, size), room: make(chan struct{}, 1)}
}

// put adds p to what is due, and waits for room where there is none until ctx ends. It
// returns a *LostError after end.
func (w *window) put(ctx context.Context, p []byte) error {
	for {
		n, ok := w.add(p)
		if !ok {
			return &LostError{}
		}
		if p = p[n:]; len(p) == 0 {
			return nil
		}
		select {
		case <-w.room:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// add adds as much of p as there is room for, and returns how much. It is not ok after
// end.
func (w *window) add(p []byte) (total int, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.over {
		return 0, false
	}
	for len(p) > 0 && w.n < len(w.buf) {
		at := (w.from + w.n) % len(w.buf)
		end := min(len(w.buf), at+len(w.buf)-w.n)
		n := copy(w.buf[at:end], p)
		w.n, total, p = w.n+n, total+n, p[n:]
	}
	return total, true
}

// take takes what is due off p, as far as the two are equal, and returns how much that
// is. If it is not all of p, either nothing more is due, or want is, and not what p has
// there.
func (w *window) take(p []byte) (equal int, want byte, due bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for equal < len(p) && w.n > 0 {
		part := w.buf[w.from:min(w.from+w.n, len(w.buf))]
		n := equalBytes(part, p[equal:])
		equal += n
		w.from, w.n = (w.from+n)%len(w.buf), w.n-n
		if n < len(part) && equal < len(p) {
			w.notify()
			return equal, part[n], true
		}
	}
	w.notify()
	return equal, 0, false
}

func (w *window) notify() {
	select {
	case w.room <- struct{}{}:
	default:
	}
}

// end says that no more will be taken, and returns how many bytes are due.
func (w *window) end() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.over = true
	w.notify()
	return w.n
}

// equalBytes returns how many bytes at the start of a and b are equal.
func equalBytes(a, b []byte) int {
	n := min(len(a), len(b))
	if bytes.Equal(a[:n], b[:n]) { // much faster
		return n
	}
	i := 0
	for a[i] == b[i] {
		i++
	}
	return i
}
