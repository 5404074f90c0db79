package story_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"yodel/story"
)

// TestPatience: a server that closes after a silence may have been waited for, or may have
// waited itself until its patience was at an end: both look the same.
func TestPatience(t *testing.T) {
	t.Parallel()
	bye := func(x *scene, at float64, words int) {
		if words > 0 {
			x.send(s, at, psh|ack, words)
		}
		x.send(s, at+0.1, fin|ack, 0).send(c, at+1.5, ack, 0).send(c, at+1.6, fin|ack, 0).send(s, at+3, ack, 0)
	}
	for _, test := range []struct {
		name string
		play func(*scene)
		want story.Verdict
	}{
		{"no word from anybody", func(x *scene) { x.open(); bye(x, 3000, 0) }, story.CannotTell},
		{"408 to a client that never spoke", func(x *scene) { x.open(); bye(x, 3000, 20) }, story.CannotTell},
		{"421 to a client that never spoke after the greeting", func(x *scene) {
			x.open().send(s, 4, psh|ack, 20).send(c, 5.1, ack, 0)
			bye(x, 3000, 20)
		}, story.CannotTell},
		{"nothing to a part of a request", func(x *scene) {
			x.open().send(c, 3, psh|ack, 10).send(s, 4.1, ack, 0)
			bye(x, 3000, 0)
		}, story.CannotTell},
		{"a slow answer, and an end", func(x *scene) {
			x.open().send(c, 3, psh|ack, 10).send(s, 4.1, ack, 0)
			bye(x, 3000, 20)
		}, story.Server},
		{"a slow answer, and the client closes right after", func(x *scene) {
			x.open().send(c, 3, psh|ack, 10).send(s, 4.1, psh|ack, 20).send(c, 5.2, ack, 0)
			x.delay = ms(0.2)
			x.send(s, 3000, psh|ack, 20).send(c, 3000.3, ack, 0).send(c, 3000.4, fin|ack, 0).send(s, 3000.7, fin|ack, 0).send(c, 3001, ack, 0)
		}, story.Handler},
		{"a slow answer to a request in the SYN, and an end", func(x *scene) {
			x.send(c, 0, syn, 10).send(s, 1.01, syn|ack, 0).send(c, 2.02, ack, 0)
			bye(x, 3000, 20)
		}, story.Server},
		{"a slow greeting", func(x *scene) {
			x.open().send(s, 3000, psh|ack, 20).send(c, 3001.1, ack, 0).send(c, 3002, psh|ack, 20).send(s, 3003.1, psh|ack, 20).close(3005)
		}, story.Server},
		{"a slow answer that is long", func(x *scene) {
			x.open().send(s, 4, psh|ack, 20).send(c, 5.1, ack, 0)
			for i := range 4 {
				x.send(s, 3000+float64(i)/100, psh|ack, 1400)
			}
			bye(x, 3000.1, 0)
		}, story.Handler},
	} {
		why := ""
		if test.want == story.CannotTell {
			why = "whose turn it was"
		}
		wantVerdict(t, test.name, test.play, test.want, why)
	}
}

// TestClientsPatience: so may a client that closes have waited for more.
func TestClientsPatience(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		play func(*scene)
		want story.Verdict
	}{
		{"for a greeting", func(x *scene) { x.open().close(3000) }, story.CannotTell},
		{"for the rest of an answer, or for nothing", func(x *scene) {
			x.open().send(c, 3, psh|ack, 10).send(s, 4.1, psh|ack, 1000).send(c, 5.2, ack, 0).close(3000)
		}, story.CannotTell},
		{"it asks once more after that, so it did not wait", func(x *scene) {
			x.open().send(c, 3, psh|ack, 10).send(s, 4.1, psh|ack, 1000).send(c, 5.2, ack, 0)
			x.send(c, 3000, psh|ack, 10).send(s, 3001.1, psh|ack, 20).close(3003)
		}, story.Client},
	} {
		wantVerdict(t, test.name, test.play, test.want, "")
	}
}

// TestParting: a client that has closed may wait for the server's end, or not.
func TestParting(t *testing.T) {
	t.Parallel()
	play := func(handler float64, words int) func(*scene) {
		return func(x *scene) {
			x.open().send(c, 3, psh|ack, 10).send(s, 5, psh|ack, 20).send(c, 7, psh|ack, 10).send(s, 8+handler, psh|ack, 20)
			at := handler + 10
			x.send(c, at, fin|ack, 0).send(s, at+1.1, ack, 0)
			if words > 0 {
				x.send(s, at+400, psh|ack, words)
			}
			x.send(s, at+400.1, fin|ack, 0).send(c, at+401.5, ack, 0)
		}
	}
	for _, test := range []struct {
		name string
		play func(*scene)
		want story.Verdict
		why  string
	}{
		{"its FIN alone is late", play(0, 0), story.CannotTell, "after the client had"},
		{"it still has an answer", play(0, 20), story.Handler, "held"},
		{"it was slow before, too", play(300, 0), story.Handler, "held"},
	} {
		wantVerdict(t, test.name, test.play, test.want, test.why)
	}
}

// TestLateHost: what is late even where the kernel answers is not the program's fault.
func TestLateHost(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		play func(*scene)
		want story.Verdict
	}{
		{"all that leaves the server's host is 100 ms late", func(x *scene) {
			x.send(c, 0, syn, 0).send(s, 101, syn|ack, 0).send(c, 102.1, ack, 0).send(c, 103, psh|ack, 10).send(s, 205, psh|ack, 20)
			x.send(c, 206.1, ack, 0).send(c, 207, fin|ack, 0).send(s, 309, fin|ack, 0).send(c, 310.1, ack, 0)
		}, story.CannotTell},
		{"all that leaves the client's", func(x *scene) {
			x.send(c, 0, syn, 0).send(s, 1.01, syn|ack, 0).send(c, 102.1, ack, 0).send(c, 102.2, psh|ack, 10).send(s, 103.3, psh|ack, 20)
			x.send(c, 204.1, ack, 0).send(c, 204.2, fin|ack, 0).send(s, 205.3, fin|ack, 0).send(c, 306.1, ack, 0)
		}, story.CannotTell},
		{"the server's, but its program is slower by far", func(x *scene) {
			x.send(c, 0, syn, 0).send(s, 101, syn|ack, 0).send(c, 102.1, ack, 0).send(c, 103, psh|ack, 10).send(s, 244, ack, 0).send(s, 904, psh|ack, 20)
			x.send(c, 905.1, ack, 0).close(907)
		}, story.Server},
	} {
		why := ""
		if test.want == story.CannotTell {
			why = "late in the handshake"
		}
		wantVerdict(t, test.name, test.play, test.want, why)
	}
}

// TestLargeSegments: a sender of large segments waits for more room than one of small ones.
func TestLargeSegments(t *testing.T) {
	t.Parallel()
	play := func(mss uint16) func(*scene) {
		return func(x *scene) {
			x.mss = mss
			x.open().send(c, 3, psh|ack, 10)
			for i := range 6 {
				x.send(s, 5+float64(i)/100, psh|ack, 8960)
			}
			x.put(c, 6.2, ack, 0, 6240, true).put(c, 500, ack, 0, window, true)
			x.send(s, 501.05, psh|ack, 8960).put(c, 503, ack, 0, window, true).close(504)
		}
	}
	for mss, want := range map[uint16]story.Verdict{8960: story.Client, 1460: story.Handler} {
		wantVerdict(t, fmt.Sprintf("segments of %d bytes", mss), play(mss), want, "")
	}
}

// TestRefusals: what ends a connection before it has begun.
func TestRefusals(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, why string
		play      func(*scene)
		want      story.Verdict
	}{
		{"RST answers the end of the handshake", "tcp_abort_on_overflow", func(x *scene) {
			x.open().send(s, 3.03, rst, 0)
		}, story.KernelOfServer},
		{"RST answers the request right after it", "tcp_abort_on_overflow", func(x *scene) {
			x.open().send(c, 2.1, psh|ack, 10).send(s, 3.03, rst, 0).send(s, 3.2, rst, 0)
		}, story.KernelOfServer},
		{"RST answers the request much later", "no such connection any more", func(x *scene) {
			x.open().send(c, 10, psh|ack, 10).lose(s, 900, rst, 0)
		}, story.CannotTell},
		{"ICMP from the server's host", "(port unreachable: nothing listens there) came back for its SYN, from the server's address", func(x *scene) {
			x.send(c, 0, syn, 0).unreachable(1.01, 3, true)
		}, story.CannotTell},
		{"ICMP from a router", "(prohibited by a filter) came back for its SYN, from a host between", func(x *scene) {
			x.lose(c, 0, syn, 0).unreachable(0.6, 13, false)
		}, story.CannotTell},
		{"RST answers what is left of another time", "no such connection any more", func(x *scene) {
			x.next = [2]uint32{5000, 0}
			x.send(c, 0, psh|ack, 10).send(s, 1.1, rst, 0)
		}, story.CannotTell},
	} {
		wantVerdict(t, test.name, test.play, test.want, test.why)
	}
}

// unreachable has an ICMP error answer the last packet, from the server or from a host between.
func (x *scene) unreachable(at float64, code byte, byServer bool) *scene {
	last := x.packets[len(x.packets)-1].raw
	b := make([]byte, 28, 56)
	b[0], b[3], b[8], b[9] = 0x45, 56, 64, 1
	copy(b[12:], []byte{203, 0, 113, 1, 192, 0, 2, 1})
	p := shot{sent: -1, came: ms(at) + x.delay, from: s}
	if byServer {
		copy(b[12:], []byte{192, 0, 2, 2})
		p.sent = ms(at)
	}
	b[20], b[21] = 3, code
	p.raw = append(b, last[:28]...)
	x.packets = append(x.packets, p)
	return x
}

// TestPlaceWithoutHandshake: which end acknowledges sooner is no sign of the place of a capture
// that has no handshake, where both do so at once.
func TestPlaceWithoutHandshake(t *testing.T) {
	t.Parallel()
	x := newScene()
	x.delay = ms(0.5)
	x.send(c, 0, syn, 0).send(s, 0.52, syn|ack, 0).send(c, 1.03, ack, 0)
	at := 3.0
	for range 4 { // on one network, the client acknowledges late, and the server with its answers
		x.send(c, at, psh|ack, 10).send(s, at+1, psh|ack, 20).send(c, at+42, ack, 0)
		at += 100
	}
	a, _ := x.captures()
	if one := of(t, tell(t, a)); one.Evidence != story.ClientOnly {
		t.Errorf("all of it: seen at %q", one.Evidence)
	}
	x.packets = slices.Delete(x.packets, 0, 3)
	a, _ = x.captures()
	if one := of(t, tell(t, a)); one.Evidence != story.Between || one.Verdict != story.CannotTell {
		t.Errorf("without the handshake: seen at %q, verdict %q", one.Evidence, one.Verdict)
	}
}

// TestTraceTwice: a trace that is given twice is one.
func TestTraceTwice(t *testing.T) {
	t.Parallel()
	for _, files := range [][]string{{clientTrace, serverTrace}, {clientTrace, serverTrace, clientTrace, serverTrace}} {
		var all [][]byte
		for _, f := range files {
			all = append(all, []byte(f))
		}
		if told := tell(t, all...); len(told) != 1 || told[0].Evidence != story.Both {
			t.Errorf("%d traces: %d stories", len(files), len(told))
		}
	}
}

// TestOnTheWay: a capture some hops before an end shows what came from there, but not whether
// the program or the network beyond was slow.
func TestOnTheWay(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		play  func(*scene)
		ttl   byte // of what the server sends
		want  story.Verdict
		notes int
	}{
		{"a slow handler", scenes[4].play, 64, story.Handler, 0},
		{"a slow handler, or the network behind the router", scenes[4].play, 63, story.CannotTell, 1},
		{"a slow client", scenes[2].play, 63, story.Client, 1},
		{"a loss between the two captures", scenes[6].play, 63, story.NetworkThere, 1},
	} {
		a, b := captures(test.play, func(x *scene) {
			for i := range x.packets {
				if p := &x.packets[i]; p.from == s {
					p.raw[8] = test.ttl
				}
			}
		})
		one := of(t, tell(t, a, b))
		if one.Verdict != test.want || len(one.Notes) != test.notes {
			t.Errorf("%s: verdict %q (%s), notes %q", test.name, one.Verdict, one.Why, one.Notes)
		}
	}
}

// TestPaced: full segments one after the other, each before the last one was acknowledged, may
// be paced by the kernel. Short ones, or those that nothing is under way before, are not.
func TestPaced(t *testing.T) {
	t.Parallel()
	play := func(size int, acked bool) func(*scene) {
		return func(x *scene) {
			x.mss = 1460
			x.open().send(c, 3, psh|ack, 100)
			for k := range 20 {
				at := 5 + 12*float64(k)
				x.send(s, at, psh|ack, size)
				if acked || k%4 == 3 {
					x.send(c, at+1.2, ack, 0)
				}
			}
			x.send(c, 242, ack, 0).close(243)
		}
	}
	for _, test := range []struct {
		name string
		play func(*scene)
		want story.Verdict
	}{
		{"full segments, three of four while one is under way", play(1448, false), story.CannotTell},
		{"full segments, each acknowledged", play(1448, true), story.Handler},
		{"short segments", play(500, false), story.Handler},
	} {
		wantVerdict(t, test.name, test.play, test.want, "")
	}
}

// TestOneDirection: a capture that has only what one end sends is joined with the other one.
func TestOneDirection(t *testing.T) {
	t.Parallel()
	for name, lacks := range map[string]int{"the client's capture has only what comes": c, "only what goes": s} {
		_, b := captures(scenes[4].play, nil)
		a, _ := captures(scenes[4].play, func(x *scene) {
			for i := range x.packets {
				if p := &x.packets[i]; p.from == lacks {
					if p.came = -1; lacks == c {
						p.sent = -1
					}
				}
			}
		})
		var told []*story.Story
		for _, one := range tell(t, a, b) {
			if one.Pair.Client.Port() == 40000 || one.Pair.Server.Port() == 40000 {
				told = append(told, one)
			}
		}
		if len(told) != 1 || told[0].Verdict != story.Handler || told[0].Evidence != story.ServerOnly {
			t.Errorf("%s: %d stories, the first one is %q, seen at %q", name, len(told), told[0].Verdict, told[0].Evidence)
		}
	}
}

// TestNeverAnswered: none of the server's packets ever comes to the client, whatever number
// they begin with.
func TestNeverAnswered(t *testing.T) {
	t.Parallel()
	for _, first := range []uint32{1, 1 << 30, 1 << 31, 3 << 30} {
		a, b := captures(func(x *scene) {
			x.next[s] = first
			x.send(c, 0, syn, 0).lose(s, 1.1, syn|ack, 0).again(c, 1000, syn, 0, true).again(s, 1001.1, syn|ack, 0, false)
			x.again(s, 2001.1, syn|ack, 0, false).again(c, 3000, syn, 0, true).again(s, 3001.1, syn|ack, 0, false)
		}, nil)
		if one := of(t, tell(t, a, b)); one.Verdict != story.NetworkBack {
			t.Errorf("from %d on: verdict %q (%s) %+v", first, one.Verdict, one.Why, one.Parts)
		}
		for end, file := range [][]byte{a, b} {
			if one := of(t, tell(t, file)); one.Verdict != story.CannotTell || !strings.Contains(one.Why, "was not acknowledged") {
				t.Errorf("seen at end %d: verdict %q (%s)", end, one.Verdict, one.Why)
			}
		}
	}
}
