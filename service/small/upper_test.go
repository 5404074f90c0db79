package small_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"yodel"
	"yodel/service/small"
	"yodel/yodeltest"
)

// naiveUpper is upper's whole promise for all that a peer may send.
func naiveUpper(in string) string {
	out := []byte(in)
	for i, b := range out {
		if b >= 'a' && b <= 'z' {
			out[i] = b - 32
		}
	}
	return string(out)
}

func TestUpperDialogue(t *testing.T) {
	t.Parallel()
	talk := yodeltest.NewTalk(t, small.Upper{}, peer)
	talk.Want("it does not speak first", "")
	talk.Send("hi there\r\n")
	talk.Want("the lecture's telnet session", "HI THERE\r\n")
	talk.WantHeard("the lecture's log: 10 bytes", 10)
	talk.Send("hello ")
	talk.Want("a line that is not whole is not answered", "")
	talk.WantHeard("nor reported")
	talk.Send("there\n")
	talk.Want("until it is whole", "HELLO THERE\n")
	talk.WantHeard("12 bytes, as the lecture's client sends", 12)
	talk.Send("one\n\ntwo\nthr")
	talk.Want("several lines at once", "ONE\n\nTWO\n")
	talk.WantHeard("are several messages, in order", 4, 1, 4)
	talk.EOF()
	talk.Want("the last line needs no newline", "THR")
	talk.WantHeard("and is a message too", 3)
	talk.WantEnd("then it ends")
}

func TestUpperChangesAToZAlone(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, in, want string }{
		{"all ASCII letters", "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ\n", "ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFGHIJKLMNOPQRSTUVWXYZ\n"},
		{"the neighbours of a and z", "`{@[\n", "`{@[\n"},
		{"NUL in the middle of a line", "a\x00b\n", "A\x00B\n"},
		{"dotless i, which has an upper case of other length", "ıi\n", "ıI\n"},
		{"sharp s, which has one of two letters", "ßs\n", "ßS\n"},
		{"long s, whose upper case is ASCII", "ſs\n", "ſS\n"},
		{"letters that are not ASCII", "äéñжω\n", "äéñжω\n"},
		{"what is not UTF-8", "\xff\xe1z\xc3\n", "\xff\xe1Z\xc3\n"},
		{"control bytes", "\x1b[a\x7f\x9b\r\n", "\x1b[A\x7f\x9b\r\n"},
		{"nothing", "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			wantSameInAllCuts(t, small.Upper{}, tt.in, tt.want)
		})
	}
}

func TestUpperOnEveryByte(t *testing.T) {
	t.Parallel()
	in := make([]byte, 256)
	for i := range in {
		in[i] = byte(i)
	}
	if got, want := yodeltest.Play(t, small.Upper{}, string(in)), naiveUpper(string(in)); got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

// The pieces are the same however the line is cut on its way.
func TestUpperSplitsAtTheBound(t *testing.T) {
	t.Parallel()
	const in = "abc\nabcd\nabcdefghij\nxyz\nxy"
	want := []int{4, 4, 1, 4, 4, 3, 4, 2}
	for cut, parts := range yodeltest.Cuts(in) {
		talk := yodeltest.NewTalk(t, small.Upper{LineMax: 4}, peer)
		for _, part := range parts {
			talk.Send(part)
		}
		talk.EOF()
		talk.Want(cut, naiveUpper(in))
		talk.WantHeard(cut+": pieces of 4 bytes at most", want...)
		talk.WantEnd(cut)
	}
}

func TestUpperAnswersAPieceWithoutWaitingForMore(t *testing.T) {
	t.Parallel()
	for lineMax, bound := range map[int]int{0: 8192, -1: 8192, 100: 100, 1: 1} {
		talk := yodeltest.NewTalk(t, small.Upper{LineMax: lineMax}, peer)
		talk.Send(strings.Repeat("x", bound-1))
		talk.Want(fmt.Sprintf("LineMax %d: one byte is missing", lineMax), "")
		talk.Send("x")
		talk.Want(fmt.Sprintf("LineMax %d: %d bytes are a piece", lineMax, bound), strings.Repeat("X", bound))
		talk.WantHeard("reported as one", bound)
	}
}

func TestUpperTenThousandBytesComeBackWhole(t *testing.T) {
	t.Parallel()
	in := strings.Repeat("x", 10_000) + "\n"
	talk := yodeltest.NewTalk(t, small.Upper{}, peer)
	talk.Send(in)
	talk.Want("longer than the bound, and nothing is lost", naiveUpper(in))
	talk.WantHeard("in two pieces", 8192, 10_001-8192)
}

func TestUpperLineOfAMebibyte(t *testing.T) {
	t.Parallel()
	in := strings.Repeat("abcdefghijklmnop", 1<<16)
	talk := yodeltest.NewTalk(t, small.Upper{}, peer) // fails where too much is left unused
	for part := range slices.Chunk([]byte(in), 5000) {
		talk.Send(string(part))
	}
	talk.EOF()
	if got := talk.Pending(); got > yodel.DefaultMark+8192 {
		t.Errorf("%d bytes are pending for a peer that does not read", got)
	}
	talk.Want("it comes back in pieces, and whole", naiveUpper(in))
	talk.WantHeard("the pieces", slices.Repeat([]int{8192}, 128)...)
	talk.WantEnd("then it ends")
}

func TestUpperUnderBackPressure(t *testing.T) {
	t.Parallel()
	talk := yodeltest.NewTalk(t, small.Upper{LineMax: 8}, peer)
	talk.SetMark(10)
	talk.Send("one\ntwo\nthree\nfour\n")
	if got := talk.Pending(); got != len("ONE\nTWO\nTHREE\n") {
		t.Errorf("%d bytes are pending; the line that reaches the mark is the last one", got)
	}
	talk.WantHeard("what waits for room was not heard", 4, 4, 6)
	talk.EOF()
	if got := talk.Drain(4); got != "ONE\n" {
		t.Errorf("the slow peer reads %q", got)
	}
	talk.WantHeard("there is no room yet")
	talk.Want("the rest", "TWO\nTHREE\nFOUR\n")
	talk.WantHeard("comes in order", 5)
	talk.WantEnd("then it ends")
}

// However short the lines, one Step reports a bounded number of them.
func TestUpperBoundsWhatAStepReports(t *testing.T) {
	t.Parallel()
	sess := small.Upper{}.Open(peer)
	var out yodel.Out
	data := bytes.Repeat([]byte("\n"), 1000)
	used, err := sess.Step(yodel.Input{Kind: yodel.EOF, Data: data}, &out)
	if heard := len(out.TakeHeard()); used != 128 || heard != 128 || err != nil {
		t.Errorf("used %d bytes, reported %d lines, err %v; want 128, 128 and nil", used, heard, err)
	}
	in := string(data)
	if got := yodeltest.Play(t, small.Upper{}, in); got != in {
		t.Errorf("%d of %d empty lines came back", len(got), len(in))
	}
}

func TestUpperAllocatesNothingPerLine(t *testing.T) {
	var out yodel.Out
	sess := small.Upper{}.Open(peer)
	data := []byte("hello\nthere\nhow are you\n")
	step := func() {
		sess.Step(yodel.Input{Kind: yodel.Data, Data: data}, &out)
		out.TakeHeard()
		out.Sent(out.Len())
	}
	step()
	if n := testing.AllocsPerRun(100, step); n != 0 {
		t.Errorf("three lines allocate %v times", n)
	}
}

func FuzzUpper(f *testing.F) {
	f.Add([]byte("hi there\r\n"), uint16(3), uint8(8), uint16(0))
	f.Add([]byte("\x00ı\xffß\n\nabcdefghij"), uint16(5), uint8(4), uint16(3))
	f.Add(bytes.Repeat([]byte("\n"), 300), uint16(200), uint8(1), uint16(1))
	f.Fuzz(func(t *testing.T, in []byte, cut uint16, lineMax uint8, mark uint16) {
		talk := yodeltest.NewTalk(t, small.Upper{LineMax: int(lineMax)}, peer)
		talk.SetMark(int(mark))
		at := int(cut) % (len(in) + 1)
		talk.Send(string(in[:at]))
		talk.Send(string(in[at:]))
		talk.EOF()
		talk.Want("same length, a to z changed", naiveUpper(string(in)))
		talk.WantEnd("then it ends")
	})
}

func BenchmarkUpper(b *testing.B) {
	var out yodel.Out
	sess := small.Upper{}.Open(peer)
	data := []byte(strings.Repeat("the quick brown fox jumps over the lazy dog\n", 100))
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		if used, _ := sess.Step(yodel.Input{Kind: yodel.Data, Data: data}, &out); used != len(data) {
			b.Fatal("upper has left some")
		}
		out.TakeHeard()
		out.Sent(out.Len())
	}
}
