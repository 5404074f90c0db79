package ftp

import "syscall"

// The numbers are those of winerror.h.
var diskFailures = []failureRow{
	{syscall.Errno(112), 452, "The disk is full."},
	{syscall.Errno(39), 452, "The disk is full."},
	{syscall.Errno(1295), 552, "The user's share of the disk is full."},
	{syscall.Errno(223), 552, "The file is too long."},
}
