package call

import (
	"bytes"
	"io"
	"sync"
)

const (
	keyInterrupt = 0x03 // ^C
	keyEscape    = 0x1d // ^]

	maxTypeAhead = 64 << 10 // bytes
)

// Keys reads what a person types at a terminal in raw mode, and watches for the two
// keys that leave: ^] and ^C, one press of either. There is no command prompt behind ^]
// as telnet has it. Keys stands between the terminal and what edits lines.
//
// ^C counts at once. ^] counts when all that was typed before it has been read, so that
// a pasted text that ends in it is sent before; pressed again it counts at once.
// Reading the terminal goes on while nobody calls Read, so that a person can leave who
// waits for an answer. When a key counts, leave is called with [ErrEscape] or
// [ErrInterrupted], and Read returns that error: leave may be a
// context.CancelCauseFunc.
type Keys struct {
	src   io.Reader
	leave func(error)

	mu      sync.Mutex
	changed sync.Cond
	started bool
	typed   []byte // and not read; at most maxTypeAhead, and one read more
	end     error  // behind typed
	left    bool   // leave was called
	closed  bool
}

// NewKeys returns Keys that read from src. leave must not be nil, and must not call Keys.
// The first Read starts a goroutine; it ends when a key has counted, when src fails or,
// after Close, when the Read of src that is under way returns.
func NewKeys(src io.Reader, leave func(error)) *Keys {
	k := &Keys{src: src, leave: leave}
	k.changed.L = &k.mu
	return k
}

// Read returns what was typed.
func (k *Keys) Read(p []byte) (int, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.started {
		k.started = true
		go k.watch()
	}
	for len(k.typed) == 0 && k.end == nil {
		k.changed.Wait()
	}
	if len(k.typed) == 0 {
		k.count()
		return 0, k.end
	}
	n := copy(p, k.typed)
	k.typed = k.typed[n:]
	k.changed.Broadcast()
	return n, nil
}

// Close ends Read with io.EOF.
func (k *Keys) Close() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.closed = true
	if k.end == nil {
		k.typed, k.end = nil, io.EOF
	}
	k.changed.Broadcast()
	return nil
}

// watch reads the terminal.
func (k *Keys) watch() {
	buf := make([]byte, 4096)
	for more := true; more; {
		n, err := k.src.Read(buf)
		more = k.take(buf[:n], err)
	}
}

// take adds what was read, and returns whether to go on.
func (k *Keys) take(b []byte, err error) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	for len(b) > 0 && !k.left {
		n := bytes.IndexAny(b, string([]byte{keyInterrupt, keyEscape}))
		if n < 0 {
			n = len(b)
		}
		k.add(b[:n])
		if b = b[n:]; len(b) > 0 {
			k.press(b[0])
			b = b[1:]
		}
	}
	if err != nil && k.end == nil {
		k.end = err
	}
	k.changed.Broadcast()
	for len(k.typed) > maxTypeAhead && !k.closed && !k.left {
		k.changed.Wait()
	}
	return err == nil && !k.left && !k.closed
}

// add adds typed bytes, unless the end was typed before.
func (k *Keys) add(b []byte) {
	if k.end == nil {
		k.typed = append(k.typed, b...)
	}
}

// press is one of the two keys.
func (k *Keys) press(key byte) {
	switch {
	case key == keyInterrupt:
		k.typed, k.end = nil, ErrInterrupted
	case k.end == nil:
		k.end = ErrEscape
	default: // again
		k.typed = nil
	}
	if len(k.typed) == 0 {
		k.count()
	}
}

// count calls leave, if the end is one of a key.
func (k *Keys) count() {
	if !k.left && (k.end == ErrEscape || k.end == ErrInterrupted) {
		k.left = true
		k.leave(k.end)
	}
}
