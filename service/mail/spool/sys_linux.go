package spool

import (
	"os"

	"golang.org/x/sys/unix"
)

// setLock locks for the open file, and not for the process: others of the same process
// that read the mailbox and close it do not end the lock.
const setLock = unix.F_OFD_SETLK

func freeBytes(f *os.File) (int64, error) {
	var st unix.Statfs_t
	err := control(f, func(fd int) error { return unix.Fstatfs(fd, &st) })
	return int64(st.Bavail) * st.Bsize, os.NewSyscallError("fstatfs", err)
}

// syncData makes what was written to f durable, not when that was.
func syncData(f *os.File) error {
	return os.NewSyscallError("fdatasync", control(f, unix.Fdatasync))
}
