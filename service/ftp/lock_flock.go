//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package ftp

import (
	"os"
	"syscall"
)

// lock says that somebody is receiving a file, until what it returns is closed (flock(2)).
// Where a file system has no locks, the age of a file is what protects it.
func lock(dir *os.Root, name string) (*os.File, error) {
	f, err := dir.Open(name)
	if err == nil {
		flock(f)
	}
	return f, err
}

// isLocked reports whether somebody has locked f. If not, f is locked now.
func isLocked(f *os.File) (held, known bool) {
	err := flock(f)
	return err == syscall.EWOULDBLOCK, err == nil || err == syscall.EWOULDBLOCK
}

func flock(f *os.File) error {
	rc, err := f.SyscallConn()
	if err != nil {
		return err
	}
	if e := rc.Control(func(fd uintptr) { err = syscall.Flock(int(fd), syscall.LOCK_EX|syscall.LOCK_NB) }); e != nil {
		return e
	}
	return err
}
