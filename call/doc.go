// Package call is the logic of a client: it holds one conversation over a connection
// that somebody else has dialled. It knows no flags, no terminal and no process:
// readers and writers are given to it, and errors come back, which [ExitStatus]
// turns into the exit status of a program.
//
// # Modes
//
// A mode is one way to talk. Each takes over the connection: when it returns the
// connection is closed and nothing of it is under way.
//
//   - [Pipe] carries input to the peer and its answers to output, byte by byte as
//     they are, both ways at once.
//   - [Dialogue] is for a person who types lines while the peer may speak at any
//     time; [Prompt] waits for the answer to each line, as the lecture's client does.
//   - [Verify] checks that the answer equals what was sent.
//   - [Expect] plays a [Script] of what to send and what to expect.
//   - [ConnectOnly] says that there is a connection.
//
// A datagram "connection" (UDP) can be given to all but the last. There each line is a
// datagram, and since no datagram says that the conversation is over, a mode ends
// when input has ended and nothing has come for [Config].Wait.
//
// # What is shown
//
// [Record] wraps a connection so that a [View] sees what happens on it: [StatusView]
// for people, [TextView] as a hexadecimal dump or with times, [JSONView] as lines of
// JSON. A [Screen] is an output that makes a peer's bytes safe for a terminal.
//
// # What is bounded
//
// Every mode ends promptly when its context does, and holds a bounded amount of
// memory, whatever the peer sends. [Config].Timeout bounds the silence. Reading the
// input cannot be interrupted in general: a reader that has a SetReadDeadline that
// works is told to stop; for another one, such as a terminal, a goroutine stays
// until the Read that is under way returns, and what that Read brings is lost. An
// output that takes no bytes holds up the end, too: a program should let a second
// signal end it at once.
//
// # What is not here
//
// Telnet's options (RFC 854, 855) are not negotiated: a server that sends them shows
// them as escaped bytes and works on without an answer.
package call
