package call

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"yodel/internal/escape"
)

// A MismatchError says that a byte of the answer was not what it had to be.
type MismatchError struct {
	Offset    int64 // of the byte in all that the peer has sent, from 0
	Want, Got byte
}

// Error shows both bytes.
func (e *MismatchError) Error() string {
	return fmt.Sprintf("wrong answer: byte at offset %d is %s, expected %s", e.Offset, showByte(e.Got), showByte(e.Want))
}

// ExitStatus returns StatusWrong.
func (e *MismatchError) ExitStatus() int { return StatusWrong }

func showByte(b byte) string {
	if b < ' ' || b >= 0x7f {
		return fmt.Sprintf("0x%02x", b)
	}
	return fmt.Sprintf("0x%02x (%c)", b, b)
}

// A LostError says that part of the answer did not come.
type LostError struct {
	Received int64 // bytes that came, and were right
	Missing  int64 // bytes that were read from the input and not answered
	Err      error // why no more is waited for, or nil: the peer ended its direction
}

// Error says how much is missing, and after what.
func (e *LostError) Error() string {
	why := "the peer has ended its direction"
	if e.Err != nil {
		why = e.Err.Error()
	}
	return fmt.Sprintf("answer lost: %s missing after offset %d: %s", count(e.Missing, "byte"), e.Received, why)
}

// Unwrap returns the cause.
func (e *LostError) Unwrap() error { return e.Err }

// ExitStatus returns StatusWrong.
func (e *LostError) ExitStatus() int { return StatusWrong }

// An ExtraError says that the peer sent what nobody had asked for.
type ExtraError struct {
	Offset int64  // of the first such byte in all that the peer has sent
	Bytes  []byte // the first of them, at most 64
}

// Error shows the bytes, escaped.
func (e *ExtraError) Error() string {
	return fmt.Sprintf("wrong answer: unexpected bytes at offset %d: %s", e.Offset, quote(e.Bytes))
}

// ExitStatus returns StatusWrong.
func (e *ExtraError) ExitStatus() int { return StatusWrong }

func newExtra(offset int64, p []byte) *ExtraError {
	return &ExtraError{Offset: offset, Bytes: append([]byte(nil), p[:min(len(p), shownBytes)]...)}
}

// A LineError says that a line of the answer did not match.
type LineError struct {
	Pattern string // the regular expression
	Line    []byte // its first bytes, at most 64
}

// Error shows both, the line escaped.
func (e *LineError) Error() string {
	return fmt.Sprintf("wrong answer: the line %s does not match /%s/", quote(e.Line), ownText(e.Pattern))
}

// ExitStatus returns StatusWrong.
func (e *LineError) ExitStatus() int { return StatusWrong }

// A BrokenError says that the connection ended before the conversation was over.
type BrokenError struct {
	Sent   int64 // bytes that the connection took; the last of them may not have arrived
	Unsent int64 // bytes that were read from the input, and that it did not take
	Rest   bool  // there may be more input, which was not read
	Err    error // what ended it, or nil: the peer closed it
}

// Error says what ended the connection, and what became of our bytes.
func (e *BrokenError) Error() string {
	var b strings.Builder
	if e.Err == nil {
		b.WriteString("closed by peer before the end")
	} else {
		b.WriteString("connection broken: " + e.Err.Error())
	}
	fmt.Fprintf(&b, "; %s sent", count(e.Sent, "byte"))
	if e.Unsent > 0 {
		fmt.Fprintf(&b, ", %d more read and not sent", e.Unsent)
	}
	if e.Rest {
		b.WriteString(", the rest of the input not read")
	}
	return b.String()
}

// Unwrap returns the cause.
func (e *BrokenError) Unwrap() error { return e.Err }

// ExitStatus returns StatusBroken, unless the cause is that the peer refused (UDP) or
// no longer answers.
func (e *BrokenError) ExitStatus() int {
	if s := ExitStatus(e.Err); s == StatusRefused || s == StatusTimedOut {
		return s
	}
	return StatusBroken
}

// An UnmetError says that the peer has closed and an expectation can no longer be met.
type UnmetError struct{}

// Error returns "closed by peer".
func (*UnmetError) Error() string { return "closed by peer" }

// ExitStatus returns StatusBroken.
func (*UnmetError) ExitStatus() int { return StatusBroken }

// A TimeoutError says that something did not come in time.
type TimeoutError struct {
	After time.Duration
	Until string // what was waited for, e.g. "nothing moved"; may be empty
}

// Error returns for example "timed out after 10s: nothing moved".
func (e *TimeoutError) Error() string {
	s := "timed out after " + e.After.String()
	if e.Until != "" {
		s += ": " + e.Until
	}
	return s
}

// Timeout returns true.
func (*TimeoutError) Timeout() bool { return true }

// ExitStatus returns StatusTimedOut.
func (*TimeoutError) ExitStatus() int { return StatusTimedOut }

// An InputError says that our own input could not be read or cannot be sent.
type InputError struct{ Err error }

// Error returns "input: " and the cause.
func (e *InputError) Error() string { return "input: " + e.Err.Error() }

// Unwrap returns the cause.
func (e *InputError) Unwrap() error { return e.Err }

// ExitStatus returns StatusFailed: whatever it was, the peer has no part in it.
func (e *InputError) ExitStatus() int { return StatusFailed }

// An OutputError says that our own output could not be written: a closed pipe (EPIPE),
// a full disk.
type OutputError struct{ Err error }

// Error returns "output: " and the cause.
func (e *OutputError) Error() string { return "output: " + e.Err.Error() }

// Unwrap returns the cause.
func (e *OutputError) Unwrap() error { return e.Err }

// ExitStatus returns StatusFailed: whatever it was, the peer has no part in it.
func (e *OutputError) ExitStatus() int { return StatusFailed }

// A ScriptError is a mistake in a script.
type ScriptError struct {
	File string
	Line int // from 1
	Msg  string
}

// Error returns file, line and mistake.
func (e *ScriptError) Error() string {
	return fmt.Sprintf("%s:%d: %s", ownText(e.File), e.Line, e.Msg)
}

// ExitStatus returns StatusUsage.
func (e *ScriptError) ExitStatus() int { return StatusUsage }

// A StepError says which line of a script was not fulfilled, and why.
type StepError struct {
	File  string
	Line  int    // from 1
	Step  string // the line itself, without comment
	Heard []byte // the last bytes that the peer sent before, at most 200
	Err   error  // a [*MismatchError], [*TimeoutError], [*UnmetError] …
}

// Error returns file, line, step and cause, and what the peer said last, escaped.
func (e *StepError) Error() string {
	s := fmt.Sprintf("%s:%d: %s: %v", ownText(e.File), e.Line, ownText(e.Step), e.Err)
	if len(e.Heard) > 0 {
		s += "; heard last: " + quote(e.Heard)
	}
	return s
}

// Unwrap returns the cause.
func (e *StepError) Unwrap() error { return e.Err }

// ErrNoConnection says that a datagram socket has no connection that could be tested.
var ErrNoConnection error = noConnectionError{}

type noConnectionError struct{}

func (noConnectionError) Error() string {
	return "UDP makes no connection, so whether anybody is there cannot be told; send something and see what comes back"
}

func (noConnectionError) ExitStatus() int { return StatusUsage }

// shownBytes is how many bytes of a peer's errors show.
const shownBytes = 64

// ownText returns text of the user's own safe to show, its backslashes as they are.
func ownText(s string) string { return string(appendShown(nil, []byte(s))) }

// quote returns text of a peer's.
func quote(p []byte) string { return `"` + escape.String(string(p)) + `"` }

// count returns n and its noun, with an s where it is not one.
func count(n int64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return strconv.FormatInt(n, 10) + " " + noun + "s"
}

// withoutOp takes the net.OpError off err, which names addresses that everybody knows
// by then.
func withoutOp(err error) error {
	var op *net.OpError
	if errors.As(err, &op) && op.Err != nil {
		return op.Err
	}
	return err
}
