package small_test

import (
	"cmp"
	"strings"
	"testing"
	"time"

	"yodel"
	"yodel/service/small"
	"yodel/yodeltest"
)

// chargenLine is line i of the stream by the words of RFC 864: of the ring of 95
// printable characters, 72 from the i-th on.
func chargenLine(i int) string {
	var ring strings.Builder
	for c := byte(' '); c <= '~'; c++ {
		ring.WriteByte(c)
	}
	twice := ring.String() + ring.String()
	return twice[i%95:][:72] + "\r\n"
}

func chargenLines(n int) string {
	var lines strings.Builder
	for i := range n {
		lines.WriteString(chargenLine(i))
	}
	return lines.String()
}

func TestChargenFirstLines(t *testing.T) {
	t.Parallel()
	talk := yodeltest.NewTalk(t, small.Chargen{}, peer)
	want := "" +
		" !\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdefg\r\n" +
		"!\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdefgh\r\n"
	if got := talk.Drain(len(want)); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

// However the peer reads, it gets the same stream, and no more is made than there
// is room for.
func TestChargenUnderBackPressure(t *testing.T) {
	t.Parallel()
	want := chargenLines(200) // twice around
	for _, tt := range []struct{ mark, read int }{
		{1, 1}, {7, 73}, {74, 74}, {1000, 1}, {1000, 73}, {1000, 5000}, {0, 5000},
	} {
		talk := yodeltest.NewTalk(t, small.Chargen{}, peer)
		talk.SetMark(tt.mark)
		var got strings.Builder
		for got.Len() < len(want) {
			got.WriteString(talk.Drain(min(tt.read, len(want)-got.Len())))
			if limit := cmp.Or(tt.mark, yodel.DefaultMark); talk.Pending() != limit {
				t.Fatalf("mark %d: %d bytes are pending", limit, talk.Pending())
			}
		}
		if got.String() != want {
			t.Errorf("mark %d, reads of %d bytes: the stream is another one", tt.mark, tt.read)
		}
	}
}

func TestChargenThrowsAwayWhatItHears(t *testing.T) {
	t.Parallel()
	sess := small.Chargen{}.Open(peer)
	var out yodel.Out
	want := chargenLines(4)
	for i, kind := range []yodel.Kind{yodel.Open, yodel.Data, yodel.EOF, yodel.Room} {
		out.SetMark(74)
		used, err := sess.Step(yodel.Input{Kind: kind, Data: []byte("be quiet\r\n")}, &out)
		if used != 10 || err != nil {
			t.Errorf("%v: used %d of 10 bytes, err %v", kind, used, err)
		}
		if got := string(out.Pending()); got != want[i*74:][:74] {
			t.Errorf("%v: what it heard has changed what it says: %q", kind, got)
		}
		out.Sent(out.Len())
	}
}

// The user ends the connection; a half-close is not that.
func TestChargenGoesOnAfterHalfClose(t *testing.T) {
	t.Parallel()
	talk := yodeltest.NewTalk(t, small.Chargen{}, peer)
	talk.EOF()
	if got := talk.Drain(200_000); len(got) != 200_000 || talk.Err() != nil {
		t.Errorf("%d bytes came, then %v", len(got), talk.Err())
	}
}

func TestChargenReply(t *testing.T) {
	t.Parallel()
	now := at(t, "1970-01-01T00:00:00Z")
	for _, tt := range []struct {
		request int
		at      time.Duration
		want    string
	}{
		{0, 0, chargenLine(0)[:18]},
		{18, 0, chargenLine(0)[:18]},
		{200, 0, chargenLines(3)[:200]},
		{65_507, 0, chargenLines(7)[:512]},
		{74, time.Second, chargenLine(1)},
		{80, 94 * time.Second, chargenLine(94) + chargenLine(0)[:6]},
		{74, 95 * time.Second, chargenLine(0)},
		{74, -time.Second, chargenLine(94)}, // a clock that was never set
	} {
		got := small.Chargen{}.Reply(peer, now.Add(tt.at), make([]byte, tt.request), nil)
		if string(got) != tt.want {
			t.Errorf("a request of %d bytes at %v:\ngot  %q\nwant %q", tt.request, tt.at, got, tt.want)
		}
	}
}

func BenchmarkChargen(b *testing.B) {
	var out yodel.Out
	sess := small.Chargen{}.Open(peer)
	b.SetBytes(yodel.DefaultMark)
	for b.Loop() {
		sess.Step(yodel.Input{Kind: yodel.Room}, &out)
		out.Sent(out.Len())
	}
}
