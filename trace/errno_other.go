//go:build !windows

package trace

import "syscall"

// The errors of a connection that the peer has reset, or left without reading.
var resetErrnos = []syscall.Errno{syscall.ECONNRESET, syscall.EPIPE, syscall.ECONNABORTED, syscall.ENOTCONN}

// The errors of a connection whose peer no longer answers.
var vanishedErrnos = []syscall.Errno{
	syscall.ETIMEDOUT, syscall.EHOSTUNREACH, syscall.ENETUNREACH, syscall.EHOSTDOWN, syscall.ENETDOWN, errnoNoNet, syscall.EPROTO,
}

// What a router or a firewall says, in place of the peer's host that no longer answers:
// nobody there, no such protocol, filtered (icmp(7)). Files have such errors too.
var sentBackErrnos = []syscall.Errno{syscall.ECONNREFUSED, syscall.ENOPROTOOPT, syscall.EACCES, syscall.EOPNOTSUPP}
