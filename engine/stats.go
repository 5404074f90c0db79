package engine

import (
	"fmt"
	"sync/atomic"
)

// Reason is how a connection ended, or why it was not served.
type Reason uint8

// The reasons. Peer and Done are the normal ends.
const (
	None         Reason = iota // it has not ended
	Done                       // the session, or the service, had said all
	Peer                       // the peer ended its direction, and all was answered
	Reset                      // the peer reset the connection, or went away without reading
	Vanished                   // the peer no longer answers: keepalive or TCP_USER_TIMEOUT
	PeerMistake                // the session found the peer at fault and said so
	Idle                       // nothing moved for Config.Idle
	SlowMessage                // a message took longer than Config.HeaderTimeout
	SlowReader                 // the peer took less than Config.MinRate
	LongMessage                // more unused input than Config.MaxInput
	BadHandshake               // TLS could not be agreed on in time
	Fault                      // the session or the I/O failed on our side
	Panic                      // the handler panicked
	Drained                    // ended at rest, by Shutdown
	Cut                        // cut by Close
	Denied                     // refused: the address is not allowed
	PerAddress                 // refused: too many from one address
	BouncePort                 // refused: from a source port that FTP servers use
	Busy                       // refused: too many handshakes at once
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
}

// Read returns the sums now.
func (c *Counters) Read() Stats {
	s := Stats{
		Accepted: c.accepted.Load(), Active: c.active.Load(),
		BytesIn: c.bytesIn.Load(), BytesOut: c.bytesOut.Load(),
		Messages: c.messages.Load(), Unread: c.unread.Load(), Unsent: c.unsent.Load(),
		AcceptErrors: c.acceptErrors.Load(),
		Ended:        make(map[Reason]int64),
	}
	for r := range c.ended {
		if n := c.ended[r].Load(); n > 0 {
			s.Ended[Reason(r)] = n
		}
	}
	return s
}
