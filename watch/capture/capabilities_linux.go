package capture

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Trace is CAP_SYS_PTRACE. Without it root can't see which sockets its own processes with
// capabilities have open: a capture of some Processes misses connections that a server
// among them accepts.
const Trace Capability = unix.CAP_SYS_PTRACE

// DropCapabilities takes from this process, on all its threads, every capability that
// it has, but for those given: captures that are open need none. Programs that root runs
// later have root's again, as always (capabilities(7)); those of others have none.
//
// In a program that was built with cgo there are threads out of Go's reach: there the
// error is [errors.ErrUnsupported], and nothing has changed. After any other error some
// threads may have lost theirs: end the program.
func DropCapabilities(but ...Capability) error {
	var kept uint64
	for _, c := range but {
		kept |= 1 << c
	}
	if gone, err := onlyCapabilities(kept); gone && err == nil {
		return nil
	}
	if _, _, e := syscall.AllThreadsSyscall(unix.SYS_GETPID, 0, 0, 0); e != 0 {
		return fmt.Errorf("watch: drop capabilities: %w in a program with cgo: build it with CGO_ENABLED=0", errors.ErrUnsupported)
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3} // pid 0: the thread that calls
	var held [2]unix.CapUserData
	if err := unix.Capget(&header, &held[0]); err != nil {
		return os.NewSyscallError("capget", err)
	}
	for i := range held {
		few := held[i].Permitted & uint32(kept>>(32*i))
		held[i] = unix.CapUserData{Effective: few, Permitted: few} // none inheritable, and so none ambient
	}
	_, _, e := syscall.AllThreadsSyscall(unix.SYS_CAPSET,
		uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&held)), 0)
	if e != 0 {
		return os.NewSyscallError("capset", e)
	}
	if gone, err := onlyCapabilities(kept); !gone || err != nil {
		return errors.Join(errors.New("watch: capset has left capabilities"), err)
	}
	return nil
}

// onlyCapabilities reports whether no thread has a capability but some of those kept:
// proc_pid_status(5).
func onlyCapabilities(kept uint64) (bool, error) {
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
			set, ok := strings.CutPrefix(line, "CapPrm:")
			if !ok {
				continue
			}
			if held, err := strconv.ParseUint(strings.TrimSpace(set), 16, 64); err != nil || held&^kept != 0 {
				return false, err
			}
		}
	}
	return true, nil
}
