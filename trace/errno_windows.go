package trace

import "syscall"

// The errors of a connection that the peer has reset, or left without reading, and
// WSAENOTCONN, which package syscall does not name.
var resetErrnos = []syscall.Errno{syscall.WSAECONNRESET, syscall.WSAECONNABORTED, syscall.ERROR_BROKEN_PIPE, 10057}

// The errors of a connection whose peer no longer answers: WSAETIMEDOUT,
// WSAEHOSTUNREACH, WSAENETUNREACH, WSAEHOSTDOWN and WSAENETDOWN, which package syscall
// does not name.
var vanishedErrnos = []syscall.Errno{10060, 10065, 10051, 10064, 10050}

// What a router says comes as one of the others here.
var sentBackErrnos []syscall.Errno
