package ftp

import (
	"bytes"
	"errors"

	"yodel/rio"
)

// A command is a verb, in capitals, and what follows it behind one space.
type command struct{ verb, arg string }

const maxVerb = 4 // bytes; RFC 959 §4.1 and all that came later

var errNoCommand = errors.New("ftp: not a command")

// parseCommand reads a line. Clients put the TELNET commands IP and DM in front of ABOR,
// as urgent data, and on the way there some of their bytes may get lost: such bytes in
// front of a verb are left out.
func parseCommand(line []byte) (command, error) {
	line = bytes.TrimLeft(rio.Trim(line), "\xf2\xf4\xff")
	verb, arg, _ := bytes.Cut(line, []byte{' '})
	if len(verb) == 0 || len(verb) > maxVerb || bytes.ContainsFunc(verb, notLetter) {
		return command{}, errNoCommand
	}
	return command{verb: string(bytes.ToUpper(verb)), arg: string(arg)}, nil
}

func notLetter(r rune) bool { return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') }

// isOfHTTP reports whether a line is the beginning of an HTTP request: a browser that was
// tricked into talking to us, with commands of somebody else in what follows.
func isOfHTTP(line []byte) bool {
	verb, _, _ := bytes.Cut(line, []byte{' '})
	switch string(verb) {
	case "GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "CONNECT", "PATCH", "TRACE", "PRI":
		return true
	}
	return false
}
