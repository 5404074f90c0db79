package small

import (
	"encoding/binary"
	"io"
	"time"

	"yodel"
)

// Time says what time it is in four bytes, for programs: RFC 868, port 37, TCP and
// UDP. They are the seconds since 1900-01-01 00:00:00 UTC, most significant byte
// first (network byte order). Over TCP it says them at once, whatever the peer
// sends, and ends.
//
// The count begins again from 0 at 2036-02-07 06:28:16 UTC. RFC 868 says nothing of
// it; RFC 5905 §6 calls the spans between two such moments eras, and the same holds
// here: the four bytes are the seconds modulo 2³², and whoever reads them supplies
// the era.
type Time struct{}

var (
	_ yodel.Service = Time{}
	_ yodel.Replier = Time{}
)

// secondsTo1970 are from 1900-01-01 to 1970-01-01, both 00:00:00 UTC (RFC 868).
const secondsTo1970 = 2_208_988_800

// Open returns the session, which all connections share.
func (Time) Open(yodel.Peer) yodel.Session { return timeSession{} }

type timeSession struct{}

func (timeSession) Step(in yodel.Input, out *yodel.Out) (used int, err error) {
	binary.BigEndian.PutUint32(out.Extend(4), eraSeconds(in.Now))
	return len(in.Data), io.EOF
}

// Reply returns the four bytes.
func (Time) Reply(_ yodel.Peer, now time.Time, _, buf []byte) []byte {
	return binary.BigEndian.AppendUint32(buf, eraSeconds(now))
}

// eraSeconds returns the seconds since the era of now began.
func eraSeconds(now time.Time) uint32 {
	return uint32(now.Unix() + secondsTo1970) // the conversion is the modulo
}
