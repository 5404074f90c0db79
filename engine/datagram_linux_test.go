package engine_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"yodel/engine"
	"yodel/sock"
	"yodel/trace"
	"yodel/yodeltest"
)

// askFor asks address for the echo of "hello" from a socket that hears nothing from
// any other address. It returns that socket's.
func askFor(t *testing.T, address string) (from net.Addr, err error) {
	t.Helper()
	c, err := net.Dial("udp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(10 * time.Second))
	c.Write([]byte("hello"))
	in := make([]byte, 100)
	n, err := c.Read(in)
	if err == nil && string(in[:n]) != "hello" {
		err = fmt.Errorf("answered with %q", in[:n])
	}
	return c.LocalAddr(), err
}

func TestDatagramAnswersFromTheAddressAsked(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ network, bound, asked string }{
		{"udp4", "0.0.0.0:0", "127.0.0.1"},
		{"udp4", "0.0.0.0:0", "127.0.0.2"},
		{"udp", "[::]:0", "127.0.0.2"},
		{"udp", "[::]:0", "127.200.1.9"},
		{"udp", "[::]:0", "::1"},
		{"udp6", "[::]:0", "::1"},
		{"udp4", "127.0.0.2:0", "127.0.0.2"},
	} {
		pc := listenUDP(t, tt.network, tt.bound)
		r := serveDatagrams(t, echoReply, engine.DatagramConfig{}, pc)
		asked := to(pc, tt.asked).String()
		client, err := askFor(t, asked)
		if err != nil {
			t.Errorf("%s bound to %s, asked at %s: %v", tt.network, tt.bound, asked, err)
			continue
		}
		if e := r.next(trace.Write); e.Local.String() != asked || e.Remote.String() != client.String() {
			t.Errorf("%s bound to %s: the pair is %v, %v; want %v, %s", tt.network, tt.bound, e.Remote, e.Local, client, asked)
		}
	}
}

// The sockets of package sock are more than a *net.UDPConn and lose nothing by it.
func TestDatagramsOnASocketOfSock(t *testing.T) {
	t.Parallel()
	pc, err := sock.ListenPacket(t.Context(), sock.Address{Network: "udp"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	r := serveDatagrams(t, echoReply, engine.DatagramConfig{}, pc)
	asked := to(pc, "127.0.0.2").String()
	if _, err := askFor(t, asked); err != nil {
		t.Fatal(err)
	}
	if e := r.next(trace.Write); e.Local.String() != asked || e.Conn != pc.ID() || e.FD == 0 {
		t.Errorf("the event is incomplete: %+v", e)
	}
}

// inNewNetwork returns sockets of the addresses in a network namespace of their own,
// set up by arguments of ip(8).
func inNewNetwork(t *testing.T, setUp []string, addresses ...string) []*net.UDPConn {
	t.Helper()
	yodeltest.NeedRoot(t)
	ip := yodeltest.NeedProgram(t, "ip")
	var socks []*net.UDPConn
	enter := func() error {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return os.NewSyscallError("unshare", err)
		}
		for _, args := range setUp {
			if out, err := exec.Command(ip, strings.Fields(args)...).CombinedOutput(); err != nil {
				return fmt.Errorf("ip %s: %w: %s", args, err, out)
			}
		}
		for _, a := range addresses {
			pc, err := net.ListenPacket("udp", a)
			if err != nil {
				return err
			}
			socks = append(socks, pc.(*net.UDPConn))
		}
		return nil
	}
	done := make(chan error)
	go func() { done <- enter() }()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, c := range socks {
			c.Close()
		}
	})
	return socks
}

// to is the address host at the port of pc.
func to(pc net.PacketConn, host string) netip.AddrPort {
	return netip.AddrPortFrom(netip.MustParseAddr(host), uint16(pc.LocalAddr().(*net.UDPAddr).Port))
}

// Loopback has only one IPv6 address of its own, so this one gets more. Left to
// itself the kernel would answer fd00::1 from fd00::1.
func TestDatagramAnswersFromTheIPv6AddressAsked(t *testing.T) {
	t.Parallel()
	socks := inNewNetwork(t, []string{
		"link set lo up",
		"-6 addr add fd00::1/128 dev lo nodad",
		"-6 addr add fd00::2/128 dev lo nodad",
		"-6 addr add fe80::7/64 dev lo nodad",
	}, "[::]:0", "[fd00::1]:0", "[fd00::1]:0", "[fd00::1]:0")
	pc, clients := socks[0], socks[1:]
	r := serveDatagrams(t, echoReply, engine.DatagramConfig{}, pc)
	for i, asked := range []string{"fd00::2", "fd00::1", "fe80::7%1"} {
		r.insist(clients[i], to(pc, asked), trace.Write)
		clients[i].SetReadDeadline(time.Now().Add(10 * time.Second))
		_, from, err := clients[i].ReadFromUDPAddrPort(make([]byte, 100))
		if err != nil {
			t.Fatalf("asked at %s: %v\n%s", asked, err, r.log)
		}
		if got := from.Addr().WithZone(""); got != to(pc, asked).Addr().WithZone("") {
			t.Errorf("asked at %s, answered from %v", asked, got)
		}
	}
}

// insist sends "hello" from c until r has had one of the events ops for it. The
// kernel takes its time to make a new address or interface ready for use.
func (r *running) insist(c *net.UDPConn, to netip.AddrPort, ops ...trace.Op) trace.Event {
	r.t.Helper()
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for range 400 {
		c.WriteToUDPAddrPort([]byte("hello"), to) // fails while there is no route
		select {
		case e := <-r.events:
			if slices.Contains(ops, e.Op) && e.Local.Addr() == to.Addr().WithZone("") {
				return e
			}
		case <-again.C:
		}
	}
	r.t.Fatalf("no event %v came for what was sent to %v:\n%s", ops, to, r.log)
	return trace.Event{}
}

func TestDatagramsToManyAreNotAnswered(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ network, bound, asked string }{
		{"udp4", "0.0.0.0:0", "127.255.255.255"},
		{"udp", "[::]:0", "127.255.255.255"},
	} {
		pc := listenUDP(t, tt.network, tt.bound)
		r := serveDatagrams(t, echoReply, engine.DatagramConfig{}, pc)
		c := listenUDP(t, "udp4", "127.0.0.1:0") // Go lets each socket broadcast
		if _, err := c.WriteToUDPAddrPort([]byte("hello"), to(pc, tt.asked)); err != nil {
			t.Fatal(err)
		}
		if e := r.next(trace.Refuse, trace.Write); e.Text != engine.ToGroup.String() {
			t.Errorf("%s: sent to %s: %v %q", tt.network, tt.asked, e.Op, e.Text)
		}
		r.wantDropped("broadcast", map[engine.Reason]int64{engine.ToGroup: 1})
	}
}

// A directed broadcast that no list of addresses gives away, and multicast of both
// families, in a network of their own.
func TestDatagramsToGroups(t *testing.T) {
	t.Parallel()
	socks := inNewNetwork(t, []string{
		"link set lo up",
		"addr add 198.51.100.1/32 dev lo",
		"route add broadcast 198.51.100.77 dev lo table local",
		"route add 224.0.0.0/4 dev lo",
		"link add v0 index 77 type veth peer name v1", // loopback has no multicast over IPv6
		"link set v0 up",
		"link set v1 up",
		"-6 addr add fe80::7/64 dev v0 nodad",
	}, "[::]:0", "198.51.100.1:0", "[fe80::7%77]:0")
	pc, four, six := socks[0], socks[1], socks[2]
	join(t, pc)
	r := serveDatagrams(t, echoReply, engine.DatagramConfig{}, pc)
	r.insist(four, to(pc, "198.51.100.1"), trace.Write) // it is served
	for _, tt := range []struct {
		from  *net.UDPConn
		asked string
	}{
		{four, "198.51.100.77"},
		{four, "224.1.2.3"},
		{six, "ff01::1%77"},
	} {
		if e := r.insist(tt.from, to(pc, tt.asked), trace.Refuse, trace.Write); e.Text != engine.ToGroup.String() {
			t.Errorf("sent to %s: %v %q", tt.asked, e.Op, e.Text)
		}
	}
}

// join makes the host a member of 224.1.2.3 on interface 1.
func join(t *testing.T, c *net.UDPConn) {
	t.Helper()
	control(t, c, func(fd int) error {
		return unix.SetsockoptIPMreqn(fd, unix.IPPROTO_IP, unix.IP_ADD_MEMBERSHIP,
			&unix.IPMreqn{Multiaddr: [4]byte{224, 1, 2, 3}, Ifindex: 1})
	})
}

func control(t *testing.T, c *net.UDPConn, f func(fd int) error) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if failed := raw.Control(func(fd uintptr) { err = f(int(fd)) }); failed != nil || err != nil {
		t.Fatal(failed, err)
	}
}

// The socket is one that hears of what became of its answers (IP_RECVERR): the
// client that went away before it was answered makes the next call fail. The one
// that comes after it does not notice (HOSTILE B3).
func TestDatagramICMPUnreachable(t *testing.T) {
	t.Parallel()
	pc := listenUDP(t, "udp4", "127.0.0.1:0")
	control(t, pc, func(fd int) error { return unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_RECVERR, 1) })
	for range 5 {
		gone := listenUDP(t, "udp4", "127.0.0.1:0")
		gone.WriteTo([]byte("and away"), pc.LocalAddr())
		gone.Close()
	}
	r := serveDatagrams(t, echoReply, engine.DatagramConfig{}, pc)
	for range 5 {
		r.next(trace.Write)
	}
	if _, err := askFor(t, pc.LocalAddr().String()); err != nil {
		t.Error(err)
	}
	r.next(trace.Write)
	if s := r.Stats(); s.ReadErrors == 0 || s.DatagramsOut != 6 {
		t.Errorf("%d failures to read, %d answers; want the kernel's word of 5 and 6", s.ReadErrors, s.DatagramsOut)
	}
	if got := r.log.lines("reading a datagram failed", "connection refused"); len(got) != 1 {
		t.Errorf("want one line, have:\n%s", r.log)
	}
}

// What the kernel threw away because we were slow is counted.
func TestDatagramsMissed(t *testing.T) {
	t.Parallel()
	svc, inside, open := gated()
	pc := listenUDP(t, "udp4", "127.0.0.1:0")
	pc.SetReadBuffer(4096)
	r := serveDatagrams(t, svc, engine.DatagramConfig{}, pc)
	c := listenUDP(t, "udp4", "127.0.0.1:0")
	const sent = 1000
	c.WriteTo([]byte("first"), pc.LocalAddr())
	<-inside
	for range sent {
		c.WriteTo([]byte("hello"), pc.LocalAddr())
	}
	go func() {
		for range inside {
		}
	}()
	close(open)
	// On loopback a datagram is queued, or dropped, when its send returns. The last
	// one makes the kernel tell what it dropped before.
	for r.Stats().DatagramsMissed == 0 {
		c.WriteTo([]byte("last"), pc.LocalAddr())
		r.next(trace.Write)
	}
	r.Shutdown(t.Context())
	s := r.Stats()
	if s.DatagramsMissed > sent || s.DatagramsMissed+s.DatagramsIn < sent {
		t.Errorf("of %d and a few: %d read and %d missed", sent, s.DatagramsIn, s.DatagramsMissed)
	}
}

// reusing binds a socket to address, even if others are bound to it.
func reusing(t *testing.T, address string) *net.UDPConn {
	t.Helper()
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) (err error) {
		failed := c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1) })
		return errors.Join(failed, err)
	}}
	pc, err := lc.ListenPacket(context.Background(), "udp4", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pc.Close() })
	return pc.(*net.UDPConn)
}

// wired returns two sockets that nobody reads yet, and in the first one's queue a
// datagram that seems to come from the second.
func wired(t *testing.T) (a, b *net.UDPConn) {
	t.Helper()
	a, forger := listenUDP(t, "udp4", "127.0.0.1:0"), reusing(t, "127.0.0.1:0")
	b = reusing(t, forger.LocalAddr().String())
	if _, err := forger.WriteTo([]byte("ping"), a.LocalAddr()); err != nil {
		t.Fatal(err)
	}
	forger.Close()
	return a, b
}

// Two services of one process, wired to each other by one forged datagram: none is
// ever sent (HOSTILE B1).
func TestDatagramLoopInOneProcess(t *testing.T) {
	t.Parallel()
	a, b := wired(t)
	guard := engine.NewGuard(nil)
	rb := serveDatagrams(t, echoReply, engine.DatagramConfig{Guard: guard}, b)
	if _, err := askFor(t, b.LocalAddr().String()); err != nil { // so the guard knows b
		t.Fatal(err)
	}
	ra := serveDatagrams(t, echoReply, engine.DatagramConfig{Guard: guard}, a)
	if e := ra.next(trace.Refuse, trace.Write); e.Text != engine.Ourselves.String() || e.Remote.String() != b.LocalAddr().String() {
		t.Errorf("the forged datagram: %v %q from %v", e.Op, e.Text, e.Remote)
	}
	ra.wantDropped("a", map[engine.Reason]int64{engine.Ourselves: 1})
	if s := rb.Stats(); s.DatagramsIn != 1 {
		t.Errorf("b has read %d datagrams, want the one of the test", s.DatagramsIn)
	}
}

const (
	loopChild = "YODEL_TEST_DATAGRAM_LOOP" // set in a child of the next test
	loopRate  = 50
)

// childReport is what such a child prints when it is told to end.
type childReport struct {
	Stats engine.Stats
	Ran   time.Duration
}

// Two processes with an echo each, wired to each other by one forged datagram: no
// rule can tell them from clients, but the buckets end it (HOSTILE B1).
func TestDatagramLoopOfTwoProcesses(t *testing.T) {
	if os.Getenv(loopChild) != "" {
		runLoopChild()
		return
	}
	t.Parallel()
	a, b := wired(t)
	refused := make(chan string, 2)
	stopB, reportB := startLoopChild(t, b, refused)
	stopA, reportA := startLoopChild(t, a, refused)
	select {
	case <-refused: // the datagram is gone, and there is no other
	case <-time.After(20 * time.Second):
		t.Error("the loop goes on for ever")
	}
	stopA()
	stopB()
	for name, report := range map[string]childReport{"a": <-reportA, "b": <-reportB} {
		out, bound := report.Stats.DatagramsOut, int64(loopRate*(1+report.Ran.Seconds()))
		t.Logf("%s: %d answers in %v, bound %d, dropped %v", name, out, report.Ran, bound, report.Stats.Dropped)
		if out > bound {
			t.Errorf("%s sent %d answers in %v, the bound is %d", name, out, report.Ran, bound)
		}
		if out < loopRate/2 {
			t.Errorf("%s sent %d answers: there was no loop to be bounded", name, out)
		}
	}
}

// startLoopChild starts a process that serves echo on c. It sends on refused when
// the child has refused a datagram.
func startLoopChild(t *testing.T, c *net.UDPConn, refused chan<- string) (stop func(), report <-chan childReport) {
	t.Helper()
	f, err := c.File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	c.Close()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, "-test.run=^TestDatagramLoopOfTwoProcesses$")
	cmd.Env = append(os.Environ(), loopChild+"=1")
	cmd.ExtraFiles = []*os.File{f}
	cmd.Stderr = os.Stderr
	in, out := yodeltest.Start(t, cmd)
	reports := make(chan childReport, 1)
	go func() {
		defer cmd.Wait()
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			var r childReport
			if json.Unmarshal(lines.Bytes(), &r) == nil {
				reports <- r
				return
			}
			refused <- lines.Text()
		}
		reports <- childReport{}
	}()
	t.Cleanup(func() { in.Close() })
	return func() { in.Close() }, reports
}

// runLoopChild serves echo on descriptor 3 until standard input ends.
func runLoopChild() {
	pc, err := net.FilePacketConn(os.NewFile(3, "socket"))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	began := time.Now()
	d := engine.NewDatagrams(echoReply, &engine.DatagramConfig{
		Guard: engine.NewGuard(&engine.GuardConfig{LoopbackRate: loopRate}),
		Sink: trace.EachCall(trace.Func(func(e *trace.Event) {
			if e.Op == trace.Refuse {
				fmt.Println(e.Text)
			}
		})),
	})
	go d.Serve(pc)
	io.Copy(io.Discard, os.Stdin)
	d.Close()
	json.NewEncoder(os.Stdout).Encode(childReport{d.Stats(), time.Since(began)})
	os.Exit(0)
}
