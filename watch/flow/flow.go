// Package flow makes connections of packets: who talks to whom, what state a connection
// is in, what each segment means, and the sums at the end. It does no I/O, and its only
// clock is that of the packets.
//
// A [Tracker] is given packets, decoded by package packet, in the order of the capture,
// and returns for each what it was: an [Event]. It holds a bounded number of flows and
// of bytes, whatever it is given; what it must forget is counted.
//
// Sequence and acknowledgement numbers are relative: 0 is the SYN, 1 the first byte of
// the stream. They do not wrap around: byte five billion has number five billion. Where
// the beginning was not captured, 1 is the first byte that was.
package flow

import (
	"net/netip"
	"time"

	"yodel/sock"
	"yodel/trace"
	"yodel/watch/packet"
)

// State is where a TCP connection stands, as far as the packets show it.
type State uint8

// The states.
const (
	NotTCP      State = iota // a flow of datagrams
	Joined                   // its beginning was not captured
	SYNSent                  // the client asks
	SYNReceived              // the server has answered; the client has not confirmed
	Established              // both can send
	HalfClosed               // one side will send no more
	Closing                  // both will send no more; an ACK is missing
	Closed                   // both have closed, and know it of each other
	WasReset                 // by RST
)

var stateNames = [...]string{
	"", "joined", "syn_sent", "syn_received", "established", "half_closed", "closing", "closed", "reset",
}

// String returns the name, in lower case; "" for NotTCP.
func (s State) String() string { return stateNames[s] }

// Ended reports whether nothing more is expected.
func (s State) Ended() bool { return s == Closed || s == WasReset }

// A Flow is a TCP connection, or the datagrams between two sockets. The Tracker owns it:
// it may be read between two calls of the Tracker's, and for ever once it has ended.
type Flow struct {
	ID      trace.ConnID
	Number  int64     // of flows of this Tracker, from 1
	Network string    // "tcp" or "udp"
	Pair    sock.Pair // who is the client is said by the SYN, or by who sends first

	// Guessed is set if there was no SYN that says who is the client.
	Guessed bool

	First, Last time.Time // of its packets

	// What each side has sent.
	Client, Server Half

	State State

	// SYN, SYNACK and Handshake are when the client's first and its last SYN, the
	// server's first answer, and the ACK that completes the handshake were captured; zero
	// if they were not. InitialRTT is the time between the last SYN and that ACK: the
	// round trip, as seen from here to the one side and from here to the other.
	SYN, LastSYN, SYNACK, Handshake time.Time
	InitialRTT                      time.Duration

	// ClosedBy is the side whose FIN was first; "" if none was.
	ClosedBy trace.Side

	// Ended by a reset: the first one; nil if there was none.
	Reset *ResetInfo

	// ICMP counts the ICMP errors about this flow, of which LastICMP is the last.
	ICMP     int64
	LastICMP ICMPInfo

	// Evicted is set if it was forgotten before its end, for want of room.
	Evicted bool

	key          key
	older, newer *Flow // in the order of their last packets
	told         int64 // packets when Ended was called last
	held         int   // bytes of memory
	awaited      bool  // it is in Tracker.ended
}

// Packets returns how many packets it has so far.
func (f *Flow) Packets() int64 { return f.Client.Packets + f.Server.Packets + f.ICMP }

// Half returns what the given side has sent.
func (f *Flow) Half(side trace.Side) *Half {
	if side == trace.Server {
		return &f.Server
	}
	return &f.Client
}

// Half is what one side of a flow has sent.
type Half struct {
	Packets int64 // segments, or datagrams
	Bytes   int64 // of payload, in all of them

	// What follows is for TCP.

	// Stream is the length of its stream, in bytes, as far as it is known: from the
	// first byte to the last one that was captured, each counted once, missing or not.
	Stream int64

	// Missing is how many bytes of Stream were not captured.
	Missing int64

	// Marks counts the marks of its segments. For comparison ByRule counts those that
	// Wireshark's rules alone set, see Event.Rules.
	Marks, ByRule Counts

	// RTT is how long the other side took to acknowledge what this side has sent, as seen
	// from the place of capture.
	RTT RTT

	ISN         uint32 // initial sequence number, or the number before the first captured byte
	MSS         int    // that it has told in its SYN; 0: not told, or not captured
	WindowScale int    // that it has told in its SYN; -1: not told, or not captured
	SACK        bool   // it has told in its SYN that it understands SACK
	Timestamps  bool   // it has told so of timestamps
	FIN         bool   // it will send no more
	TTL         uint8  // of its last packet that was no RST

	// ZeroWindow is how long its window was known to be zero, all times together.
	ZeroWindow time.Duration

	analysis analysis
	seen     coverage
	recent   recent
	ids      counting
	stream   Stream
	out      func(Piece) // takes what the stream hands out; nil: nobody wants it
}

// RTT is what was measured of a time.
type RTT struct {
	Count         int64
	Min, Max, Sum time.Duration
}

// Mean returns the mean; 0 if nothing was measured.
func (r *RTT) Mean() time.Duration {
	if r.Count == 0 {
		return 0
	}
	return r.Sum / time.Duration(r.Count)
}

func (r *RTT) add(d time.Duration) {
	if r.Count == 0 || d < r.Min {
		r.Min = d
	}
	r.Max = max(r.Max, d)
	r.Sum += d
	r.Count++
}

// ICMPInfo is what an ICMP error said.
type ICMPInfo struct {
	From       netip.Addr // who says so: the other side, or a host between
	Version    uint8      // of IP: which numbers Type and Code are of
	Type, Code uint8
	MTU        uint32 // see packet.ICMPHeader
}

// Kind says what an Event is.
type Kind uint8

// The kinds of events.
const (
	Segment   Kind = iota + 1 // of TCP
	Datagram                  // of UDP
	ICMPError                 // about a flow
)

// String returns the name, in lower case.
func (k Kind) String() string { return [...]string{"", "segment", "datagram", "icmp"}[k] }

// An Event is what a packet was to a flow. It is valid until the next call of the
// Tracker's.
type Event struct {
	Kind   Kind
	Flow   *Flow
	Number int64 // of the packet, as the caller counts
	Time   time.Time
	Packet *packet.Packet // the caller's

	// From is the side that sent it. For an ICMPError it is "" if that was sent by
	// neither, but by a host between.
	From trace.Side

	Length int // bytes of payload on the wire

	// Since is the time since the packet before in this flow; 0 for the first.
	Since time.Duration

	// What follows is for a Segment.

	// Seq, End and Ack are the numbers of its first byte, of the byte behind its last
	// one (SYN and FIN count as one each), and of the byte that it expects; Ack is -1
	// without the ACK flag.
	Seq, End, Ack int64

	// Window is how many bytes its sender can take, -1 if the scale is not known.
	Window int64

	Was, State State // of the connection, before and after

	// Marks is what is remarkable about it, and Rules what Wireshark's rules say of it.
	// They differ only where Evidence contradicts a rule of thumb.
	Marks, Rules Marks
	Evidence     Evidence

	// Cause says why a Retransmission was sent, as far as that can be told. Earlier is
	// the number of the packet that had its first byte the last time, and Waited the time
	// since then; 0 if that is not known.
	Cause   Cause
	Earlier int64
	Waited  time.Duration

	// DupACK counts the DuplicateACKs in a row, this one included.
	DupACK int

	// RTT is the time since packet Acked, which it acknowledges; Acked is 0 if it
	// acknowledges none to its end, or one of which more than one can be meant: then
	// Ambiguous is set (RFC 6298 §3, Karn's algorithm).
	RTT       time.Duration
	Acked     int64
	Ambiguous bool
}

// Cause is why a segment was sent again.
type Cause uint8

// The causes.
const (
	CauseUnknown Cause = iota
	CauseACKs          // the other side had asked for it, by duplicate ACKs or by SACK
	CauseTimer         // nobody had said anything for 200 ms or more
)

// String returns "acks", "timer", or "".
func (c Cause) String() string { return [...]string{"", "acks", "timer"}[c] }
