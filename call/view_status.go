package call

import (
	"fmt"
	"io"
	"time"

	"yodel/internal/escape"
	"yodel/sock"
	"yodel/trace"
)

// A StatusView tells a person how the connection comes and goes, as telnet does: which
// address is tried, what is connected, the socket pair, who closed. It does not show
// what is said.
type StatusView struct {
	// W is where it writes: the standard error stream of a program. That it cannot
	// be written is not an error of the call.
	W io.Writer

	// EscapeKey says that ^] leaves the dialogue, so that the person is told.
	EscapeKey bool
}

// Payload returns false.
func (*StatusView) Payload() bool { return false }

// Show writes a line or a few for an event. It returns nil.
func (v *StatusView) Show(e *Event) error {
	switch e.Type {
	case Connecting:
		v.print("Trying %s...", escape.String(tried(e)))
	case Connected:
		v.connected(e)
	case Closed:
		v.closed(e)
	}
	return nil
}

func (v *StatusView) print(format string, args ...any) {
	fmt.Fprintf(v.W, format+"\n", args...)
}

// tried returns the address that is tried, without port; what was asked for if it is
// not known.
func tried(e *Event) string {
	switch {
	case e.Remote.IsValid():
		return e.Remote.Addr().String()
	case e.Network == "unix":
		return e.Path
	}
	return e.Target.String()
}

func (v *StatusView) connected(e *Event) {
	host := escape.String(hostOf(e))
	if e.Network == "udp" {
		v.print("Sending to %s.", host)
	} else {
		v.print("Connected to %s.", host)
	}
	if pair := (sock.Pair{Client: e.Local, Server: e.Remote}); pair.IsValid() {
		v.print("Socket pair %v.", pair)
	}
	if v.EscapeKey {
		v.print("Escape character is '^]'.")
	}
}

// hostOf returns whom the connection leads to, in the user's own words.
func hostOf(e *Event) string {
	switch {
	case e.Network == "unix":
		return e.Path
	case e.Target.Host != "":
		return e.Target.Host
	}
	return e.Target.String()
}

func (v *StatusView) closed(e *Event) {
	line := "Connection " + e.End
	switch {
	case e.Network == "udp":
		line = "Done"
	case e.End == trace.EndFault, e.End == trace.EndVanished:
		line = "Connection ended: " + e.End
	}
	if e.Err != nil && e.End == trace.EndFault {
		line += ": " + e.Err.Error()
	}
	v.print("%s; %s sent, %d received, in %v.", escape.String(line), count(e.Out, "byte"), e.In, rounded(e.Took))
	if e.Late > 0 {
		v.print("%s sent after the peer had ended its direction: whether that was read cannot be told.", count(e.Late, "byte"))
	}
}

// rounded returns d with about three digits.
func rounded(d time.Duration) time.Duration {
	unit := time.Nanosecond
	for limit := 1000 * time.Nanosecond; d >= limit && unit < time.Second; limit *= 10 {
		unit *= 10
	}
	return d.Round(unit)
}
