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
	for len(k.buf) >= maxKeys && !k.closed {
		k.changed.Wait()
	}
	k.buf = append(k.buf, p...)
	k.changed.Broadcast()
}

// drop throws away what is waiting, as the key for an interrupt does.
func (k *keys) drop() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.buf = k.buf[:0]
	k.changed.Broadcast()
}

func (k *keys) close() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.closed = true
	k.changed.Broadcast()
}

// take returns what is waiting; nil when there will be no more.
func (k *keys) take() []byte {
	k.mu.Lock()
	defer k.mu.Unlock()
	for len(k.buf) == 0 && !k.closed {
		k.changed.Wait()
	}
	if len(k.buf) == 0 || k.closed {
		return nil
	}
	p := k.buf
	k.buf = nil
	k.changed.Broadcast()
	return p
}

// writeTo writes what is typed to the terminal, until close is called.
func (k *keys) writeTo(t *child.Terminal) {
	for {
		p := k.take()
		if p == nil {
			return
		}
		if _, err := t.Write(p); err != nil {
			k.close()
			return
		}
	}
}
