package capture

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// DropCapabilities takes from this process, on all its threads, every capability that
// it has: captures that are open need none. Programs that root runs later have root's
// again, as always (capabilities(7)); those of others have none.
//
// In a program that was built with cgo there are threads out of Go's reach: there the
// error is [errors.ErrUnsupported], and nothing has changed. After any other error some
// threads may have lost theirs: end the program.
func DropCapabilities() error {
	if none, err := noCapabilities(); none && err == nil {
		return nil
	}
	if _, _, e := syscall.AllThreadsSyscall(unix.SYS_GETPID, 0, 0, 0); e != 0 {
		return fmt.Errorf("watch: drop capabilities: %w in a program with cgo: build it with CGO_ENABLED=0", errors.ErrUnsupported)
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3} // pid 0: the thread that calls
	var none [2]unix.CapUserData                                           // effective, permitted, inheritable; and with them ambient
	_, _, e := syscall.AllThreadsSyscall(unix.SYS_CAPSET,
		uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&none)), 0)
	if e != 0 {
		return os.NewSyscallError("capset", e)
	}
	if gone, err := noCapabilities(); !gone || err != nil {
		return errors.Join(errors.New("watch: capset has left capabilities"), err)
	}
	return nil
}

// noCapabilities reports whether no thread has a capability: proc_pid_status(5).
func noCapabilities() (bool, error) {
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return false, err
	}
	for _, thread := range threads {
		text, err := os.ReadFile("/proc/self/task/" + thread.Name() + "/status")
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH) {
			continue // it has ended
		}
		if err != nil {
			return false, err
		}
		for line := range strings.Lines(string(text)) {
			if set, ok := strings.CutPrefix(line, "CapPrm:"); ok && strings.Trim(set, "\t\n0") != "" {
				return false, nil
			}
		}
	}
	return true, nil
}
