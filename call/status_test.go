package call

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"time"

	"yodel/sock"
)

func op(name string, err error) error {
	return &net.OpError{Op: name, Net: "tcp", Err: os.NewSyscallError(name, err)}
}

func connectError(errs ...error) error {
	e := &sock.ConnectError{Address: target}
	for _, err := range errs {
		e.Attempts = append(e.Attempts, sock.Attempt{Addr: netip.MustParseAddrPort("192.0.2.1:7"), Err: err})
	}
	return e
}

func TestExitStatus(t *testing.T) {
	t.Parallel()
	refused, reset, timedOut := refusedErrnos[0], resetErrnos[0], timedOutErrnos[0]
	notFound := &net.DNSError{Err: "no such host", Name: "nosuch.invalid", IsNotFound: true}
	tests := []struct {
		err  error
		want int
	}{
		{nil, StatusDone},
		{ErrEscape, StatusDone},
		{errors.New("anything"), StatusFailed},
		{op("connect", syscall.EACCES), StatusFailed},
		{ErrNoConnection, StatusUsage},
		{&ScriptError{}, StatusUsage},

		{op("connect", refused), StatusRefused},
		{connectError(op("connect", refused), op("connect", refused)), StatusRefused},
		{connectError(op("connect", syscall.EACCES), op("connect", refused)), StatusRefused},
		{&BrokenError{Err: op("read", refused)}, StatusRefused},

		{op("connect", timedOut), StatusTimedOut},
		{op("read", timedOut), StatusTimedOut},
		{connectError(op("connect", refused), context.DeadlineExceeded), StatusTimedOut}, // one address may be there
		{context.DeadlineExceeded, StatusTimedOut},
		{fmt.Errorf("connect: %w", os.ErrDeadlineExceeded), StatusTimedOut},
		{&TimeoutError{}, StatusTimedOut},
		{&BrokenError{Err: op("read", timedOut)}, StatusTimedOut},
		{&net.DNSError{IsTimeout: true}, StatusTimedOut},
		{&StepError{Err: &TimeoutError{}}, StatusTimedOut},

		{notFound, StatusNoName},
		{&sock.ResolveError{Host: "nosuch.invalid", Err: notFound}, StatusNoName},
		{&net.DNSError{Err: "server misbehaving", UnwrapErr: op("dial", refused)}, StatusNoName}, // not the peer refused
		{fmt.Errorf("listed: %w", errNotFound{}), StatusNoName},

		{&MismatchError{}, StatusWrong},
		{&LostError{}, StatusWrong},
		{&LostError{Err: &TimeoutError{}}, StatusWrong},
		{&ExtraError{}, StatusWrong},
		{&LineError{}, StatusWrong},
		{&StepError{Err: &MismatchError{}}, StatusWrong},

		{op("read", reset), StatusBroken},
		{io.ErrUnexpectedEOF, StatusBroken},
		{&BrokenError{}, StatusBroken},
		{&BrokenError{Err: op("read", syscall.EACCES)}, StatusBroken},
		{&UnmetError{}, StatusBroken},

		{&InputError{context.Canceled}, StatusFailed},
		{&InputError{syscall.EPIPE}, StatusFailed},
		{&OutputError{syscall.EPIPE}, StatusFailed},

		{context.Canceled, StatusInterrupted},
		{fmt.Errorf("connect: %w", context.Canceled), StatusInterrupted},
		{ErrInterrupted, StatusInterrupted},
		{&net.DNSError{Err: "canceled", UnwrapErr: context.Canceled}, StatusInterrupted},
	}
	for _, test := range tests {
		if got := ExitStatus(test.err); got != test.want {
			t.Errorf("ExitStatus(%T %v) = %d, want %d", test.err, test.err, got, test.want)
		}
	}
}

type errNotFound struct{}

func (errNotFound) Error() string  { return "not found" }
func (errNotFound) NotFound() bool { return true }

func TestExitStatusOfRealFailures(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().(*net.TCPAddr)
	l.Close()
	_, err = net.Dial("tcp", addr.String())
	if got := ExitStatus(err); got != StatusRefused {
		t.Errorf("%v: %d", err, got)
	}
	_, err = sock.Dial(t.Context(), sock.Address{Network: "tcp", Host: "127.0.0.1", Port: uint16(addr.Port)}, nil)
	if got := ExitStatus(err); got != StatusRefused {
		t.Errorf("%v: %d", err, got)
	}
	ctx, cancel := context.WithDeadline(t.Context(), time.Now())
	defer cancel()
	_, err = new(net.Dialer).DialContext(ctx, "tcp", "127.0.0.1:7")
	if got := ExitStatus(err); got != StatusTimedOut {
		t.Errorf("%v: %d", err, got)
	}
}

func TestTimeoutErrorSaysSo(t *testing.T) {
	t.Parallel()
	if !isTimeout(fmt.Errorf("call: %w", &TimeoutError{})) {
		t.Error("it is no timeout")
	}
}

func TestErrorTexts(t *testing.T) {
	t.Parallel()
	tests := map[string]error{
		"wrong answer: byte at offset 7 is 0x0a, expected 0x41 (A)":                     &MismatchError{7, 'A', '\n'},
		"closed by peer before the end; 1 byte sent":                                    &BrokenError{Sent: 1},
		"connection broken: EOF; 0 bytes sent, 3 more read and not sent":                &BrokenError{Unsent: 3, Err: io.EOF},
		`wrong answer: the line "a\x00" does not match /^b/`:                            &LineError{"^b", []byte("a\x00")},
		"answer lost: 2 bytes missing after offset 3: the peer has ended its direction": &LostError{Received: 3, Missing: 2},
		`wrong answer: unexpected bytes at offset 3: "\u009b"`:                          newExtra(3, []byte("\u009b")),
		`my\x1btalk:3: a mistake`:                                                       &ScriptError{"my\x1btalk", 3, "a mistake"},
		`talk:3: send "\x1b": closed by peer; heard last: "\x1b[2J"`:                    &StepError{"talk", 3, `send "\x1b"`, []byte("\x1b[2J"), &UnmetError{}},
		"timed out after 2s":   &TimeoutError{After: 2 * time.Second},
		"input: out of paper":  &InputError{errBroken},
		"output: out of paper": &OutputError{errBroken},
		"UDP makes no connection, so whether anybody is there cannot be told; send something and see what comes back": ErrNoConnection,
	}
	for want, err := range tests {
		if err.Error() != want {
			t.Errorf("got  %s\nwant %s", err, want)
		}
	}
}
