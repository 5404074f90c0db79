package load

import (
	"bytes"
	"os"
	"strconv"
	"time"
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

// starved returns how long the calling thread has waited for a processor:
// proc_pid_schedstat(5); 0 if the kernel does not say.
func starved() time.Duration {
	text, err := os.ReadFile("/proc/thread-self/schedstat")
	if err != nil {
		return 0
	}
	fields := bytes.Fields(text)
	if len(fields) != 3 {
		return 0
	}
	ns, err := strconv.ParseInt(string(fields[1]), 10, 64)
	if err != nil {
		return 0
	}
	return time.Duration(ns)
}
