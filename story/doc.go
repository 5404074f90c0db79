// Package story tells what happened to a connection, from what was seen at its two ends,
// and says who kept whom waiting.
//
// [Tell] reads traces (package trace) and captures (pcap and pcapng, of whatever program),
// any number in any order, recognised by content. It joins what belongs to one
// connection, finds out which capture was taken at which end, and bounds the difference
// of their clocks by the packets that both have. Then it walks back from the last thing
// that happened to the first: each moment is held by exactly one of client, network and
// server, so the parts add up to the whole.
//
// A [Verdict] is given if what speaks against it is excluded. Else it is [CannotTell],
// and the [Story] says what would have to be watched to tell.
//
// Times of a Story are those of the client's capture, if there is one. Memory is bounded:
// see [Options].
package story

import (
	"time"

	"yodel/sock"
	"yodel/trace"
	"yodel/watch"
)

// Defaults of Options.
const (
	DefaultRemarkable = 25 * time.Millisecond
	DefaultPackets    = 400_000
	DefaultStories    = 1000
)

// Options is how stories are told. Nil is all defaults.
type Options struct {
	// Remarkable is how long one side must have kept the other one waiting, all times
	// together, to be named for it; zero: 25 ms. Below that the verdict says who closed.
	Remarkable time.Duration

	// Packets is how many packets of all captures together are kept, 88 bytes each;
	// zero: 400,000. Of a connection that has more than is left, nothing is told that
	// needs them.
	Packets int

	// Stories is how many connections are told at most, the first ones; zero: 1,000.
	Stories int

	// Filter says which connections are told; zero: all.
	Filter watch.Filter

	// Match joins connections whose socket pairs do not: behind a proxy, or an address
	// translation that also changes sequence numbers. Each is two names of connections,
	// as traces have them.
	Match [][2]trace.ConnID
}

func (o *Options) remarkable() int64 {
	if o.Remarkable > 0 {
		return int64(o.Remarkable)
	}
	return int64(DefaultRemarkable)
}

func (o *Options) packets() int {
	if o.Packets > 0 {
		return o.Packets
	}
	return DefaultPackets
}

func (o *Options) stories() int {
	if o.Stories > 0 {
		return o.Stories
	}
	return DefaultStories
}

// A Verdict says who kept whom waiting, or who ended the connection if nobody did.
type Verdict string

// The verdicts.
const (
	Client       Verdict = "client"
	NetworkThere Verdict = "network there" // from the client to the server
	NetworkBack  Verdict = "network back"
	AcceptQueue  Verdict = "server: accept queue" // the connection waited for accept()
	Handler      Verdict = "server: handler"      // the program had it
	Server       Verdict = "server"               // one of the two: the wire does not show when accept() returned

	ClosedByClient  Verdict = "closed by client" // by FIN: close(), shutdown(), or the end of the process
	ClosedByServer  Verdict = "closed by server"
	KernelOfClient  Verdict = "closed by kernel of client" // by RST
	KernelOfServer  Verdict = "closed by kernel of server"
	NobodyWeSee     Verdict = "closed by nobody we see" // by RST that neither end has sent
	CannotTell      Verdict = "cannot tell"
	closedByNothing Verdict = ""
)

// Evidence is at which ends a connection was seen.
type Evidence string

// The kinds of evidence.
const (
	Both       Evidence = "both"
	ClientOnly Evidence = "client"
	ServerOnly Evidence = "server"
	Between    Evidence = "between" // a capture of which it is not known where it was taken
)

// Parts is the measured time, cut into parts that add up to it. NotSeen is what happened
// beyond the only capture; Server is what was the server's, but not known to be of its
// accept queue or of its program.
type Parts struct {
	Client, NetworkThere, AcceptQueue, Handler, Server, NetworkBack, NotSeen time.Duration
}

// Total returns the sum.
func (p Parts) Total() time.Duration {
	return p.Client + p.NetworkThere + p.AcceptQueue + p.Handler + p.Server + p.NetworkBack + p.NotSeen
}

// A Story is what is known of one connection.
type Story struct {
	Conn     trace.ConnID
	Pair     sock.Pair
	Network  string // "tcp", "tls", "unix"
	Evidence Evidence

	// Start is the first thing that is known of it: the look-up of the name, or the SYN.
	Start time.Time

	// Parts is who held it, Intervals the same as it went, in order and without gaps.
	Parts     Parts
	Intervals []Interval

	// Offset is how far the server's clock was ahead of the client's, give or take
	// OffsetError; OffsetKnown is unset if nothing bounds it. Error is how much of
	// NetworkThere may be NetworkBack, or the other way round; all other parts are
	// measured by one clock.
	Offset, OffsetError time.Duration
	OffsetKnown         bool
	Error               time.Duration

	Verdict Verdict
	Why     string   // what speaks for the verdict, one sentence
	ToTell  []string // what would have to be watched to tell more
	Notes   []string // what else is to be known of the evidence

	Rows []Row // what happened, in the order of time
}

// A Holder is who has the ball: the one for whom all others wait.
type Holder uint8

// The holders.
const (
	HeldByClient Holder = iota
	HeldThere           // under way from the client to the server
	HeldInQueue         // the server's accept queue
	HeldByHandler
	HeldByServer // queue or handler
	HeldBack
	HeldUnseen

	holders = iota
)

// String returns the name as it stands in a sum.
func (h Holder) String() string {
	return [...]string{"client", "network there", "accept queue", "handler", "server", "network back", "not seen"}[h]
}

// An Interval is a time during which one side held the connection.
type Interval struct {
	From, To time.Duration // since Start
	Holder   Holder
	Why      string // what happened in it, if that is remarkable
}
