//go:build unix

package ftp

import "syscall"

var diskFailures = []failureRow{
	{syscall.ENOSPC, 452, "The disk is full."},
	{syscall.EDQUOT, 552, "The user's share of the disk is full."},
	{syscall.EFBIG, 552, "The file is too long."},
	{syscall.EROFS, 550, "Nothing may be changed there."},
}
