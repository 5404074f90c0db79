//go:build unix

package child

import (
	"errors"
	"os"
	"syscall"
)

// startProcess starts the program as the leader of a session.
func startProcess(path string, argv []string, attr *os.ProcAttr, cfg *Config) (*os.Process, exit, error) {
	sys := &syscall.SysProcAttr{Setsid: true}
	if cfg.Terminal != nil {
		sys.Setctty = true // of descriptor 0
	}
	if u := cfg.User; u != nil {
		sys.Credential = &syscall.Credential{Uid: u.UID, Gid: u.GID, Groups: u.Groups}
	}
	attr.Sys = sys
	keepDescriptors()
	return launch(path, argv, attr)
}

// endSignal is how the group is asked to end.
func (p *Process) endSignal() os.Signal {
	if p.cfg.Terminal != nil {
		return syscall.SIGHUP // as from a line that was hung up: shells ignore SIGTERM
	}
	return syscall.SIGTERM
}

func signalGroup(pid int, sig os.Signal) error {
	s, ok := sig.(syscall.Signal)
	if !ok {
		return errors.ErrUnsupported
	}
	err := syscall.Kill(-pid, s)
	if errors.Is(err, syscall.ESRCH) {
		return os.ErrProcessDone
	}
	return os.NewSyscallError("kill", err)
}

// reapGroup waits for descendants of which this process has become the parent, because
// it is process 1. All of the group were killed, so it does not take long.
func reapGroup(pid int) {
	for {
		_, err := syscall.Wait4(-pid, nil, 0, nil)
		if err != nil && err != syscall.EINTR {
			return
		}
	}
}
