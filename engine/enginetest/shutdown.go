package enginetest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"testing"
	"time"

	"yodel/engine"
	"yodel/trace"
)

// tryDrain: Shutdown ends a connection at rest with a FIN once it has been quiet, and
// returns nil when the last one has ended.
func tryDrain(k *kit, t *testing.T) {
	for network, listen := range k.places() {
		s := k.serveAt(t, listen(t), k.line(), engine.Config{Quiet: 20 * time.Millisecond})
		c := s.dial()
		c.ask("it is served", "hi\n", k.says("hi\n"))
		done := s.shutdown(patience)
		c.wantEnd("at rest over " + network)
		c.Close()
		wantErr(t, "Shutdown", <-done, nil)
		s.wantServed(engine.ErrClosed)
		s.awaitEnds("it was drained", 1, engine.Drained)
	}
}

// shutdown calls Shutdown with so much grace.
func (s *server) shutdown(grace time.Duration) <-chan error {
	done := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), grace)
		defer cancel()
		done <- s.Shutdown(ctx)
	}()
	return done
}

func wantErr(t testing.TB, why string, got, want error) {
	t.Helper()
	if !errors.Is(got, want) || want == nil && got != nil {
		t.Errorf("%s: %v, want %v", why, got, want)
	}
}

// tryDrainMessage: what is half said when Shutdown begins is waited for, and answered.
func tryDrainMessage(k *kit, t *testing.T) {
	s := k.serve(t, "upper", engine.Config{Quiet: 10 * time.Millisecond})
	c := s.dial()
	c.ask("it is served", "one\nha", "ONE\n")
	s.events.await(t, "half a message is read", func(list []trace.Event) bool { return list[len(list)-1].In == 6 })
	if err := <-s.shutdown(50 * time.Millisecond); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Shutdown returned %v with a message under way", err)
	}
	c.ask("the other half", "lf\n", "HALF\n")
	c.wantEnd("and then the end")
	c.Close()
	wantErr(t, "Shutdown again", <-s.shutdown(patience), nil)
}

// tryDrainBody: the same where the session has taken what was there of it.
func tryDrainBody(k *kit, t *testing.T) {
	s := k.serve(t, "dialogue", engine.Config{Quiet: 10 * time.Millisecond})
	c := s.dial()
	c.ask("it is served", "take 1\nxtake 8\nhalf", "220 hello\n250 taken\n")
	s.events.await(t, "half a message is read", func(list []trace.Event) bool { return list[len(list)-1].In == 19 })
	if err := <-s.shutdown(50 * time.Millisecond); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Shutdown returned %v with a message under way", err)
	}
	c.ask("the other half", "half", "250 taken\n")
	c.wantEnd("and then the end")
	c.Close()
	wantErr(t, "Shutdown again", <-s.shutdown(patience), nil)
}

// tryShutdownBusy: under Shutdown nobody new is served, and a conversation under way
// goes on until Close cuts it.
func tryShutdownBusy(k *kit, t *testing.T) {
	s := k.serve(t, "echo", engine.Config{Quiet: 10 * time.Second})
	c := s.dial()
	c.ask("it is served", "x", "x")
	stopped, cancel := context.WithCancel(context.Background())
	cancel()
	wantErr(t, "Shutdown with no time", s.Shutdown(stopped), context.Canceled)
	if nc, err := s.at.dial(); err == nil {
		t.Error("connections are still taken")
		nc.Close()
	}
	done := s.shutdown(200 * time.Millisecond)
	rounds := 0
	for ; len(done) == 0; rounds++ {
		c.ask("it is still served", fmt.Sprint(rounds), fmt.Sprint(rounds))
	}
	wantErr(t, "Shutdown", <-done, context.DeadlineExceeded)
	c.ask("even after the grace", "y", "y")
	if err := s.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	c.wantReset("Close cuts")
	s.wantServed(engine.ErrClosed)
	if n := s.Stats().Ended[engine.Cut]; n != 1 || rounds == 0 {
		t.Errorf("%d were cut, after %d rounds", n, rounds)
	}
}

// tryClose: when Close returns, all connections have ended, be they at rest, stuck in
// a write, or waiting for a tick.
func tryClose(k *kit, t *testing.T) {
	s := k.serve(t, "dialogue", engine.Config{MinRate: -1})
	busy := []string{"hello you\n", "say 20000000\n", "ticks 1 3600000\n"}
	if k.traits.OneAtATime {
		busy = busy[1:2]
	}
	for _, line := range busy {
		c := s.dial()
		c.ask("it is served", line, "220 hello\n")
		s.events.await(t, "the line is read", func(list []trace.Event) bool {
			return slices.ContainsFunc(list, func(e trace.Event) bool { return e.In == int64(len(line)) })
		})
	}
	s.Close()
	if list, _ := s.events.look(); count(list, trace.Close, engine.Cut.String()) != len(busy) {
		t.Errorf("after Close:\n%s", describe(list))
	}
	if n := s.Stats().Active; n != 0 {
		t.Errorf("after Close %d are served", n)
	}
	if err := s.Close(); err != nil {
		t.Errorf("Close again: %v", err)
	}
	wantErr(t, "Shutdown after Close", s.Shutdown(t.Context()), nil)
}

// tryCloseEnded: Close ends also those whose peer has ended and who wait for a tick.
func tryCloseEnded(k *kit, t *testing.T) {
	s := k.serve(t, "waits", engine.Config{})
	c := s.dial()
	c.end()
	c.want("it knows", "ended\n")
	s.Close()
	c.wantGone("cut")
}

// tryTooLate: an engine that was shut down serves nobody, and closes what it is given.
func tryTooLate(k *kit, t *testing.T) {
	s := k.serve(t, "echo", engine.Config{})
	s.dial().ask("it is served", "x", "x")
	s.Close()
	late := onTCP(t)
	wantErr(t, "Serve after Close", s.Serve(late.Listener), engine.ErrClosed)
	if _, err := late.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("its listener: %v", err)
	}
}

// tryTwoPlaces: one engine serves several listeners, and stops serving all.
func tryTwoPlaces(k *kit, t *testing.T) {
	s := k.serve(t, k.line(), engine.Config{})
	other := onTCP(t)
	s.alsoAt(other)
	for i := range 4 {
		c := s.dialAt([]place{s.at, other}[i%2])
		c.ask("it is served", "hi\n", k.says("hi\n"))
		c.Close()
	}
	wantErr(t, "Shutdown", <-s.shutdown(patience), nil)
	for range 2 {
		s.wantServed(engine.ErrClosed)
	}
}

// tryNobody: an engine without connections ends at once.
func tryNobody(k *kit, t *testing.T) {
	s := k.serve(t, "echo", engine.Config{})
	wantErr(t, "Shutdown", <-s.shutdown(patience), nil)
}
