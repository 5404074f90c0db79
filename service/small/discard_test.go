package small_test

import (
	"testing"

	"yodel/service/small"
	"yodel/yodeltest"
)

func TestDiscardSaysNothing(t *testing.T) {
	t.Parallel()
	wantSameInAllCuts(t, small.Discard{}, "", "")
	wantSameInAllCuts(t, small.Discard{}, "hello\r\n\x00\xff", "")
	wantSameInAllCuts(t, small.Discard{}, noise(1000), "")
}

func TestDiscardUsesAllAtOnce(t *testing.T) {
	t.Parallel()
	talk := yodeltest.NewTalk(t, small.Discard{}, peer)
	talk.Send(noise(1 << 20))
	if got := talk.Unread(); got != 0 {
		t.Errorf("%d bytes of 1 MiB wait", got)
	}
	talk.EOF()
	talk.WantEnd("it ends when the peer does")
}
