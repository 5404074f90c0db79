package trace

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"syscall"
	"unsafe"
)

const clockMonotonic = 1 // CLOCK_MONOTONIC

// hostMono returns CLOCK_MONOTONIC in nanoseconds, see clock_gettime(2). The call
// cannot fail: the clock is always there.
func hostMono() int64 {
	var ts syscall.Timespec
	syscall.Syscall(syscall.SYS_CLOCK_GETTIME, clockMonotonic, uintptr(unsafe.Pointer(&ts)), 0)
	return ts.Nano()
}

// hostClock names the clock that hostMono reads: there is one for each boot of a
// kernel and each time namespace (time_namespaces(7)). The name is a hash, so that it
// does not tell which host it was.
func hostClock() string {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return clockName(boot, err)
}

func clockName(boot []byte, err error) string {
	if err != nil { // no /proc: cannot tell, so nobody else's
		return processClock()
	}
	namespace, _ := os.Readlink("/proc/self/ns/time") // none before Linux 5.6
	sum := sha256.Sum256(append(boot, namespace...))
	return "host " + hex.EncodeToString(sum[:8])
}
