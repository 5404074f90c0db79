package enginetest

import (
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// limitDescriptors sets how many descriptors this process may have.
func limitDescriptors(n int) error {
	return os.NewSyscallError("setrlimit RLIMIT_NOFILE",
		syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: uint64(n), Max: uint64(n)}))
}

// processorTime returns how much of it this process has used.
func processorTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// peakMemory returns how much this process had at most, in bytes; 0 if there is no
// descriptor to find that out with. See proc_pid_status(5).
func peakMemory() int {
	status, _ := os.ReadFile("/proc/self/status")
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	fields := strings.Fields(rest)
	if len(fields) == 0 {
		return 0
	}
	kib, _ := strconv.Atoi(fields[0])
	return kib << 10
}
