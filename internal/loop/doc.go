// Package loop is event loops: what the event engines and the load generator stand on.
//
// A [Loop] waits for descriptors to be ready (epoll), for its timers, and for calls
// that other goroutines post to it, and makes one call after the other for what has
// come. All of it is owned by the goroutine in Run; Post, and nothing else, may be
// called by others.
//
// Sockets are read and written by this package's own calls, which are one system call
// each and never go by the Go scheduler: the socket must be non-blocking.
package loop
