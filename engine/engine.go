// Package engine runs services: it admits connections, holds each to its limits,
// keeps the statistics, and ends what must end.
//
// How a service is run, one client at a time, a goroutine for each or an event
// loop, is the choice of the engine in the folders below. What a connection may
// do, and what happens when it does more, is the same on all of them, because
// that is [Core]'s: one pure state machine for a connection, told "received n",
// "sent n" and "it is now", which says what to do next and when to be asked again.
// An engine owns only its I/O.
//
// A service is met in one of three forms, by its methods:
//
//   - a [yodel.Service], whose sessions do no I/O; every engine runs these;
//   - a [ConnServer], which takes a [net.Conn] and returns when it is done;
//   - a [ListenerServer], such as *http.Server, which accepts for itself.
//
// The last two are the connection door: the engine counts, limits, identifies and
// traces these connections and shuts them down with timers of its own; the
// connection's deadlines are the service's.
package engine

import (
	"context"
	"errors"
	"fmt"
	"net"

	"yodel"
)

// An Engine serves connections of one service. Serve may be called for several
// listeners. An Engine that was shut down or closed can't be used again.
type Engine interface {
	// Serve accepts and serves connections from l until Shutdown or Close; then
	// it returns ErrClosed, when nothing of l's is being accepted any more. It
	// closes l. Any other error means that l can't be served.
	Serve(l net.Listener) error

	// Shutdown stops accepting, lets live connections finish, and returns nil when
	// the last one has ended. A connection that has been quiet for Config.Quiet
	// is ended by a flush and a half-close. If ctx ends first its error is
	// returned; the connections that are left go on until Close.
	Shutdown(ctx context.Context) error

	// Close stops accepting and cuts all connections. It waits for their handlers
	// to return.
	Close() error

	// Stats returns the sums so far. It may be called at any time.
	Stats() Stats
}

// ErrClosed is what Serve returns after Shutdown or Close.
var ErrClosed = errors.New("engine: closed")

// ErrUnfit is wrapped by the error that says a service and an engine, or a service
// and a kind of socket, do not go together.
var ErrUnfit = errors.New("this engine can't run this service")

// An UnfitError is an ErrUnfit of an engine that runs some services and not others.
type UnfitError struct {
	Engine string // its name
	Why    string // what it does not do, such as "no TLS"
}

// Error names the engines that can.
func (e *UnfitError) Error() string {
	return fmt.Sprintf("%v: %s: %s; the engines goroutine, process and iterative can", ErrUnfit, e.Engine, e.Why)
}

// Unwrap returns ErrUnfit.
func (e *UnfitError) Unwrap() error { return ErrUnfit }

// A ConnServer is a service that does its own I/O on each connection. ServeConn
// returns when the conversation is over; the engine closes the connection.
type ConnServer interface {
	ServeConn(net.Conn)
}

// A ListenerServer is a service that accepts for itself, such as *http.Server. If
// it also has Shutdown(context.Context) error or Close() error, the engine calls
// them; else it ends the connections itself.
type ListenerServer interface {
	Serve(net.Listener) error
}

// Form is how a service is met.
type Form uint8

// The forms of a service.
const (
	NoForm       Form = iota
	SessionForm       // yodel.Service
	ConnForm          // ConnServer
	ListenerForm      // ListenerServer
)

// FormOf returns how svc is met: the first of the forms that its methods fit, or
// NoForm.
func FormOf(svc any) Form {
	switch svc.(type) {
	case yodel.Service:
		return SessionForm
	case ConnServer:
		return ConnForm
	case ListenerServer:
		return ListenerForm
	}
	return NoForm
}

// CheckService returns nil if svc has a form, and else an error that wraps
// ErrUnfit.
func CheckService(svc any) error {
	if FormOf(svc) == NoForm {
		return fmt.Errorf("%w: %T is no yodel.Service, has no ServeConn(net.Conn) and no Serve(net.Listener) error", ErrUnfit, svc)
	}
	return nil
}
