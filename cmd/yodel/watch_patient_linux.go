package main

import (
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// schedBatch is SCHED_BATCH of sched(7).
const schedBatch = 3

// patient makes this process one that does not interrupt others when it has something to do
// (SCHED_BATCH): what only writes packets has the ring to wait in. Its share of the
// processors stays what it was. If a thread does not let itself be changed, nothing is lost.
func patient() {
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return
	}
	for _, thread := range threads {
		id, err := strconv.Atoi(thread.Name())
		if err != nil {
			continue
		}
		if attr, err := unix.SchedGetAttr(id, 0); err == nil && attr.Policy == 0 { // SCHED_OTHER
			attr.Policy = schedBatch
			unix.SchedSetAttr(id, attr, 0)
		}
	}
}
