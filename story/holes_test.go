package story_test

import (
	"encoding/binary"
	"slices"
	"strings"
	"testing"

	"yodel/story"
)

// TestHoles: what a capture lacks is nobody's fault. The same scenes with all of their
// packets have another verdict.
func TestHoles(t *testing.T) {
	t.Parallel()
	talk := func(x *scene) { // the server's program takes 300 ms for its second answer
		x.open().send(c, 3, psh|ack, 10).send(s, 4.1, ack, 0).send(s, 5, psh|ack, 20).send(c, 6.1, ack, 0)
		x.send(c, 7, psh|ack, 10).send(s, 8.1, ack, 0).send(s, 300, psh|ack, 20).send(c, 301.1, ack, 0).close(302)
	}
	short := func(x *scene) {
		x.open().send(c, 3, psh|ack, 10).send(s, 4.1, psh|ack, 20).send(c, 5.2, ack, 0).close(6)
	}
	lost := func(x *scene) { // the request is lost twice
		x.open().lose(c, 3, psh|ack, 10).again(c, 203, psh|ack, 10, false).again(c, 603, psh|ack, 10, true)
		x.send(s, 604.1, psh|ack, 20).send(c, 605.2, ack, 0).close(606)
	}
	for _, test := range []struct {
		name  string
		play  func(*scene)
		whole story.Verdict
		lacks func(i, from int) (atSender, atReceiver bool)
	}{
		{"the server's capture lacks the answer, and its acknowledgement tells", talk, story.Handler, func(i, from int) (bool, bool) {
			return from == s && i == 9, false
		}},
		{"the server's capture begins late", talk, story.Handler, func(i, from int) (bool, bool) {
			return from == s && i < 10, from == c && i < 10
		}},
		{"the client's capture ends early", talk, story.Handler, func(i, from int) (bool, bool) {
			return from == c && i > 8, from == s && i > 8
		}},
		{"both lack the client's FIN", short, story.ClosedByClient, func(i, from int) (bool, bool) { return i == 6, i == 6 }},
		{"both lack the beginning", short, story.ClosedByClient, func(i, from int) (bool, bool) { return i < 4, i < 4 }},
		{"the server's capture lacks the answer that the client has", lost, story.NetworkThere, func(i, from int) (bool, bool) {
			return from == s && i == 6, false
		}},
	} {
		a, b := captures(test.play, nil)
		if one := of(t, tell(t, a, b)); one.Verdict != test.whole {
			t.Errorf("%s: all of it: verdict %q (%s)", test.name, one.Verdict, one.Why)
		}
		a, b = captures(test.play, func(x *scene) {
			n := -1
			for i := range x.packets {
				p := &x.packets[i]
				if binary.BigEndian.Uint16(p.raw[20+2*p.from:]) != newScene().port { // another connection
					continue
				}
				n++
				atSender, atReceiver := test.lacks(n, p.from)
				if atSender {
					p.sent = -1
				}
				if atReceiver {
					p.came = -1
				}
			}
		})
		one := of(t, tell(t, a, b))
		if one.Verdict != story.CannotTell || len(one.ToTell) == 0 {
			t.Errorf("%s: verdict %q (%s), to tell %q, %+v", test.name, one.Verdict, one.Why, one.ToTell, one.Parts)
		}
		whole(t, one)
	}
}

// TestForgedReset: a RST that the other end's capture does not have was forged if its
// sender goes on talking, or if it came from nearer. Else that capture may have lost it.
func TestForgedReset(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		play func(*scene)
		want story.Verdict
	}{
		{"the server talks on", func(x *scene) {
			x.open().send(c, 3, psh|ack, 10).send(s, 4.1, ack, 0).forge(c, 20).send(s, 40, psh|ack, 20)
		}, story.NobodyWeSee},
		{"it came over fewer hops", func(x *scene) {
			x.open().send(c, 3, psh|ack, 10).send(s, 4.1, psh|ack, 20).send(c, 5.2, ack, 0).forge(c, 20)
			x.packets[len(x.packets)-1].raw[8] = 63
		}, story.NobodyWeSee},
		{"nothing speaks for it", func(x *scene) {
			x.open().send(c, 3, psh|ack, 10).send(s, 4.1, psh|ack, 20).send(c, 5.2, ack, 0).forge(c, 20)
		}, story.CannotTell},
	} {
		ping := newScene()
		ping.port = 39999
		ping.open()
		later := newScene()
		later.port = 39998
		later.open()
		for i := range later.packets {
			later.packets[i].shift(ms(-900))
		}
		a, b := captures(test.play, func(x *scene) { x.packets = append(append(x.packets, ping.packets...), later.packets...) })
		told := tell(t, a, b)
		i := slices.IndexFunc(told, func(s *story.Story) bool { return s.Pair.Client.Port() == 40000 })
		if one := told[i]; one.Verdict != test.want {
			t.Errorf("%s: verdict %q (%s)", test.name, one.Verdict, one.Why)
		}
	}
}

// TestSlowedDown: a sender that pauses after losses may be slowed down by its kernel.
func TestSlowedDown(t *testing.T) {
	t.Parallel()
	play := func(again bool) func(*scene) {
		return func(x *scene) {
			x.open().send(c, 3, psh|ack, 10).send(s, 4.1, psh|ack, 1000).send(c, 5.2, ack, 0)
			if again {
				x.again(s, 6, psh|ack, 1000, true).send(c, 7.1, ack, 0)
			}
			for at := 100.0; at < 1000; at += 100 {
				x.send(s, at, psh|ack, 1000).send(c, at+1.1, ack, 0)
			}
			x.close(1000)
		}
	}
	for again, want := range map[bool]story.Verdict{false: story.Handler, true: story.CannotTell} {
		a, b := captures(play(again), nil)
		if one := of(t, tell(t, a, b)); one.Verdict != want || again && !strings.Contains(one.Why, "after losses") {
			t.Errorf("with losses %t: verdict %q (%s)", again, one.Verdict, one.Why)
		}
	}
}
