package small_test

import (
	"net/netip"
	"testing"
	"time"

	"yodel"
	"yodel/service/small"
	"yodel/yodeltest"
)

// peer is who the tests are; the services do not look.
var peer = yodel.Peer{
	Network: "tcp",
	Local:   netip.MustParseAddrPort("192.0.2.2:10007"),
	Remote:  netip.MustParseAddrPort("192.0.2.1:49152"),
}

// at makes the time of an RFC 3339 text.
func at(t testing.TB, text string) time.Time {
	t.Helper()
	now, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	return now
}

// wantSameInAllCuts plays in through svc, cut in all ways.
func wantSameInAllCuts(t *testing.T, svc yodel.Service, in, want string) {
	t.Helper()
	for cut, parts := range yodeltest.Cuts(in) {
		if got := yodeltest.Play(t, svc, parts...); got != want {
			t.Errorf("%s:\ngot  %q\nwant %q", cut, got, want)
		}
	}
}

// Those that say their piece and end do so on Open, whatever the peer sends.
func TestOneShotServicesEndOnOpen(t *testing.T) {
	t.Parallel()
	now := "2036-02-07T06:28:17Z"
	for _, tt := range []struct {
		name string
		svc  yodel.Service
		want string
	}{
		{"daytime", small.Daytime{}, "Thursday, February 7, 2036 06:28:17-UTC\r\n"},
		{"time", small.Time{}, "\x00\x00\x00\x01"},
		{"qotd", small.QOTD{}, "The first packet is hope; the second is a protocol.\r\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			talk := yodeltest.NewTalk(t, tt.svc, peer)
			talk.SetTime(at(t, now))
			talk.Want("it speaks first", tt.want)
			talk.WantEnd("and says no more")
			talk.Send("what did you say?")
			talk.Want("what comes then is not heard", "")
		})
	}
}

// An answer that is longer than its request and 18 bytes would make the service an
// amplifier (the package comment says why 18).
func TestRepliesNeverAmplify(t *testing.T) {
	t.Parallel()
	now := at(t, "2026-01-01T00:00:00Z")
	for name, svc := range repliers {
		for size := range 1000 {
			request := make([]byte, size)
			for day := range 40 {
				reply := svc.Reply(peer, now.Add(time.Duration(day)*24*time.Hour), request, nil)
				if len(reply) > max(size, 18) {
					t.Fatalf("%s answers %d bytes with %d: %q", name, size, len(reply), reply)
				}
			}
		}
	}
}

var repliers = map[string]yodel.Replier{
	"echo":    small.Echo{},
	"discard": small.Discard{},
	"chargen": small.Chargen{},
	"daytime": small.Daytime{},
	"time":    small.Time{},
	"qotd":    small.QOTD{},
}

// Reply appends: the engine keeps what it has in front of buf's end.
func TestRepliesAppend(t *testing.T) {
	t.Parallel()
	now := at(t, "2026-01-01T00:00:00Z")
	for name, svc := range repliers {
		for _, request := range []string{"", "short", string(make([]byte, 600))} {
			alone := svc.Reply(peer, now, []byte(request), nil)
			if name == "discard" {
				if alone != nil {
					t.Errorf("discard answers %q", alone)
				}
				continue
			}
			if alone == nil {
				t.Errorf("%s does not answer a request of %d bytes", name, len(request))
			}
			buf := append(make([]byte, 0, 2000), "kept"...)
			if got := svc.Reply(peer, now, []byte(request), buf); string(got) != "kept"+string(alone) {
				t.Errorf("%s appends %q, and alone it says %q", name, got, alone)
			}
		}
	}
}

func TestUpperHasNoDatagramForm(t *testing.T) {
	t.Parallel()
	if _, ok := yodel.Service(small.Upper{}).(yodel.Replier); ok {
		t.Error("upper answers datagrams; the lecture's does not")
	}
}
