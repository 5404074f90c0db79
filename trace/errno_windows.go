package trace

import "syscall"

// The errors of a connection that the peer has reset, or left without reading.
var resetErrnos = []syscall.Errno{syscall.WSAECONNRESET, syscall.WSAECONNABORTED, syscall.ERROR_BROKEN_PIPE}

// The errors of a connection whose peer no longer answers: WSAETIMEDOUT,
// WSAEHOSTUNREACH and WSAENETUNREACH, which package syscall does not name.
var vanishedErrnos = []syscall.Errno{10060, 10065, 10051}
