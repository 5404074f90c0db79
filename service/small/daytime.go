package small

import (
	"io"
	"time"

	"yodel"
)

// Daytime says what time it is in words, for people: RFC 867, port 13, TCP and UDP.
// Over TCP it says it at once, whatever the peer sends, and ends. The RFC leaves the
// form open; this one is its first example's, and always UTC:
//
//	Thursday, February 7, 2036 06:28:16-UTC
type Daytime struct{}

var (
	_ yodel.Service = Daytime{}
	_ yodel.Replier = Daytime{}
)

const (
	daytimeLayout = "Monday, January 2, 2006 15:04:05-MST\r\n"
	daytimeShort  = "20060102T150405Z\r\n" // ISO 8601, basic format: 18 bytes
)

// Open returns the session, which all connections share.
func (Daytime) Open(yodel.Peer) yodel.Session { return daytimeSession{} }

type daytimeSession struct{}

func (daytimeSession) Step(in yodel.Input, out *yodel.Out) (used int, err error) {
	out.Write(in.Now.UTC().AppendFormat(nil, daytimeLayout))
	return len(in.Data), io.EOF
}

// Reply returns the line that a connection gets where it is not longer than the
// request, and else the same time in 18 bytes, for example "20360207T062816Z" and
// CR LF.
func (Daytime) Reply(_ yodel.Peer, now time.Time, request, buf []byte) []byte {
	now = now.UTC()
	answer := now.AppendFormat(buf, daytimeLayout)
	if len(answer)-len(buf) > longestAnswer(request) {
		return now.AppendFormat(buf, daytimeShort)
	}
	return answer
}
