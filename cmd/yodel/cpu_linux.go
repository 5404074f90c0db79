package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// cpuTime returns the processor time that process pid has used so far, all its
// threads in user and kernel mode together. It is the process's own CPU clock
// (clock_getcpuclockid(3)), which counts nanoseconds; /proc/PID/stat counts ticks.
func cpuTime(pid int) (time.Duration, error) {
	var ts unix.Timespec
	err := unix.ClockGettime(int32(^pid<<3|2), &ts) // MAKE_PROCESS_CPUCLOCK(pid, CPUCLOCK_SCHED)
	return time.Duration(ts.Nano()), err
}

// machineTime returns the time that all processors together have not been idle, in
// /proc/stat's ticks of 10 ms: proc_stat(5).
func machineTime() (time.Duration, error) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, err
	}
	return busyTime(string(text))
}

func busyTime(stat string) (time.Duration, error) {
	line, _, _ := strings.Cut(stat, "\n")
	fields := strings.Fields(line)
	if len(fields) < 9 || fields[0] != "cpu" {
		return 0, fmt.Errorf("/proc/stat begins with %.60q", line)
	}
	ticks := int64(0)
	for i, field := range fields[1:9] { // guest time, behind these, is in user time too
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("/proc/stat: %w", err)
		}
		if name := i + 1; name != idleField && name != waitField {
			ticks += n
		}
	}
	return time.Duration(ticks) * 10 * time.Millisecond, nil
}

// Of the first line of /proc/stat, what is no work.
const (
	idleField = 4
	waitField = 5
)
