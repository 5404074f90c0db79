package sock

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"

	"yodel/internal/escape"
)

// A ListenError says why an address could not be listened on.
type ListenError struct {
	Address Address

	// Err is the cause. Where a system call failed it is a [*os.SyscallError],
	// whose Syscall is the call's name, "bind" for example.
	Err error

	// Advice says what to do; it may be empty.
	Advice string
}

// Error returns for example "listen on :7: bind: permission denied; ports below
// 1024 need …".
func (e *ListenError) Error() string {
	return withAdvice("listen on "+escape.String(e.Address.String())+": "+reason(e.Err), e.Advice)
}

// Unwrap returns the cause.
func (e *ListenError) Unwrap() error { return e.Err }

func withAdvice(s, advice string) string {
	if advice == "" {
		return s
	}
	return s + "; " + advice
}

// reason says what happened without what the sentence around it has said: no
// address, and no name for the calls that everybody expects there.
func reason(err error, expected ...string) string {
	if path, ok := errors.AsType[*fs.PathError](err); ok {
		return path.Op + ": " + path.Err.Error()
	}
	call, ok := errors.AsType[*os.SyscallError](err)
	if !ok {
		return escape.String(err.Error())
	}
	if slices.Contains(expected, call.Syscall) {
		return call.Err.Error()
	}
	return call.Error()
}

// cause takes off the wrapping of package net, which repeats the address.
func cause(err error) error {
	if op, ok := errors.AsType[*net.OpError](err); ok {
		return op.Err
	}
	return err
}

// failed returns the ListenError for err, which may come from package net.
func (o *opening) failed(err error) error {
	err = cause(err)
	e := &ListenError{Address: o.addr, Err: err}
	if o.unix {
		e.Advice = unixAdvice(o.addr.Path, err)
	} else {
		e.Advice = o.advice(err)
	}
	return e
}

// advice says what to do when a port could not be had.
func (o *opening) advice(err error) string {
	a := o.addr
	switch {
	case errors.Is(err, errnoInUse) && o.opts.NoReuseAddr:
		return "another program listens there, or connections of an earlier one still wait in TIME_WAIT, for a minute: leave NoReuseAddr out, or choose another port"
	case errors.Is(err, errnoInUse):
		return "another program listens there: `" + whoListens(a) + "` shows which, or choose another port"
	case errors.Is(err, errnoAccess) && failedIn(err, "bind") && a.Port != 0 && a.Port < 1024:
		return "ports below 1024 need CAP_NET_BIND_SERVICE: try " + unprivileged(a) + ", or setcap cap_net_bind_service=+ep PROGRAM"
	case errors.Is(err, errnoAccess), errors.Is(err, errnoPerm):
		return forbidden
	case errors.Is(err, errnoNotAvail):
		return "this host has no such address: leave the host out to listen on all it has"
	case errors.Is(err, errnoFamily):
		return "this host does not speak that version of IP"
	case errors.Is(err, errnoNoDevice):
		return "there is no interface " + escape.String(o.opts.Device)
	}
	return ""
}

// forbidden is the advice for what no permission of the address itself explains.
const forbidden = "a rule of this system forbids it (seccomp, SELinux, Landlock)"

// unprivileged returns a with a port that anybody may bind.
func unprivileged(a Address) string {
	a.Port += 7000
	return escape.String(a.String())
}

// A ResolveError says that a host has no address that may be used: the name does
// not exist, could not be looked up, or has none of the family that was asked for.
type ResolveError struct {
	Host string
	Err  error
}

// Error returns for example "look up nosuch.invalid: no such host".
func (e *ResolveError) Error() string {
	err := e.Err.Error()
	if dns, ok := errors.AsType[*net.DNSError](e.Err); ok {
		err = dns.Err // the rest names the host again
	}
	return "look up " + escape.String(e.Host) + ": " + escape.String(err) + e.advice()
}

func (e *ResolveError) advice() string {
	switch {
	case e.Timeout():
		return "; no name server answered in time"
	case e.NotFound():
		return "; check the spelling, or give an IP address"
	}
	return ""
}

// Unwrap returns the cause.
func (e *ResolveError) Unwrap() error { return e.Err }

// NotFound reports whether the name is known not to exist, or not to have such an
// address. If false, a later attempt may find it.
func (e *ResolveError) NotFound() bool {
	return isA[familyError](e.Err) || isNotFound(e.Err)
}

// Timeout reports whether there was no answer in time.
func (e *ResolveError) Timeout() bool { return isTimeout(e.Err) }

// A familyError is a set of addresses of the wrong version of IP.
type familyError struct {
	want Family
	has  []netip.Addr
	who  string
}

func (e familyError) Error() string {
	return fmt.Sprintf("no IP%s address; %s has %s", e.want, e.who, join(e.has))
}

// A ConnectError says that no address of a host could be connected to.
type ConnectError struct {
	Address  Address
	Attempts []Attempt // in the order in which they began; never empty
}

// Error names the address and what each attempt came to.
func (e *ConnectError) Error() string {
	head := "connect to " + escape.String(e.Address.String()) + ": "
	return withAdvice(head+e.reasons(), e.advice())
}

func (e *ConnectError) reasons() string {
	if len(e.Attempts) == 1 {
		return e.Attempts[0].reason()
	}
	each := make([]string, len(e.Attempts))
	for i, a := range e.Attempts {
		each[i] = a.Addr.String() + " " + a.reason()
	}
	return strings.Join(each, ", ")
}

func (e *ConnectError) advice() string {
	switch {
	case e.Refused():
		return "nothing listens there: check the address, or start the server"
	case e.Timeout():
		return "no answer: the host is down, or a firewall drops what is sent to it"
	case e.is(errnoNetUnreach), e.is(errnoHostUnreach):
		return "there is no way to it from here: check the address and the routes"
	case e.Address.Network == "unix" && errors.Is(e, fs.ErrNotExist):
		return "no server has made that socket"
	case e.is(errnoNotAvail) && failedCall(e) == "bind":
		return "this host has no such address to dial from"
	case e.is(errnoNotAvail):
		return "no ephemeral port is free: wait until connections in TIME_WAIT are gone, or dial from other source addresses too"
	case e.is(errnoAgain):
		return "its queue of connections to accept is full: try again"
	}
	return ""
}

// Unwrap returns the errors of the attempts.
func (e *ConnectError) Unwrap() []error {
	errs := make([]error, len(e.Attempts))
	for i, a := range e.Attempts {
		errs[i] = a.Err
	}
	return errs
}

// Refused reports whether an attempt was refused: a host said that nothing listens
// there. It is false if another attempt had no answer, see Timeout.
func (e *ConnectError) Refused() bool { return !e.Timeout() && e.is(errnoRefused) }

// Timeout reports whether an attempt had no answer in the time there was.
func (e *ConnectError) Timeout() bool {
	return slices.ContainsFunc(e.Attempts, func(a Attempt) bool { return isTimeout(a.Err) })
}

func (e *ConnectError) is(target syscall.Errno) bool { return errors.Is(e, target) }

func isTimeout(err error) bool {
	dns, ok := errors.AsType[*net.DNSError](err)
	return ok && dns.IsTimeout || errors.Is(err, errnoTimedOut) ||
		errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded)
}

func isA[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}

// A HandshakeError says that a connection was made, but not TLS on it.
type HandshakeError struct {
	Address Address
	Err     error
}

// Error names the address and the cause.
func (e *HandshakeError) Error() string {
	head := "TLS with " + escape.String(e.Address.String()) + ": "
	return withAdvice(head+escape.String(e.Err.Error()), e.advice())
}

// Unwrap returns the cause, a [*PinError] for example.
func (e *HandshakeError) Unwrap() error { return e.Err }

// Timeout reports whether the handshake did not end in time.
func (e *HandshakeError) Timeout() bool { return isTimeout(e.Err) }
