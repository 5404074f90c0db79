package enginetest

import (
	"crypto/tls"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"yodel/engine"
	"yodel/trace"
)

// The rows of this file run on a network in memory and a clock that stands still while
// anyone is at work, so they see the real times, the defaults, to the millisecond.

// inBubble serves on a network that holds size bytes each way; 0: 65,536.
func (k *kit) inBubble(t *testing.T, size int, service string, cfg engine.Config, try func(s *server)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := k.serveAt(t, inMemoryOf(t, size), service, cfg)
		s.beTimeless()
		try(s)
	})
}

// inTLSBubble is inBubble over TLS; at is the place without it.
func (k *kit) inTLSBubble(t *testing.T, size int, service string, cfg engine.Config, try func(s *server, at place)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		at := inMemoryOf(t, size)
		s := k.serveTLS(t, at, service, cfg)
		s.beTimeless()
		try(s, at)
	})
}

func (s *server) beTimeless() { s.timeless, s.events.patience = true, 1000*time.Hour }

// pass lets time pass.
func pass(d time.Duration) { <-time.After(d) }

// wantAfter checks that so much time has passed since from.
func wantAfter(t testing.TB, why string, from time.Time, want time.Duration) {
	t.Helper()
	if d := time.Since(from); d < want || d > want+10*time.Millisecond {
		t.Errorf("%s after %v, want %v", why, d, want)
	}
}

// tryIdleFigures: ten minutes without a byte, and not nine.
func tryIdleFigures(k *kit, t *testing.T) {
	k.inBubble(t, 0, "upper", engine.Config{}, func(s *server) {
		c := s.dial()
		for range 3 {
			pass(9 * time.Minute)
			c.ask("a person may think", "hi\n", "HI\n")
		}
		from := time.Now()
		c.wantEnd("idle")
		wantAfter(s.t, "idle", from, 10*time.Minute)
		s.awaitEnds("idle", 1, engine.Idle)
	})
	k.inBubble(t, 0, "chargen", engine.Config{MinRate: -1}, func(s *server) {
		s.dial()
		from := time.Now()
		s.awaitEnds("a peer that takes nothing, where there is no least rate", 1, engine.Idle)
		wantAfter(s.t, "idle", from, 10*time.Minute)
	})
	k.inBubble(t, 0, "upper", engine.Config{Idle: -1, HeaderTimeout: -1, MinRate: -1}, func(s *server) {
		c := s.dial()
		c.ask("without timers", "hi\nhal", "HI\n")
		pass(1000 * time.Hour)
		c.ask("nobody is cut", "f\n", "HALF\n")
	})
}

// tryMessageFigures: ten seconds from the first byte of a message to its last; what
// comes now and then does not help. Each message has its own.
func tryMessageFigures(k *kit, t *testing.T) {
	k.inBubble(t, 0, "upper", engine.Config{}, func(s *server) {
		c := s.dial()
		c.ask("one message", "one\nt", "ONE\n")
		pass(9 * time.Second)
		c.ask("another", "wo\nthr", "TWO\n")
		from := time.Now()
		for range 3 {
			pass(3 * time.Second)
			c.send("e")
		}
		c.wantGone("the third takes too long")
		wantAfter(s.t, "cut", from, 10*time.Second)
		s.awaitEnds("it is counted", 1, engine.SlowMessage)
	})
}

// tryMessageWaits: while a peer reads our answers, it has time to end its message,
// because the engine may not be reading meanwhile.
func tryMessageWaits(k *kit, t *testing.T) {
	in := strings.Repeat("a line of twenty by\n", 2000)
	k.inBubble(t, 4096, "upper", engine.Config{}, func(s *server) {
		c := s.dial()
		go io.WriteString(c, in+"half")
		want := strings.ToUpper(in)
		for ; len(want) > 1000; want = want[1000:] {
			pass(time.Second)
			c.want("it reads 1,000 bytes a second", want[:1000])
		}
		c.want("the rest", want)
		pass(5 * time.Second)
		c.ask("the other half", "\n", "HALF\n")
	})
}

// tryRateFigures: 500 bytes a second over each five seconds.
func tryRateFigures(k *kit, t *testing.T) {
	k.inBubble(t, 0, "chargen", engine.Config{}, func(s *server) { s.tryRates(s.at) })
	if !k.traits.NoTLS {
		k.inTLSBubble(t, 0, "chargen", engine.Config{}, func(s *server, _ place) { s.tryRates(s.at) })
	}
	if !k.traits.NoDoor {
		k.inBubble(t, 0, "conn", engine.Config{}, func(s *server) { s.tryRates(s.at) })
	}
}

// tryRates reads at 700 bytes a second for five minutes, and then at 300.
func (s *server) tryRates(at place) {
	c := s.dialAt(at)
	if tc, ok := c.Conn.(*tls.Conn); ok {
		c.Conn = tc.NetConn() // what the wire takes is what counts
	} else {
		c.Write([]byte("flood\n"))
	}
	for range 5 * 60 {
		pass(time.Second)
		if _, err := io.CopyN(io.Discard, c, 700); err != nil {
			s.t.Fatalf("a reader that is fast enough: %v", err)
		}
	}
	from := time.Now()
	for err := error(nil); err == nil; {
		pass(time.Second)
		_, err = io.CopyN(io.Discard, c, 300)
	}
	s.awaitEnds("a slow reader", 1, engine.SlowReader)
	list, _ := s.events.look()
	if d := list[len(list)-1].Time.Sub(from); d > time.Minute { // the door grants the time for 16 KiB
		s.t.Errorf("a slow reader is cut after %v", d)
	}
}

// tryEndFigures: two seconds for the peer's end after ours, 250 ms of rest at Shutdown,
// ten seconds for a handshake.
func tryEndFigures(k *kit, t *testing.T) {
	k.inBubble(t, 0, "qotd", engine.Config{}, func(s *server) {
		from := time.Now()
		s.dial()
		s.events.await(s.t, "the end", func(list []trace.Event) bool { return count(list, trace.Close, "") == 1 })
		wantAfter(s.t, "closed", from, 2*time.Second)
	})
	k.inBubble(t, 0, "upper", engine.Config{}, func(s *server) {
		c := s.dial()
		c.ask("it is served", "hi\n", "HI\n")
		from := time.Now()
		s.shutdown(time.Minute)
		c.wantEnd("at rest")
		wantAfter(s.t, "drained", from, 250*time.Millisecond)
	})
	if k.traits.NoTLS {
		return
	}
	k.inTLSBubble(t, 0, "upper", engine.Config{}, func(s *server, at place) {
		from := time.Now()
		c := s.dialAt(at)
		c.send("\x16\x03\x01\x02\x00\x01")
		c.wantGone("half a handshake")
		wantAfter(s.t, "given up", from, 10*time.Second)
	})
}

// tryUntakenEnd: a peer over TLS that has read everything but the end, and does not
// take that, is not waited for longer than TLS itself does.
func tryUntakenEnd(k *kit, t *testing.T) {
	k.inTLSBubble(t, 1, "qotd", engine.Config{}, func(s *server, _ place) {
		c := s.dial()
		if _, err := c.Read(make([]byte, 1000)); err != nil {
			s.t.Error(err)
		}
		s.events.await(s.t, "the end", func(list []trace.Event) bool { return count(list, trace.Close, "") == 1 })
		list, _ := s.events.look()
		if d := list[len(list)-1].Took; d > 20*time.Second {
			s.t.Errorf("it took %v", d)
		}
	})
}

// tryDoorFigures: on the door a service may work for as long as it likes; what counts
// is how long it waits for the peer.
func tryDoorFigures(k *kit, t *testing.T) {
	k.inBubble(t, 0, "conn", engine.Config{}, func(s *server) {
		c := s.dial()
		c.ask("work of an hour", "work 3600000\n", "worked\n")
		pass(9 * time.Minute)
		c.ask("a person may think", "hi\n", "hi\n")
		from := time.Now()
		c.wantEnd("idle")
		if d := time.Since(from); d < 10*time.Minute || d > 13*time.Minute {
			s.t.Errorf("idle after %v", d)
		}
		s.awaitEnds("idle", 1, engine.Idle)
	})
	k.inBubble(t, 0, "conn", engine.Config{}, func(s *server) {
		c := s.dial()
		c.ask("it is served", "hi\n", "hi\n")
		c.send("work 3000\n")
		pass(time.Second)
		from := time.Now()
		s.shutdown(time.Minute)
		c.want("work goes on", "worked\n")
		wantAfter(s.t, "work", from, 2*time.Second)
		c.wantEnd("at rest")
		if d := time.Since(from); d < 2250*time.Millisecond || d > 2500*time.Millisecond {
			s.t.Errorf("drained after %v", d)
		}
	})
}
