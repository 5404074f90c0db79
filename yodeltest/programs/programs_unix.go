//go:build unix

package programs

import (
	"bytes"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"yodel/internal/child"
)

// patience bounds what a test waits for; nothing waits for it when all is well.
const patience = 60 * time.Second

// Nobody returns as whom programs run in tests that root runs; nil for everybody else.
func Nobody() *child.User {
	if os.Geteuid() != 0 {
		return nil
	}
	return &child.User{UID: 65534, GID: 65534}
}

// A Log is one that a test can read while it grows. The zero Log is empty.
type Log struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// Write implements [io.Writer].
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

// String returns what was written so far.
func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// Forget empties the log and gives its memory back.
func (l *Log) Forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.buf = bytes.Buffer{}
}

// WantGone waits until there are no such processes.
func WantGone(t testing.TB, pids []int) {
	t.Helper()
	for _, pid := range pids {
		Await(t, "a process has gone", func() bool { return syscall.Kill(pid, 0) == syscall.ESRCH })
	}
}

// Await waits until is reports true, and fails the test if that takes a minute. What says
// what it is that was waited for.
func Await(t testing.TB, what string, is func() bool) {
	t.Helper()
	late := time.After(patience)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !is() {
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("waited for a minute, and not yet: %s", what)
		}
	}
}
