package load

import (
	"bytes"
	"fmt"
	"io"
	"sync"
)

// An original is what others of its kind are compared with, byte for byte as they come: the first
// bytes that came, wherever they did, and as many as the first one had that came whole.
type original struct {
	mu    sync.Mutex
	bytes []byte
	whole bool
}

// A reading is one answer, compared with its page as it comes.
type reading struct {
	page  *original
	conn  int
	at    int    // as many bytes came
	fault *Fault // the first; nil: none
}

// Write compares what has come. Its error says that it is too much to be held.
func (r *reading) Write(p []byte) (n int, err error) {
	if r.at+len(p) > maxSize {
		return 0, fmt.Errorf("the page is longer than %d bytes: more is not held", maxSize)
	}
	if r.page != nil && r.fault == nil {
		r.page.mu.Lock()
		r.compare(p)
		r.page.mu.Unlock()
	}
	r.at += len(p)
	return len(p), nil
}

func (r *reading) compare(p []byte) {
	known := r.page.bytes[min(r.at, len(r.page.bytes)):]
	known = known[:min(len(p), len(known))]
	switch i := firstDifference(p, known); {
	case i < len(known):
		r.fault = &Fault{Class: Corrupt, Conn: r.conn, Offset: int64(r.at + i), Got: p[i], Want: known[i]}
	case i == len(p):
	case r.page.whole:
		r.fault = &Fault{Class: Unasked, Conn: r.conn, Offset: int64(r.at + i), Got: p[i]}
	default:
		r.page.bytes = append(r.page.bytes, p[i:]...)
	}
}

// firstDifference returns where p is not what known is, or the length of known, which is no longer.
func firstDifference(p, known []byte) int {
	if bytes.Equal(p[:len(known)], known) {
		return len(known)
	}
	i := 0
	for p[i] == known[i] {
		i++
	}
	return i
}

// end says that the answer is whole, and returns what was wrong with it.
func (r *reading) end() *Fault {
	if r.page == nil || r.fault != nil {
		return r.fault
	}
	r.page.mu.Lock()
	defer r.page.mu.Unlock()
	if !r.page.whole { // what others have of it beyond that, they have too much
		r.page.bytes, r.page.whole = r.page.bytes[:r.at], true
	}
	switch long := len(r.page.bytes); {
	case r.at < long:
		r.fault = &Fault{Class: Truncated, Conn: r.conn, Offset: int64(r.at), Bytes: int64(long - r.at)}
	case r.at > long: // it was cut meanwhile
		r.fault = &Fault{Class: Unasked, Conn: r.conn, Offset: int64(long), Got: r.page.bytes[:r.at][long]}
	}
	return r.fault
}

// read reads an answer through a buffer of its own.
func (r *reading) read(from io.Reader) error {
	buf := buffers.Get().(*[32 << 10]byte)
	defer buffers.Put(buf)
	_, err := io.CopyBuffer(r, from, buf[:])
	return err
}

var buffers = sync.Pool{New: func() any { return new([32 << 10]byte) }}
