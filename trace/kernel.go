package trace

import (
	"net"
	"syscall"
	"time"
)

// A TCPSum is what the kernel knew of a TCP connection just before it was closed. Only
// Linux tells (TCP_INFO of tcp(7)).
type TCPSum struct {
	RTT    time.Duration // the round trip, smoothed (RFC 6298)
	MinRTT time.Duration // the shortest one; 0: not known
	Resent int           // segments that were sent again
}

// Queued returns how long a connection that was just accepted had waited in the accept
// queue, from the last packet of its handshake on, as the kernel tells: to one tick of its
// clock, 1 to 10 ms. It is 0 where it is not known: elsewhere than on Linux, and of what
// is no TCP connection. Of a connection on which the program has already sent something
// it is wrong.
//
// While a queue is full the kernel does not take the last packet of a handshake at all.
// That time is not in it: nobody has counted it.
func Queued(c net.Conn) time.Duration { return queued(c) }

// QueuedSocket is Queued for a socket's descriptor.
func QueuedSocket(fd int) time.Duration { return queuedSocket(uintptr(fd)) }

// rawOf returns the socket of c, or of what c wraps and its NetConn method returns.
func rawOf(c any) syscall.RawConn {
	for {
		if sc, ok := c.(syscall.Conn); ok {
			if raw, err := sc.SyscallConn(); err == nil {
				return raw
			}
		}
		w, ok := c.(interface{ NetConn() net.Conn })
		if !ok {
			return nil
		}
		c = w.NetConn()
	}
}
