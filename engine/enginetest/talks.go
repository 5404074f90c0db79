package enginetest

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"yodel"
	"yodel/engine"
	"yodel/trace"
	"yodel/yodeltest"
)

// talks are conversations whose whole answer follows from what is sent.
var talks = []struct{ service, in, want string }{
	{"echo", "hello\r\n\x00\xff\nthe end", "hello\r\n\x00\xff\nthe end"},
	{"upper", "hi there\r\nßtra\x00\n\none more, without its end", "HI THERE\r\nßTRA\x00\n\nONE MORE, WITHOUT ITS END"},
	{"discard", "nobody hears\nthis\n", ""},
	{
		"dialogue", "quit\nhello you\nhello\r\nfoo\n" + strings.Repeat("x", lineMax+10) + "\nsay 5\nquit\n",
		"220 hello\n503 say hello first\n250 hello you\n250 hello \n500 what?\n500 line too long\n" +
			"\x00\x01\x02\x03\x04503 say hello first\n",
	},
	{"dialogue", "hello you\nquit\nis not heard\n", "220 hello\n250 hello you\n221 bye you\n"},
}

// someCuts returns a dozen ways to cut in, by name.
func someCuts(in string) map[string][]string {
	cuts := make(map[string][]string)
	for _, size := range []int{1, 2, 3, 5, 7, 13, 64, len(in)} {
		cuts[fmt.Sprintf("pieces of %d", size)] = pieces(in, size)
	}
	for _, at := range []int{1, len(in) / 3, len(in) / 2, len(in) - 1} {
		cuts[fmt.Sprintf("cut after %d", at)] = []string{in[:at], in[at:]}
	}
	return cuts
}

func pieces(s string, size int) (list []string) {
	for len(s) > size {
		list, s = append(list, s[:size]), s[size:]
	}
	return append(list, s)
}

// tryCuts holds every conversation over every kind of place, under a dozen cuts: the
// server has read each piece before the next one is sent.
func tryCuts(k *kit, t *testing.T) {
	for network, listen := range k.places() {
		t.Run(network, func(t *testing.T) {
			t.Parallel()
			for _, tt := range talks {
				if k.traits.EchoOnly && tt.service != "echo" {
					continue
				}
				s := k.serveAt(t, listen(t), tt.service, engine.Config{Linger: patience})
				for cut, parts := range someCuts(tt.in) {
					s.hold(tt.service+", "+cut, parts, tt.want)
				}
			}
		})
	}
}

// hold sends parts, one read each, ends, and wants an answer. The first conversation
// is over when the next begins.
func (s *server) hold(why string, parts []string, want string) {
	s.t.Helper()
	c := s.dial()
	sent := int64(0)
	for _, part := range parts {
		c.send(part)
		sent += int64(len(part))
		s.events.await(s.t, why+": it is read", func(list []trace.Event) bool {
			last := list[max(0, len(list)-1):] // its sums are this connection's, if it is not a Close
			return len(last) == 1 && last[0].Op != trace.Close && last[0].In >= sent
		})
	}
	c.end()
	if got, err := io.ReadAll(c); err != nil || string(got) != want {
		s.t.Errorf("%s:\ngot  %q, %v\nwant %q", why, got, err, want)
	}
	c.Close()
	s.events.await(s.t, why+": it is over", func(list []trace.Event) bool {
		return list[len(list)-1].Op == trace.Close
	})
}

// tryOneShot: these say their piece and end, whatever is sent, and the peer sees an
// end and not a reset although it has sent what nobody heard.
func tryOneShot(k *kit, t *testing.T) {
	for _, service := range []string{"daytime", "time", "qotd"} {
		s := k.serve(t, service, engine.Config{})
		before := time.Now()
		c := s.dial()
		c.send("nobody hears this")
		got, err := io.ReadAll(c)
		if err != nil || !saidBetween(service, string(got), before, time.Now()) {
			t.Errorf("%s says %q, %v", service, got, err)
		}
		c.end()
		s.awaitEnds(service, 1, engine.Done)
	}
}

// saidBetween reports whether a service that ends on Open says got at some second
// from a to b.
func saidBetween(service, got string, a, b time.Time) bool {
	for now := a; !now.After(b.Add(time.Second)); now = now.Add(time.Second) {
		var out yodel.Out
		svc := Services()[service].(yodel.Service)
		svc.Open(yodel.Peer{}).Step(yodel.Input{Kind: yodel.Open, Now: now}, &out)
		if got == string(out.Pending()) {
			return true
		}
	}
	return false
}

// tryChargen: a generator is asked for more as room is made, for as long as the peer
// reads; that the peer leaves in the middle is an end like any other (A6).
func tryChargen(k *kit, t *testing.T) {
	talk := yodeltest.NewTalk(t, Services()["chargen"].(yodel.Service), yodel.Peer{})
	want := talk.Drain(1 << 20)
	for network, listen := range k.places() {
		s := k.serveAt(t, listen(t), "chargen", engine.Config{})
		c := s.dial()
		c.want(network, want)
		c.Close()
		s.awaitEnds(network, 1, engine.Reset)
		s.wantNoLog(network)
	}
}

// tryTicks: a session is woken when it asked for that, while the peer says nothing and
// after it has ended.
func tryTicks(k *kit, t *testing.T) {
	s := k.serve(t, "dialogue", engine.Config{})
	c := s.dial()
	c.want("it speaks first", "220 hello\n")
	from := time.Now()
	c.ask("it ticks", "ticks 3 20\n", strings.Repeat("tick\n", 3))
	if d := time.Since(from); d < 60*time.Millisecond {
		t.Errorf("three ticks of 20 ms took %v", d)
	}
	c.ask("between ticks it hears", "ticks 2 20\nhello you\n", "250 hello you\ntick\ntick\n")
}

// tryMistake: a mistake of the peer's is answered and counted, and a fault of ours is
// logged.
func tryMistake(k *kit, t *testing.T) {
	s := k.serve(t, "dialogue", engine.Config{})
	c := s.dial()
	c.ask("it is answered", "mistake too many words\n", "220 hello\n500 a mistake\n")
	c.wantEnd("then it ends")
	c.Close()
	s.awaitEnds("and is counted", 1, engine.PeerMistake)
	s.wantNoLog("it is the peer's")

	c = s.dial()
	c.send("fault no disk\n")
	c.wantGone("a fault ends the connection")
	s.awaitEnds("and is counted", 1, engine.Fault)
	if !strings.Contains(s.logs.text(), "no disk") {
		t.Error("a fault is not logged")
	}
}

// tryHalfClose: what a peer has asked for is flushed after it has ended its own
// direction, however much it is, and then comes the end (B4).
func tryHalfClose(k *kit, t *testing.T) {
	for network, listen := range k.places() {
		size := 1 << 20
		if network == "tcp" {
			size = 10 << 20
		}
		s := k.serveAt(t, listen(t), "echo", engine.Config{})
		c := s.dial()
		poured := make(chan error, 1)
		go func() { poured <- c.pour(size) }()
		c.wantPattern("echo over "+network, size, nil)
		if err := <-poured; err != nil {
			t.Error(err)
		}
		c.Close()
		s.awaitEnds("it has ended", 1, engine.Peer)

		if k.traits.EchoOnly {
			continue
		}
		s = k.serveAt(t, listen(t), "dialogue", engine.Config{})
		c = s.dial()
		c.ask("all in one answer", fmt.Sprintf("say %d\n", size), "220 hello\n")
		c.end()
		c.wantPattern("one answer over "+network, size, nil)
		c.Close()
	}
}

// trySmallBuffers: in small buffers, and from a peer that writes bytes one by one,
// nothing changes.
func trySmallBuffers(k *kit, t *testing.T) {
	k.trySmallAt(t, onSmallBuffers(t), 20_000)
	if !k.traits.SocketsOnly {
		k.trySmallAt(t, inMemoryOf(t, 1), 2000)
	}
}

func (k *kit) trySmallAt(t *testing.T, at place, size int) {
	s := k.serveAt(t, at, k.line(), engine.Config{})
	c := s.dial()
	poured := make(chan error, 1)
	go func() { poured <- c.pour(size) }()
	c.wantPattern("all is there", size, k.change())
	if err := <-poured; err != nil {
		t.Error(err)
	}
	c.Close()

	c = s.dial()
	in := bytes.Repeat([]byte("one byte at a time\n"), 100)
	go func() {
		for i := range in {
			c.Write(in[i : i+1])
		}
	}()
	c.want("bytes one by one", k.says(string(in)))
}

// tryPoison: with PoisonLent, which is on in all rows, a session that has kept what it
// was lent finds junk there.
func tryPoison(k *kit, t *testing.T) {
	s := k.serve(t, "keeps", engine.Config{})
	c := s.dial()
	c.send("one")
	got := make([]byte, 3)
	if _, err := io.ReadFull(c, got); err != nil || string(got) == "one" {
		t.Errorf("what was lent is still there: %q, %v", got, err)
	}
}
