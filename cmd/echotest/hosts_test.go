package echotest

import (
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"yodel/yodeltest"
	"yodel/yodeltest/netns"
)

// port is the lecture's; a host of its own has it free.
const port = 15213

// on returns one of the lecture's programs on a host.
func on(t *testing.T, h *netns.Host, name string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := h.Command(program(t, name), args...)
	cmd.Env = environment()
	return cmd
}

// dialFrom connects from host h to the server on host to.
func dialFrom(t *testing.T, h, to *netns.Host) *conn {
	t.Helper()
	var c net.Conn
	err := h.Inside(func() (err error) {
		c, err = net.DialTimeout("tcp", netip.AddrPortFrom(to.V4, port).String(), patience)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return newConn(t, c)
}

// The dialogue of the lecture as it was held: between two hosts, the server bound to
// any address, and the client known by its name and ephemeral port.
func TestTwoHosts(t *testing.T) {
	t.Parallel()
	yodeltest.NeedProgram(t, "ss")
	for _, name := range servers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			greatwhite, bryant := netns.Two(t)
			greatwhite.Etc("hosts", fmt.Sprintf("%s BRYANT-TP4.VLSI.CS.CMU.EDU\n%s bryant6.example\n", bryant.V4, bryant.V6))
			bryant.Etc("hosts", fmt.Sprintf("%s greatwhite.ics.cs.cmu.edu\n%s greatwhite6.example\n", greatwhite.V4, greatwhite.V6))
			s := start(t, on(t, greatwhite, name, fmt.Sprint(port)))
			if s.port != port {
				t.Fatalf("the server listens on port %d", s.port)
			}
			for _, tc := range []struct {
				call, client string
				from, to     netip.Addr
			}{
				{"greatwhite.ics.cs.cmu.edu", "BRYANT-TP4.VLSI.CS.CMU.EDU", bryant.V4, greatwhite.V4},
				{"greatwhite6.example", "bryant6.example", bryant.V6, greatwhite.V6},
			} {
				d := talk(t, on(t, bryant, client, tc.call, fmt.Sprint(port)))
				d.say("hello there\n")
				d.hear("echo:HELLO THERE\ntype:")
				from := clientSocket(t, bryant, netip.AddrPortFrom(tc.to, port))
				if from.Addr() != tc.from {
					t.Errorf("the client called from %v, want %v", from, tc.from)
				}
				d.in.Close()
				if got := d.end(); got.status != 0 || !strings.HasSuffix(got.out, "\nConnection closed\n") {
					t.Errorf("the client: %+v", got)
				}
				s.log.want("a client of another host", connected(tc.client, from), "server received 12 bytes")
			}
		})
	}
}

// clientSocket returns the socket address that a client on h has which is connected to
// a server, as ss(8) shows it there.
func clientSocket(t *testing.T, h *netns.Host, server netip.AddrPort) netip.AddrPort {
	t.Helper()
	for line := range strings.Lines(h.Run("ss", "-Htn", "state", "established")) {
		f := strings.Fields(line) // receive queue, send queue, local, peer
		if len(f) < 4 || f[3] != server.String() {
			continue
		}
		local, err := netip.ParseAddrPort(f[2])
		if err != nil {
			t.Fatal(err)
		}
		return local
	}
	t.Fatalf("no client on %s is connected to %v", h.Name, server)
	return netip.AddrPort{}
}

// While the client's name is being looked up the lines wait, and the answers do not.
func TestSlowName(t *testing.T) {
	t.Parallel()
	for _, name := range servers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			here, there := netns.Two(t)
			names := &nameServer{name: "slow.example", hold: make(chan struct{})}
			names.serveNames(t, there, here)
			s := start(t, on(t, here, name, fmt.Sprint(port)))
			var want []string
			for range 2 {
				c := dialFrom(t, there, here)
				c.say("hello there")
				c.say("again")
				c.Close()
				want = append(want, connected("slow.example", c.local()), "server received 12 bytes", "server received 6 bytes")
			}
			names.awaitQuestion(t)
			s.log.wantNone("the name is not known")
			close(names.hold)
			s.log.want("the name has come", want...)
			s.log.wantNone("that was all")
		})
	}
}

// A name server that never answers costs the lines two seconds, and the answers none.
func TestNoNameInTime(t *testing.T) {
	t.Parallel()
	for _, name := range servers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			here, there := netns.Two(t)
			(&nameServer{}).serveNames(t, there, here)
			s := start(t, on(t, here, name, fmt.Sprint(port)))
			began := time.Now()
			c := dialFrom(t, there, here)
			c.say("hello there")
			answered := time.Since(began)
			s.log.want("the address stands for the name", connected("", c.local()), "server received 12 bytes")
			if told := time.Since(began); told < 1500*time.Millisecond || answered > told-time.Second {
				t.Errorf("the answer took %v and its line %v; want the line after 2 s and the answer before", answered, told)
			}
		})
	}
}

// A name is its owner's text: what no host can have as a name is not shown.
func TestHostileName(t *testing.T) {
	t.Parallel()
	here, there := netns.Two(t)
	(&nameServer{name: "a\x1b[2Jb.example"}).serveNames(t, there, here)
	s := start(t, on(t, here, concurrent, fmt.Sprint(port)))
	c := dialFrom(t, there, here)
	c.say("hello there")
	s.log.want("a name with ESC", connected("", c.local()), "server received 12 bytes")
}

// Lines that wait for a name when the server is told to end are written first.
func TestStopWaitsForNames(t *testing.T) {
	t.Parallel()
	here, there := netns.Two(t)
	names := &nameServer{name: "slow.example", hold: make(chan struct{})}
	names.serveNames(t, there, here)
	s := start(t, on(t, here, concurrent, fmt.Sprint(port)))
	c := dialFrom(t, there, here)
	c.say("hello there")
	names.awaitQuestion(t)
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	close(names.hold)
	if err := s.cmd.Wait(); err != nil {
		t.Errorf("the server ended with %v", err)
	}
	s.log.want("before the end", connected("slow.example", c.local()), "server received 12 bytes")
}

// A name that does not exist and a port where nobody listens are different errors.
func TestClientFindsNoHost(t *testing.T) {
	t.Parallel()
	here, there := netns.Two(t)
	(&nameServer{name: "unused.example"}).serveNames(t, there, here)
	got := run(t, on(t, here, client, "nosuch.example", "7"), "hello\n")
	want := result{"", "echoclient: look up nosuch.example: no such host; check the spelling, or give an IP address\n", 1}
	if got != want {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	got = run(t, on(t, here, client, there.V4.String(), "7"), "hello\n")
	if got.status != 1 || !strings.Contains(got.err, "connect to 192.0.2.2:7: ") || !strings.Contains(got.err, "connection refused") {
		t.Errorf("where nobody listens: got %+v", got)
	}
}
