//go:build unix

package process

import (
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

func supported() error { return nil }

// command returns the command that runs this program again, in a process group of its
// own.
func command() *exec.Cmd {
	cmd := exec.Command(self())
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(os.Environ(), mark+"=1")
	// Else the race detector holds each child for a second.
	cmd.Env = append(cmd.Env, strings.TrimSpace("GORACE="+os.Getenv("GORACE")+" atexit_sleep_ms=0"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd
}

// self returns what to run. On Linux that is this very program, also when its file was
// replaced meanwhile.
func self() string {
	if runtime.GOOS == "linux" {
		return "/proc/self/exe"
	}
	path, err := os.Executable()
	if err != nil {
		return os.Args[0]
	}
	return path
}

// controlPipe returns the two ends of a control pipe, which carries both ways.
func controlPipe() (ours net.Conn, theirs *os.File, err error) {
	fds, err := socketpair()
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	mine := os.NewFile(uintptr(fds[0]), "control")
	defer mine.Close()
	theirs = os.NewFile(uintptr(fds[1]), "control")
	ours, err = net.FileConn(mine)
	if err != nil {
		theirs.Close()
		return nil, nil, err
	}
	return ours, theirs, nil
}

func socketpair() (fds [2]int, err error) {
	syscall.ForkLock.RLock() // no child may inherit them before they are marked
	defer syscall.ForkLock.RUnlock()
	fds, err = unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err == nil {
		unix.CloseOnExec(fds[0])
		unix.CloseOnExec(fds[1])
	}
	return fds, err
}

// option is an option of a socket whose value is an int.
type option struct{ level, name int }

// connOf returns the connection of a socket, with the options that it had: package net
// would set some to what it takes for right.
func connOf(socket *os.File) (net.Conn, error) {
	raw, err := socket.SyscallConn()
	if err != nil {
		return nil, err
	}
	had := make(map[option]int)
	raw.Control(func(fd uintptr) {
		for _, o := range kept {
			if v, err := unix.GetsockoptInt(int(fd), o.level, o.name); err == nil { // a Unix socket has none
				had[o] = v
			}
		}
	})
	nc, err := net.FileConn(socket)
	if err != nil {
		return nil, err
	}
	raw.Control(func(fd uintptr) { // the options are the socket's, not the descriptor's
		for o, v := range had {
			unix.SetsockoptInt(int(fd), o.level, o.name, v)
		}
	})
	return nc, nil
}

// keepFromChildren keeps descriptors from the processes that this one starts.
func keepFromChildren(fds ...int) {
	for _, fd := range fds {
		unix.CloseOnExec(fd)
	}
}

// kill ends the child and all that it has started.
func (c *child) kill() {
	syscall.Kill(-c.cmd.Process.Pid, syscall.SIGKILL)
}

// lacks are the errors of starting a process that pass.
var lacks = []error{
	syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.ENOBUFS, syscall.EAGAIN,
	syscall.ENOSPC, // as epoll_ctl(2) says it
}
