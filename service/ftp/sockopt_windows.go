package ftp

import "syscall"

const soOOBInline = 0x100 // winsock2.h

func setInlineUrgent(fd uintptr) error {
	return syscall.SetsockoptInt(syscall.Handle(fd), syscall.SOL_SOCKET, soOOBInline, 1)
}

// setReuseAddr does nothing: on Windows the option would let others take the port over.
func setReuseAddr(uintptr) error { return nil }
