//go:build !windows

package call

import "syscall"

var (
	refusedErrnos  = []syscall.Errno{syscall.ECONNREFUSED}
	resetErrnos    = []syscall.Errno{syscall.ECONNRESET, syscall.EPIPE, syscall.ECONNABORTED, syscall.ENOTCONN}
	timedOutErrnos = []syscall.Errno{syscall.ETIMEDOUT}
)
