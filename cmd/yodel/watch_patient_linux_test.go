package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"yodel/yodeltest/netns"
)

// A watch that only writes does not interrupt others: no thread of it does.
func TestWatchThatWritesIsPatient(t *testing.T) {
	t.Parallel()
	a, _ := netns.Two(t)
	w := startOn(t, a, nil, publicProgram(t), "watch", "7", "--quiet", "--write", filepath.Join(t.TempDir(), "file"))
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(20 * time.Second); !isPatient(w.cmd.Process.Pid); <-tick.C {
		select {
		case <-w.ended:
			t.Fatalf("it has ended: %s", &w.err)
		default:
		}
		if time.Now().After(end) {
			t.Fatal("it still interrupts others")
		}
	}
	w.ends(t)
}

// isPatient reports whether all threads of a process are.
func isPatient(pid int) bool {
	threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	for _, thread := range threads {
		id, _ := strconv.Atoi(thread.Name())
		if attr, gone := unix.SchedGetAttr(id, 0); gone == nil && attr.Policy != schedBatch {
			return false
		}
	}
	return err == nil && len(threads) > 0
}
