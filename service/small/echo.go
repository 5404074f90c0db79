package small

import (
	"io"
	"time"

	"yodel"
)

// Echo sends back what it hears, bytes as they come: RFC 862, port 7, TCP and UDP.
// It ends when the peer does. A line is nothing to it, so it reports no messages.
type Echo struct{}

var (
	_ yodel.Service = Echo{}
	_ yodel.Replier = Echo{}
	_ yodel.Echoer  = Echo{}
)

// Open returns the session. All connections share it: it has no state, and so costs
// no memory.
func (Echo) Open(yodel.Peer) yodel.Session { return echoSession{} }

// Echoes returns true.
func (Echo) Echoes() bool { return true }

type echoSession struct{}

// Step uses no more than there is room for: the rest is the engine's to keep, and
// what it cannot keep is not read.
func (echoSession) Step(in yodel.Input, out *yodel.Out) (used int, err error) {
	used = min(len(in.Data), out.Room())
	out.Write(in.Data[:used])
	if in.Kind == yodel.EOF && used == len(in.Data) {
		return used, io.EOF
	}
	return used, nil
}

// Reply returns the request, also if it is empty (RFC 862).
func (Echo) Reply(_ yodel.Peer, _ time.Time, request, buf []byte) []byte {
	if buf == nil {
		buf = []byte{} // nil would be no answer
	}
	return append(buf, request...)
}
