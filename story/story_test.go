package story_test

import (
	"strings"
	"testing"
	"time"

	"yodel/story"
)

// marker is a connection before or after the one that is told: it shows that both
// captures ran, and how their clocks stand.
func marker(port uint16, at float64) *scene {
	x := newScene()
	x.port, x.next = port, [2]uint32{uint32(port) * 977, uint32(port) * 7919}
	x.send(c, at, syn, 0).send(s, at+1.01, syn|ack, 0).send(c, at+2.02, ack, 0)
	x.send(c, at+3, fin|ack, 0).send(s, at+4.1, fin|ack, 0).send(c, at+5.2, ack, 0)
	return x
}

// scenes are connections, and what is true of each.
var scenes = []struct {
	name string
	play func(x *scene)
	want story.Verdict
	part func(story.Parts) time.Duration // the part that must be the largest, about
	ms   float64                         // so long
}{
	{
		"nothing happens: the client closes",
		func(x *scene) { x.open().send(c, 3, psh|ack, 10).send(s, 5, psh|ack, 20).close(7) },
		story.ClosedByClient, nil, 0,
	},
	{
		"nothing happens: the server closes, and the client a second later",
		func(x *scene) {
			x.open().send(c, 3, psh|ack, 10).send(s, 5, psh|ack, 20).send(s, 5.1, fin|ack, 0).send(c, 6.2, ack, 0)
			x.send(c, 1000, fin|ack, 0).send(s, 1002, ack, 0)
		},
		story.ClosedByServer, nil, 0,
	},
	{
		"the client thinks before its first words",
		func(x *scene) { x.open().send(c, 300, psh|ack, 10).send(s, 302, psh|ack, 20).close(304) },
		story.Client, client, 298,
	},
	{
		"the server thinks before its first words: accept queue or handler, who knows",
		func(x *scene) {
			x.open().send(c, 3, psh|ack, 10).send(s, 4.1, ack, 0).send(s, 300, psh|ack, 20).close(302)
		},
		story.Server, server, 296,
	},
	{
		"the server thinks about the second request: its handler",
		func(x *scene) {
			x.open().send(c, 3, psh|ack, 10).send(s, 5, psh|ack, 20).send(c, 7, psh|ack, 10).send(s, 300, psh|ack, 20).close(302)
		},
		story.Handler, handler, 292,
	},
	{
		"the handler stops in the middle of its answer, and the client's ACK is put off",
		func(x *scene) {
			x.open().send(c, 3, psh|ack, 10).send(s, 5, psh|ack, 20).send(c, 46, ack, 0).send(s, 300, psh|ack, 20).close(302)
		},
		story.Handler, handler, 295,
	},
	{
		"a request is lost, and sent again",
		func(x *scene) {
			x.open().lose(c, 3, psh|ack, 10).again(c, 203, psh|ack, 10, true).send(s, 205, psh|ack, 20).close(207)
		},
		story.NetworkThere, there, 201,
	},
	{
		"an answer is lost twice, and the client asks again in between",
		func(x *scene) {
			x.open().send(c, 3, psh|ack, 10).lose(s, 5, psh|ack, 20).again(s, 205, psh|ack, 20, false)
			x.again(c, 206, psh|ack, 10, true).again(s, 605, psh|ack, 20, true).close(608)
		},
		story.NetworkBack, back, 601,
	},
	{
		"an ACK is lost: nobody waits for it",
		func(x *scene) {
			x.open().send(c, 3, psh|ack, 10).send(s, 5, psh|ack, 20).lose(c, 6.5, ack, 0).close(8)
		},
		story.ClosedByClient, nil, 0,
	},
	{
		"the SYN is lost",
		func(x *scene) {
			x.lose(c, 0, syn, 0).again(c, 1000, syn, 0, true).send(s, 1001.1, syn|ack, 0).send(c, 1002.2, ack, 0)
			x.send(c, 1003, psh|ack, 10).send(s, 1005, psh|ack, 20).close(1007)
		},
		story.NetworkThere, there, 1001,
	},
	{
		"the SYN, ACK is lost",
		func(x *scene) {
			x.send(c, 0, syn, 0).lose(s, 1.1, syn|ack, 0).again(c, 1000, syn, 0, true).again(s, 1001.1, syn|ack, 0, true)
			x.send(c, 1002.2, ack, 0).send(c, 1003, psh|ack, 10).send(s, 1005, psh|ack, 20).close(1007)
		},
		story.NetworkBack, back, 1001,
	},
	{
		"a SYN comes to the server's host and is not answered: the queue, or a filter",
		func(x *scene) {
			x.send(c, 0, syn, 0).again(c, 1000, syn, 0, true).send(s, 1001.1, syn|ack, 0).send(c, 1002.2, ack, 0)
			x.send(c, 1003, psh|ack, 10).send(s, 1005, psh|ack, 20).close(1007)
		},
		story.CannotTell, server, 1000,
	},
	{
		"a black hole there, until the client gives up",
		func(x *scene) {
			x.open().send(c, 3, psh|ack, 10).send(s, 5, psh|ack, 20).lose(c, 7, psh|ack, 10)
			x.again(c, 207, psh|ack, 10, false).again(c, 607, psh|ack, 10, false).lose(c, 900, fin|ack, 0)
		},
		story.NetworkThere, there, 893,
	},
	{
		"a black hole back: the client gives up while the answer is sent again and again",
		func(x *scene) {
			x.open().send(c, 3, psh|ack, 10).lose(s, 5, psh|ack, 20).again(s, 205, psh|ack, 20, false)
			x.send(c, 500, fin|ack, 0).again(s, 605, psh|ack, 20, false)
		},
		story.NetworkBack, back, 600,
	},
	{
		"a reader that does not read: its window is closed",
		func(x *scene) {
			x.open().send(c, 3, psh|ack, 10).send(s, 5, psh|ack, 50000).put(c, 6.1, ack, 0, 10000, true)
			x.send(s, 7.2, psh|ack, 10000).put(c, 8.4, ack, 0, 0, true)
			x.put(c, 400, ack, 0, window, true).send(s, 401.1, psh|ack, 20000).close(403)
		},
		story.Client, client, 392,
	},
	{
		"the server is killed",
		func(x *scene) { x.open().send(c, 3, psh|ack, 10).send(s, 5, rst|ack, 0) },
		story.KernelOfServer, nil, 0,
	},
	{
		"the port is closed",
		func(x *scene) { x.send(c, 0, syn, 0).send(s, 1.1, rst|ack, 0) },
		story.KernelOfServer, nil, 0,
	},
	{
		"a host between sends RST to the client",
		func(x *scene) {
			x.open().send(c, 3, psh|ack, 10).send(s, 5, psh|ack, 20).forge(c, 7).send(s, 50, psh|ack, 5).send(c, 51.5, rst, 0)
		},
		story.NobodyWeSee, nil, 0,
	},
	{
		"a RST that is not obeyed is nothing",
		func(x *scene) {
			x.open().send(c, 3, psh|ack, 10).forge(c, 4).send(s, 5, psh|ack, 20).close(7)
		},
		story.ClosedByClient, nil, 0,
	},
	{
		"the client gives up: was an answer due?",
		func(x *scene) { x.open().send(c, 3, psh|ack, 10).send(s, 4.1, ack, 0).close(500) },
		story.CannotTell, client, 497,
	},
	{
		"the client sends its request in two pieces, and thinks between them",
		func(x *scene) {
			x.open().send(c, 3, psh|ack, 10).send(s, 4.1, ack, 0).send(c, 300, psh|ack, 10).send(s, 302, psh|ack, 20).close(304)
		},
		story.Client, client, 297,
	},
	{
		"the client sends more, and both could have been the slow one",
		func(x *scene) {
			x.open().send(c, 3, psh|ack, 10).send(s, 4.1, ack, 0).send(c, 300, psh|ack, 10).send(s, 301.1, ack, 0)
			x.send(s, 500, psh|ack, 20).close(502)
		},
		story.CannotTell, client, 297,
	},
	{
		"the client's kernel holds a small segment until the server's kernel acknowledges the one before",
		func(x *scene) {
			x.open().send(c, 3, psh|ack, 10).send(s, 44, ack, 0).send(c, 45.05, psh|ack, 10).send(s, 47, psh|ack, 20).close(49)
		},
		story.CannotTell, server, 41,
	},
}

func client(p story.Parts) time.Duration  { return p.Client }
func server(p story.Parts) time.Duration  { return p.Server }
func handler(p story.Parts) time.Duration { return p.Handler }
func there(p story.Parts) time.Duration   { return p.NetworkThere }
func back(p story.Parts) time.Duration    { return p.NetworkBack }

// captures are what both hosts have of a scene, with a connection before it and one after.
func captures(play func(*scene), change func(*scene)) (a, b []byte) {
	before, x, after := marker(30001, 0), newScene(), marker(30002, 0)
	play(x)
	for i := range x.packets {
		x.packets[i].shift(ms(100))
	}
	for i := range after.packets {
		after.packets[i].shift(ms(5000))
	}
	all := &scene{delay: x.delay, skew: x.skew}
	for _, one := range []*scene{before, x, after} {
		all.packets = append(all.packets, one.packets...)
	}
	if change != nil {
		change(all)
	}
	return all.captures()
}

func (p *shot) shift(d time.Duration) {
	if p.sent >= 0 {
		p.sent += d
	}
	if p.came >= 0 {
		p.came += d
	}
}

// of returns the story of the scene, not of its markers.
func of(t *testing.T, stories []*story.Story) *story.Story {
	t.Helper()
	for _, one := range stories {
		if one.Pair.Client.Port() == 40000 {
			return one
		}
	}
	t.Fatal("there is no story")
	return nil
}

// wantVerdict tells the story of what was played: its verdict, what is in the reason for it, and
// that its parts are the whole.
func wantVerdict(t *testing.T, name string, play func(*scene), want story.Verdict, why string) {
	t.Helper()
	a, b := captures(play, nil)
	one := of(t, tell(t, a, b))
	if one.Verdict != want || !strings.Contains(one.Why, why) {
		t.Errorf("%s: verdict %q (%s) %+v, want %q", name, one.Verdict, one.Why, one.Parts, want)
	}
	whole(t, one)
}

func TestVerdicts(t *testing.T) {
	for _, test := range scenes {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			a, b := captures(test.play, nil)
			one := of(t, tell(t, a, b))
			other := of(t, tell(t, b, a))
			if one.Verdict != other.Verdict || one.Parts != other.Parts {
				t.Errorf("the order of the files matters: %q %+v, %q %+v", one.Verdict, one.Parts, other.Verdict, other.Parts)
			}
			if one.Verdict != test.want {
				t.Errorf("verdict %q (%s), want %q\n%+v", one.Verdict, one.Why, test.want, one.Parts)
			}
			if test.part != nil {
				if got := test.part(one.Parts); abs(got-ms(test.ms)) > ms(3) {
					t.Errorf("the part is %v, want about %v ms: %+v", got, test.ms, one.Parts)
				}
			}
			if one.Verdict == story.CannotTell && len(one.ToTell) == 0 {
				t.Error("it does not say what would have to be watched to tell")
			}
			whole(t, one)
		})
	}
}

func abs(d time.Duration) time.Duration { return max(d, -d) }

// whole checks that the parts add up, and that the intervals follow each other.
func whole(t *testing.T, one *story.Story) {
	t.Helper()
	var at, sum time.Duration
	for _, i := range one.Intervals {
		if i.From != at || i.To < i.From {
			t.Errorf("%v to %v follows %v", i.From, i.To, at)
		}
		at = i.To
		sum += i.To - i.From
	}
	if sum != one.Parts.Total() {
		t.Errorf("the intervals are %v, the parts %v", sum, one.Parts.Total())
	}
}

func TestClocks(t *testing.T) {
	t.Parallel()
	play := scenes[2].play
	for _, test := range []struct {
		name   string
		change func(*scene)
		offset time.Duration
	}{
		{"an hour ahead", nil, 3723 * time.Second},
		{"the same", func(x *scene) { x.skew = 0 }, 0},
		{"behind, and slow", func(x *scene) { x.skew, x.drift = -time.Minute, -20e-6 }, -time.Minute},
	} {
		a, b := captures(play, test.change)
		one := of(t, tell(t, a, b))
		if abs(one.Offset-test.offset) > one.OffsetError+ms(0.1) || one.OffsetError > ms(1.5) {
			t.Errorf("%s: the offset is %v ± %v, want %v", test.name, one.Offset, one.OffsetError, test.offset)
		}
		if one.Verdict != story.Client {
			t.Errorf("%s: verdict %q", test.name, one.Verdict)
		}
	}
}

func TestOneSided(t *testing.T) {
	t.Parallel()
	play := func(think float64, of int) func(*scene) {
		return func(x *scene) {
			at := 0.0
			x.open()
			for i := range 4 {
				wait := 1.0
				if i == 2 && of == c {
					wait = think
				}
				at += wait + 3
				x.send(c, at, psh|ack, 10)
				wait = 1.1
				if i == 2 && of == s {
					x.send(s, at+1.1, ack, 0)
					wait = think
				}
				at += wait
				x.send(s, at, psh|ack, 20).send(c, at+1.1, ack, 0)
			}
			x.close(at + 2)
		}
	}
	for _, test := range []struct {
		name     string
		slow     int
		captured int
		want     story.Verdict
	}{
		{"the client is slow, and its end was watched", c, c, story.Client},
		{"the server is slow, and the client's end was watched", s, c, story.CannotTell},
		{"the server is slow, and its end was watched", s, s, story.Handler},
		{"the client is slow, and the server's end was watched", c, s, story.CannotTell},
	} {
		a, b := captures(play(400, test.slow), nil)
		one := of(t, tell(t, [][]byte{a, b}[test.captured]))
		if want := []story.Evidence{story.ClientOnly, story.ServerOnly}[test.captured]; one.Evidence != want {
			t.Errorf("%s: evidence %q, want %q", test.name, one.Evidence, want)
		}
		if one.Verdict != test.want {
			t.Errorf("%s: verdict %q (%s) %+v", test.name, one.Verdict, one.Why, one.Parts)
		}
		if test.want == story.CannotTell && !strings.Contains(strings.Join(one.ToTell, " "), "end: a capture there") {
			t.Errorf("%s: to tell %q", test.name, one.ToTell)
		}
		whole(t, one)
	}
}

// TestCaptureThatEnded: what did not come may have come after the capture's end.
func TestCaptureThatEnded(t *testing.T) {
	t.Parallel()
	x := newScene()
	x.open().send(c, 3, psh|ack, 10).send(s, 5, psh|ack, 20).lose(c, 7, psh|ack, 10).again(c, 207, psh|ack, 10, false)
	a, b := x.captures()
	one := of(t, tell(t, a, b))
	if one.Verdict != story.CannotTell || !strings.Contains(one.Why, "capture had ended") {
		t.Errorf("verdict %q: %s", one.Verdict, one.Why)
	}
}

// TestNothingCame: a capture that ran at the server's end, and has nothing of the
// connection, is evidence.
func TestNothingCame(t *testing.T) {
	t.Parallel()
	a, b := captures(func(x *scene) { x.lose(c, 0, syn, 0).again(c, 1000, syn, 0, false).again(c, 3000, syn, 0, false) }, nil)
	one := of(t, tell(t, a, b))
	if one.Verdict != story.NetworkThere {
		t.Errorf("verdict %q: %s, %+v %v", one.Verdict, one.Why, one.Parts, one.Notes)
	}
}
