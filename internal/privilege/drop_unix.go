//go:build unix && !linux

package privilege

import (
	"os"
	"syscall"
)

func supported() *failure { return nil }

func check(c Credentials) *failure {
	if fail := notRoot(c); fail != nil {
		return fail
	}
	if os.Geteuid() != 0 && !is(c) {
		return failed("start it as root, or name the user that it runs as", "user %d may not become another one", os.Geteuid())
	}
	return nil
}

// is reports whether the process runs as c. The saved ids are not shown.
func is(c Credentials) bool {
	uid, gid := int(c.UID), int(c.GID)
	return os.Getuid() == uid && os.Geteuid() == uid && os.Getgid() == gid && os.Getegid() == gid
}

// drop changes the groups and the user: setgroups(2), setgid(2), setuid(2), which for
// root change the real, effective and saved ids, of the process as a whole.
func drop(c Credentials) *failure {
	if fail := check(c); fail != nil {
		return fail
	}
	if os.Geteuid() == 0 {
		if fail := become(c); fail != nil {
			return fail
		}
	}
	if syscall.Setuid(0) == nil || !is(c) {
		return failed("end this program", "root could be had back")
	}
	return nil
}

func become(c Credentials) *failure {
	groups := make([]int, len(c.Groups))
	for i, g := range c.Groups {
		groups[i] = int(g)
	}
	if err := syscall.Setgroups(groups); err != nil {
		return &failure{os.NewSyscallError("setgroups", err), "some systems allow 16 groups at most: name one, USER:GROUP"}
	}
	if err := syscall.Setgid(int(c.GID)); err != nil {
		return &failure{err: os.NewSyscallError("setgid", err)}
	}
	if err := syscall.Setuid(int(c.UID)); err != nil {
		return &failure{err: os.NewSyscallError("setuid", err)}
	}
	return nil
}
