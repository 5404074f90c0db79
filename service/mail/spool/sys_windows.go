package spool

import (
	"errors"
	"os"

	"golang.org/x/sys/windows"
)

// lockWhole locks a file of the spool's own until f is closed or the process ends. It
// fails with ErrInUse if another process has it.
func lockWhole(f *os.File) error {
	const alone = windows.LOCKFILE_EXCLUSIVE_LOCK | windows.LOCKFILE_FAIL_IMMEDIATELY
	err := windows.LockFileEx(windows.Handle(f.Fd()), alone, 0, 1, 0, new(windows.Overlapped))
	if errors.Is(err, windows.ERROR_LOCK_VIOLATION) {
		return ErrInUse
	}
	return os.NewSyscallError("LockFileEx", err)
}

// lockMail does nothing: mail readers here know lock files only.
func lockMail(*os.File, bool) error { return nil }

// syncDir does nothing: Windows does not sync folders.
func syncDir(*os.Root, string) error { return nil }

// isAlive returns true, which costs waiting until a lock file is old.
func isAlive(int) bool { return true }

func freeBytes(*os.File) (int64, error) { return 0, errors.ErrUnsupported }

// IsFull reports whether err is for lack of space: on the disk, in a quota, or in a
// bound of the spool's own.
func IsFull(err error) bool {
	return errors.Is(err, windows.ERROR_DISK_FULL) || errors.Is(err, windows.ERROR_HANDLE_DISK_FULL) || isFull(err)
}

func syncData(f *os.File) error { return f.Sync() }
