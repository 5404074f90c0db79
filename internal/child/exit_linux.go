package child

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// exit tells when a process has ended, before it is waited for.
type exit struct {
	pidfd *os.File // nil: the kernel is older than 5.4
}

func launch(path string, argv []string, attr *os.ProcAttr) (*os.Process, exit, error) {
	fd := -1
	attr.Sys.PidFD = &fd
	p, err := os.StartProcess(path, argv, attr)
	if err != nil || fd < 0 {
		return p, exit{}, err
	}
	// Nonblocking, the runtime polls it as it does sockets: no thread waits.
	unix.SetNonblock(fd, true)
	return p, exit{os.NewFile(uintptr(fd), "pidfd")}, nil
}

// await returns when p has ended. It is left to be waited for.
func (e exit) await(p *os.Process) {
	if e.pidfd != nil {
		if e.poll() == nil {
			return
		}
	}
	for {
		err := unix.Waitid(unix.P_PID, p.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			return // ended; or ECHILD: somebody has had SIGCHLD ignored
		}
	}
}

func (e exit) poll() error {
	raw, err := e.pidfd.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Read(func(fd uintptr) (done bool) {
		var info unix.Siginfo
		failed = unix.Waitid(unix.P_PIDFD, int(fd), &info, unix.WEXITED|unix.WNOWAIT|unix.WNOHANG, nil)
		return failed != nil && failed != unix.EINTR || info.Signo != 0
	})
	return errors.Join(err, failed)
}

func (e exit) reap(p *os.Process) (*os.ProcessState, error) {
	if e.pidfd != nil {
		e.pidfd.Close()
	}
	return p.Wait()
}

// keepDescriptors keeps what this process was started with, and did not mark, from its
// children. All that Go opens is marked.
func keepDescriptors() {
	unix.CloseRange(3, ^uint(0), unix.CLOSE_RANGE_CLOEXEC) // Linux 5.11
}

// killSession kills all processes of a session, also those that have left the group of
// its leader, as each job of an interactive shell has. The leader has ended and is not
// waited for, so the number is still its own.
func killSession(sid int) {
	for range 10 { // one that is just being made may be missed
		if !killMembers(sid) {
			return
		}
	}
}

func killMembers(sid int) (found bool) {
	proc, err := os.Open("/proc")
	if err != nil {
		return false
	}
	defer proc.Close()
	names, _ := proc.Readdirnames(-1)
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err == nil && pid != sid && sessionOf(name) == sid {
			syscall.Kill(pid, syscall.SIGKILL)
			found = true
		}
	}
	return found
}

// sessionOf returns the session of a living process; 0: none. proc_pid_stat(5).
func sessionOf(pid string) int {
	stat, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		return 0
	}
	return parseSession(string(stat))
}

// parseSession returns the sixth field, or 0 if the process has ended. The second is the
// program's name in parentheses, which may hold anything.
func parseSession(stat string) int {
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	if len(fields) < 4 || fields[0] == "Z" || fields[0] == "X" {
		return 0
	}
	n, _ := strconv.Atoi(fields[3])
	return n
}
