package echotest

import (
	"bufio"
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"yodel/sock"
)

// A server is one of the lecture's, running.
type server struct {
	t    *testing.T
	cmd  *exec.Cmd
	port int
	log  *output // its standard output
	err  *output // its standard error
}

// serve starts a server on this host, on a free port.
func serve(t *testing.T, name string) *server {
	t.Helper()
	return start(t, command(t, program(t, name), "0"))
}

// start starts a server and waits until it listens. At the end of the test it is
// killed, and must not have said anything of a fault in itself.
func start(t *testing.T, cmd *exec.Cmd) *server {
	t.Helper()
	s := &server{t: t, cmd: cmd}
	var logFile, errFile *os.File
	logFile, s.log = capture(t, "the server's log")
	errFile, s.err = capture(t, "the server's standard error")
	cmd.Stdout, cmd.Stderr = logFile, errFile
	err := cmd.Start()
	logFile.Close()
	errFile.Close()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.check)
	await(t, "the server listens", func() bool {
		s.port = listeningPort(t, cmd.Process.Pid)
		s.err.wantNone("nothing is wrong")
		return s.port != 0
	})
	return s
}

func (s *server) check() {
	s.kill()
	said := strings.Join(s.err.rest(), "\n")
	if strings.Contains(said, "DATA RACE") || strings.Contains(said, "panic") {
		s.t.Errorf("the server has said:\n%s", said)
	}
}

// kill ends the server at once, as kill -9 does.
func (s *server) kill() {
	s.cmd.Process.Kill()
	s.cmd.Wait()
}

// stop sends the server a signal and waits for its end.
func (s *server) stop(sig os.Signal) error {
	s.t.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		s.t.Fatal(err)
	}
	return s.cmd.Wait()
}

// dial connects to a server of this host, by IPv4.
func (s *server) dial() *conn {
	s.t.Helper()
	c, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", s.port), patience)
	if err != nil {
		s.t.Fatal(err)
	}
	return newConn(s.t, c)
}

// A conn is the test's own end of a connection with a server.
type conn struct {
	t *testing.T
	net.Conn
	r *bufio.Reader
}

func newConn(t *testing.T, c net.Conn) *conn {
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	return &conn{t: t, Conn: c, r: bufio.NewReader(c)}
}

// say sends a line and wants it back in upper case.
func (c *conn) say(line string) {
	c.t.Helper()
	fmt.Fprintln(c, line)
	c.hear(line)
}

// hear wants line in upper case.
func (c *conn) hear(line string) {
	c.t.Helper()
	got, err := c.r.ReadString('\n')
	if want := strings.ToUpper(line) + "\n"; got != want || err != nil {
		c.t.Fatalf("the answer to %q is %q, %v", line, got, err)
	}
}

// local returns the client's socket address.
func (c *conn) local() netip.AddrPort { return c.LocalAddr().(*net.TCPAddr).AddrPort() }

// connected returns the line that tells of a client, whose host may have no name.
func connected(name string, from netip.AddrPort) string {
	addr := from.Addr().String()
	return fmt.Sprintf("server connected to %s (%s), port %d", cmp.Or(name, addr), addr, from.Port())
}

// received returns the lines that tell of messages.
func received(lengths ...int) []string {
	lines := make([]string, len(lengths))
	for i, n := range lengths {
		lines[i] = fmt.Sprintf("server received %d bytes", n)
	}
	return lines
}

// loopbackName returns what this host calls 127.0.0.1.
func loopbackName(t *testing.T) string {
	return new(sock.Resolver).HostName(t.Context(), netip.MustParseAddr("127.0.0.1"))
}
