package call

import (
	"errors"
	"net/netip"
	"sync"
	"time"

	"yodel/sock"
	"yodel/trace"
)

// An EventType says what has happened. Its text is the type of a JSON line.
type EventType string

// The events of a call, in the order in which they can come.
const (
	Connecting EventType = "connecting" // an address is tried: Target, Network, Remote or Path
	Failed     EventType = "failed"     // there is no connection: Target, Err
	Connected  EventType = "connected"  // Target, Network, Local, Remote or Path, Phases
	Sent       EventType = "sent"       // Data, Offset; Time is when the write began
	Received   EventType = "received"   // Data, Offset
	Shutdown   EventType = "shutdown"   // our direction was ended (half-close)
	EOF        EventType = "eof"        // the peer has ended its direction
	Closed     EventType = "closed"     // End, In, Out, Late, Took, and Err if End is a fault
	Checked    EventType = "verified"   // Verified, Err
)

// An Event is one thing that happened in a call. Fields that do not apply are zero.
type Event struct {
	Type    EventType
	Time    time.Time // zero: now
	Conn    trace.ConnID
	Target  sock.Address // what was asked for
	Network string       // "tcp", "tls", "unix", "udp"
	Local   netip.AddrPort
	Remote  netip.AddrPort
	Path    string // Unix sockets
	Phases  sock.Phases

	Data   []byte // lent: valid until Show returns
	Offset int64  // of Data in all that went in its direction

	End     string // as in package trace: trace.EndPeer …
	In, Out int64  // bytes received and sent
	Late    int64  // bytes of Out that were sent after the peer's direction had ended
	Took    time.Duration

	Verified Verified
	Err      error
}

// A View shows events as they happen. Show is called for one event after the other,
// never for two at once.
type View interface {
	Show(*Event) error

	// Payload reports whether it wants Sent and Received. If no View does, a
	// connection costs next to nothing more.
	Payload() bool
}

// Views returns a View that shows each event in all of them, in order, nils left out;
// nil if none is left.
func Views(list ...View) View {
	var all views
	for _, v := range list {
		if v != nil {
			all = append(all, v)
		}
	}
	if len(all) == 0 {
		return nil
	}
	return all
}

type views []View

func (vs views) Show(e *Event) error {
	var errs []error
	for _, v := range vs {
		if isPayload(e) && !v.Payload() {
			continue
		}
		if err := v.Show(e); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (vs views) Payload() bool {
	for _, v := range vs {
		if v.Payload() {
			return true
		}
	}
	return false
}

func timeOf(e *Event) time.Time {
	if e.Time.IsZero() {
		return time.Now()
	}
	return e.Time
}

func isPayload(e *Event) bool { return e.Type == Sent || e.Type == Received }

// Attempts returns a trace.Sink that shows in view which addresses are tried: for
// sock.Options.Sink. Target is what was asked for; it is shown where the event has no
// address. Attempts returns nil for a nil view.
func Attempts(view View, target sock.Address) trace.Sink {
	if view == nil {
		return nil
	}
	return &attempts{view: view, target: target}
}

type attempts struct {
	mu     sync.Mutex // attempts race
	view   View
	target sock.Address
}

// Emit shows that a socket was made, which is just before it is connected.
func (a *attempts) Emit(e *trace.Event) {
	if e.Op != trace.Socket {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.view.Show(&Event{
		Type: Connecting, Time: e.Time, Conn: e.Conn, Target: a.target,
		Network: e.Network, Remote: e.Remote, Path: e.Path,
	})
}
