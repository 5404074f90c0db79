//go:build unix

package spool

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// lockWhole locks a file of the spool's own for this process, until f is closed or the
// process ends (flock(2)). It fails with ErrInUse if another one has it.
func lockWhole(f *os.File) error {
	err := control(f, func(fd int) error { return unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB) })
	if errors.Is(err, unix.EWOULDBLOCK) {
		return ErrInUse
	}
	return os.NewSyscallError("flock", err)
}

// lockMail locks a mailbox as mail readers do (fcntl(2)), until f is closed, and fails
// with errLocked if another one has it. Alone says that nobody else may even read.
func lockMail(f *os.File, alone bool) error {
	kind := int16(unix.F_RDLCK)
	if alone {
		kind = unix.F_WRLCK
	}
	err := control(f, func(fd int) error {
		return unix.FcntlFlock(uintptr(fd), setLock, &unix.Flock_t{Type: kind})
	})
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
		return errLocked
	}
	return os.NewSyscallError("fcntl F_SETLK", err)
}

// control calls do with f's descriptor, and again if it was interrupted.
func control(f *os.File, do func(fd int) error) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var result error
	err = raw.Control(func(fd uintptr) {
		for {
			if result = do(int(fd)); result != unix.EINTR {
				return
			}
		}
	})
	return errors.Join(err, result)
}

// syncDir makes the names in a folder durable.
func syncDir(root *os.Root, dir string) error {
	f, err := root.Open(dir)
	if err != nil {
		return err
	}
	err = f.Sync()
	f.Close()
	return err
}

// isAlive reports whether the process pid of this host is there.
func isAlive(pid int) bool {
	return !errors.Is(unix.Kill(pid, 0), unix.ESRCH)
}

// IsFull reports whether err is for lack of space: on the disk, in a quota, or in a
// bound of the spool's own.
func IsFull(err error) bool {
	return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) || errors.Is(err, unix.EFBIG) || isFull(err)
}
