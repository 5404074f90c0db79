package yodeltest

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"yodel"
)

// maxPlay is the longest answer of Play, in bytes. Whoever says more does not end.
const maxPlay = 16 << 20

// Play holds a whole conversation and returns all that the service said: each of
// chunks is sent in turn and its answer read, then the peer ends its direction and
// reads to the end. Where the session waits for a tick the clock moves there. Play
// fails the test if the session does not end with io.EOF or a [*yodel.PeerError].
//
// The peer is 192.0.2.1:49152 over TCP.
func Play(t testing.TB, svc yodel.Service, chunks ...string) string {
	t.Helper()
	talk := NewTalk(t, svc, yodel.Peer{
		Network: "tcp",
		Local:   netip.MustParseAddrPort("192.0.2.2:10007"),
		Remote:  netip.MustParseAddrPort("192.0.2.1:49152"),
	})
	var got strings.Builder
	for _, chunk := range chunks {
		talk.Send(chunk)
		got.WriteString(talk.drainAll())
	}
	talk.EOF()
	got.WriteString(talk.drainAll())
	for range maxTicks {
		if talk.end != nil || talk.out.Wake().IsZero() {
			break
		}
		talk.Advance(talk.out.Wake().Sub(talk.now))
		got.WriteString(talk.drainAll())
	}
	talk.wantOrderlyEnd()
	return got.String()
}

func (k *Talk) drainAll() string {
	k.t.Helper()
	got := k.Drain(maxPlay)
	if len(got) == maxPlay {
		k.t.Fatalf("the session has said %d bytes and does not end", maxPlay)
	}
	return got
}

func (k *Talk) wantOrderlyEnd() {
	k.t.Helper()
	if !orderly(k.end) {
		k.t.Fatalf("the peer has ended its direction and read everything, and the session has not ended in order%s", k.endText())
	}
}

// Lines of a failed test show at most this much of each side, in bytes.
const shown = 600

// difference shows two texts that are not equal: all of them where they are short,
// else the place where they part.
func difference(got, want string) string {
	if len(got) <= shown && len(want) <= shown {
		return fmt.Sprintf("got  %q\nwant %q", got, want)
	}
	at := 0
	for at < min(len(got), len(want)) && got[at] == want[at] {
		at++
	}
	return fmt.Sprintf("%d bytes, wanted %d; they part at byte %d:\ngot  %s\nwant %s",
		len(got), len(want), at, around(got, at), around(want, at))
}

func around(s string, at int) string {
	from, to := max(at-20, 0), min(at+60, len(s))
	return fmt.Sprintf("%q", s[from:to])
}
