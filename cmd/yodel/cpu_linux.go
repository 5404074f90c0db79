package main

import (
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
