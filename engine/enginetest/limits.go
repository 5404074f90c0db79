package enginetest

import (
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"yodel/engine"
	"yodel/trace"
)

// trySlowMessage: a message that is not whole in time ends the connection, and a byte
// now and then does not help.
func trySlowMessage(k *kit, t *testing.T) {
	s := k.serve(t, "dialogue", engine.Config{HeaderTimeout: 100 * time.Millisecond})
	c := s.dial()
	c.ask("a whole message is answered", "hello you\n", "220 hello\n250 hello you\n")
	c.drip()
	s.awaitEnds("it has taken too long", 1, engine.SlowMessage)
	s.dial().want("others are served", "220 hello\n")
	s.wantNoLog("it is the peer's")
}

// drip sends a byte now and then until the connection is ended.
func (c *client) drip() {
	c.t.Helper()
	pace := time.NewTicker(10 * time.Millisecond)
	defer pace.Stop()
	for from := time.Now(); time.Since(from) < patience; <-pace.C {
		if _, err := c.Write([]byte("x")); err != nil {
			return
		}
	}
	c.t.Fatal("a message that takes for ever is waited for")
}

// trySlowBody: a message that the session takes in pieces must come at the least rate.
func trySlowBody(k *kit, t *testing.T) {
	s := k.serve(t, "dialogue", engine.Config{MinRate: 10_000, MinRateAfter: 100 * time.Millisecond})
	c := s.dial()
	c.ask("a whole message is answered", "take 5\nhello", "220 hello\n250 taken\n")
	c.send("take 1000000\n")
	c.drip()
	s.awaitEnds("it came too slowly", 1, engine.SlowMessage)
	s.dial().want("others are served", "220 hello\n")
	s.wantNoLog("it is the peer's")
}

// tryPerson: who says nothing, or waits between messages, is not cut.
func tryPerson(k *kit, t *testing.T) {
	s := k.serve(t, "dialogue", engine.Config{HeaderTimeout: 30 * time.Millisecond})
	c := s.dial()
	c.ask("time passes", "ticks 1 120\n", "220 hello\ntick\n")
	c.ask("the person is still there", "hello you\n", "250 hello you\n")
}

func tryIdle(k *kit, t *testing.T) {
	const idle = 60 * time.Millisecond
	for network, listen := range k.places() {
		s := k.serveAt(t, listen(t), k.line(), engine.Config{Idle: idle})
		from := time.Now()
		c := s.dial()
		c.wantEnd("at rest for too long over " + network)
		if d := time.Since(from); d < idle {
			t.Errorf("idle after %v", d)
		}
		s.awaitEnds("idle", 1, engine.Idle)
		s.wantNoLog("idle")
	}
}

// tryLongMessage: what a session does not use is bounded.
func tryLongMessage(k *kit, t *testing.T) {
	s := k.serve(t, "upper", engine.Config{MaxInput: 1000})
	c := s.dial()
	c.ask("a line", strings.Repeat("x", 998)+"\n", strings.Repeat("X", 998)+"\n")
	c.send(strings.Repeat("x", 2000))
	c.wantGone("a line without an end")
	s.awaitEnds("it is over the bound", 1, engine.LongMessage)
	if n := s.Stats().Unread; n < 1001 || n > 2000 {
		t.Errorf("%d bytes are counted as unread", n)
	}
}

// trySlowReader: of what a peer sends that never reads, little is taken in; it is cut
// by a reset in the time of MinRate, and what was not sent is counted.
func trySlowReader(k *kit, t *testing.T) {
	const most = 1 << 20 // mark, one read, and the kernel's buffers; 64 MiB are on offer
	cfg := engine.Config{MinRate: 1000, MinRateAfter: 100 * time.Millisecond}
	places := k.places()
	places["tcp"] = onSmallBuffers // or the kernel takes megabytes
	for network, listen := range places {
		s := k.serveAt(t, listen(t), "echo", cfg)
		c := s.dial()
		if err := c.pour(64 << 20); err == nil {
			t.Errorf("over %s 64 MiB were taken", network)
		}
		s.awaitEnds("it is cut", 1, engine.SlowReader)
		stats := s.Stats()
		if stats.BytesIn > most || stats.Unsent == 0 || stats.BytesIn != stats.BytesOut+stats.Unsent+stats.Unread {
			t.Errorf("over %s: %+v", network, stats)
		}
		s.wantNoLog("it is the peer's")
	}
}

// trySlowReaderAlone: while a peer does not read, the others are served.
func trySlowReaderAlone(k *kit, t *testing.T) {
	s := k.serve(t, "echo", engine.Config{MinRate: -1})
	stuck := s.dial()
	go stuck.pour(64 << 20)
	s.events.await(t, "it pours", func(list []trace.Event) bool { return len(list) > 0 && list[len(list)-1].In > 256<<10 })
	for i := range 10 {
		c := s.dial()
		c.ask("others are served", fmt.Sprint(i), fmt.Sprint(i))
		c.Close()
	}
	if n := s.Stats().Ended[engine.SlowReader]; n > 0 {
		t.Error("it was cut although there is no least rate")
	}
}

// tryIdleReader: without a least rate, a peer that takes nothing is idle.
func tryIdleReader(k *kit, t *testing.T) {
	s := k.serveAt(t, onSmallBuffers(t), "chargen", engine.Config{MinRate: -1, Idle: 100 * time.Millisecond})
	c := s.dial()
	s.awaitEnds("it is cut", 1, engine.Idle)
	c.wantReset("the kernel keeps nothing for it")
}

// tryReset: that a peer goes away, in whatever way, is a normal end.
func tryReset(k *kit, t *testing.T) {
	s := k.serve(t, k.line(), engine.Config{})
	c := s.dial()
	c.ask("it is served", "hi\n", k.says("hi\n"))
	c.reset()
	s.awaitEnds("a reset", 1, engine.Reset)
	c = s.dial()
	c.send("half a li")
	c.reset()
	s.awaitEnds("a reset in the middle of a message", 2, engine.Reset)
	s.wantNoLog("resets")
}

// tryLeaver: a peer that leaves without reading, EPIPE for the server, is one too.
func tryLeaver(k *kit, t *testing.T) {
	for network, listen := range k.places() {
		s := k.serveAt(t, listen(t), "dialogue", engine.Config{})
		c := s.dial()
		c.ask("it asks for much", "say 20000000\n", "220 hello\n")
		c.Close()
		s.awaitEnds("it has left over "+network, 1, engine.Reset)
		s.wantNoLog("it has left over " + network)
		if n := s.Stats().Unsent; n == 0 {
			t.Error("what was not sent is not counted")
		}
	}
}

// tryResetStorm: a thousand resets leave no line in the log, and no trace in the
// server. Fewer where connections cost more.
func tryResetStorm(k *kit, t *testing.T) {
	storm := min(1000, k.shortConns()/3)
	s := k.serve(t, k.line(), engine.Config{})
	for i := range storm {
		c := s.dial()
		if i%2 == 0 {
			c.send("hello\nhalf a")
		}
		c.reset()
	}
	s.events.await(t, "all have ended", func(list []trace.Event) bool { return count(list, trace.Close, "") == storm })
	s.dial().ask("the server serves", "hi\n", k.says("hi\n"))
	s.wantNoLog("resets")
}

// tryPanic: a panic ends its own connection; it is logged once, with the stack.
func tryPanic(k *kit, t *testing.T) {
	s := k.serve(t, "dialogue", engine.Config{})
	c := s.dial()
	c.send("panic ouch\n")
	c.wantGone("its connection ends")
	s.awaitEnds("and is counted", 1, engine.Panic)
	s.wantPanicLog("ouch")
	s.dial().want("others are served", "220 hello\n")

	s = k.serve(t, "panics in open", engine.Config{})
	s.dial().wantGone("its connection ends")
	s.awaitEnds("and is counted", 1, engine.Panic)
	s.wantPanicLog("no session for you")
}

// tryPanicAtEnd: a session that wants to know of its connection's end is told, however
// that ends, and if it panics then, that is seen.
func tryPanicAtEnd(k *kit, t *testing.T) {
	s := k.serve(t, "dialogue", engine.Config{})
	c := s.dial()
	c.ask("it is served", "later ouch\nhello you\n", "220 hello\n250 hello you\n")
	c.Close()
	s.awaitEnds("and is counted", 1, engine.Panic)
	s.wantPanicLog("ouch")
	s.dial().want("others are served", "220 hello\n")
}

func (s *server) wantPanicLog(value string) {
	s.t.Helper()
	text := s.logs.text()
	if strings.Count(text, "\n") != 1 || !strings.Contains(text, value) || !strings.Contains(text, "services.go") {
		s.t.Errorf("one line with the panic %q and its stack is wanted, and logged was:\n%s", value, text)
	}
}

// hostile is text that a terminal obeys, or that looks like another.
const hostile = "\x1b[2J\x00\a\x7f\u009b1m \u202eevil\u2066 \xff\xfe"

// tryHostileText: nothing of a peer's text reaches events or logs raw.
func tryHostileText(k *kit, t *testing.T) {
	s := k.serve(t, "dialogue", engine.Config{})
	for i, verb := range []string{"mistake", "fault", "panic"} {
		c := s.dial()
		c.send(verb + " " + hostile + "\n")
		c.wantGone(verb)
		c.Close()
		s.events.await(t, "it has ended", func(list []trace.Event) bool { return count(list, trace.Close, "") == i+1 })
	}
	list, _ := s.events.look()
	shown := map[string]string{"log": s.logs.text(), "lines": showEvents(t, list, true), "people": showEvents(t, list, false)}
	for name, text := range shown {
		if !strings.Contains(text, "2J") {
			t.Errorf("%s: the text is not there:\n%q", name, text)
		}
		if !utf8.ValidString(text) || strings.ContainsFunc(text, isHostile) {
			t.Errorf("%s: it is there raw:\n%q", name, text)
		}
	}
}

// isHostile reports whether r must not be shown: a control character that does not end
// a line, or one that turns the direction of text.
func isHostile(r rune) bool { return unicode.In(r, unicode.Cc, unicode.Cf) && r != '\n' }

// showEvents returns what a sink writes of list: the one for programs, or the one for
// people.
func showEvents(t *testing.T, list []trace.Event, lines bool) string {
	var b strings.Builder
	sink := interface {
		trace.Sink
		Close() error
	}(trace.NewLog(&b))
	if lines {
		sink = trace.NewLines(&b)
	}
	for i := range list {
		sink.Emit(&list[i])
	}
	if err := sink.Close(); err != nil {
		t.Error(err)
	}
	return b.String()
}
