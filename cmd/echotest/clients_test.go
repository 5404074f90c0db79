package echotest

import (
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"

	"yodel/yodeltest"
)

// The second client of the iterative server waits: its connect has returned, and
// nobody answers. It is served when the first one leaves.
func TestIterativeServesOneAtATime(t *testing.T) {
	t.Parallel()
	s := serve(t, iterative)
	first, second := s.dial(), s.dial()
	io.WriteString(second, "is anybody there\n")
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		second.r.Peek(1)
	}()
	for range 20 {
		first.say("I am being served")
	}
	select {
	case <-answered:
		t.Error("the second client was answered while the first was served")
	default:
	}
	for _, end := range ends(t, s.port, int(second.local().Port())) {
		if end.local == s.port && end.inode != "0" { // an accepted socket has one
			t.Error("the second connection has left the accept queue")
		}
	}
	first.Close()
	<-answered
	second.hear("is anybody there")
	name := loopbackName(t)
	s.log.want("the first client", connected(name, first.local()))
	s.log.want("the first client", received(slices.Repeat([]int{18}, 20)...)...)
	s.log.want("then the second", connected(name, second.local()))
	s.log.want("then the second", received(17)...)
}

func TestConcurrentServesAllAtOnce(t *testing.T) {
	t.Parallel()
	s := serve(t, concurrent)
	silent, first, second := s.dial(), s.dial(), s.dial()
	for range 3 {
		second.say("second")
		first.say("first")
	}
	silent.say("at last")
}

// A client that ends by a reset is an end like others.
func TestReset(t *testing.T) {
	t.Parallel()
	for _, name := range servers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, name)
			for range 3 {
				c := s.dial()
				c.say("and gone")
				io.WriteString(c, "half a l")
				c.Conn.(*net.TCPConn).SetLinger(0)
				c.Close()
			}
			s.dial().say("still here")
		})
	}
}

// Other people's clients. HOST and PORT are where the server is. What each shows besides
// the answer is its own affair.
func TestRealClients(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		args []string
		in   int // bytes of the line as the client sends it
	}{
		{"telnet", []string{"HOST", "PORT"}, 10}, // it ends lines as RFC 854 has it, with CR and LF
		{"nc", []string{"HOST", "PORT"}, 9},
		{"ncat", []string{"HOST", "PORT"}, 9},
		{"socat", []string{"-", "TCP:HOST:PORT"}, 9},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			path := yodeltest.NeedProgram(t, tc.name)
			for _, name := range servers {
				s := serve(t, name)
				args := make([]string, len(tc.args))
				for i, a := range tc.args {
					args[i] = strings.NewReplacer("HOST", "127.0.0.1", "PORT", strconv.Itoa(s.port)).Replace(a)
				}
				d := talk(t, command(t, path, args...))
				d.say("hi there\n")
				d.hear("HI THERE")
				d.say("more\n")
				d.hear("MORE")
				wantConnected(t, s)
				s.log.want("two lines", received(tc.in, tc.in-4)...)
			}
		})
	}
}

// echoclient against servers that are not the lecture's.

func TestClientOfAServerThatLeaves(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		serve func(*net.TCPConn)
		out   string
	}{
		"at once":              {func(*net.TCPConn) {}, "type:"},
		"within a line":        {func(c *net.TCPConn) { io.ReadFull(c, make([]byte, 3)) }, "type:"}, // a reset
		"after an answer":      {func(c *net.TCPConn) { io.ReadFull(c, make([]byte, 6)); io.WriteString(c, "HELLO\n") }, "type:echo:HELLO\ntype:"},
		"after half an answer": {func(c *net.TCPConn) { io.ReadFull(c, make([]byte, 6)); io.WriteString(c, "HEL") }, "type:echo:HELtype:"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			port := onceServing(t, tc.serve)
			got := run(t, command(t, program(t, client), "127.0.0.1", port), "hello\nagain\n")
			why, said := strings.CutPrefix(got.err, "echoclient: the connection ended")
			if got.status != 1 || !said || !strings.Contains(why, ": ") || got.out != tc.out {
				t.Errorf("got  %+v\nwant %q, status 1, and why", got, tc.out)
			}
		})
	}
}

// onceServing returns the port of a server of one connection.
func onceServing(t *testing.T, serve func(*net.TCPConn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		if c, err := l.Accept(); err == nil {
			serve(c.(*net.TCPConn))
			c.Close()
		}
	}()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

// A port that somebody has and nobody listens on: a client's.
func TestClientIsRefused(t *testing.T) {
	t.Parallel()
	s := serve(t, concurrent)
	taken := strconv.Itoa(int(s.dial().local().Port()))
	got := run(t, command(t, program(t, client), "127.0.0.1", taken), "hello\n")
	want := result{"", "echoclient: connect to 127.0.0.1:" + taken + ": connection refused; nothing listens there: check the address, or start the server\n", 1}
	if got != want {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}
