package engine

import (
	"fmt"
	"maps"
	"sync/atomic"
)

// Reason is how a connection ended, or why it was not served.
type Reason uint8

// The reasons. Peer and Done are the normal ends.
const (
	None          Reason = iota // it has not ended
	Done                        // the session, or the service, had said all
	Peer                        // the peer ended its direction, and all was answered
	Reset                       // the peer reset the connection, or went away without reading
	Vanished                    // the peer no longer answers: keepalive, TCP_USER_TIMEOUT, or no way to it
	PeerMistake                 // the session found the peer at fault and said so
	Idle                        // nothing moved for Config.Idle
	SlowMessage                 // a message took longer than Config.HeaderTimeout, or came slower than Config.MinRate
	SlowReader                  // the peer took less than Config.MinRate
	LongMessage                 // more unused input than Config.MaxInput
	BadHandshake                // TLS could not be agreed on in time
	Fault                       // the session or the I/O failed on our side
	Panic                       // the handler panicked
	Drained                     // ended at rest, by Shutdown
	Cut                         // cut by Close
	Denied                      // refused: the address is not allowed
	PerAddress                  // refused: too many from one address
	BouncePort                  // refused: from a source port that FTP servers use
	Busy                        // refused: too many handshakes at once
	NoProxyHeader               // refused: the proxy did not say who the client is

	// Why a datagram got no answer; Denied and Panic are others.

	Silent     // the service had none to give
	BadSource  // from port 0, or from an address of nobody or of many
	ServerPort // from a port that only servers have, which would answer back
	ToGroup    // it was sent to a broadcast or multicast address
	Ourselves  // from a socket of this process
	SourceRate // more from one source than GuardConfig.SourceRate or LoopbackRate
	TotalRate  // more from all sources than GuardConfig.TotalRate
	Amplified  // the answer was longer than DatagramConfig.Amplify allows
	SendFailed // the answer could not be sent
	numberOfReasons
)

var reasonNames = [numberOfReasons]string{
	None: "", Done: "done", Peer: "closed by peer", Reset: "reset by peer",
	Vanished: "peer vanished", PeerMistake: "mistake of the peer", Idle: "idle",
	SlowMessage: "slow message", SlowReader: "slow reader",
	LongMessage: "message too long", BadHandshake: "TLS handshake failed",
	Fault: "fault", Panic: "panic", Drained: "drained at shutdown",
	Cut: "cut at shutdown", Denied: "address denied",
	PerAddress: "too many connections from this address",
	BouncePort: "source port not served", Busy: "too many handshakes",
	NoProxyHeader: "no PROXY header",
	Silent:        "no answer to give", BadSource: "source can't be answered",
	ServerPort: "source port of a server", ToGroup: "sent to broadcast or multicast",
	Ourselves: "from this process", SourceRate: "too many from this source",
	TotalRate: "too many from all sources", Amplified: "answer longer than allowed",
	SendFailed: "answer not sent",
}

// String returns the reason in words, as logs and events have it; "" for None.
func (r Reason) String() string {
	if r < numberOfReasons {
		return reasonNames[r]
	}
	return fmt.Sprintf("reason(%d)", uint8(r))
}

// Counters are the sums of one engine, or of one loop of it. They are safe for
// concurrent use. The zero value is ready.
type Counters struct {
	accepted     atomic.Int64
	active       atomic.Int64
	bytesIn      atomic.Int64
	bytesOut     atomic.Int64
	messages     atomic.Int64
	unread       atomic.Int64
	unsent       atomic.Int64
	acceptErrors atomic.Int64
	ended        [numberOfReasons]atomic.Int64

	datagramsIn, datagramsOut, datagramsMissed, readErrors atomic.Int64

	dropped [numberOfReasons]atomic.Int64
}

// Stats is a reading of Counters.
type Stats struct {
	Accepted int64 // connections accepted, the refused ones too
	Active   int64 // connections being served now

	BytesIn  int64 // payload received
	BytesOut int64 // payload sent
	Messages int64 // whole messages that sessions have taken

	Unread int64 // bytes received that no session used: dropped when their connection ended
	Unsent int64 // bytes of output that were never sent: dropped when their connection ended

	AcceptErrors int64 // failures of accept other than a peer that had left again

	// Ended counts connections by how they ended, refused ones too.
	Ended map[Reason]int64

	DatagramsIn     int64 // datagrams read; each is in DatagramsOut or in Dropped
	DatagramsOut    int64 // datagrams answered
	DatagramsMissed int64 // datagrams that the kernel dropped because the socket's buffer was full, up to the last one read; Linux only
	ReadErrors      int64 // failures to read a datagram; most are the network's word on an earlier answer

	// Dropped counts datagrams that were not answered by why.
	Dropped map[Reason]int64
}

// Add returns the sums of s and o, of two engines for example.
func (s Stats) Add(o Stats) Stats {
	s.Accepted += o.Accepted
	s.Active += o.Active
	s.BytesIn += o.BytesIn
	s.BytesOut += o.BytesOut
	s.Messages += o.Messages
	s.Unread += o.Unread
	s.Unsent += o.Unsent
	s.AcceptErrors += o.AcceptErrors
	s.DatagramsIn += o.DatagramsIn
	s.DatagramsOut += o.DatagramsOut
	s.DatagramsMissed += o.DatagramsMissed
	s.ReadErrors += o.ReadErrors
	s.Ended = addReasons(s.Ended, o.Ended)
	s.Dropped = addReasons(s.Dropped, o.Dropped)
	return s
}

func addReasons(a, b map[Reason]int64) map[Reason]int64 {
	sum := make(map[Reason]int64)
	maps.Copy(sum, a)
	for r, n := range b {
		sum[r] += n
	}
	return sum
}

// Add adds the sums of somebody else who counts: those of s are differences, and may
// be negative.
func (c *Counters) Add(s Stats) {
	c.accepted.Add(s.Accepted)
	c.active.Add(s.Active)
	c.bytesIn.Add(s.BytesIn)
	c.bytesOut.Add(s.BytesOut)
	c.messages.Add(s.Messages)
	c.unread.Add(s.Unread)
	c.unsent.Add(s.Unsent)
	c.acceptErrors.Add(s.AcceptErrors)
	for r, n := range s.Ended {
		if r < numberOfReasons {
			c.ended[r].Add(n)
		}
	}
}

// sum returns the sums of several who count connections.
func sum(counters ...*Counters) Stats {
	var all Counters
	for _, c := range counters {
		all.Add(c.Read())
	}
	return all.Read()
}

// Read returns the sums now.
func (c *Counters) Read() Stats {
	return Stats{
		Accepted: c.accepted.Load(), Active: c.active.Load(),
		BytesIn: c.bytesIn.Load(), BytesOut: c.bytesOut.Load(),
		Messages: c.messages.Load(), Unread: c.unread.Load(), Unsent: c.unsent.Load(),
		AcceptErrors: c.acceptErrors.Load(),
		Ended:        nonZero(&c.ended),
		DatagramsIn:  c.datagramsIn.Load(), DatagramsOut: c.datagramsOut.Load(),
		DatagramsMissed: c.datagramsMissed.Load(), ReadErrors: c.readErrors.Load(),
		Dropped: nonZero(&c.dropped),
	}
}

func nonZero(counts *[numberOfReasons]atomic.Int64) map[Reason]int64 {
	m := make(map[Reason]int64)
	for r := range counts {
		if n := counts[r].Load(); n > 0 {
			m[Reason(r)] = n
		}
	}
	return m
}
