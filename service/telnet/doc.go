// Package telnet is a server of TELNET (RFC 854 and 855): it lets a person who has logged
// in sit at a terminal of this machine, with one program. It does ECHO (857), SUPPRESS GO
// AHEAD (858), BINARY (856), TERMINAL-TYPE (1091), NAWS, the window's size (1073), and
// LINEMODE (1184) if Config.LineMode is set.
//
// A Server takes a net.Conn at the connection door of the engines. What TELNET is does no
// I/O: machine.go is told bytes and says what they mean, and what to answer;
// session.go is the I/O around it.
//
// # The terminal
//
// The program has a pseudo-terminal, which echoes, edits lines, and turns keys into
// signals: so the client sends each key as it is pressed. In LINEMODE the terminal leaves
// all that to the client (EXTPROC), and each change that the program makes is told it.
// A client that does not want us to echo (DONT ECHO) does so itself, and the terminal's own
// echo is turned off. Interrupt Process, Break, Abort and Suspend are signals to who is in
// the foreground, as the keys for them are. Eight bits go through in both directions.
//
// # What peers can't do
//
// Options are answered only when that changes something (RFC 1143), so there are no
// loops; after a hundred commands about options the connection ends. A sub-negotiation
// has 4 KiB and ten seconds; the special characters of LINEMODE (SLC) go through a table
// of 18, and what has to be answered counts as a command about an option. The environment
// of the peer's (ENVIRON, NEW-ENVIRON) is refused: of what a peer has said only the type of
// its terminal reaches the program, in TERM, if it is a plain word; and nothing at all its
// arguments.
package telnet
