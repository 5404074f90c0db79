package story_test

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"
	"testing"
	"time"

	"yodel/story"
	"yodel/trace"
)

// TestQueueFull: a SYN is not answered while another connection to the same socket waits
// with a request.
func TestQueueFull(t *testing.T) {
	t.Parallel()
	first := newScene()
	first.port, first.next = 39999, [2]uint32{77, 88}
	first.open().send(c, 3, psh|ack, 10).send(s, 4.1, ack, 0).send(s, 900, psh|ack, 10).close(902)
	for i := range first.packets {
		first.packets[i].shift(ms(90))
	}
	for _, test := range []struct {
		name string
		play func(*scene)
		want story.Verdict
	}{
		{"the SYN comes again, and is taken", func(x *scene) {
			x.send(c, 0, syn, 0).again(c, 1000, syn, 0, true).send(s, 1001.1, syn|ack, 0).send(c, 1002.2, ack, 0)
			x.send(c, 1003, psh|ack, 10).send(s, 1005, psh|ack, 20).close(1007)
		}, story.AcceptQueue},
		{"it is never taken", func(x *scene) {
			x.send(c, 0, syn, 0).again(c, 400, syn, 0, true).again(c, 800, syn, 0, true)
		}, story.AcceptQueue},
		{"the end of the handshake is not taken, the SYN, ACK comes again", func(x *scene) {
			x.open().again(s, 400, syn|ack, 0, true).send(c, 401.1, ack, 0).again(s, 800, syn|ack, 0, true).send(c, 801.1, ack, 0)
			x.send(s, 803, psh|ack, 20).close(805)
		}, story.AcceptQueue},
	} {
		a, b := captures(test.play, func(x *scene) { x.packets = append(x.packets, first.packets...) })
		one := of(t, tell(t, a, b))
		if one.Verdict != test.want {
			t.Errorf("%s: verdict %q (%s) %+v", test.name, one.Verdict, one.Why, one.Parts)
		}
		whole(t, one)
		a, b = captures(test.play, nil)
		if one := of(t, tell(t, a, b)); one.Verdict != story.CannotTell {
			t.Errorf("%s, and nobody else waits: verdict %q (%s)", test.name, one.Verdict, one.Why)
		}
	}
}

// TestEndings: connections that do not end in good order.
func TestEndings(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		play func(*scene)
		want story.Verdict
	}{
		{"both close at once, the server earlier than the clocks may be wrong", func(x *scene) {
			x.open().send(c, 3, psh|ack, 10).send(s, 5, psh|ack, 20)
			x.delay = ms(10)
			x.send(s, 7.5, fin|ack, 0).send(c, 12, fin|ack, 0).send(c, 18, ack, 0).send(s, 22.5, ack, 0)
		}, story.ClosedByServer},
		{"both close at once, the server a little earlier by clocks that are not known so well", func(x *scene) {
			x.open().send(c, 3, psh|ack, 10).send(s, 5, psh|ack, 20).send(s, 7.5, fin|ack, 0).send(c, 8, fin|ack, 0).send(c, 9, ack, 0).send(s, 9.5, ack, 0)
		}, story.CannotTell},
		{"the client has closed, and answers what comes with RST", func(x *scene) {
			x.open().send(c, 3, psh|ack, 10).send(s, 5, psh|ack, 20).send(c, 7, fin|ack, 0).send(s, 7.5, psh|ack, 20).send(c, 9, rst, 0)
		}, story.ClosedByClient},
		{"the client's program is gone while a loss is repaired: RST answers the late answer", func(x *scene) {
			x.open().send(c, 3, psh|ack, 10).lose(s, 5, psh|ack, 20).again(s, 205, psh|ack, 20, false).again(s, 605, psh|ack, 20, true).send(c, 606.5, rst, 0)
		}, story.NetworkBack},
		{"the server hangs, and is killed", func(x *scene) {
			x.open().send(c, 3, psh|ack, 10).send(s, 4.1, ack, 0).send(s, 600, rst|ack, 0)
		}, story.KernelOfServer},
		{"the client loses patience with a hanging server, by RST", func(x *scene) {
			x.open().send(c, 3, psh|ack, 10).send(s, 5, psh|ack, 20).send(c, 7, psh|ack, 10).send(s, 8.1, ack, 0).send(c, 600, rst|ack, 0)
		}, story.KernelOfClient},
		{"it stays open", func(x *scene) {
			x.open().send(c, 3, psh|ack, 10).send(s, 5, psh|ack, 20).send(c, 6.1, ack, 0)
		}, story.CannotTell},
	} {
		wantVerdict(t, test.name, test.play, test.want, "")
		a, _ := captures(test.play, nil)
		alone := of(t, tell(t, a)) // RST of the other end may be anybody's
		if strings.HasPrefix(test.name, "both close") && alone.Verdict != story.CannotTell {
			t.Errorf("%s, seen at the client's end alone: verdict %q (%s)", test.name, alone.Verdict, alone.Why)
		}
		if alone.Verdict == story.KernelOfServer {
			t.Errorf("%s, seen at the client's end alone: verdict %q", test.name, alone.Verdict)
		}
	}
}

// TestLostInCapture: packets that a capture has missed, out of order or not, are not lost
// on the way: their acknowledgement proves it.
func TestLostInCapture(t *testing.T) {
	t.Parallel()
	play := func(x *scene) {
		x.open().send(c, 3, psh|ack, 10).send(s, 5, psh|ack, 1000).send(s, 5.1, psh|ack, 1000).send(s, 5.2, psh|ack, 1000)
		x.send(c, 6.5, ack, 0).send(c, 300, psh|ack, 10).send(s, 302, psh|ack, 20).close(304)
	}
	missed := func(x *scene) {
		n := 0
		for i := range x.packets {
			if p := &x.packets[i]; p.from == s && len(p.raw) == 1040 {
				if n++; n == 2 {
					p.came = -1 // it did come, as the ACK shows
				}
			}
		}
	}
	late := func(x *scene) {
		n := 0
		for i := range x.packets {
			if p := &x.packets[i]; p.from == s && len(p.raw) == 1040 {
				if n++; n == 1 {
					p.came += ms(0.25)
				}
			}
		}
	}
	for name, change := range map[string]func(*scene){"missed": missed, "late": late} {
		a, b := captures(play, change)
		one := of(t, tell(t, a, b))
		if one.Verdict != story.Client || one.Parts.NetworkBack > ms(6) {
			t.Errorf("%s: verdict %q (%s) %+v", name, one.Verdict, one.Why, one.Parts)
		}
		whole(t, one)
	}
}

// TestJoined: captures that begin in the middle of a connection.
func TestJoined(t *testing.T) {
	t.Parallel()
	play := scenes[4].play // a slow handler
	a, b := captures(play, func(x *scene) {
		x.packets = slices.DeleteFunc(x.packets, func(p shot) bool { return p.raw[33]&syn != 0 && p.raw[21] == 40000&0xff })
	})
	one := of(t, tell(t, a, b))
	if one.Evidence != story.Both || one.Verdict != story.Handler {
		t.Errorf("%q, verdict %q (%s) %+v", one.Evidence, one.Verdict, one.Why, one.Parts)
	}
}

// TestTranslated: behind an address translation the pairs differ, and the sequence numbers
// show that it is one connection.
func TestTranslated(t *testing.T) {
	t.Parallel()
	a, b := captures(scenes[4].play, nil)
	b = bytes.ReplaceAll(b, []byte{192, 0, 2, 1}, []byte{203, 0, 113, 9})
	one := of(t, tell(t, a, b))
	if one.Evidence != story.Both || one.Verdict != story.Handler {
		t.Errorf("%q, verdict %q (%s)", one.Evidence, one.Verdict, one.Why)
	}
}

// TestSamePlace: two captures of one end are one end, and the same file twice too.
func TestSamePlace(t *testing.T) {
	t.Parallel()
	a, b := captures(scenes[2].play, nil)
	one := of(t, tell(t, a, a))
	if one.Evidence == story.Both {
		t.Errorf("two captures of the client's end: %q, %q", one.Evidence, one.Verdict)
	}
	one = of(t, tell(t, a, b, a))
	if one.Evidence != story.Both || one.Verdict != story.Client {
		t.Errorf("three captures: %q, %q (%s)", one.Evidence, one.Verdict, one.Why)
	}
}

// TestClockSet: a clock that was set while the capture ran can't be reckoned with.
func TestClockSet(t *testing.T) {
	t.Parallel()
	a, b := captures(scenes[4].play, nil)
	at := 24
	for n := 0; at < len(b); n++ {
		if n > 9 {
			sec := binary.LittleEndian.Uint32(b[at:])
			binary.LittleEndian.PutUint32(b[at:], sec-2)
		}
		at += 16 + int(binary.LittleEndian.Uint32(b[at+8:]))
	}
	one := of(t, tell(t, a, b))
	if one.Verdict != story.CannotTell || !strings.Contains(strings.Join(one.Notes, " "), "was set") || !strings.Contains(one.Why, "one time line") || len(one.ToTell) == 0 {
		t.Errorf("verdict %q (%s), notes %v", one.Verdict, one.Why, one.Notes)
	}
}

// TestMatch: --match joins what no socket pair joins.
func TestMatch(t *testing.T) {
	t.Parallel()
	far := strings.ReplaceAll(serverTrace, "192.0.2.1:40000", "203.0.113.7:5000")
	sources := func() []story.Source {
		return []story.Source{{R: strings.NewReader(clientTrace)}, {R: strings.NewReader(far)}}
	}
	told, err := story.Tell(t.Context(), sources(), nil)
	if err != nil || len(told.Stories) != 2 {
		t.Fatalf("%v, %d stories", err, len(told.Stories))
	}
	for _, m := range [][2]trace.ConnID{{{Run: 1, Seq: 1}, {Run: 2, Seq: 1}}, {{Run: 2, Seq: 1}, {Run: 1, Seq: 1}}} {
		told, err = story.Tell(t.Context(), sources(), &story.Options{Match: [][2]trace.ConnID{m}})
		if err != nil || len(told.Stories) != 1 || told.Stories[0].Evidence != story.Both {
			t.Errorf("%v, %d stories", err, len(told.Stories))
		}
	}
}

// TestPlaces: a lone capture is placed by its TTLs, or not at all.
func TestPlaces(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name     string
		ttl      [2]byte // of what client and server have sent, as captured
		evidence story.Evidence
	}{
		{"near the client", [2]byte{64, 57}, story.ClientOnly},
		{"near the server", [2]byte{120, 64}, story.ServerOnly},
		{"between", [2]byte{60, 60}, story.Between},
	} {
		x := newScene() // both ends answer slowly, so that answers show nothing
		x.open().send(c, 3, psh|ack, 10).send(s, 5, psh|ack, 20).send(c, 30, psh|ack, 10).send(s, 55, psh|ack, 20).send(c, 60, ack, 0)
		for i := range x.packets {
			p := &x.packets[i]
			p.raw[8] = test.ttl[p.from]
			p.came = -1
			p.sent += time.Duration(i) * ms(1)
		}
		all := &scene{}
		for _, p := range x.packets { // all of it at one place
			p.from = c
			all.packets = append(all.packets, p)
		}
		a, _ := all.captures()
		one := of(t, tell(t, a))
		if one.Evidence != test.evidence {
			t.Errorf("%s: evidence %q, want %q", test.name, one.Evidence, test.evidence)
		}
	}
}

// TestOneHost: on one host a single capture is both ends.
func TestOneHost(t *testing.T) {
	t.Parallel()
	x := newScene()
	x.delay = 0
	x.open().send(c, 3, psh|ack, 10).send(s, 5, psh|ack, 20).send(c, 7, psh|ack, 10).send(s, 300, psh|ack, 20).close(302)
	for i := range x.packets {
		p := &x.packets[i]
		copy(p.raw[12:], []byte{127, 0, 0, 1, 127, 0, 0, 1})
		p.came, p.from = -1, c
	}
	a, _ := x.captures()
	one := of(t, tell(t, a))
	if one.Evidence != story.Both || one.Verdict != story.Handler || one.Parts.NetworkThere+one.Parts.NetworkBack != 0 {
		t.Errorf("%q, verdict %q (%s) %+v", one.Evidence, one.Verdict, one.Why, one.Parts)
	}
}
