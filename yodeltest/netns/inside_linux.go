package netns

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"

	"golang.org/x/sys/unix"
)

var errUnfinished = errors.New("netns: the function did not return")

// Inside calls f in the test's own process, on a thread that is on the host, and
// returns what f returns. A socket belongs to the host on which it was made and can
// be used anywhere: f makes it, the test uses it. What f starts on other goroutines is
// not on the host; package net does so to look up a name, so dial an address. f must
// not end the test.
func (h *Host) Inside(f func() error) error {
	done := make(chan error)
	go func() {
		err := errUnfinished
		defer func() { done <- err }()
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			// What others see of this process, in /proc for example, is where its main
			// thread is: leave that alone, and hold it, so that f comes to another one.
			defer runtime.UnlockOSThread()
			err = h.Inside(f)
			return
		}
		if err = enter(h.Namespace); err == nil {
			err = errUnfinished
			err = f()
		}
		// The thread is not unlocked, so it ends with this goroutine.
	}()
	return <-done
}

func enter(namespace string) error {
	file, err := os.Open(filepath.Join(runDir, namespace))
	if err != nil {
		return err
	}
	defer file.Close()
	return os.NewSyscallError("setns", unix.Setns(int(file.Fd()), unix.CLONE_NEWNET))
}
