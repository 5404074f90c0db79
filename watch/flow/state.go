package flow

import (
	"time"

	"yodel/trace"
	"yodel/watch/packet"
)

// ResetInfo is who ended a connection with RST, and what that can mean.
type ResetInfo struct {
	From   trace.Side
	Number int64 // of the packet
	Time   time.Time
	Why    ResetWhy

	// Exact is set if the RST has the very number that its receiver expects, as it must
	// to be obeyed at once (RFC 5961 §3.2).
	Exact bool

	// OtherTTL is set if it came with another TTL than what that side has sent before: a
	// host between may have sent it in its name.
	OtherTTL bool
}

// ResetWhy is what a reset means.
type ResetWhy uint8

// The meanings. They are those of kernels that keep to RFC 9293 §3.5.2; a host between
// that sends RSTs in another's name is not bound by them.
const (
	ResetUnknown ResetWhy = iota

	// ResetRefused answers a SYN: nothing listens there, or a filter says so.
	ResetRefused

	// ResetAbandoned answers a SYN, ACK: the client knows of no such connection, or has
	// given up.
	ResetAbandoned

	// ResetAfterClose answers a segment that came after its sender had closed for both
	// directions: nobody can read it.
	ResetAfterClose

	// ResetNoConnection answers a segment of a connection that its sender does not have,
	// or has no more.
	ResetNoConnection

	// ResetAborted comes unasked: the program closed with bytes unread, with SO_LINGER of
	// 0, or the kernel gave up.
	ResetAborted
)

var resetNames = [...]string{"", "refused", "abandoned", "after_close", "no_connection", "aborted"}

// String returns the name; "" for ResetUnknown.
func (w ResetWhy) String() string { return resetNames[w] }

// move moves the connection to its next state.
func (l *look) move(f *Flow) {
	e := l.e
	switch {
	case f.State == SYNSent && l.isForeign():
		return
	case l.resets:
		l.moveReset(f)
		return
	case l.opens:
		l.moveOpening(f)
	case f.State == SYNReceived && e.From == trace.Client && e.Ack >= 1:
		f.State, f.Handshake = Established, e.Time
		if !f.LastSYN.IsZero() {
			f.InitialRTT = e.Time.Sub(f.LastSYN)
		}
	case f.State == NotTCP:
		f.State = Joined
	}
	l.moveClosing(f)
}

// isForeign reports whether a segment that comes after the client's SYN can't be of the
// same connection: it belongs to an earlier one between the same sockets, and was late.
func (l *look) isForeign() bool {
	e := l.e
	if e.From == trace.Client {
		return e.Seq != 0 && e.Seq != 1
	}
	return !l.opens && e.Ack != 1 && !(l.resets && e.Ack > 0 && e.Ack <= l.rev.next)
}

func (l *look) moveOpening(f *Flow) {
	at := l.e.Time
	if !l.h.Flags.Has(packet.ACK) {
		if f.State == NotTCP {
			f.State, f.SYN = SYNSent, at
		}
		if l.e.From == trace.Client {
			f.LastSYN = at
		}
		return
	}
	if f.State == NotTCP || f.State == SYNSent {
		f.State, f.SYNACK = SYNReceived, at
	}
}

// moveClosing knows that a direction ends with a FIN, and that its sender knows so of
// the other side with the ACK for it.
func (l *look) moveClosing(f *Flow) {
	if l.ends && l.fwd.finEnd == unset {
		l.fwd.finEnd = l.e.End
		f.Half(l.e.From).FIN = true
		if f.ClosedBy == "" {
			f.ClosedBy = l.e.From
		}
	}
	if l.rev.finEnd != unset && l.e.Ack >= l.rev.finEnd {
		l.rev.finAcked = true
	}
	switch {
	case f.State == WasReset:
	case l.fwd.finAcked && l.rev.finAcked:
		f.State = Closed
	case l.fwd.finEnd != unset && l.rev.finEnd != unset:
		f.State = Closing
	case l.fwd.finEnd != unset || l.rev.finEnd != unset:
		f.State = HalfClosed
	}
}

func (l *look) moveReset(f *Flow) {
	e := l.e
	why := l.whyReset(f)
	if f.Reset == nil {
		half := f.Half(e.From)
		f.Reset = &ResetInfo{
			From: e.From, Number: e.Number, Time: e.Time, Why: why,
			Exact:    why == ResetRefused || l.rev.lastAck == e.Seq,
			OtherTTL: half.TTL != 0 && half.TTL != e.Packet.IP.TTL,
		}
	}
	if f.State != Closed {
		f.State = WasReset
	}
}

// whyReset reads from its form what a RST answers. One that answers a segment with ACK
// has that number and no ACK itself; one that answers a segment without has ACK; and one
// that comes unasked has ACK (RFC 9293 §3.5.2, §3.10.4).
func (l *look) whyReset(f *Flow) ResetWhy {
	e := l.e
	asked := e.Ack == unset && l.rev.lastAck == e.Seq
	switch {
	case f.State == SYNSent && e.From == trace.Server:
		return ResetRefused
	case f.State == SYNReceived && e.From == trace.Client && asked:
		return ResetAbandoned
	case asked && l.fwd.finEnd != unset:
		return ResetAfterClose
	case asked:
		return ResetNoConnection
	case e.Ack != unset:
		return ResetAborted
	}
	return ResetUnknown
}

// Ending is how a connection has ended, or that it has not.
type Ending string

// The endings, with ClosedBy or the sender of the reset where there is one.
const (
	Open             Ending = "open"       // not, when it was seen last
	Unanswered       Ending = "unanswered" // nobody said anything to the SYN
	Refused          Ending = "refused"    // by RST to the SYN
	ClosedByClient   Ending = "closed by client"
	ClosedByServer   Ending = "closed by server"
	HalfClosedClient Ending = "half-closed by client" // and the server goes on
	HalfClosedServer Ending = "half-closed by server"
	ResetByClient    Ending = "reset by client"
	ResetByServer    Ending = "reset by server"
	Datagrams        Ending = "" // UDP has no end
)

// Ending returns how the flow has ended so far, as the packets show it. A reset after
// both sides have closed is no other end.
func (f *Flow) Ending() Ending {
	switch {
	case f.State == NotTCP:
		return Datagrams
	case f.State == SYNSent:
		return Unanswered
	case f.State == WasReset && f.Reset.Why == ResetRefused:
		return Refused
	case f.State == WasReset:
		return bySide(f.Reset.From, ResetByClient, ResetByServer)
	case f.State == Closed || f.State == Closing:
		return bySide(f.ClosedBy, ClosedByClient, ClosedByServer)
	case f.State == HalfClosed:
		return bySide(f.ClosedBy, HalfClosedClient, HalfClosedServer)
	}
	return Open
}

func bySide(side trace.Side, client, server Ending) Ending {
	if side == trace.Server {
		return server
	}
	return client
}
