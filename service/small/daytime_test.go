package small_test

import (
	"testing"

	"yodel/service/small"
	"yodel/yodeltest"
)

func TestDaytimeIsUTC(t *testing.T) {
	t.Parallel()
	talk := yodeltest.NewTalk(t, small.Daytime{}, peer)
	talk.SetTime(at(t, "1982-02-22T17:37:43-08:00"))
	talk.Want("whatever the zone of the clock", "Tuesday, February 23, 1982 01:37:43-UTC\r\n")
	talk.WantEnd("then it ends")
}

func TestDaytimeReply(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, now string
		request   int
		want      string
	}{
		{"an empty request", "2036-02-07T06:28:16Z", 0, "20360207T062816Z\r\n"},
		{"one that is a byte too short", "2036-02-07T06:28:16Z", 40, "20360207T062816Z\r\n"},
		{"one as long as the line", "2036-02-07T06:28:16Z", 41, "Thursday, February 7, 2036 06:28:16-UTC\r\n"},
		{"always UTC", "1982-02-22T17:37:43-08:00", 100, "Tuesday, February 23, 1982 01:37:43-UTC\r\n"},
		{"always UTC, short too", "1982-02-22T17:37:43-08:00", 0, "19820223T013743Z\r\n"},
	} {
		got := small.Daytime{}.Reply(peer, at(t, tt.now), make([]byte, tt.request), nil)
		if string(got) != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}
