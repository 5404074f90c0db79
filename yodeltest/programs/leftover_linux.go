package programs

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// Sessions are many sessions of one server in the test's process, of which nothing may be
// left behind.
type Sessions struct {
	N      int // how many
	AtOnce int // how many of them at a time

	// Session is one of them. What it wants to have cleaned up is t's.
	Session func(t testing.TB, i int)

	// Settle returns when the server serves none.
	Settle func()
}

// memoryLeft is by how many bytes the heap may grow, whatever the number of sessions.
const memoryLeft = 1 << 20

// LeaveNothing runs the sessions, and fails the test if this process has more descriptors,
// terminals, goroutines or memory behind them than it had after the first few, or a child
// that nobody has waited for. It logs what it has found.
func (s *Sessions) LeaveNothing(t *testing.T) {
	s.run(t, "warming up", 3*s.AtOnce)
	before := s.held(t)
	const batch = 500 // what is to be cleaned up after so many is cleaned up then
	for done := 0; done < s.N; done += batch {
		s.run(t, fmt.Sprint("from ", done), min(batch, s.N-done))
	}
	var after Held
	for range 100 { // what has ended a moment ago may not be gone
		if after = s.held(t); !after.exceeds(before) {
			break
		}
	}
	t.Logf("%d sessions, %d at once: before %+v, after %+v", s.N, s.AtOnce, before, after)
	if after.exceeds(before) {
		t.Errorf("after %d sessions there is %+v, before %+v", s.N, after, before)
	}
}

func (s *Sessions) run(t *testing.T, name string, n int) {
	t.Run(name, func(t *testing.T) {
		var all sync.WaitGroup
		turn := make(chan struct{}, s.AtOnce)
		for i := range n {
			turn <- struct{}{}
			all.Go(func() {
				defer func() { <-turn }()
				s.Session(t, i)
			})
		}
		all.Wait()
	})
}

// Held is what a process has.
type Held struct {
	Descriptors, Terminals, Goroutines int

	Heap     uint64 // bytes in use
	Resident string // as the kernel tells it (VmRSS)
	Children string // their numbers
}

func (h Held) exceeds(before Held) bool {
	return h.Descriptors > before.Descriptors || h.Terminals > before.Terminals || h.Goroutines > before.Goroutines ||
		h.Heap > before.Heap+memoryLeft || h.Children != ""
}

func (s *Sessions) held(t *testing.T) Held {
	t.Helper()
	s.Settle()
	var m runtime.MemStats
	for range 3 { // what has a finalizer, or was in a pool, is not freed by the first
		runtime.GC()
		<-time.After(time.Millisecond)
	}
	runtime.ReadMemStats(&m)
	h := Held{Goroutines: runtime.NumGoroutine(), Heap: m.HeapAlloc, Resident: resident(t), Children: children()}
	h.Descriptors, h.Terminals = descriptors(t)
	return h
}

// descriptors counts those of this process, and how many of them are ours of a terminal's.
func descriptors(t *testing.T) (all, terminals int) {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		to, _ := os.Readlink("/proc/self/fd/" + e.Name())
		if strings.HasSuffix(to, "/ptmx") {
			terminals++
		}
	}
	return len(list), terminals
}

func resident(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := bytes.Cut(text, []byte("VmRSS:"))
	line, _, _ := bytes.Cut(rest, []byte("\n"))
	return string(bytes.TrimSpace(line))
}

// children returns those of this process, zombies too.
func children() string {
	var all []string
	files, _ := filepath.Glob("/proc/self/task/*/children")
	for _, name := range files {
		text, _ := os.ReadFile(name) // a thread may have ended meanwhile
		all = append(all, strings.Fields(string(text))...)
	}
	return strings.Join(all, " ")
}
