package call

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
)

// The exit statuses of all commands.
const (
	StatusDone        = 0   // what was asked for was done
	StatusFailed      = 1   // it failed, and no other status says why
	StatusUsage       = 2   // what was asked for makes no sense
	StatusRefused     = 3   // the connection was refused
	StatusTimedOut    = 4   // there was no answer in time
	StatusNoName      = 5   // the name was not found, or could not be looked up
	StatusWrong       = 6   // the answer was wrong: corrupt, lost, unexpected
	StatusBroken      = 7   // reset, or closed with our data unsent or an expectation unmet
	StatusInterrupted = 130 // interrupted by the user
)

// ErrInterrupted says that the user has interrupted the conversation.
var ErrInterrupted = errors.New("interrupted")

// ErrEscape says that the user has left the conversation by the escape character. For
// [Dialogue] and [Prompt] it is a normal end.
var ErrEscape = errors.New("left by the escape character")

// ExitStatus returns the exit status for an error of this package, of dialling, or
// of the standard library. An error that has a method ExitStatus() int anywhere in
// its tree says itself.
func ExitStatus(err error) int {
	var typed interface{ ExitStatus() int }
	switch {
	case err == nil, errors.Is(err, ErrEscape):
		return StatusDone
	case errors.As(err, &typed):
		return typed.ExitStatus()
	case errors.Is(err, context.Canceled), errors.Is(err, ErrInterrupted):
		return StatusInterrupted
	case isTimeout(err):
		return StatusTimedOut
	case isNameError(err):
		return StatusNoName
	case isOneOf(err, refusedErrnos):
		return StatusRefused
	case isBroken(err):
		return StatusBroken
	}
	return StatusFailed
}

// isTimeout reports whether err says that something did not come in time. The first
// error of its tree that has an opinion decides: of several attempts to connect, it
// is the one that knows them all.
func isTimeout(err error) bool {
	var timeout interface{ Timeout() bool }
	if errors.As(err, &timeout) && timeout.Timeout() {
		return true
	}
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) ||
		isOneOf(err, timedOutErrnos)
}

// isNameError reports whether a name led to no address.
func isNameError(err error) bool {
	var dns *net.DNSError
	var lookUp interface{ NotFound() bool }
	return errors.As(err, &dns) || errors.As(err, &lookUp) && lookUp.NotFound()
}

// isBroken reports whether err is the end of a connection that was not orderly.
func isBroken(err error) bool {
	return isOneOf(err, resetErrnos) || errors.Is(err, io.ErrUnexpectedEOF)
}

func isOneOf(err error, list []syscall.Errno) bool {
	for _, e := range list {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
