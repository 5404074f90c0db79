// Package sock is the sockets interface: [Listen] and [Dial], what every call did
// and how long it took, and errors that say what to do. Names are looked up both
// ways by a [Resolver], text becomes an [Address] by [ParseAddress], and a
// connection is known by its [Pair].
//
// # Sockets
//
// To the kernel a socket is one end of a conversation; to a program it is a
// descriptor, a small number to read from and write to, like that of a file. What
// differs is how one gets it. In C that takes several system calls, made in 4.2BSD
// in 1983 and nearly unchanged since. Here is what answers to them:
//
//	socket(2)                 Listen, ListenPacket and Dial make their own
//	setsockopt(2)             Options
//	bind(2)                   Listen, with its Address; for Dial, Options.Source
//	listen(2)                 Listen, with Options.Backlog
//	accept(2)                 Listener.Accept
//	connect(2)                Dial
//	read(2), write(2)         Conn.Read, Conn.Write; for lines, package rio
//	shutdown(2) SHUT_WR       Conn.CloseWrite
//	close(2)                  Close
//	getsockname(2)            Conn.LocalAddr, Listener.Address
//	getpeername(2)            Conn.RemoteAddr; both at once, Conn.Pair
//	gethostbyname(3)          Resolver.Lookup
//	gethostbyaddr(3)          Resolver.LookupAddr, Resolver.Reverse
//	getservbyname(3)          ServicePort
//	htons(3), htonl(3)        nobody needs them; NetworkPort and NetworkBytes show them
//	open_listenfd             OpenListenFD
//	open_clientfd             OpenClientFD
//
// With Options.Sink each of these calls leaves a trace event that bears its name
// and the descriptor.
//
// # The telephone
//
// A server is like an office that wants to be called. It buys a telephone (socket).
// It has a number assigned, so that callers know what to dial (bind). It plugs the
// telephone in, and from then on it can ring (listen). Then it answers each call
// (accept). Who calls needs a telephone too, but no number that anybody knows
// beforehand: it dials (connect), and the exchange tells the office who is calling.
//
// The picture fails at one point, and that is worth knowing: accept does not talk
// on the telephone that rang. It returns a second socket, made for this one caller,
// and the first is free to ring again.
//
//   - The listening socket lives as long as the server and carries no data. Calls
//     that nobody has answered yet wait in its queue, the backlog.
//   - A connected socket lives as long as one conversation.
//
// # Addresses
//
// A socket address is an IP address and a port. The address says which host (to be
// exact, which of its interfaces), the port which program there. In C each family
// has a structure of its own, passed as the general one with a cast and a length:
// sockaddr_in for IPv4, sockaddr_in6 for IPv6, sockaddr_un for Unix sockets. Numbers
// in them stand in network byte order, the most significant byte first, whatever the
// host's own order is: port 80 is 00 50, and a program on a little-endian machine
// that forgets htons asks for port 20480. Go keeps addresses as values
// ([net/netip.AddrPort]) and puts the bytes in order itself.
//
// Ports below 1024 are the well-known ones: 7 echo, 23 telnet, 25 mail, 80 web. Most
// systems let only privileged programs bind them, so that who calls port 25 reaches
// the mail service of that host and not somebody's program. A client does not care
// which port it has: connect picks one that is free, an ephemeral port (on Linux
// from net.ipv4.ip_local_port_range, 32768 to 60999). Listening on port 0 picks one
// in the same way, and [Listener.Address] tells which.
//
// A connection is named by the addresses of both its ends, the socket pair:
//
//	(128.2.194.242:51213, 208.216.181.15:80)
//
// Thousands of connections may have the same server address, port 80: the ephemeral
// ports at the other end tell them apart. No two connections that exist at the same
// time have the same pair.
//
// # After the end
//
// The side that closes first keeps the pair for a while in the state TIME_WAIT, a
// minute on Linux, so that a late packet is not taken for one of a new connection
// (RFC 9293 §3.6.1). Without SO_REUSEADDR a server that was stopped could not bind
// its port until then: "address already in use". Here it is on, see
// Options.NoReuseAddr.
//
// # Reading on
//
// The manual pages socket(2), bind(2), listen(2), accept(2), connect(2),
// shutdown(2), socket(7), ip(7), ipv6(7), tcp(7), udp(7), unix(7), byteorder(3) and
// getaddrinfo(3); W. Richard Stevens, UNIX Network Programming, volume 1
// (with Fenner and Rudoff, The Sockets Networking API, 3rd edition, 2004), chapters
// 3 to 5, 7 and 11; Bryant and O'Hallaron, Computer Systems: A Programmer's
// Perspective, the chapter on network programming, where open_listenfd and
// open_clientfd come from.
package sock
