package privilege

import (
	"errors"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// capsMax is how many capabilities fit into a set. Linux has 41.
const capsMax = 64

func supported() *failure { return nil }

func check(c Credentials) *failure {
	_, fail := newPlan(c)
	return fail
}

func drop(c Credentials) *failure {
	p, fail := newPlan(c)
	if fail != nil {
		return fail
	}
	for _, s := range p.steps() {
		if err := s.do(); err != nil {
			return &failure{os.NewSyscallError(s.call, err), advice(err)}
		}
	}
	return p.verify(os.DirFS(tasks))
}

// A step is one change to all threads.
type step struct {
	call string // the system call
	do   func() error
}

// steps returns what the package comment says, in that order.
func (p plan) steps() []step {
	uid, gid := int(p.to.UID), int(p.to.GID)
	all := []step{
		{"setresgid", func() error { return syscall.Setresgid(gid, gid, gid) }},
		{"setresuid", func() error { return syscall.Setresuid(uid, uid, uid) }},
		{"capset", emptySets},
		{"prctl PR_SET_NO_NEW_PRIVS", func() error { return prctl(unix.PR_SET_NO_NEW_PRIVS, 1) }},
		{"prctl PR_SET_DUMPABLE", func() error {
			return unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0) // one for all threads: it belongs to their memory
		}},
	}
	if p.setGroups {
		all = append([]step{{"setgroups", func() error { return syscall.Setgroups(p.groups()) }}}, all...)
	}
	if p.emptyBounding {
		all = append([]step{{"prctl PR_CAPBSET_DROP", emptyBoundingSet}}, all...)
	}
	return all
}

// groups returns the supplementary groups as setgroups wants them.
func (p plan) groups() []int {
	gids := make([]int, len(p.to.Groups))
	for i, g := range p.to.Groups {
		gids[i] = int(g)
	}
	return gids
}

// emptyBoundingSet drops one capability after the other until there is none of that
// number: which is the last depends on the kernel.
func emptyBoundingSet() error {
	for c := range uintptr(capsMax) {
		err := prctl(unix.PR_CAPBSET_DROP, c)
		if err == syscall.EINVAL && c > 0 {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// emptySets empties the effective, the permitted and the inheritable set, and so the
// ambient set.
func emptySets() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3} // pid 0: the thread that calls
	var none [2]unix.CapUserData                                           // two of 32 bits each
	return errno(syscall.AllThreadsSyscall(unix.SYS_CAPSET,
		uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&none)), 0))
}

// prctl calls prctl(2) on all threads.
func prctl(option, arg uintptr) error {
	return errno(syscall.AllThreadsSyscall(unix.SYS_PRCTL, option, arg, 0))
}

// reachable returns an error if not every thread of this program can be made to call
// something. It tries with a call that changes nothing and tells all threads the same.
func reachable() error {
	return errno(syscall.AllThreadsSyscall(unix.SYS_GETPID, 0, 0, 0))
}

func errno(_, _ uintptr, e syscall.Errno) error {
	if e != 0 {
		return e
	}
	return nil
}

// advice says what to do when a step has failed.
func advice(err error) string {
	switch {
	case errors.Is(err, syscall.EINVAL):
		return "the user namespace may not know that user or group: /proc/self/uid_map and gid_map list what it knows"
	case errors.Is(err, syscall.EPERM):
		return "a rule of this system forbids it (seccomp, a user namespace, a security module): leave it to what starts this program to change the user"
	}
	return ""
}
