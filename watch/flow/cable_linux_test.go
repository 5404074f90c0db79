package flow_test

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"yodel/yodeltest"
	"yodel/yodeltest/netns"
)

// A trouble is what a bad network does to packets, each with a probability.
type trouble struct {
	lose, double, delay float64
	delayed             time.Duration // for how long, if it is delayed: others overtake it
	travel              time.Duration // for how long any packet is under way
}

// A cable joins two hosts, beside the one of package netns, through this process, which
// can do to packets what it likes: the kernel's own means (netem) are not everywhere.
// Device is its name at both ends.
type cable struct {
	Device string
	A, B   netip.Addr
	A6, B6 netip.Addr

	mu     sync.Mutex
	chance *rand.Rand
	does   trouble
	ends   [2]*os.File
}

// newCable joins a and b.
func newCable(t *testing.T, a, b *netns.Host, does trouble) *cable {
	t.Helper()
	c := &cable{
		Device: "yodel0", does: does, chance: rand.New(rand.NewPCG(1, 2)),
		A: netip.MustParseAddr("198.18.0.1"), B: netip.MustParseAddr("198.18.0.2"),
		A6: netip.MustParseAddr("2001:db8:1::1"), B6: netip.MustParseAddr("2001:db8:1::2"),
	}
	for i, h := range []*netns.Host{a, b} {
		c.ends[i] = tunnel(t, h, c.Device)
		h.Run("ip", "link", "set", c.Device, "mtu", "1500", "up")
		h.Run("ip", "addr", "add", netip.PrefixFrom([]netip.Addr{c.A, c.B}[i], 24).String(), "dev", c.Device)
		h.Run("ip", "addr", "add", netip.PrefixFrom([]netip.Addr{c.A6, c.B6}[i], 64).String(), "dev", c.Device, "nodad")
	}
	var done sync.WaitGroup
	done.Go(func() { c.carry(c.ends[0], c.ends[1]) })
	done.Go(func() { c.carry(c.ends[1], c.ends[0]) })
	t.Cleanup(func() {
		c.ends[0].Close()
		c.ends[1].Close()
		done.Wait()
	})
	return c
}

// tunnel makes a TUN device on a host, whose packets the file has.
func tunnel(t *testing.T, h *netns.Host, name string) *os.File {
	t.Helper()
	var file *os.File
	err := h.Inside(func() error {
		fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
		if err != nil {
			return os.NewSyscallError("open /dev/net/tun", err)
		}
		request, err := unix.NewIfreq(name)
		if err != nil {
			return err
		}
		request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, request); err != nil {
			return os.NewSyscallError("ioctl TUNSETIFF", err)
		}
		file = os.NewFile(uintptr(fd), name)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// carry takes packets from one end to the other. Each that is not delayed keeps its place.
func (c *cable) carry(from, to *os.File) {
	line := make(chan arrival, 1<<12)
	defer close(line)
	go deliver(line, to)
	buf := make([]byte, 1<<16)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		for _, after := range c.fate() {
			line <- arrival{time.Now().Add(after), append([]byte(nil), buf[:n]...)}
		}
	}
}

// arrival is a packet under way.
type arrival struct {
	at     time.Time
	packet []byte
}

// deliver writes packets when they arrive.
func deliver(line <-chan arrival, to io.Writer) {
	var waiting []arrival // by the time of arrival
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		if len(waiting) > 0 {
			timer.Reset(time.Until(waiting[0].at))
		}
		select {
		case n, ok := <-line:
			if !ok {
				return
			}
			at, _ := slices.BinarySearchFunc(waiting, n, func(w, n arrival) int {
				if w.at.After(n.at) {
					return 1
				}
				return -1
			})
			waiting = slices.Insert(waiting, at, n)
		case <-timer.C:
		}
		for len(waiting) > 0 && !time.Now().Before(waiting[0].at) {
			to.Write(waiting[0].packet)
			waiting = waiting[1:]
		}
	}
}

// fate returns when each copy of a packet arrives.
func (c *cable) fate() []time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	first := c.does.travel
	if c.chance.Float64() < c.does.delay {
		first += c.does.delayed
	}
	switch p := c.chance.Float64(); {
	case p < c.does.lose:
		return nil
	case p < c.does.lose+c.does.double:
		return []time.Duration{first, first}
	}
	return []time.Duration{first}
}

// set changes what the cable does.
func (c *cable) set(does trouble) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.does = does
}

// record captures what goes over a device of the host to a file, with tcpdump, until stop is
// called.
func record(t *testing.T, h *netns.Host, device, file string, more ...string) (stop func()) {
	t.Helper()
	yodeltest.NeedProgram(t, "tcpdump")
	args := append([]string{"-i", device, "-n", "-U", "--immediate-mode", "-B", "16384", "-s", "2048", "-Z", "root", "-w", file}, more...)
	cmd := h.Command("tcpdump", args...)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	said := bufio.NewReader(stderr)
	for line := ""; !strings.Contains(line, "listening on"); {
		if line, err = said.ReadString('\n'); err != nil {
			t.Fatalf("tcpdump: %v", err)
		}
	}
	return func() {
		t.Helper()
		cmd.Process.Signal(syscall.SIGINT)
		rest, _ := io.ReadAll(said)
		if err := cmd.Wait(); err != nil {
			t.Fatalf("tcpdump: %v: %s", err, rest)
		}
		if !strings.Contains(string(rest), "\n0 packets dropped by kernel") {
			t.Logf("tcpdump: %s", rest)
		}
	}
}

// serve runs a program on the host to the end of the test, and waits until it listens
// at the port.
func serve(t *testing.T, h *netns.Host, port int, name string, args ...string) {
	t.Helper()
	yodeltest.NeedProgram(t, name)
	cmd := h.Command(name, args...)
	var said strings.Builder
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	listening := fmt.Sprintf(":%04X 00000000", port)
	listening6 := fmt.Sprintf(":%04X 00000000000000000000000000000000:0000 0A", port)
	deadline := time.Now().Add(10 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		sockets := h.Run("cat", "/proc/net/tcp", "/proc/net/tcp6")
		if strings.Contains(sockets, listening) || strings.Contains(sockets, listening6) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s does not listen at port %d: %s", name, port, &said)
		}
		<-tick.C
	}
}

// run runs a client to its end, whatever that is.
func run(t *testing.T, h *netns.Host, input string, name string, args ...string) {
	t.Helper()
	yodeltest.NeedProgram(t, name)
	cmd := h.Command(name, args...)
	cmd.Stdin = strings.NewReader(input)
	out, err := cmd.CombinedOutput()
	if _, ended := err.(*exec.ExitError); err != nil && !ended {
		t.Fatalf("%s: %v: %s", name, err, out)
	}
	t.Logf("%s: %v, %d bytes of output: %.200q", name, err, len(out), out)
}

// dialFrom connects to an address, from the host.
func dialFrom(t *testing.T, h *netns.Host, d *net.Dialer, address string) (c net.Conn, err error) {
	t.Helper()
	err = h.Inside(func() (err error) {
		c, err = d.Dial("tcp", address)
		return err
	})
	return c, err
}
