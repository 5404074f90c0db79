// Package netns makes two hosts of one machine, for tests that need a network
// between client and server: addresses that are not loopback, names that differ,
// a cable that can be pulled.
//
// A host is a network namespace of Linux (network_namespaces(7)): it has interfaces,
// addresses, routes, ports and sockets of its own, and, through ip-netns(8), files of
// its own in /etc. The two share the machine's other files and its processes. They
// reach each other and nobody else.
//
//	a, b := netns.Two(t)
//	server := a.Command("echoserver", "7")
//	…
//	said := b.Run("sh", "-c", "echo hello | nc -N a.test 7")
//
// It needs root and iproute2; where they are missing the test is skipped, see
// [yodeltest.Skip].
package netns

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"yodel/yodeltest"
)

const (
	runDir = "/run/netns" // where ip-netns(8) keeps namespaces
	etcDir = "/etc/netns" // and the files that stand in for those of /etc

	patience = 10 * time.Second // for the kernel to bring a cable up
)

// A Host is one of two hosts. Its fields must not be changed.
type Host struct {
	// Name is "a.test" or "b.test". Programs on both hosts know it, from
	// hosts(5); the test's own process does not.
	Name string

	// V4 and V6 are the host's addresses: 192.0.2.1 and 2001:db8::1, or the same
	// with 2 (RFC 5737 and RFC 3849 keep these networks for such use). It has those
	// of loopback too.
	V4, V6 netip.Addr

	// Device is the network interface at this end of the cable: "eth0".
	Device string

	// Namespace is the host's name in ip-netns(8). No other one on this machine
	// has it.
	Namespace string

	t    testing.TB
	ip   string // the program
	peer *Host
}

// Two returns two hosts that are joined by a cable, with both ends up. They are taken
// down at the end of the test. Those that a killed test has left behind are taken down
// by the next call.
func Two(t testing.TB) (a, b *Host) {
	t.Helper()
	yodeltest.NeedLinux(t)
	ip := yodeltest.NeedProgram(t, "ip")
	yodeltest.NeedRoot(t)
	sweep(ip)
	id := fmt.Sprintf("%s%d-%s", prefix, os.Getpid(), rand.Text()[:8])
	a = newHost(t, ip, id, 1)
	b = newHost(t, ip, id, 2)
	a.peer, b.peer = b, a
	a.batch("link add " + a.Device + " type veth peer name " + b.Device + " netns " + b.Namespace)
	for _, h := range []*Host{a, b} {
		h.batch("link set lo up", h.addV4(), h.addV6(), h.linkSet("up"))
		h.Etc("hosts", loopbackHosts+a.hostsLines()+b.hostsLines())
		h.Etc("resolv.conf", "# no name server\n")
	}
	b.awaitPeer()
	return a, b
}

const loopbackHosts = "127.0.0.1 localhost\n::1 localhost\n"

func newHost(t testing.TB, ip, id string, number byte) *Host {
	t.Helper()
	letter := string("ab"[number-1])
	h := &Host{
		Name:      letter + ".test",
		V4:        netip.AddrFrom4([4]byte{192, 0, 2, number}),
		V6:        netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 15: number}),
		Device:    "eth0",
		Namespace: id + letter,
		t:         t,
		ip:        ip,
	}
	out, err := exec.Command(ip, "netns", "add", h.Namespace).CombinedOutput()
	if err != nil && bytes.Contains(out, []byte("not permitted")) {
		yodeltest.Skip(t, "root may not make network namespaces here: "+string(bytes.TrimSpace(out)),
			"run it with CAP_SYS_ADMIN and CAP_NET_ADMIN, a container for example as a privileged one")
	}
	if err != nil {
		t.Fatalf("ip netns add %s: %v: %s", h.Namespace, err, out)
	}
	t.Cleanup(h.remove)
	return h
}

// Command returns a program that will run on the host, found by its PATH or by a
// path with a slash. It is the caller's to start and to wait for, as with
// [exec.Command], and it is killed when the test ends. The process is the program's
// own: a signal reaches it.
func (h *Host) Command(name string, args ...string) *exec.Cmd {
	args = append([]string{"netns", "exec", h.Namespace, name}, args...)
	cmd := exec.CommandContext(h.t.Context(), h.ip, args...)
	cmd.WaitDelay = time.Second
	return cmd
}

// Run runs a program on the host and returns what it wrote to standard output. If it
// fails so does the test.
func (h *Host) Run(name string, args ...string) string {
	h.t.Helper()
	var stderr strings.Builder
	cmd := h.Command(name, args...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		h.t.Fatalf("%s on %s: %v\n%s%s", strings.Join(append([]string{name}, args...), " "), h.Name, err, out, &stderr)
	}
	return string(out)
}

// Etc sets a file of /etc as programs on the host see it, "hosts" or "resolv.conf"
// for example; the machine must have one of that name. A program sees the files that
// were set when it was started, and what they are changed to later. At first both
// hosts have a hosts file with the names of both, and a resolv.conf without a name
// server.
func (h *Host) Etc(name, content string) {
	h.t.Helper()
	dir := filepath.Join(etcDir, h.Namespace)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		h.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
		h.t.Fatal(err)
	}
}

// LinkDown takes this end of the cable down. What is under way is lost, in both
// directions, without a word: the other host sees a cable without a carrier and
// keeps sending, while this one has no route any more. Addresses stay, so connections
// go on after LinkUp, unless they have timed out by then.
func (h *Host) LinkDown() {
	h.t.Helper()
	h.batch(h.linkSet("down"))
}

// LinkUp undoes LinkDown. When it returns both hosts can send.
func (h *Host) LinkUp() {
	h.t.Helper()
	h.batch(h.linkSet("up"), h.addV6())
	h.awaitPeer()
}

func (h *Host) linkSet(state string) string { return "link set " + h.Device + " " + state }

func (h *Host) addV4() string {
	return "addr add " + netip.PrefixFrom(h.V4, 24).String() + " dev " + h.Device
}

// addV6 says replace because the kernel drops the address when the link goes down,
// and nodad because an address that is still being checked can't be used (RFC 4862
// §5.4).
func (h *Host) addV6() string {
	return "addr replace " + netip.PrefixFrom(h.V6, 64).String() + " dev " + h.Device + " nodad"
}

func (h *Host) hostsLines() string {
	return fmt.Sprintf("%s %s\n%s %s\n", h.V4, h.Name, h.V6, h.Name)
}

// batch has ip run commands on the host's own objects.
func (h *Host) batch(lines ...string) {
	h.t.Helper()
	cmd := exec.Command(h.ip, "-n", h.Namespace, "-batch", "-")
	cmd.Stdin = strings.NewReader(strings.Join(lines, "\n") + "\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		h.t.Fatalf("ip -n %s: %v: %s\n%s", h.Namespace, err, strings.Join(lines, "; "), out)
	}
}

// awaitPeer waits until the other end can send, after this one has come up. A device
// that comes up last can send at once. One that has waited for its carrier drops what
// it is given until the kernel has seen to it, a little later. (This end may not yet
// show that it is up: the kernel says so within a second, and that need not be waited
// for.)
func (h *Host) awaitPeer() {
	h.t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	end := time.Now().Add(patience)
	for !h.peer.running() {
		if time.Now().After(end) {
			h.t.Fatalf("the cable between %s and %s is not up after %v", h.Namespace, h.peer.Namespace, patience)
		}
		<-tick.C
	}
}

func (h *Host) running() bool {
	h.t.Helper()
	var device *net.Interface
	err := h.Inside(func() (err error) {
		device, err = net.InterfaceByName(h.Device)
		return err
	})
	if err != nil {
		h.t.Fatalf("%s on %s: %v", h.Device, h.Namespace, err)
	}
	return device.Flags&net.FlagRunning != 0
}

// remove takes the host down. The namespace itself is gone when the last program and
// socket in it are.
func (h *Host) remove() {
	if out, err := exec.Command(h.ip, "netns", "del", h.Namespace).CombinedOutput(); err != nil {
		h.t.Errorf("ip netns del %s: %v: %s", h.Namespace, err, out)
	}
	if err := os.RemoveAll(filepath.Join(etcDir, h.Namespace)); err != nil {
		h.t.Error(err)
	}
}
