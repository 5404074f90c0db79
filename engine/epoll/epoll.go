// Package epoll is the engine that runs event loops over readiness: one loop for each
// core, each on a goroutine that reads and writes by single system calls and waits with
// epoll(7). It costs less of a processor for each message than a goroutine for each
// connection does, and next to no memory for a connection at rest.
//
// It runs sessions (yodel.Service) over TCP and Unix sockets. TLS, the PROXY protocol
// and the connection door need blocking I/O: New returns an error that wraps
// engine.ErrUnfit. So does Serve for a listener that is no socket of the kernel.
//
// A session that computes for long holds up all connections of its loop: that is what
// an event loop is, and the engine process is for. Options of a connected socket are
// those that its listening socket had (sock.Options); nothing is set for each.
//
// Descriptors are told of edge-triggered: once when one becomes ready, and until a call
// has shown that it is no longer so, the engine knows. So back-pressure, and going on
// after it, cost no system call, and interest in writing is asked for with the first
// write that finds the socket full.
//
// Each listener is accepted from by one loop, which hands on to the loop with the
// fewest connections, rather than by a listening socket of each loop's own
// (SO_REUSEPORT): the kernel spreads those by a hash, so that of 100 connections one
// loop of two can have 60, what waits for a loop that is busy is not taken by another,
// and a listener that was opened without the option, by whoever starts the server,
// could not be shared at all.
//
// It exists on Linux; elsewhere New returns an error that wraps errors.ErrUnsupported.
package epoll

import "yodel/engine"

// Options are what only this engine knows. The zero value, and nil, mean the defaults.
type Options struct {
	// Loops is how many event loops there are. If zero, one for each processor that Go
	// runs on (runtime.GOMAXPROCS).
	Loops int
}

// Engine serves connections on event loops.
type Engine struct{ *engine.Evented }

var _ engine.Engine = Engine{}
