package echotest

import (
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"
)

func TestWrongUsage(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		program string
		args    []string
		usage   string
	}{
		{iterative, nil, "PORT"},
		{iterative, []string{"1", "2"}, "PORT"},
		{concurrent, nil, "PORT"},
		{concurrent, []string{"1", "2"}, "PORT"},
		{client, nil, "HOST PORT"},
		{client, []string{"localhost"}, "HOST PORT"},
		{client, []string{"localhost", "7", "8"}, "HOST PORT"},
	} {
		path := program(t, tc.program)
		got := run(t, command(t, path, tc.args...), "")
		if want := (result{"", "usage: " + path + " " + tc.usage + "\n", 2}); got != want {
			t.Errorf("%s %q:\ngot  %+v\nwant %+v", tc.program, tc.args, got, want)
		}
	}
}

func TestNoPortNumber(t *testing.T) {
	t.Parallel()
	for arg, want := range map[string]string{
		"echo":       `"echo" is not a port number`,
		"":           `"" is not a port number`,
		"7x":         `"7x" is not a port number`,
		"7\x1b[2J\n": `"7\x1b[2J\n" is not a port number`, // what shows is what was given, escaped
		"65536":      "port 65536 is out of range: ports are numbers of 16 bits, 0 to 65535",
		"-1":         "port -1 is out of range: ports are numbers of 16 bits, 0 to 65535",
	} {
		for _, cmd := range [][]string{{iterative, arg}, {concurrent, arg}, {client, "localhost", arg}} {
			got := run(t, command(t, program(t, cmd[0]), cmd[1:]...), "")
			if want := (result{"", cmd[0] + ": " + want + "\n", 1}); got != want {
				t.Errorf("%q:\ngot  %+v\nwant %+v", cmd, got, want)
			}
		}
	}
}

// The dialogue of the lecture.
func TestDialogue(t *testing.T) {
	t.Parallel()
	for _, name := range servers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, name)
			d := talk(t, command(t, program(t, client), "127.0.0.1", strconv.Itoa(s.port)))
			d.hear("type:")
			d.say("hello there\n")
			d.hear("echo:HELLO THERE\ntype:")
			d.in.Close() // ^D
			if got, want := d.end(), (result{"type:echo:HELLO THERE\ntype:\nConnection closed\n", "", 0}); got != want {
				t.Errorf("the client:\ngot  %+v\nwant %+v", got, want)
			}
			wantConnected(t, s)
			s.log.want("the dialogue", "server received 12 bytes")
			s.log.wantNone("that was all")
		})
	}
}

// wantConnected wants the line that tells of a client on this host, whose port the
// test does not know.
func wantConnected(t *testing.T, s *server) {
	t.Helper()
	line, _ := s.log.next()
	before, port, _ := strings.Cut(line, ", port ")
	number, err := strconv.Atoi(port)
	name := loopbackName(t)
	if name == "" {
		name = "127.0.0.1"
	}
	if before != "server connected to "+name+" (127.0.0.1)" || err != nil || number < 1 || number > 65535 {
		t.Errorf("a client of this host, %s, is logged as %q", name, line)
	}
}

// kinds are lines of all kinds, and into what pieces the server takes them. The lecture's
// buffer of 8,192 bytes leaves one for the NUL at the end of a string.
var kinds = []struct {
	name   string
	in     string
	pieces []int
}{
	{"nothing", "", nil},
	{"an empty line", "\n", []int{1}},
	{"a line as telnet sends it", "hi there\r\n", []int{10}},
	{"three lines", "one\ntwo\nthree\n", []int{4, 4, 6}},
	{"a last line without newline", "one\nrest", []int{4, 4}},
	{"a line of 10,001 bytes", strings.Repeat("a", 10_000) + "\n", []int{8191, 1810}},
	{"the longest line in one piece", strings.Repeat("b", 8190) + "\n", []int{8191}},
	{"one byte more", strings.Repeat("c", 8191) + "\n", []int{8191, 1}},
	{"the longest piece at the end", strings.Repeat("d", 8191), []int{8191}},
	{"twice that", strings.Repeat("e", 2*8191), []int{8191, 8191}},
	{"NUL, and letters that are not ASCII", "a\x00b ı ß é \xff\n", []int{15}},
}

// upper is what the server does, said in another way than its own.
func upper(s string) string {
	b := []byte(s)
	for i, c := range b {
		if c >= 'a' && c <= 'z' {
			b[i] = c &^ 0x20
		}
	}
	return string(b)
}

func TestLinesOfAllKinds(t *testing.T) {
	t.Parallel()
	for _, name := range servers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, name)
			for _, k := range kinds {
				c := s.dial()
				go func() { // a server that did not read while it writes would stop us
					io.WriteString(c, k.in)
					c.Conn.(*net.TCPConn).CloseWrite()
				}()
				got, err := io.ReadAll(c.r)
				if string(got) != upper(k.in) || err != nil {
					t.Errorf("%s: %d bytes came back as %d others, or not as they should, %v", k.name, len(k.in), len(got), err)
				}
				s.log.want(k.name, connected(loopbackName(t), c.local()))
				s.log.want(k.name, received(k.pieces...)...)
			}
		})
	}
}

func TestClientWithLinesOfAllKinds(t *testing.T) {
	t.Parallel()
	s := serve(t, concurrent)
	for _, k := range kinds {
		var want strings.Builder
		rest := upper(k.in)
		for _, n := range k.pieces {
			fmt.Fprintf(&want, "type:echo:%s", rest[:n])
			rest = rest[n:]
		}
		want.WriteString("type:\nConnection closed\n")
		got := run(t, command(t, program(t, client), "127.0.0.1", strconv.Itoa(s.port)), k.in)
		if got.out != want.String() || got.err != "" || got.status != 0 {
			t.Errorf("%s:\ngot  %.300q… %q, status %d\nwant %.300q…", k.name, got.out, got.err, got.status, want.String())
		}
		wantConnected(t, s)
		s.log.want(k.name, received(k.pieces...)...)
	}
}

// A person may think for as long as they like: while nothing is said the kernel has
// no timer on either end, such as those of keepalive.
func TestNoTimers(t *testing.T) {
	t.Parallel()
	for _, name := range servers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, name)
			d := talk(t, command(t, program(t, client), "127.0.0.1", strconv.Itoa(s.port)))
			d.say("now let me think\n")
			d.hear("THINK\ntype:")
			line, _ := s.log.next()
			_, port, _ := strings.Cut(line, ", port ")
			number, err := strconv.Atoi(port)
			if err != nil {
				t.Fatal(err)
			}
			await(t, "both ends are established and have no timer", func() bool {
				both := ends(t, s.port, number)
				return len(both) == 2 && both[0].untimed() && both[1].untimed()
			})
			d.say("done\n")
			d.hear("echo:DONE\n")
		})
	}
}

// Nor has the server a timer of its own, also where a line was begun: it waits for events
// without end.
func TestServersWaitForEver(t *testing.T) {
	t.Parallel()
	for _, name := range servers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, name)
			c := s.dial()
			c.say("now let me think")
			io.WriteString(c, "I am not sure whe")
			await(t, "the server waits without end", func() bool { return waitsForEver(t, s.cmd.Process.Pid) })
			io.WriteString(c, "ther\n")
			c.hear("I am not sure whether")
		})
	}
}

func (s tcpSocket) untimed() bool { return s.state == established && s.timer == "00" }
