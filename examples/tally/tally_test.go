package main

import (
	"strings"
	"testing"

	"yodel"
	"yodel/yodeltest"
)

func TestTally(t *testing.T) {
	t.Parallel()
	talk := yodeltest.NewTalk(t, tally{}, yodel.Peer{})
	talk.Send("40\n")
	talk.Want("the first number is the sum", "40\n")
	talk.Send("2")
	talk.Want("half a line is none", "")
	talk.Send("\r\nforty\n" + strings.Repeat("0", 100))
	talk.Want("wrong lines are told, and do not count", "42\nthat is no number\nthat is too long\n")
	talk.Send("\n-2")
	talk.EOF()
	talk.Want("the last line needs no newline", "40\n")
	talk.WantEnd("then it ends")
}

// However the network cuts what is sent, the answers are the same.
func TestCutsDoNotShow(t *testing.T) {
	t.Parallel()
	for cut, parts := range yodeltest.Cuts("1\n20\r\n\n300") {
		if got, want := yodeltest.Play(t, tally{}, parts...), "1\n21\nthat is no number\n321\n"; got != want {
			t.Errorf("%s:\ngot  %q\nwant %q", cut, got, want)
		}
	}
}
