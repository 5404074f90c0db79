// Package yodel is the contract between a service and the engine that runs it.
//
// A [Service] opens a [Session] for each connection. A Session is one
// conversation as a pure state machine: it is told what came in ([Input]) and
// says what goes out ([Out]). It does no I/O, starts no goroutine and reads no
// clock, so the same service runs unchanged on every engine, and a test can play
// a whole conversation, cut at any byte and at any hour, without a socket.
//
// # Calling order
//
// Step is called first with [Open], then, one call at a time, with
//
//   - [Data] when bytes have come that were not offered before, or when a Step
//     used some bytes and left others;
//   - [EOF] once the peer has ended its direction. From then on Data and Room
//     come as EOF, so a session need not remember that the end was seen;
//   - [Room] when output had reached its mark and has fallen below it again;
//   - [Tick] at the time that [Out.WakeAt] asked for, or shortly after.
//
// Whatever the kind, in.Data holds all input that no Step has used yet. A Step
// that uses nothing is waiting: for more input, for room, or for its tick. What
// it left is offered again with more behind it. An engine keeps a bounded number
// of unused bytes; a session that leaves more than that is ended. One that takes a
// long message as it comes says so with [Out.Receiving], or its engine would believe it
// to be between two messages.
//
// # How a conversation ends
//
// Returning nil goes on. Returning [io.EOF] is the normal end: what was written
// is flushed, our direction is shut (half-close), input is read and thrown away
// briefly so that the peer sees an end and not a reset, and the connection is
// closed. Returning a [*PeerError] ends in the same way and is counted as the
// peer's mistake. Any other error is the session's own: it is logged and the
// connection is cut at once.
package yodel

import (
	"fmt"
	"net/netip"
	"time"
)

// A Service answers connections.
type Service interface {
	// Open returns the session for one new connection. It must not block. The
	// engine calls it on any goroutine.
	Open(Peer) Session
}

// A Session is one conversation. Step must not block, start goroutines, read a
// clock or touch a descriptor: what it needs is in the Input, what it wants goes
// to the Out. It reports how many bytes of in.Data it used.
type Session interface {
	Step(in Input, out *Out) (used int, err error)
}

// A Closer is a Session that wants to know that its connection is gone, however it
// ended. The engine calls Closed once, after the last Step; what holds for Step holds
// for Closed.
type Closer interface {
	Closed()
}

// A Replier answers datagrams. A Service whose protocol has a datagram form
// implements it too.
type Replier interface {
	// Reply appends the answer to request to buf and returns it; nil means no
	// answer (an empty, non-nil slice is an empty datagram). It must not keep
	// request or buf. now is the only clock it may use.
	//
	// Room for the answer is what is left of buf's capacity, at least 18 bytes: a
	// longer one may be returned, but is not sent. To most peers it may be as long
	// as the request, or 18 bytes if that is more, so that nobody is made to flood
	// a third party; peers on loopback may get a whole datagram.
	Reply(peer Peer, now time.Time, request, buf []byte) []byte
}

// An Echoer is a Service whose sessions, if Echoes returns true, send back each byte
// that they hear, unchanged and in order, and nothing else, and end when the peer does.
// An engine may then do that in their place.
type Echoer interface {
	Service
	Echoes() bool
}

// Kind says why Step is called. The package comment has the calling order.
type Kind uint8

// The kinds of input.
const (
	Open Kind = iota + 1 // the connection is there; always first, once
	Data                 // there is input that was not offered before
	EOF                  // the peer has ended its direction
	Room                 // output fell below its mark
	Tick                 // the time asked for with Out.WakeAt has come
)

var kindNames = [...]string{Open: "open", Data: "data", EOF: "eof", Room: "room", Tick: "tick"}

// String returns the kind's name in lower case.
func (k Kind) String() string {
	if int(k) < len(kindNames) && kindNames[k] != "" {
		return kindNames[k]
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

// Input is what a Session is told.
type Input struct {
	Kind Kind
	Now  time.Time // always set; the only clock a Session sees
	Data []byte    // all unused input; lent: valid only until Step returns
}

// Peer is who is at the other end, and where we are.
type Peer struct {
	// Network is "tcp", "tls", "unix" or "udp"; "pipe" where the connection is two
	// streams of a program's.
	Network string

	// Local and Remote are the socket pair as this end sees it, 4-in-6
	// addresses unmapped. Not valid (zero) for Unix sockets and pipes.
	Local, Remote netip.AddrPort

	// Path is the listening Unix socket's path, "@name" for an abstract one;
	// empty for the other networks.
	Path string
}

// String returns the peer's address as people write it.
func (p Peer) String() string {
	switch p.Network {
	case "unix":
		return "unix:" + p.Path
	case "pipe":
		return p.Network
	}
	return p.Remote.String()
}

// A PeerError is a mistake of the peer's: it is answered and counted, not logged
// as a fault. The session that returns it has already written its reply.
type PeerError struct {
	Code int    // reply code of the protocol, for example 500; 0 if it has none
	Msg  string // what the peer did, one line of plain text, e.g. "line too long"
	Err  error  // cause, or nil
}

// Error returns the message, with the code in front where there is one.
func (e *PeerError) Error() string {
	if e.Code == 0 {
		return e.Msg
	}
	return fmt.Sprintf("%d %s", e.Code, e.Msg)
}

// Unwrap returns the cause.
func (e *PeerError) Unwrap() error { return e.Err }
