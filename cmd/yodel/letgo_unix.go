//go:build unix

package main

import (
	"os"

	"golang.org/x/sys/unix"
)

// letGo closes what f is, and leaves /dev/null in its place: nothing that is opened
// later gets its number, and what is written there goes nowhere.
func letGo(f *os.File) error {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	raw, err := f.SyscallConn() // f.Fd would make the copies of f block
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) { failed = os.NewSyscallError("dup2", unix.Dup2(int(null.Fd()), int(fd))) })
	if err == nil {
		err = failed
	}
	return err
}
