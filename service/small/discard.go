package small

import (
	"io"
	"time"

	"yodel"
)

// Discard throws away what it hears and says nothing: RFC 863, port 9, TCP and UDP.
// It ends when the peer does.
type Discard struct{}

var (
	_ yodel.Service = Discard{}
	_ yodel.Replier = Discard{}
)

// Open returns the session, which all connections share.
func (Discard) Open(yodel.Peer) yodel.Session { return discardSession{} }

type discardSession struct{}

func (discardSession) Step(in yodel.Input, _ *yodel.Out) (used int, err error) {
	if in.Kind == yodel.EOF {
		return len(in.Data), io.EOF
	}
	return len(in.Data), nil
}

// Reply returns nil: there is never an answer (RFC 863).
func (Discard) Reply(yodel.Peer, time.Time, []byte, []byte) []byte { return nil }
