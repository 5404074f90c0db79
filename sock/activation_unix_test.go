//go:build unix

package sock

import (
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
)

// passedTo runs this test again as a process that is started with the sockets, by the
// protocol that systemd speaks, and returns what it printed.
func passedTo(t *testing.T, names string, files ...*os.File) string {
	t.Helper()
	// LISTEN_PID must be the process's own, which a shell knows before it becomes it.
	cmd := exec.Command("/bin/sh", "-c", `LISTEN_PID=$$ exec "$0" "$@"`, os.Args[0], "-test.run=^TestPassedSocketsChild$", "-test.v")
	cmd.Env = append(os.Environ(), "SOCK_TEST_CHILD=1", "LISTEN_FDS="+strconv.Itoa(len(files)), "LISTEN_FDNAMES="+names)
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
	unix, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close()
	var files []*os.File
	for _, s := range []interface{ File() (*os.File, error) }{tcp.(*net.TCPListener), udp.(*net.UDPConn), unix.(*net.UnixListener)} {
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

func TestPassedThatIsNoSocket(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	if out := passedTo(t, "pipe", r); !strings.Contains(out, `error: descriptor 3 ("pipe")`) {
		t.Errorf("a pipe:\n%s", out)
	}
}
