package echotest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"yodel/yodeltest"
)

// await waits until f is true of something that tells nobody when it changes, such as
// the kernel's tables.
func await(t *testing.T, what string, f func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); !f(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("waited %v, and it is not so that %s", patience, what)
		}
	}
}

// The states of a TCP socket, as in the kernel's tables.
const (
	established = "01"
	finWait2    = "05"
	timeWait    = "06"
	listening   = "0A"
)

// tcpSocket is a row of the kernel's tables (proc_pid_net(5), proc_net_tcp.txt).
type tcpSocket struct {
	local, remote int // ports
	state         string
	timer         string // that runs: "00" is none
	inode         string
}

// tcpSockets returns the TCP sockets of the host that the process is on.
func tcpSockets(t *testing.T, pid int) (all []tcpSocket) {
	t.Helper()
	yodeltest.NeedLinux(t)
	for _, table := range []string{"tcp", "tcp6"} {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s", pid, table))
		if err != nil {
			continue // a host without IPv6, or a process that has ended
		}
		for line := range strings.Lines(string(text)) {
			f := strings.Fields(line)
			if len(f) < 10 || f[0] == "sl" {
				continue
			}
			timer, _, _ := strings.Cut(f[5], ":")
			all = append(all, tcpSocket{local: portOf(t, f[1]), remote: portOf(t, f[2]), state: f[3], timer: timer, inode: f[9]})
		}
	}
	return all
}

func portOf(t *testing.T, address string) int {
	t.Helper()
	port, err := strconv.ParseInt(address[strings.LastIndexByte(address, ':')+1:], 16, 32)
	if err != nil {
		t.Fatal(err)
	}
	return int(port)
}

// listeningPort returns the port on which a process listens, 0 if there is none yet.
func listeningPort(t *testing.T, pid int) int {
	t.Helper()
	for _, s := range tcpSockets(t, pid) {
		if s.state == listening && holds(pid, s.inode) {
			return s.local
		}
	}
	return 0
}

// holds reports whether a process has a descriptor of a socket.
func holds(pid int, inode string) bool {
	fds, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	for _, fd := range fds {
		if target, err := os.Readlink(fd); err == nil && target == "socket:["+inode+"]" {
			return true
		}
	}
	return false
}

// ends returns the sockets of this host at both ends of a connection.
func ends(t *testing.T, a, b int) (all []tcpSocket) {
	t.Helper()
	for _, s := range tcpSockets(t, os.Getpid()) {
		if s.local == a && s.remote == b || s.local == b && s.remote == a {
			all = append(all, s)
		}
	}
	return all
}

// epollPwait is the number of the system call with which Go waits for events.
var epollPwait = map[string]string{"amd64": "281", "arm64": "22"}

// waitsForEver reports whether a Go program waits for events only: no timer, such as a
// connection's deadline, will wake it. One of its threads then sits in epoll_pwait(2)
// without a timeout.
func waitsForEver(t *testing.T, pid int) bool {
	t.Helper()
	number, known := epollPwait[runtime.GOARCH]
	if !known {
		yodeltest.Skip(t, "the number of epoll_pwait on "+runtime.GOARCH+" is not known to this test", "add it to epollPwait, from <asm/unistd.h>")
	}
	calls, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/syscall", pid)) // proc_pid_syscall(5)
	waits := 0
	for _, path := range calls {
		text, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrPermission) {
			yodeltest.Skip(t, "the system calls of a process are not to be seen here: "+err.Error(), "run it as root")
		}
		f := strings.Fields(string(text)) // number, arguments
		switch {
		case len(f) < 5 || f[0] != number:
		case f[4] == "0xffffffffffffffff":
			waits++
		default:
			return false
		}
	}
	return waits > 0
}
