package enginetest

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"runtime"
	"testing"

	"yodel/engine"
	"yodel/trace"
)

// usage is what a process holds.
type usage struct {
	goroutines  int
	descriptors int // 0: not known
	heap        int // bytes that are reached
}

func measure() usage {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // pools are emptied by the second one
	runtime.ReadMemStats(&m)
	fds, _ := os.ReadDir("/proc/self/fd")
	return usage{runtime.NumGoroutine(), len(fds), int(m.HeapAlloc)}
}

// wantNothingLeft wants what is held to be what it was.
func wantNothingLeft(t *testing.T, before usage) {
	t.Helper()
	const slack = 1 << 20 // of memory: what libraries keep for the next time
	var after usage
	until(t, fmt.Sprintf("nothing is left; before it was %+v", before), func() bool {
		after = measure()
		return after.goroutines <= before.goroutines && after.descriptors <= before.descriptors && after.heap <= before.heap+slack
	})
}

// shortConns is how many connections may come and go in a row.
func (k *kit) shortConns() int {
	if raceDetector {
		return cmp.Or(k.traits.RaceConns, 3_000)
	}
	return cmp.Or(k.traits.ShortConns, 10_000)
}

// tryNothingLeft: connections that come and go leave nothing behind, and are all in the
// sums.
func tryNothingLeft(k *kit, t *testing.T) {
	n := k.shortConns() / 8 * 8
	before := measure()
	s := k.serve(t, k.line(), engine.Config{Sink: trace.Discard})
	s.comeAndGo(k, n)
	until(t, "all are accepted", func() bool { return s.Stats().Accepted == int64(n) })
	wantErr(t, "Shutdown", <-s.shutdown(patience), nil)
	s.wantServed(engine.ErrClosed)
	st, q := s.Stats(), int64(n/4)
	got := []int64{st.Accepted, st.Active, st.BytesIn, st.BytesOut, st.Messages, st.Unread, st.Unsent, st.Ended[engine.Peer], st.Ended[engine.Reset]}
	messages := 3 * q
	if k.traits.EchoOnly {
		messages = 0 // nothing is a line to it
	}
	want := []int64{4 * q, 0, 16 * q, 16 * q, messages, 0, 0, 3 * q, q}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("the sums are %v, want %v: %+v", got, want, st)
	}
	s.wantNoLog("all have ended well")
	wantNothingLeft(t, before)
}

// comeAndGo lets n connections come and go, from two clients at once.
func (s *server) comeAndGo(k *kit, n int) {
	s.t.Helper()
	done := make(chan error, 2)
	for range cap(done) {
		go func() {
			var err error
			for i := 0; i < n/cap(done) && err == nil; i++ {
				err = s.comeAndGoOnce(k, i%4)
			}
			done <- err
		}()
	}
	for range cap(done) {
		if err := <-done; err != nil {
			s.t.Fatal(err)
		}
	}
}

// comeAndGoOnce is one of four short conversations.
func (s *server) comeAndGoOnce(k *kit, kind int) error {
	nc, err := s.at.dial()
	if err != nil {
		return err
	}
	c := &client{nc, s.t}
	defer c.Close()
	switch kind {
	case 0:
		return c.say("hello\n", k.says("hello\n"))
	case 1:
		if _, err := io.WriteString(c, "hello\nhalf"); err != nil {
			return err
		}
		c.end()
		if got, err := io.ReadAll(c); string(got) != k.says("hello\nhalf") {
			return fmt.Errorf("got %q, %w", got, err)
		}
	case 2:
		c.reset()
	}
	return nil
}

// say is ask for goroutines that are not the test's.
func (c *client) say(line, answer string) error {
	if _, err := io.WriteString(c, line); err != nil {
		return err
	}
	got := make([]byte, len(answer))
	if n, err := io.ReadFull(c, got); string(got) != answer {
		return fmt.Errorf("got %q, want %q: %w", got[:n], answer, err)
	}
	return nil
}

// tryNothingLeftElsewhere is the same over TLS, over Unix sockets and on the door.
func tryNothingLeftElsewhere(k *kit, t *testing.T) {
	n := min(100, k.shortConns()/6)
	before := measure()
	if !k.traits.NoTLS {
		s := k.serveTLS(t, onTCP(t), "upper", engine.Config{Sink: trace.Discard})
		s.repeat(n, "hi\n", "HI\n")
	}
	if !k.traits.NoUnix {
		s := k.serveAt(t, onUnix(t), "upper", engine.Config{Sink: trace.Discard})
		s.repeat(n, "hi\n", "HI\n")
	}
	if !k.traits.NoDoor {
		for _, service := range doorServices {
			s := k.serve(t, service, engine.Config{Sink: trace.Discard})
			s.repeat(n, "hi\n", "hi\n")
		}
	}
	wantNothingLeft(t, before)
}

// repeat holds n short conversations and closes the engine.
func (s *server) repeat(n int, line, answer string) {
	s.t.Helper()
	for range n {
		nc, err := s.at.dial()
		if err != nil {
			s.t.Fatal(err)
		}
		if err := (&client{nc, s.t}).say(line, answer); err != nil {
			s.t.Fatal(err)
		}
		nc.Close()
	}
	wantErr(s.t, "Shutdown", <-s.shutdown(patience), nil)
	s.wantServed(engine.ErrClosed)
	if st := s.Stats(); st.Accepted != int64(n) || st.Active != 0 {
		s.t.Errorf("%+v", st)
	}
}
