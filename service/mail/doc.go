// Package mail is a mail server: it takes messages over SMTP (RFC 5321) and stores them
// in a spool, a mailbox for each recipient. It never relays.
//
// It speaks SIZE (RFC 1870), 8BITMIME (RFC 6152), PIPELINING (RFC 2920), SMTPUTF8
// (RFC 6531), STARTTLS (RFC 3207) and ENHANCEDSTATUSCODES (RFC 2034). It does not speak
// CHUNKING, so there is one way only in which a message can end.
//
// A [Server] takes a net.Conn at the connection door of the engines: a message is
// answered with 250 when it is durable, and waiting for a disk has no place in a session
// that does no I/O. What is protocol is pure all the same: the command parser, the
// session's states, the addresses and the end of a message are functions of what was
// heard (the files smtp*.go), and conn.go is the I/O around them.
//
// # What peers can't do
//
// Only CRLF "." CRLF ends a message. A message with a CR or an LF that stands alone, or a
// NUL, is read to its true end and refused, and a command line that ends in LF alone is
// refused too; so no peer can smuggle a message past a server in front that sees ends of
// lines elsewhere. Commands that came with STARTTLS in plain text are thrown away. Each
// line, message, list of recipients and row of errors has a bound, see [Config].
//
// Time is bounded without bothering a person who types: a command has HeaderTimeout from
// its first byte, and a line of a message five seconds and as long as its bytes take at
// MinRate; who says nothing has Idle, also between two lines of a message. A whole message
// has Idle and as long as its bytes take at MinRate.
package mail
