// Package ssh is a server of SSH (RFC 4251 to 4254) that does what package telnet's does,
// as one should: a person who has logged in, with a key or a password, sits at a terminal
// of this machine, or runs one command.
//
// The protocol is golang.org/x/crypto/ssh's. What is ours is who may come in, what such a
// person gets (a program by way of internal/child, at a pseudo-terminal if one is asked
// for), and what is refused: forwarding of ports, agents and displays, subsystems, and
// variables of the environment but for LANG and LC_….
//
// A Server takes a net.Conn at the connection door of the engines.
package ssh
