package small_test

import (
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"yodel"
	"yodel/service/small"
	"yodel/yodeltest"
)

func TestEchoSaysWhatItHears(t *testing.T) {
	t.Parallel()
	for _, in := range []string{
		"",
		"hi there\r\n",
		"no newline",
		"\x00\x1b[31m\xff\xfe ı ß\n\n\r",
		strings.Repeat("long ", 300),
	} {
		wantSameInAllCuts(t, small.Echo{}, in, in)
	}
}

func TestEchoDialogue(t *testing.T) {
	t.Parallel()
	talk := yodeltest.NewTalk(t, small.Echo{}, peer)
	talk.Want("it does not speak first", "")
	talk.Send("h")
	talk.Want("each byte comes back at once, not each line", "h")
	talk.Advance(24 * time.Hour)
	talk.Send("i\n")
	talk.Want("also after a long time", "i\n")
	talk.WantHeard("bytes are no messages")
	talk.EOF()
	talk.WantEnd("it ends when the peer does")
}

func TestEchoStopsAtTheMark(t *testing.T) {
	t.Parallel()
	talk := yodeltest.NewTalk(t, small.Echo{}, peer)
	talk.SetMark(10)
	in := strings.Repeat("0123456789abcdef", 4)
	talk.Send(in)
	talk.EOF()
	if got := talk.Pending(); got != 10 {
		t.Errorf("%d bytes are pending for a peer that does not read, want 10", got)
	}
	if got := talk.Drain(3); got != in[:3] {
		t.Errorf("got %q", got)
	}
	if got := talk.Pending(); got != 10 {
		t.Errorf("%d bytes are pending after three were read, want 10", got)
	}
	talk.Want("all of it comes, also after the peer's end", in[3:])
	talk.WantEnd("and only then does it end")
}

// An engine may bring the peer's end together with more than there is room for.
func TestEchoDoesNotEndBeforeAllIsSaid(t *testing.T) {
	t.Parallel()
	var out yodel.Out
	out.SetMark(10)
	sess := small.Echo{}.Open(peer)
	data := []byte("0123456789abcdef")
	used, err := sess.Step(yodel.Input{Kind: yodel.EOF, Data: data}, &out)
	if used != 10 || err != nil {
		t.Errorf("used %d bytes, err %v; want 10 and nil", used, err)
	}
	out.Sent(10)
	used, err = sess.Step(yodel.Input{Kind: yodel.EOF, Data: data[10:]}, &out)
	if used != 6 || err != io.EOF {
		t.Errorf("used %d bytes, err %v; want 6 and io.EOF", used, err)
	}
}

func TestEchoOfMuchMoreThanTheMark(t *testing.T) {
	t.Parallel()
	in := noise(1 << 20)
	if got := yodeltest.Play(t, small.Echo{}, in); got != in {
		t.Error("1 MiB did not come back as it was")
	}
}

// noise returns n bytes of all values, the same ones each time.
func noise(n int) string {
	rng := rand.New(rand.NewPCG(1, 2))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return string(b)
}

// A connection that is idle, or busy, costs no memory of its own.
func TestEchoAllocatesNothing(t *testing.T) {
	var out yodel.Out
	data := make([]byte, 4096)
	echo := func() {
		sess := small.Echo{}.Open(peer)
		for _, kind := range []yodel.Kind{yodel.Open, yodel.Data, yodel.Room, yodel.EOF} {
			sess.Step(yodel.Input{Kind: kind, Data: data}, &out)
			out.Sent(out.Len())
		}
	}
	if n := testing.AllocsPerRun(100, echo); n != 0 {
		t.Errorf("a conversation allocates %v times", n)
	}
}

func TestEchoReply(t *testing.T) {
	t.Parallel()
	for _, request := range []string{"", "x", noise(65_507)} {
		got := small.Echo{}.Reply(peer, time.Time{}, []byte(request), nil)
		if got == nil || string(got) != request {
			t.Errorf("%d bytes are answered with %d (nil: %v)", len(request), len(got), got == nil)
		}
	}
}

func FuzzEcho(f *testing.F) {
	f.Add([]byte("hello\n"), uint16(2), uint16(4))
	f.Add([]byte("\x00\xff"), uint16(1), uint16(1))
	f.Fuzz(func(t *testing.T, in []byte, cut, mark uint16) {
		talk := yodeltest.NewTalk(t, small.Echo{}, peer)
		talk.SetMark(int(mark))
		at := int(cut) % (len(in) + 1)
		talk.Send(string(in[:at]))
		talk.Send(string(in[at:]))
		talk.EOF()
		talk.Want("all bytes come back", string(in))
		talk.WantEnd("then it ends")
	})
}

func BenchmarkEcho(b *testing.B) {
	var out yodel.Out
	sess := small.Echo{}.Open(peer)
	data := make([]byte, 4096)
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		if _, err := sess.Step(yodel.Input{Kind: yodel.Data, Data: data}, &out); err == io.EOF {
			b.Fatal("echo has ended")
		}
		out.Sent(out.Len())
	}
}

// An engine may send back by itself what it gets.
func TestEchoSaysSo(t *testing.T) {
	if !(small.Echo{}).Echoes() {
		t.Error("echo does not say that it sends back each byte")
	}
}
