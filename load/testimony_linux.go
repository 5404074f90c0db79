package load

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// look adds what the kernel knows of a connection that is about to be closed.
func (k *kernelSums) look(fd int, datagrams bool) {
	if datagrams {
		k.add(0, 0, dropsOf(fd))
		return
	}
	if info, err := kernelOf(fd); err == nil { // not for Unix sockets
		k.add(int64(info.Total_retrans), time.Duration(info.Min_rtt)*time.Microsecond, 0)
	}
}

// threadTimes returns how long the calling thread has run, and how long it has waited for a
// processor: proc_pid_schedstat(5); 0 if the kernel does not say.
func threadTimes() (ran, starved time.Duration) {
	var cpu unix.Timespec
	if unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &cpu) == nil {
		ran = time.Duration(cpu.Nano())
	}
	return ran, waitedIn("/proc/thread-self/schedstat")
}

// waitedIn returns how long the thread whose file it is has waited for a processor; 0 if it does not say.
func waitedIn(schedstat string) time.Duration {
	text, err := os.ReadFile(schedstat)
	fields := bytes.Fields(text)
	if err != nil || len(fields) != 3 {
		return 0
	}
	ns, err := strconv.ParseInt(string(fields[1]), 10, 64)
	if err != nil {
		return 0
	}
	return time.Duration(ns)
}

// waitedTime returns how long this process's threads have waited for a processor, all together; 0
// if the kernel does not say. Of a thread that has ended it knows nothing any more.
func waitedTime() (sum time.Duration) {
	all, err := filepath.Glob("/proc/self/task/*/schedstat")
	if err != nil {
		return 0
	}
	for _, path := range all {
		sum += waitedIn(path)
	}
	return sum
}

// userHZ is the unit of proc_stat(5) a second, on all architectures that Go knows.
const userHZ = 100

// stolenTime returns how long the processors were another machine's, since the start of this
// one: the eighth figure of the first line of proc_stat(5); 0 if the kernel does not say.
func stolenTime() time.Duration {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	line, _, _ := bytes.Cut(text, []byte("\n"))
	fields := bytes.Fields(line)
	if len(fields) < 9 {
		return 0
	}
	ticks, err := strconv.ParseInt(string(fields[8]), 10, 64)
	if err != nil {
		return 0
	}
	return time.Duration(ticks) * time.Second / userHZ
}
