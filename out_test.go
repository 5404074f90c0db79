package yodel_test

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"testing"
	"time"

	"yodel"
)

func TestOutKeepsOrderHoweverItIsSent(t *testing.T) {
	var out yodel.Out
	var want, got strings.Builder
	for i := range 200 {
		piece := fmt.Sprintf("<%d>", i)
		want.WriteString(piece)
		switch i % 4 {
		case 0:
			out.WriteString(piece)
		case 1:
			out.Write([]byte(piece))
		case 2:
			copy(out.Extend(len(piece)), piece)
		default:
			for j := range len(piece) {
				out.WriteByte(piece[j])
			}
		}
		n := min(i%7, out.Len())
		got.Write(out.Pending()[:n])
		out.Sent(n)
	}
	got.Write(out.Pending())
	out.Sent(out.Len())
	if got.String() != want.String() {
		t.Errorf("sent %q, written %q", got.String(), want.String())
	}
	if out.Len() != 0 || len(out.Pending()) != 0 {
		t.Errorf("%d bytes are left", out.Len())
	}
}

func TestOutMark(t *testing.T) {
	var out yodel.Out
	if out.Room() != yodel.DefaultMark {
		t.Errorf("the default mark leaves room for %d bytes", out.Room())
	}
	out.SetMark(10)
	out.WriteString("1234567")
	if out.Room() != 3 || out.Mark() != 10 {
		t.Errorf("room for %d of %d", out.Room(), out.Mark())
	}
	out.WriteString("89abcdef")
	if out.Room() != 0 {
		t.Errorf("past the mark there is room for %d", out.Room())
	}
	out.Sent(6)
	if out.Room() != 1 {
		t.Errorf("what was sent makes room: %d", out.Room())
	}
}

func TestOutSentMoreThanPending(t *testing.T) {
	for _, n := range []int{-1, 4} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("Sent(%d) of three bytes did not panic", n)
				}
			}()
			var out yodel.Out
			out.WriteString("abc")
			out.Sent(n)
		}()
	}
}

func TestOutWakeAndHeard(t *testing.T) {
	var out yodel.Out
	if !out.Wake().IsZero() || len(out.TakeHeard()) != 0 {
		t.Error("a new Out wishes something")
	}
	at := time.Unix(1000, 0)
	out.WakeAt(time.Unix(1, 0))
	out.WakeAt(at)
	if !out.Wake().Equal(at) {
		t.Errorf("the last wish counts: %v", out.Wake())
	}
	out.Heard(3)
	out.Heard(5)
	if h := out.TakeHeard(); len(h) != 2 || h[0] != 3 || h[1] != 5 {
		t.Errorf("heard %v", h)
	}
	if h := out.TakeHeard(); len(h) != 0 {
		t.Errorf("heard again: %v", h)
	}
}

// Reset lends a buffer, and gives the old one back.
func TestOutReset(t *testing.T) {
	var out yodel.Out
	lent := make([]byte, 0, 100)
	out.Reset(lent)
	out.WriteString("dropped")
	if &out.Pending()[0] != &lent[:1][0] {
		t.Error("the lent buffer is not used")
	}
	old := out.Reset(nil)
	if out.Len() != 0 || len(old) != 0 || cap(old) != 100 {
		t.Errorf("%d bytes pending; %d of %d came back", out.Len(), len(old), cap(old))
	}
}

// What is sent in pieces does not make the buffer grow: its room is used again.
func TestOutReusesItsBuffer(t *testing.T) {
	var out yodel.Out
	piece := make([]byte, 1000)
	out.Write(piece)
	n := testing.AllocsPerRun(1000, func() {
		out.Write(piece)
		out.Sent(len(piece))
	})
	if n > 0.1 || cap(out.Pending()) > 8000 {
		t.Errorf("%v allocations a round, capacity %d", n, cap(out.Pending()))
	}
}

func TestNames(t *testing.T) {
	for kind, want := range map[yodel.Kind]string{
		yodel.Open: "open", yodel.Data: "data", yodel.EOF: "eof", yodel.Room: "room", yodel.Tick: "tick",
		0: "kind(0)", 99: "kind(99)",
	} {
		if got := kind.String(); got != want {
			t.Errorf("%d: %q, want %q", kind, got, want)
		}
	}
	tcp := yodel.Peer{Network: "tcp", Remote: netip.MustParseAddrPort("[2001:db8::1]:7")}
	unix := yodel.Peer{Network: "unix", Path: "/run/x"}
	if pipe := (yodel.Peer{Network: "pipe"}); pipe.String() != "pipe" {
		t.Errorf("%v", pipe)
	}
	if tcp.String() != "[2001:db8::1]:7" || unix.String() != "unix:/run/x" {
		t.Errorf("%s, %s", tcp, unix)
	}
}

func TestPeerError(t *testing.T) {
	err := fmt.Errorf("wrapped: %w", &yodel.PeerError{Code: 500, Msg: "line too long", Err: io.ErrShortBuffer})
	var peer *yodel.PeerError
	if !errors.As(err, &peer) || !errors.Is(err, io.ErrShortBuffer) || peer.Error() != "500 line too long" {
		t.Errorf("%v", err)
	}
	if got := (&yodel.PeerError{Msg: "left"}).Error(); got != "left" {
		t.Errorf("without a code: %q", got)
	}
}

// What is lent is sent from where it is, as long as nothing else is to be sent with it,
// and is the Out's own after Own.
func TestOutLend(t *testing.T) {
	for name, tt := range map[string]struct {
		before, write, after string // write is the beginning of what is lent
		kept                 bool
	}{
		"all":          {write: "lent", kept: true},
		"a part":       {write: "le", kept: true},
		"more behind":  {write: "lent", after: " and more", kept: false},
		"more before":  {before: "more and ", write: "lent", kept: false},
		"nothing":      {after: "mine", kept: false},
		"nothing else": {kept: false},
	} {
		var out yodel.Out
		out.WriteString("old")
		out.Sent(3)
		lent := []byte("lent")
		out.WriteString(tt.before)
		out.Lend(lent)
		out.Write(lent[:len(tt.write)])
		out.Lend(nil)
		out.WriteString(tt.after)
		want := tt.before + tt.write + tt.after
		if got := string(out.Pending()); got != want {
			t.Errorf("%s: pending is %q, want %q", name, got, want)
		}
		if kept := len(want) > 0 && &out.Pending()[0] == &lent[0]; kept != tt.kept {
			t.Errorf("%s: it was kept: %v", name, kept)
		}
		if len(want) > 0 {
			out.Sent(1)
			want = want[1:]
		}
		out.Own()
		copy(lent, "XXXX")
		if got := string(out.Pending()); got != want {
			t.Errorf("%s: after Own pending is %q, want %q", name, got, want)
		}
		out.Sent(len(want))
		out.Write(lent)
		if &out.Pending()[0] == &lent[0] {
			t.Errorf("%s: what is lent no more is kept", name)
		}
	}
}

// There is room for all that is lent, which takes no memory of the Out's; beside something
// else there is not.
func TestOutRoomForWhatIsLent(t *testing.T) {
	var out yodel.Out
	out.SetMark(4)
	room := func(why string, want int) {
		t.Helper()
		if got := out.Room(); got != want {
			t.Errorf("%s: room for %d, want %d", why, got, want)
		}
	}
	lent := []byte("0123456789")
	out.Lend(lent[:3])
	room("less than the mark is lent", 4)
	out.Lend(lent)
	room("more is lent", 10)
	out.WriteByte('x')
	room("something is pending", 3)
	out.Sent(1)
	out.Write(lent)
	room("what was lent is pending", 0)
	out.Sent(10)
	out.Lend(nil)
	room("nothing is lent", 4)
}

// Lent memory is never written to, however it is sent, and not kept after Reset.
func TestOutDoesNotChangeWhatIsLent(t *testing.T) {
	lent := []byte("0123456789")
	var out yodel.Out
	out.Lend(lent)
	out.Write(lent)
	for range 9 {
		out.Sent(1)
	}
	if got := string(out.Pending()); got != "9" || string(lent) != "0123456789" {
		t.Errorf("pending is %q of %q", got, lent)
	}
	if old := out.Reset(nil); cap(old) > 0 || out.Len() > 0 {
		t.Errorf("Reset returned %d bytes", cap(old))
	}
	out.Write(lent[:5])
	out.Write(lent[5:])
	if got := string(out.Pending()); got != "0123456789" {
		t.Errorf("pending is %q", got)
	}
}
