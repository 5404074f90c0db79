// Package capture takes packets off the wire: those of its user's own connections, and
// nobody else's.
//
//	c, err := capture.Open(nil)
//	…
//	err = capture.DropCapabilities() // nothing more is needed
//	for {
//		packets, err := c.Next()
//		…
//	}
//
// # Whose packets
//
// A packet socket shows all that passes an interface, so what may be seen is decided in
// the kernel, by a filter that is locked before the socket is bound: nobody can change
// it afterwards, this program included. An interface is never put into promiscuous mode;
// where another program has done that, what is for other hosts is left out.
//
// The filter can't see whose a packet is: at that place the kernel does not know it any
// more. So a second program stands where packets are about to leave an interface and
// still have their socket (TCX egress). It notes each flow that a socket of the owner's
// sends, with the socket's cookie, and crosses out each flow that anyone else sends. The
// filter reads these notes. A TCP segment passes if its numbers lie in what the noted
// socket has sent, so that neither what is late from an earlier connection with the same
// ports nor what waits in a queue can pass for the owner's. A datagram passes as long as
// the noted socket is open; a third program notes when it is closed. When it leaves, it must
// have the number by which the kernel tells the packets of a connected socket (sk_txhash); of
// a socket that is not connected, none is shown that may have waited since before its port
// changed hands.
//
// A SYN to a port where the owner listens belongs to no flow yet: its headers pass, no
// payload, and it is shown if the kernel's list of sockets (sock_diag(7)) proves, after
// the fact, that the owner's listening socket was there when it came. The same goes for
// the first datagram to a port of the owner's. What is not proved is wiped and counted.
//
// The owner of a socket is the user who made it, or who accepted the connection; that is
// what the kernel itself goes by. On loopback a connection between two users belongs to
// both.
//
// Where the kernel allows no such programs, ports are all that a filter can go by, and
// each packet is proved by the list of sockets: see [ByPort].
//
// # What is not seen
//
// Unix sockets have no packets. Neither TCP nor UDP: pings, for example. What is sent
// through a raw socket. Connections through address translation on this same host.
// Interfaces that come after the capture was opened. IPv6 packets with more than four
// extension headers. Of an ICMP error about an own flow the headers are shown, not what
// it quotes of the payload. A packet of the owner's may be left out, never one of
// another's be shown, when a port has changed hands within a moment.
//
// # Where it works
//
// Live capture is for Linux. Elsewhere [Open] returns an error that is
// [errors.ErrUnsupported] and says what to use instead.
package capture
