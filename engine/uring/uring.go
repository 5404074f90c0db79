// Package uring is the engine that runs event loops over completion: one io_uring(7) for
// each core. What its connections want in a turn goes to the kernel in one call, which
// also waits; what has come is told from memory that is shared with the kernel. Under
// load this costs less of a processor than readiness does, see package epoll, and next to
// no memory for a connection at rest.
//
// Each connection has one request to receive that goes on until it is stopped
// (multishot), into a few buffers which all connections share. One that sends much at a
// time is read from by a system call instead, when the kernel tells that there is
// something: those buffers would not do for many of these, and who found none would have to
// ask again. Output is sent by requests that are submitted together. Where only a few have
// something to say, they are sent to by a system call each, so that nobody waits for a
// batch that does not come. Under load a loop waits up to 50 µs for as many completions as
// the last turn had, at most 32.
//
// Connections are accepted by accept4(2) when the listening socket is readable, and not
// by a request that goes on: that would accept more than the engine has admitted, and
// could not say who is calling. Their sockets are the process's descriptors and not the
// ring's own: those would save the kernel a look at its table, but no system call can read
// from them, send to them or ask them for an address.
//
// What it runs, and what it does not, is what the engine epoll runs: sessions over TCP
// and Unix sockets. It needs io_uring as Linux 6.12 has it, and the right to use it,
// which many containers withhold: Probe says so. Elsewhere New returns an error that
// wraps errors.ErrUnsupported. The rings are made when the first listener is served,
// with the privileges that the process has then.
package uring

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
