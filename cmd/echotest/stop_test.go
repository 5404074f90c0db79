package echotest

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"yodel/yodeltest"
)

// A signal ends a server, and no line is lost. Its client sees an end, not a reset.
func TestSignalsEndServers(t *testing.T) {
	t.Parallel()
	for _, name := range servers {
		for _, sig := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
			t.Run(fmt.Sprint(name, " ", sig), func(t *testing.T) {
				t.Parallel()
				s := serve(t, name)
				c := s.dial()
				const times = 100
				for range times {
					c.say("hello there")
				}
				if err := s.stop(sig); err != nil {
					t.Errorf("the server ended with %v", err)
				}
				if n, err := c.r.ReadByte(); err != io.EOF {
					t.Errorf("the client reads %q, %v", n, err)
				}
				s.log.want("the client", connected(loopbackName(t), c.local()))
				if lines := s.log.rest(); !slices.Equal(lines, received(slices.Repeat([]int{12}, times)...)) {
					t.Errorf("%d lines of %d are there", len(lines), times)
				}
			})
		}
	}
}

// A server whose standard output nobody reads any more goes on, and can be ended.
func TestNobodyReadsTheLog(t *testing.T) {
	t.Parallel()
	for _, name := range servers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, name)
			s.log.from.Close()
			for range 3 {
				c := s.dial()
				for range 20 {
					c.say("hello there")
				}
				c.Close()
			}
			if err := s.stop(syscall.SIGTERM); err != nil {
				t.Errorf("the server ended with %v", err)
			}
		})
	}
}

// A server that ends first leaves its connections behind: in FIN_WAIT2 while the client
// is there, then in TIME_WAIT. The next one has the port all the same.
func TestRestart(t *testing.T) {
	t.Parallel()
	for _, name := range servers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, name)
			leftIn := func(c *conn, state string) func() bool {
				return func() bool {
					return slices.ContainsFunc(ends(t, s.port, int(c.local().Port())), func(e tcpSocket) bool {
						return e.local == s.port && e.state == state
					})
				}
			}
			first := s.dial()
			first.say("hello there")
			s.kill()
			await(t, "the dead server's connection is in FIN_WAIT2", leftIn(first, finWait2))
			s = again(t, s, name)
			first.Close()
			await(t, "the dead server's connection is in TIME_WAIT", leftIn(first, timeWait))
			second := s.dial()
			second.say("hello again")
			s.kill()
			again(t, s, name).dial().say("and again")
		})
	}
}

// again starts a server on the port of one that has ended.
func again(t *testing.T, s *server, name string) *server {
	t.Helper()
	next := start(t, command(t, program(t, name), fmt.Sprint(s.port)))
	if next.port != s.port {
		t.Fatalf("the server listens on port %d, want %d again", next.port, s.port)
	}
	return next
}

func TestPortIsTaken(t *testing.T) {
	t.Parallel()
	s := serve(t, iterative)
	got := run(t, command(t, program(t, concurrent), fmt.Sprint(s.port)), "")
	want := result{"", fmt.Sprintf("echoserver: listen on :%d: bind: address already in use; another program listens there: `ss -ltnp sport = :%d` shows which, or choose another port\n", s.port, s.port), 1}
	if got != want {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// limited starts the concurrent server with 40 descriptors, of which others have taken
// some.
func limited(t *testing.T, taken int) *server {
	t.Helper()
	sh := yodeltest.NeedProgram(t, "sh")
	cmd := command(t, sh, "-c", `ulimit -n 40; exec "$0" 0`, program(t, concurrent))
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	cmd.ExtraFiles = slices.Repeat([]*os.File{null}, taken)
	return start(t, cmd)
}

// flood connects 60 clients, each with a line to say.
func flood(s *server) []*conn {
	clients := make([]*conn, 60)
	for i := range clients {
		clients[i] = s.dial()
		fmt.Fprintln(clients[i], "me too")
	}
	return clients
}

// The server takes no more clients than its descriptors allow, with a reserve of 32. Who
// comes on top waits in the accept queue and has its turn.
func TestFlood(t *testing.T) {
	t.Parallel()
	s := limited(t, 0)
	live := s.dial()
	live.say("hello")
	clients := flood(s)
	for _, c := range clients { // in the order of the queue
		c.hear("me too")
		live.say("I do not notice")
		c.Close()
	}
	s.dial().say("me at last")
}

// Descriptors run out before that when others have taken them: accept fails. Who is
// connected does not notice, the log is not flooded, and those who wait are served when
// descriptors are back.
func TestNoDescriptorsLeft(t *testing.T) {
	t.Parallel()
	began := time.Now()
	s := limited(t, 30)
	live := s.dial()
	live.say("hello")
	clients := flood(s)
	line, _ := s.err.next()
	if !strings.Contains(line, "accept failed") || !strings.Contains(line, "too many open files") {
		t.Errorf("the server says %q", line)
	}
	for range 10 {
		live.say("I do not notice")
	}
	for _, c := range clients {
		c.hear("me too")
		live.say("I do not notice")
		c.Close()
	}
	s.dial().say("me at last")
	if err := s.stop(syscall.SIGTERM); err != nil {
		t.Errorf("the server ended with %v", err)
	}
	lines, seconds := 1+len(s.err.rest()), int(time.Since(began)/time.Second)+1
	if lines > seconds {
		t.Errorf("%d lines in %d s, want one a second", lines, seconds)
	}
}
