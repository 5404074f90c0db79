package call

import "syscall"

// WSAECONNREFUSED, WSAENOTCONN and WSAETIMEDOUT are not named by package syscall.
var (
	refusedErrnos  = []syscall.Errno{10061}
	resetErrnos    = []syscall.Errno{syscall.WSAECONNRESET, syscall.WSAECONNABORTED, syscall.ERROR_BROKEN_PIPE, 10057}
	timedOutErrnos = []syscall.Errno{10060}
)
