// Package kernel is the engine whose echo does not wait for the server: what a client
// sends goes back from inside the kernel, by a BPF program that is run when a segment
// has come. No process is woken for it, so a round trip measures the path, and not how
// soon the server's turn came.
//
// It serves echo (a [yodel.Echoer]) over TCP, on Linux. TLS, PROXY headers, Unix sockets
// and other services are for the other engines: New, or Serve, returns an error that
// wraps engine.ErrUnfit.
//
// # Who echoes
//
// Each connection is in one of two hands at a time. The program, attached to a socket map,
// sends a segment back by the socket that it came by and counts it; or it lets the segment
// pass to the server, which echoes by its session, as any event engine does. The server has
// the connection
//
//   - at its beginning, until it has echoed what came before the socket was in the map,
//   - at its end, because only it knows how to end one,
//   - while its peer does not read, because what the kernel queues for a socket by redirection
//     has no bound, and what passes is bounded by the receive buffer. The program may
//     redirect so much and no more until the server, which is told in time, has seen that
//     it was acknowledged;
//   - while the engine shuts down;
//   - always, if the socket can't join the map: its peer has ended already, it is of MPTCP,
//     or there are more than Options.Sockets.
//
// It is given to the program when all that has passed is in the socket's send queue: the
// program goes on only where two numbers are equal, the bytes that it let pass and the bytes
// that the server says it has echoed. So bytes keep their order.
//
// # Limits
//
// Idle, Linger, Quiet, MinRate and the gate's limits hold as on other engines, because they
// are engine.Core's; of what the program did the Core is told when it matters. A byte that was
// sent out of band comes back in line.
//
// # Privileges
//
// CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON (to read the sequence numbers of segments) are
// needed by New and Probe, and no longer than that. Nothing is
// pinned: program and maps are gone with the engine, and with its process, however that ends.
//
// It exists on Linux; elsewhere New returns an error that wraps errors.ErrUnsupported.
package kernel

import "yodel/engine"

// DefaultSockets is how many connections may be the program's at once if Options say
// nothing.
const DefaultSockets = 16_384

// Options are what only this engine knows. The zero value, and nil, mean the defaults.
type Options struct {
	// Sockets is how many connections may be echoed by the program at once, for each
	// loop; further ones are echoed by the server. If zero, DefaultSockets. Each takes
	// some 160 bytes of the kernel's memory, used or not.
	Sockets int

	// Loops is how many event loops serve what the program does not. If zero, one.
	Loops int
}

// Engine echoes from inside the kernel.
type Engine struct {
	*engine.Evented
	programs *programs
}

var _ engine.Engine = Engine{}
