package telnet

import (
	"sync"

	"yodel/internal/child"
)

// maxKeys is how many bytes may wait for a program that does not read them.
const maxKeys = 64 << 10

// keys are what was typed and is not written to the terminal yet. So a command is heard
// also while a program does not read what was typed before it.
type keys struct {
	mu      sync.Mutex
	changed sync.Cond
	buf     []byte
	ends    []int // where in buf an end of file was typed
	dropped int   // how often drop was called, and
	taken   int   // when take was
	closed  bool
}

func newKeys() *keys {
	k := &keys{}
	k.changed.L = &k.mu
	return k
}

// add adds what was typed; it waits while there is too much already.
func (k *keys) add(p []byte) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.wait()
	k.buf = append(k.buf, p...)
	k.changed.Broadcast()
}

// addEnd adds an end of file.
func (k *keys) addEnd() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.wait()
	k.ends = append(k.ends, len(k.buf))
	k.changed.Broadcast()
}

// wait waits while there is too much already.
func (k *keys) wait() {
	for len(k.buf)+len(k.ends) >= maxKeys && !k.closed {
		k.changed.Wait()
	}
}

// drop throws away what is waiting, as the key for an interrupt does.
func (k *keys) drop() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.buf, k.ends = nil, nil
	k.dropped++
	k.changed.Broadcast()
}

func (k *keys) close() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.closed = true
	k.changed.Broadcast()
}

// isStale reports whether what was taken is not wanted any more.
func (k *keys) isStale() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.closed || k.dropped != k.taken
}

// take returns what is waiting, up to an end of file; nil and false when there will be no
// more.
func (k *keys) take() (p []byte, end, ok bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for len(k.buf)+len(k.ends) == 0 && !k.closed {
		k.changed.Wait()
	}
	if k.closed {
		return nil, false, false
	}
	k.taken = k.dropped
	n := len(k.buf)
	if end = len(k.ends) > 0; end {
		n = k.ends[0]
		k.ends = k.ends[1:]
	}
	p, k.buf = k.buf[:n:n], k.buf[n:]
	for i := range k.ends {
		k.ends[i] -= n
	}
	k.changed.Broadcast()
	return p, end, true
}

// writeTo writes what is typed to the terminal, until close is called.
func (k *keys) writeTo(t *child.Terminal) {
	for {
		p, end, ok := k.take()
		if !ok {
			return
		}
		if k.write(t, p, end) != nil {
			k.close()
			return
		}
	}
}

func (k *keys) write(t *child.Terminal, p []byte, end bool) error {
	modes, err := t.Modes()
	if err == nil && modes.External {
		return k.writeExternal(t, &modes, p, end)
	}
	if end {
		p = append(p, modes.Keys.EOF)
	}
	_, err = t.Write(p)
	return err
}
