package main

import (
	"errors"
	"os"
	"os/exec"
	"os/user"
	"runtime"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"yodel/internal/privilege"
)

// asInvoker calls f on a thread that has the user's rights and no others, as root; f must
// not start goroutines for what needs them. For the zero value it only calls f.
func asInvoker(user privilege.Credentials, f func() error) error {
	if user.UID == 0 {
		return f()
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with this goroutine
		if unix.Gettid() == unix.Getpid() {
			defer runtime.UnlockOSThread() // but not the first one: hold it, so that another one is taken
			done <- asInvoker(user, f)
			return
		}
		err := becomeOnThread(user)
		if err == nil {
			err = f()
		}
		done <- err
	}()
	return <-done
}

// becomeOnThread changes the user of the calling thread alone: credentials(7), NOTES.
func becomeOnThread(user privilege.Credentials) error {
	groups := append([]uint32{user.GID}, user.Groups...)
	for _, step := range []struct {
		name       string
		trap       uintptr
		a1, a2, a3 uintptr
	}{
		{"setgroups", unix.SYS_SETGROUPS, uintptr(len(groups)), uintptr(unsafe.Pointer(&groups[0])), 0},
		{"setresgid", unix.SYS_SETRESGID, uintptr(user.GID), uintptr(user.GID), uintptr(user.GID)},
		{"setresuid", unix.SYS_SETRESUID, uintptr(user.UID), uintptr(user.UID), uintptr(user.UID)},
	} {
		if _, _, errno := syscall.RawSyscall(step.trap, step.a1, step.a2, step.a3); errno != 0 {
			return os.NewSyscallError(step.name, errno)
		}
	}
	runtime.KeepAlive(groups)
	return nil
}

// runAsUser has cmd run with the user's rights and no others.
func runAsUser(cmd *exec.Cmd, u privilege.Credentials) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: u.UID, Gid: u.GID, Groups: u.Groups}}
	name, home := strconv.FormatUint(uint64(u.UID), 10), "/"
	if found, err := user.LookupId(name); err == nil {
		name, home = found.Username, found.HomeDir
	}
	cmd.Env = environmentOf(os.Environ(), name, home)
}

// alive reports whether there is a process of that number.
func alive(pid int) bool {
	err := unix.Kill(pid, 0)
	return err == nil || errors.Is(err, unix.EPERM)
}

// ownerOf returns whose a file is, if that is known.
func ownerOf(info os.FileInfo) (uid uint32, known bool) {
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return s.Uid, true
	}
	return 0, false
}
