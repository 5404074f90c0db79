package jury

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"yodel/yodeltest"
)

// The addresses of a lane. Lanes are hosts of their own, so all have the same.
const (
	clientAddr   = "192.0.2.2"
	routerClient = "192.0.2.1"
	routerServer = "198.51.100.1"
	serverAddr   = "198.51.100.2"
	serverName   = "server.jury.test"
)

// hosts is a client's host, a server's host, and a router between them.
type hosts struct {
	t                      testing.TB
	client, router, server string // namespaces
	dir                    string
	marker                 net.Listener // on the server's host, for mark
}

// newHosts makes the three, which end with the test.
func newHosts(t testing.TB) *hosts {
	t.Helper()
	yodeltest.NeedLinux(t)
	for _, p := range []string{"ip", "nft", "tcpdump", "curl", "nginx", "ncat", "socat"} {
		yodeltest.NeedProgram(t, p)
	}
	yodeltest.NeedRoot(t)
	id := fmt.Sprintf("yodel-jury-%d-%s", os.Getpid(), rand.Text()[:6])
	h := &hosts{t: t, client: id + "c", router: id + "r", server: id + "s", dir: t.TempDir()}
	for _, ns := range []string{h.client, h.router, h.server} {
		h.must("ip", "netns", "add", ns)
		t.Cleanup(func() {
			exec.Command("ip", "netns", "del", ns).Run()
			os.RemoveAll(filepath.Join("/etc/netns", ns))
		})
	}
	h.batch(h.router,
		"link set lo up",
		"link add c type veth peer name eth0 netns "+h.client,
		"link add s type veth peer name eth0 netns "+h.server,
		"addr add "+routerClient+"/24 dev c", "addr add "+routerServer+"/24 dev s",
		"link set c up", "link set s up")
	h.batch(h.client, "link set lo up", "addr add "+clientAddr+"/24 dev eth0", "link set eth0 up", "route add default via "+routerClient)
	h.batch(h.server, "link set lo up", "addr add "+serverAddr+"/24 dev eth0", "link set eth0 up", "route add default via "+routerServer)
	h.must("ip", "netns", "exec", h.router, "sysctl", "-qw", "net.ipv4.ip_forward=1")
	for _, ns := range []string{h.client, h.server} { // buffers that are soon full
		h.must("ip", "netns", "exec", ns, "sysctl", "-qw", "net.ipv4.tcp_rmem=4096 65536 262144", "net.ipv4.tcp_wmem=4096 65536 262144")
	}
	etc := filepath.Join("/etc/netns", h.client)
	if err := os.MkdirAll(etc, 0o755); err != nil {
		t.Fatal(err)
	}
	h.write(filepath.Join(etc, "resolv.conf"), "nameserver "+routerClient+"\noptions timeout:5\n")
	h.write(filepath.Join(etc, "hosts"), "127.0.0.1 localhost\n")
	// From before all captures: of a server that begins to listen meanwhile, ours may miss the
	// first SYN, and would have a hole then.
	h.marker = h.listen(h.server, serverAddr+":9")
	t.Cleanup(func() { h.marker.Close() })
	return h
}

func (h *hosts) write(path, text string) {
	h.t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		h.t.Fatal(err)
	}
}

func (h *hosts) must(name string, args ...string) {
	h.t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		h.t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
}

func (h *hosts) batch(ns string, lines ...string) {
	h.t.Helper()
	cmd := exec.Command("ip", "-n", ns, "-batch", "-")
	cmd.Stdin = strings.NewReader(strings.Join(lines, "\n") + "\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		h.t.Fatalf("ip -n %s: %v: %s", ns, err, out)
	}
}

// nft has the router do something to packets that it forwards.
func (h *hosts) nft(rules string) {
	h.t.Helper()
	cmd := exec.Command("ip", "netns", "exec", h.router, "nft", "-f", "-")
	cmd.Stdin = strings.NewReader("table ip jury\ndelete table ip jury\n" + rules)
	if out, err := cmd.CombinedOutput(); err != nil {
		h.t.Fatalf("nft: %v: %s\n%s", err, out, rules)
	}
}

// forward is a table with one chain that has the given rule.
func forward(rule string) string {
	return "table ip jury {\n chain f {\n type filter hook forward priority 0\n " + rule + "\n}\n}\n"
}

// command is a program on one of the hosts, that is killed when the test ends.
func (h *hosts) command(ctx context.Context, ns, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "ip", append([]string{"netns", "exec", ns, name}, args...)...)
	cmd.WaitDelay = time.Second
	return cmd
}

// inside calls f on a thread that is on the host.
func inside(ns string, f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and ends with it
		if unix.Gettid() == unix.Getpid() {
			defer runtime.UnlockOSThread()
			done <- inside(ns, f)
			return
		}
		file, err := os.Open(filepath.Join("/run/netns", ns))
		if err == nil {
			err = unix.Setns(int(file.Fd()), unix.CLONE_NEWNET)
			file.Close()
		}
		if err == nil {
			err = f()
		}
		done <- err
	}()
	return <-done
}

func (h *hosts) listen(ns, addr string) net.Listener {
	h.t.Helper()
	var l net.Listener
	err := inside(ns, func() (err error) {
		l, err = net.Listen("tcp4", addr)
		return err
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return l
}

func dialFrom(ns, addr string, timeout time.Duration) (net.Conn, error) {
	var c net.Conn
	err := inside(ns, func() (err error) {
		c, err = net.DialTimeout("tcp4", addr, timeout)
		return err
	})
	return c, err
}

// heard is what a program says, until it has said what is waited for.
type heard struct {
	text bytes.Buffer
	want string
	done chan struct{}
	over bool
}

func (s *heard) Write(b []byte) (int, error) {
	if !s.over {
		s.text.Write(b)
		if strings.Contains(s.text.String(), s.want) {
			s.over = true
			close(s.done)
		}
	}
	return len(b), nil
}
