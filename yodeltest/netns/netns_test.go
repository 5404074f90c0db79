package netns

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"yodel/yodeltest"
)

// listen returns a listener on the host at addr, whose connections are echoed.
func listen(t *testing.T, h *Host, addr netip.AddrPort) net.Listener {
	t.Helper()
	var l net.Listener
	err := h.Inside(func() (err error) {
		l, err = net.Listen("tcp", addr.String())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for c, err := l.Accept(); err == nil; c, err = l.Accept() {
			go func() {
				defer c.Close()
				io.Copy(c, c)
			}()
		}
	}()
	return l
}

// dial returns a connection from the host to addr.
func dial(t *testing.T, h *Host, addr string) (c net.Conn, err error) {
	t.Helper()
	err = h.Inside(func() (err error) {
		c, err = net.DialTimeout("tcp", addr, patience)
		return err
	})
	if err == nil {
		t.Cleanup(func() { c.Close() })
		c.SetDeadline(time.Now().Add(patience))
	}
	return c, err
}

func mustDial(t *testing.T, h *Host, addr string) net.Conn {
	t.Helper()
	c, err := dial(t, h, addr)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// say sends a line and waits until it has come back.
func say(t *testing.T, c net.Conn, line string) {
	t.Helper()
	fmt.Fprintln(c, line)
	got, err := bufio.NewReader(c).ReadString('\n')
	if got != line+"\n" || err != nil {
		t.Fatalf("%q came back as %q, %v", line, got, err)
	}
}

func TestTwoHostsTalk(t *testing.T) {
	t.Parallel()
	a, b := Two(t)
	for name, pair := range map[string][2]netip.Addr{"v4": {a.V4, b.V4}, "v6": {a.V6, b.V6}} {
		l := listen(t, a, netip.AddrPortFrom(pair[0], 7))
		c := mustDial(t, b, l.Addr().String())
		say(t, c, "over the cable")
		if got := c.LocalAddr().(*net.TCPAddr).AddrPort().Addr(); got != pair[1] {
			t.Errorf("%s: b called from %v, want its address %v", name, got, pair[1])
		}
	}
}

// Two tests may use the same addresses and ports at the same time.
func TestPairsAreApart(t *testing.T) {
	t.Parallel()
	a, _ := Two(t)
	_, b := Two(t)
	here := listen(t, a, netip.AddrPortFrom(a.V4, 7))
	if c, err := dial(t, b, here.Addr().String()); err == nil {
		t.Errorf("a host of another pair was reached from %v", c.LocalAddr())
	}
	outside, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer outside.Close()
	if c, err := dial(t, b, outside.Addr().String()); err == nil {
		t.Errorf("the machine's loopback was reached from %v", c.LocalAddr())
	}
}

func TestProgramsHaveFilesOfTheirOwn(t *testing.T) {
	t.Parallel()
	a, b := Two(t)
	for _, h := range []*Host{a, b} {
		hosts := h.Run("cat", "/etc/hosts")
		for _, line := range []string{"127.0.0.1 localhost", "192.0.2.1 a.test", "2001:db8::1 a.test", "192.0.2.2 b.test", "2001:db8::2 b.test"} {
			if !slices.Contains(strings.Split(hosts, "\n"), line) {
				t.Errorf("%s has no line %q among its hosts:\n%s", h.Name, line, hosts)
			}
		}
	}
	a.Etc("resolv.conf", "nameserver 192.0.2.2\n")
	if got := a.Run("cat", "/etc/resolv.conf"); got != "nameserver 192.0.2.2\n" {
		t.Errorf("a.test has the resolv.conf %q", got)
	}
	if got := b.Run("cat", "/etc/resolv.conf"); strings.Contains(got, "nameserver") {
		t.Errorf("b.test has the resolv.conf %q", got)
	}
	machine, err := os.ReadFile("/etc/hosts")
	if err != nil || strings.Contains(string(machine), "a.test") {
		t.Errorf("the machine's own hosts: %q, %v", machine, err)
	}
}

// A program that runs sees what its files are changed to.
func TestFilesChangeUnderAProgram(t *testing.T) {
	t.Parallel()
	a, _ := Two(t)
	cmd := a.Command("sh", "-c", "echo ready; read go; cat /etc/hosts")
	in, out := yodeltest.Start(t, cmd)
	r := bufio.NewReader(out)
	if _, err := r.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	a.Etc("hosts", "192.0.2.2 other.test\n")
	fmt.Fprintln(in, "go")
	if got, err := r.ReadString('\n'); got != "192.0.2.2 other.test\n" || err != nil {
		t.Errorf("the program reads %q, %v", got, err)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

// A signal must reach the program itself, and its status the test.
func TestCommandIsTheProgram(t *testing.T) {
	t.Parallel()
	a, _ := Two(t)
	cmd := a.Command("sh", "-c", "echo $$; read forever; exit 3")
	in, out := yodeltest.Start(t, cmd)
	var pid int
	if _, err := fmt.Fscan(out, &pid); err != nil || pid != cmd.Process.Pid {
		t.Errorf("the program says it is process %d (%v), and we started %d", pid, err, cmd.Process.Pid)
	}
	in.Close()
	exit, ok := errors.AsType[*exec.ExitError](cmd.Wait())
	if !ok || exit.ExitCode() != 3 {
		t.Errorf("it ended with %v, want status 3", exit)
	}
}

func TestLinkDownAndUp(t *testing.T) {
	t.Parallel()
	a, b := Two(t)
	for _, addr := range []netip.Addr{a.V4, a.V6} {
		l := listen(t, a, netip.AddrPortFrom(addr, 7))
		c := mustDial(t, b, l.Addr().String())
		say(t, c, "before")
		b.LinkDown()
		if cut, err := dial(t, b, l.Addr().String()); err == nil {
			t.Fatalf("connected through a cable that is down: %v", cut.LocalAddr())
		}
		b.LinkUp()
		say(t, c, "the connection has outlived it")
		say(t, mustDial(t, b, l.Addr().String()), "and there is a new one")
		if strings.Contains(a.Run("ip", "-brief", "link", "show", a.Device), "NO-CARRIER") {
			t.Error("a sees no carrier after LinkUp")
		}
	}
}

// The other end notices nothing but the missing carrier: what it sends waits.
func TestTheOtherHostKeepsSending(t *testing.T) {
	t.Parallel()
	a, b := Two(t)
	l := listen(t, a, netip.AddrPortFrom(a.V4, 7))
	c := mustDial(t, b, l.Addr().String())
	say(t, c, "before")
	a.LinkDown()
	if _, err := io.WriteString(c, "into the "); err != nil {
		t.Fatalf("b cannot write while a is down: %v", err)
	}
	a.LinkUp()
	fmt.Fprintln(c, "void")
	if got, err := bufio.NewReader(c).ReadString('\n'); got != "into the void\n" || err != nil {
		t.Errorf("after the cut comes %q, %v", got, err)
	}
}

func TestInsideReturnsTheError(t *testing.T) {
	t.Parallel()
	a, _ := Two(t)
	if err := a.Inside(func() error { return io.ErrUnexpectedEOF }); err != io.ErrUnexpectedEOF {
		t.Errorf("Inside returned %v, want what the function did", err)
	}
	if err := a.Inside(func() error { runtime.Goexit(); return nil }); err == nil {
		t.Error("Inside returned nil for a function that did not return")
	}
	nowhere := &Host{Namespace: "no-such-namespace"}
	if err := nowhere.Inside(func() error { return nil }); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Inside a host that is gone: %v", err)
	}
}

// The process as a whole stays where it is, whichever thread Inside takes.
func TestInsideLeavesTheProcess(t *testing.T) {
	t.Parallel()
	a, _ := Two(t)
	before, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	for range 200 {
		var inside string
		if err := a.Inside(func() (err error) {
			inside, err = os.Readlink("/proc/thread-self/ns/net")
			return err
		}); err != nil || inside == before {
			t.Fatalf("inside is %s, outside %s, %v", inside, before, err)
		}
		if after, err := os.Readlink("/proc/self/ns/net"); after != before || err != nil {
			t.Fatalf("the process has moved from %s to %s, %v", before, after, err)
		}
	}
}

func TestNothingIsLeft(t *testing.T) {
	t.Parallel()
	var names []string
	t.Run("a test", func(t *testing.T) {
		a, b := Two(t)
		names = []string{a.Namespace, b.Namespace}
		if names[0] == names[1] {
			t.Errorf("both hosts are %s", names[0])
		}
		a.Command("sleep", "1000").Start() // is in the way of nothing
	})
	for _, name := range names {
		for _, dir := range []string{runDir, etcDir} {
			if _, err := os.Stat(filepath.Join(dir, name)); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("%s is still in %s: %v", name, dir, err)
			}
		}
	}
}

// What a killed test has left is taken down, and nothing else.
func TestSweep(t *testing.T) {
	t.Parallel()
	a, _ := Two(t) // and so there is ip, and we are root
	gone := exec.Command("true")
	if err := gone.Run(); err != nil {
		t.Fatal(err)
	}
	left := fmt.Sprintf("%s%d-LEFTOVERa", prefix, gone.Process.Pid)
	strange := fmt.Sprintf("not-%s%d", prefix, os.Getpid())
	for _, name := range []string{left, strange} {
		if out, err := exec.Command(a.ip, "netns", "add", name).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		t.Cleanup(func() { exec.Command(a.ip, "netns", "del", name).Run() })
	}
	if err := os.Mkdir(filepath.Join(etcDir, left), 0o755); err != nil {
		t.Fatal(err)
	}
	sweep(a.ip)
	if slices.Contains(namesIn(runDir), left) || slices.Contains(namesIn(etcDir), left) {
		t.Errorf("%s is still there", left)
	}
	for _, name := range []string{strange, a.Namespace} {
		if !slices.Contains(namesIn(runDir), name) {
			t.Errorf("%s was taken down too", name)
		}
	}
}

func TestAbandoned(t *testing.T) {
	t.Parallel()
	yodeltest.NeedLinux(t)
	for name, want := range map[string]bool{
		prefix + "999999999-XYZa":                     true,
		fmt.Sprintf("%s%d-XYZa", prefix, os.Getpid()): false,
		prefix + "1-XYZa":                             false,
		prefix + "999999999":                          false,
		prefix + "some-XYZa":                          false,
		"other-999999999-XYZa":                        false,
	} {
		if got := abandoned(name); got != want {
			t.Errorf("abandoned(%q) = %v, want %v", name, got, want)
		}
	}
}
