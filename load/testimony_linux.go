package load

import (
	"bytes"
	"os"
	"path/filepath"
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

// starved returns how long threads of this process have waited for a processor, as far
// as they still exist: proc_pid_schedstat(5); -1 if the kernel does not say.
func starved() time.Duration {
	files, _ := filepath.Glob("/proc/self/task/*/schedstat")
	if len(files) == 0 {
		return -1
	}
	var sum int64
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			continue // the thread has gone
		}
		fields := bytes.Fields(text)
		if len(fields) != 3 {
			return -1
		}
		ns, err := strconv.ParseInt(string(fields[1]), 10, 64)
		if err != nil {
			return -1
		}
		sum += ns
	}
	return time.Duration(sum)
}
