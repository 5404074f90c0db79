// Package trace records what happened to a connection: which system calls a
// program made on it, when, how long each took, and how many bytes went by.
//
// An [Event] names one such thing. Events flow into a [Sink]: a file of JSON
// lines, a log for people, a test. Where there is no sink an event costs one nil
// check. Each connection has a [ConnID], unique at one end and never sent to the
// peer.
package trace

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// A ConnID names one connection, or one listening socket, of this process: eight
// random hex digits of the run, a dash, and a counter. The zero ConnID is none.
type ConnID struct {
	Run uint32
	Seq uint64
}

var (
	run = randomRun()
	seq atomic.Uint64
)

func randomRun() uint32 {
	var b [4]byte
	rand.Read(b[:]) // never fails since Go 1.24
	return max(binary.BigEndian.Uint32(b[:]), 1)
}

// NewID returns the next ConnID of this run.
func NewID() ConnID { return ConnID{Run: run, Seq: seq.Add(1)} }

// IsZero reports whether id is none.
func (id ConnID) IsZero() bool { return id == ConnID{} }

// String returns for example "0f31c9aa-17", and "" for the zero ConnID.
func (id ConnID) String() string {
	if id.IsZero() {
		return ""
	}
	b, _ := id.AppendText(make([]byte, 0, 16))
	return string(b)
}

// AppendText appends the form that String returns. Its error is always nil.
func (id ConnID) AppendText(b []byte) ([]byte, error) {
	if id.IsZero() {
		return b, nil
	}
	var raw [4]byte
	binary.BigEndian.PutUint32(raw[:], id.Run)
	b = hex.AppendEncode(b, raw[:])
	b = append(b, '-')
	return strconv.AppendUint(b, id.Seq, 10), nil
}

// MarshalText returns the form that String returns. Its error is always nil.
func (id ConnID) MarshalText() ([]byte, error) { return id.AppendText(nil) }

// UnmarshalText reads the form that MarshalText writes; empty text is the zero
// ConnID.
func (id *ConnID) UnmarshalText(text []byte) error {
	parsed, err := ParseConnID(string(text))
	if err != nil {
		return err
	}
	*id = parsed
	return nil
}

var errConnID = errors.New("trace: a connection's name is eight hex digits, a dash and a number")

// ParseConnID reads what String returns; "" is the zero ConnID.
func ParseConnID(s string) (ConnID, error) {
	if s == "" {
		return ConnID{}, nil
	}
	left, right, ok := strings.Cut(s, "-")
	if !ok || len(left) != 8 {
		return ConnID{}, fmt.Errorf("%w: %q", errConnID, s)
	}
	r, err := strconv.ParseUint(left, 16, 32)
	if err != nil {
		return ConnID{}, fmt.Errorf("%w: %q", errConnID, s)
	}
	n, err := strconv.ParseUint(right, 10, 64)
	if err != nil || right != strconv.FormatUint(n, 10) {
		return ConnID{}, fmt.Errorf("%w: %q", errConnID, s)
	}
	return ConnID{Run: uint32(r), Seq: n}, nil
}

// Op is what happened: a system call, where there is one, by its own name.
type Op string

// The operations. Those that are system calls bear the call's name.
const (
	Resolve   Op = "resolve"   // a name became a set of addresses (Text: the addresses), or an address a name
	Socket    Op = "socket"    // FD is new; a client: Remote is whom it will call
	Bind      Op = "bind"      // Local is set
	Listen    Op = "listen"    // Local is set; Bytes is the backlog
	Accept    Op = "accept"    // FD is the connected socket, Local and Remote are set
	Connect   Op = "connect"   // Local and Remote are set; Err if it failed
	Handshake Op = "handshake" // TLS; Text is version and cipher suite
	Read      Op = "read"      // the first read of a connection; each one if the sink wants all
	Write     Op = "write"     // likewise
	Message   Op = "message"   // the session has taken a whole message of Bytes
	Shutdown  Op = "shutdown"  // our direction was ended (half-close)
	EOF       Op = "eof"       // the peer ended its direction
	Refuse    Op = "refuse"    // not served; Text is why
	Close     Op = "close"     // the last event of a connection: In, Out, Text (how it ended), Took (how long it lived)
	Note      Op = "note"      // Text says it
	Header    Op = "trace"     // the first line of a trace file, see FileHeader
	Lost      Op = "lost"      // a sink could not keep all events; Text says how many and why
)

// Side is which end of a connection saw an event.
type Side string

// The two ends.
const (
	Client Side = "client"
	Server Side = "server"
)

// Event is one thing that happened to a connection. Fields that do not apply are
// zero.
type Event struct {
	Conn    ConnID
	Op      Op
	Side    Side
	Time    time.Time     // when the call returned; wall and monotonic clock
	Took    time.Duration // how long the call took; 0: not measured
	FD      int           // socket descriptor; 0: not known
	Network string        // "tcp", "tls", "unix", "udp"; "pipe" for two streams
	Service string        // server: the service's name
	Local   netip.AddrPort
	Remote  netip.AddrPort
	Path    string // Unix sockets: the path, "@name" for an abstract one
	Name    string // the peer's name, where it was looked up; hostile text
	Bytes   int    // bytes of this call or message
	In, Out int64  // payload bytes received and sent so far
	Text    string // as the Op says; may come from a peer: escape before showing
	Err     error

	// Queued is how long a connection had waited in the accept queue: of Accept, see
	// Queued. 0: not known, or less than a tick of the kernel's clock.
	Queued time.Duration

	// TCP is what the kernel knew at the end: of Close. nil: not known.
	TCP *TCPSum

	// Mono is the monotonic clock at Time, in nanoseconds, of an event that was read from
	// a file, or that another process has told of (see Mono). It is 0 in one that has just
	// happened: Time holds it.
	Mono int64
}

// A Sink takes events. Emit is called from many goroutines, must not block for
// long, and must not keep the Event.
type Sink interface {
	Emit(*Event)
}

// Discard reports nothing. A nil Sink is the same and cheaper.
var Discard Sink = discard{}

type discard struct{}

func (discard) Emit(*Event) {}

// Func makes a function a Sink.
type Func func(*Event)

// Emit calls f.
func (f Func) Emit(e *Event) { f(e) }

// Tee returns a Sink that gives each event to all of sinks, in order; nils are left
// out. It returns nil if none is left, so that events stay free.
func Tee(sinks ...Sink) Sink {
	var all tee
	for _, s := range sinks {
		if s != nil {
			all = append(all, s)
		}
	}
	switch len(all) {
	case 0:
		return nil
	case 1:
		return all[0]
	}
	return all
}

type tee []Sink

func (t tee) Emit(e *Event) {
	for _, s := range t {
		s.Emit(e)
	}
}
