//go:build unix

package sock

import (
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// passedTo runs this test again as a process that is started with the sockets, by the
// protocol that systemd speaks, and returns what it printed.
func passedTo(t *testing.T, names string, files ...*os.File) string {
	t.Helper()
	// LISTEN_PID must be the process's own, which a shell knows before it becomes it.
	cmd := exec.Command("/bin/sh", "-c", `LISTEN_PID=$$ exec "$0" "$@"`, os.Args[0], "-test.run=^TestPassedSocketsChild$", "-test.v")
	cmd.Env = append(os.Environ(), "SOCK_TEST_CHILD=1", "LISTEN_FDS="+strconv.Itoa(len(files)), "LISTEN_FDNAMES="+names, "GORACE=atexit_sleep_ms=0")
	cmd.ExtraFiles = files
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return string(out)
}

// TestPassedSocketsChild is the process of the other tests.
func TestPassedSocketsChild(t *testing.T) {
	if os.Getenv("SOCK_TEST_CHILD") == "" {
		if all, err := PassedSockets(nil); len(all) > 0 || err != nil {
			t.Errorf("without activation: %v, %v", all, err)
		}
		return
	}
	all, err := PassedSockets(nil)
	if err != nil {
		t.Log("error:", err)
	}
	for _, p := range all {
		if p.Listener != nil {
			t.Logf("%q listens on %v", p.Name, p.Listener.Address())
		} else {
			t.Logf("%q has %v", p.Name, p.PacketConn.Address())
		}
		p.Close()
	}
	if again, _ := PassedSockets(nil); len(again) > 0 {
		t.Error("taken twice")
	}
}

func TestPassedSockets(t *testing.T) {
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	udp, err := net.ListenPacket("udp", "[::1]:0")
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	path := t.TempDir() + "/s"
	local, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer local.Close()
	var files []*os.File
	for _, s := range []interface{ File() (*os.File, error) }{tcp.(*net.TCPListener), udp.(*net.UDPConn), local.(*net.UnixListener)} {
		f, err := s.File()
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		files = append(files, f)
	}
	out := passedTo(t, "echo:time:", files...)
	for _, want := range []string{
		`"echo" listens on ` + tcp.Addr().String(), `"time" has udp://` + udp.LocalAddr().String(), `"" listens on unix:` + path,
	} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in:\n%s", want, out)
		}
	}
	if _, err := os.Stat(path); err != nil {
		t.Errorf("a path that somebody else made: %v", err)
	}
}

// What is no listening stream socket and no UDP socket is refused, and told what it is.
func TestPassedThatIsOfNoUse(t *testing.T) {
	for _, tt := range []struct {
		what string
		make func(t *testing.T) *os.File
		want string
	}{
		{"a pipe", pipeFile, "it is no listening stream socket and no UDP socket"},
		{"a connection", func(t *testing.T) *os.File { return connectedPair(t, unix.SOCK_STREAM) }, "it is a connection, as units with Accept=yes pass them: let StandardInput=socket make it"},
		{"a connected datagram socket", connectedUDP, "it is a connection, as units with Accept=yes pass them: let StandardInput=socket make it"},
		{"a Unix datagram socket", func(t *testing.T) *os.File { return boundUnix(t, unix.SOCK_DGRAM) }, "it is no listening stream socket"},
		{"a listening socket of messages", func(t *testing.T) *os.File { return boundUnix(t, unix.SOCK_SEQPACKET) }, "it is no listening stream socket"},
		{"a TCP socket that does not listen", unboundTCP, "it is no listening stream socket"},
	} {
		t.Run(tt.what, func(t *testing.T) {
			if out := passedTo(t, "odd", tt.make(t)); !strings.Contains(out, `error: descriptor 3 ("odd") that was passed to this program: `+tt.want) {
				t.Errorf("%s", out)
			}
		})
	}
}

func pipeFile(t *testing.T) *os.File {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() })
	return r
}

// socketFile makes a descriptor a file that is closed with the test.
func socketFile(t *testing.T, fd int, err error) *os.File {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), "socket")
	t.Cleanup(func() { f.Close() })
	return f
}

func connectedPair(t *testing.T, kind int) *os.File {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, kind, 0)
	socketFile(t, fds[1], err)
	return socketFile(t, fds[0], err)
}

func unboundTCP(t *testing.T) *os.File {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	return socketFile(t, fd, err)
}

func boundUnix(t *testing.T, kind int) *os.File {
	t.Helper()
	fd, err := unix.Socket(unix.AF_UNIX, kind, 0)
	f := socketFile(t, fd, err)
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: t.TempDir() + "/s"}); err != nil {
		t.Fatal(err)
	}
	if kind != unix.SOCK_DGRAM {
		if err := unix.Listen(fd, 1); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

func connectedUDP(t *testing.T) *os.File {
	t.Helper()
	c, err := net.Dial("udp", "127.0.0.1:9")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	f, err := c.(*net.UDPConn).File()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func TestPassedConn(t *testing.T) {
	t.Parallel()
	for what, tt := range map[string]struct {
		file *os.File
		want string
	}{
		"a pipe":               {pipeFile(t), "is no connected stream socket"},
		"a listening socket":   {boundUnix(t, unix.SOCK_STREAM), "is a listening socket: "},
		"a socket of messages": {connectedPair(t, unix.SOCK_SEQPACKET), "is no connected stream socket: its network is unixpacket"},
		"datagrams":            {connectedUDP(t), "is no connected stream socket: its network is udp"},
		"without a peer":       {unboundTCP(t), "is no connected stream socket: it has no peer"},
	} {
		if c, err := PassedConn(tt.file, nil); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, %v", what, c, err)
		}
	}
	c, err := PassedConn(connectedPair(t, unix.SOCK_STREAM), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := c.(*net.UnixConn); !ok {
		t.Errorf("%T", c)
	}
	c.Close()
}
