package capture

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/netip"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"yodel/yodeltest"
	"yodel/yodeltest/netns"
)

const (
	firstUser  = 12345
	secondUser = 65534 // by which number the kernel also means: nobody that we know
)

// A place is where two users talk to the same server.
type place struct {
	name   string
	local  netip.Addr
	remote netip.AddrPort
}

func places(a, b *netns.Host) []place {
	at := func(name string, local, remote netip.Addr) place {
		return place{name, local, netip.AddrPortFrom(remote, 7)}
	}
	lo4, lo6 := netip.MustParseAddr("127.0.0.1"), netip.IPv6Loopback()
	return []place{
		at("loopback v4", lo4, lo4), at("loopback v6", lo6, lo6),
		at("cable v4", a.V4, b.V4), at("cable v6", a.V6, b.V6),
	}
}

// A view is what is watched in a test of two users. Of loopback alone packets are taken where
// they arrive, and elsewhere where they leave.
type view struct{ name, only string }

var views = []view{{"all interfaces", ""}, {"loopback alone", "lo"}}

func (v view) config(uid uint32) *Config { return &Config{UID: uid, Interface: v.only} }

// places returns the places that are seen.
func (v view) places(a, b *netns.Host) []place {
	all := places(a, b)
	if v.only == "lo" {
		return all[:2]
	}
	return all
}

func (p place) ports(first, n int) (local []string) {
	for i := range n {
		local = append(local, netip.AddrPortFrom(p.local, uint16(first+i)).String())
	}
	return local
}

// Two users in one network take turns with the same ports, towards the same server, and
// in all ways in which a conversation can end. Of one all is seen, of the other nothing.
func TestTwoUsersTakeTurns(t *testing.T) {
	t.Parallel()
	for _, run := range []struct {
		uids [2]uint32
		view
	}{
		{[2]uint32{firstUser, secondUser}, views[0]},
		{[2]uint32{secondUser, firstUser}, views[0]},
		{[2]uint32{firstUser, secondUser}, views[1]},
	} {
		uids := run.uids
		t.Run(fmt.Sprintf("of users %d and %d, %s", uids[0], uids[1], run.name), func(t *testing.T) {
			t.Parallel()
			a, b := netns.Two(t)
			serveAll(t, a, ":7")
			serveAll(t, b, ":7")
			own, other := startUser(t, a, uids[0]), startUser(t, a, uids[1])
			k := openOn(t, a, run.config(uids[0]))
			if info := k.c.Info(); info.Method != ByKernel || !info.Exact {
				t.Fatalf("%+v", info)
			}
			var all []errand
			for _, p := range run.places(a, b) {
				for i, end := range []string{"reset", "server", "udp"} {
					e := errand{Do: "tcp", End: end, Remote: p.remote.String()}
					if end == "udp" {
						e.Do = "udp"
					}
					e.Local = p.ports(20000+100*i, 7**times)
					all = append(all, e)
				}
			}
			for _, e := range all {
				for i := range e.Local { // one at a time: the port goes from hand to hand
					one := e
					one.Local = e.Local[i : i+1]
					for j, u := range []*user{other, own, other} {
						one.Say = fmt.Sprintf("%s-%s-%s-%d-%d", canaryOf(u == own), e.Remote, e.End, i, j)
						u.do(one)
					}
				}
			}
			checkCanaries(t, k.all(), all)
		})
	}
}

// times is for long runs of the tests of two users. Each as it is gives each of 7 ports from
// hand to hand three times, in 12 ways, twice, and in 6 of them once more: 630 conversations.
var times = flag.Int("capture.times", 1, "how many times as many ports two users take turns with; at most 14")

func canaryOf(own bool) string {
	if own {
		return "OURS"
	}
	return "NOT-FOR-YOU"
}

// checkCanaries looks for all of one user and nothing of the other.
func checkCanaries(t *testing.T, packets []Packet, all []errand) {
	t.Helper()
	if leaked := having(packets, func(p *Packet, _ *sight) bool { return bytes.Contains(p.Data, []byte("NOT-FOR-YOU")) }); len(leaked) > 0 {
		t.Errorf("%d packets of the other user's:\n%s", len(leaked), lines(leaked))
	}
	for _, e := range all {
		for i, local := range e.Local {
			canary := fmt.Sprintf("OURS-%s-%s-%d-1-0;", e.Remote, e.End, i)
			said := having(packets, func(p *Packet, _ *sight) bool { return bytes.Contains(p.Data, []byte(canary)) })
			if len(said) != 2 {
				t.Errorf("%s was seen %d times, not there and back:\n%s", canary, len(said), lines(said))
			}
			checkEnds(t, packets, &e, netip.MustParseAddrPort(local))
		}
	}
}

// checkEnds looks for exactly one beginning and end of the connection of one port.
func checkEnds(t *testing.T, packets []Packet, e *errand, local netip.AddrPort) {
	t.Helper()
	if e.Do != "tcp" {
		return
	}
	count := func(flags byte, of *netip.AddrPort, f func(*sight) netip.AddrPort) int {
		return len(having(packets, func(_ *Packet, s *sight) bool {
			return s.transport && s.key.Proto == unix.IPPROTO_TCP && s.flags&(tcpSYN|tcpRST|tcpACK|tcpFIN) == flags && f(s) == *of
		}))
	}
	from := func(s *sight) netip.AddrPort { return s.key.source() }
	to := func(s *sight) netip.AddrPort { return s.key.destination() }
	want := map[string]int{"SYN": 1, "SYN-ACK": 1}
	got := map[string]int{
		"SYN":     count(tcpSYN, &local, from),
		"SYN-ACK": count(tcpSYN|tcpACK, &local, to),
	}
	if e.End == "server" {
		want["FIN"], want["FIN of the server"] = 1, 1
		got["FIN"], got["FIN of the server"] = count(tcpFIN|tcpACK, &local, from), count(tcpFIN|tcpACK, &local, to)
	} else {
		want["RST"] = 1
		got["RST"] = count(tcpRST|tcpACK, &local, from)
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%s, port %d: %v, want %v", e.Remote, local.Port(), got, want)
	}
}

const tcpFIN = 0x01

// What is sent to a port that the owner has talked from, and that someone else holds
// now, who has not sent anything yet: nothing on the wire tells the two apart.
func TestDatagramsForTheNextOne(t *testing.T) {
	t.Parallel()
	for _, v := range views {
		t.Run(v.name, func(t *testing.T) {
			t.Parallel()
			datagramsForTheNextOne(t, v)
		})
	}
}

func datagramsForTheNextOne(t *testing.T, v view) {
	a, b := netns.Two(t)
	own, other := startUser(t, a, firstUser), startUser(t, a, secondUser)
	k := openOn(t, a, v.config(firstUser))
	rounds := 12 * *times
	seen := v.places(a, b)
	for _, p := range seen {
		host := b
		if p.local.IsLoopback() {
			host = a
		}
		var server net.PacketConn
		err := host.Inside(func() (err error) {
			server, err = net.ListenPacket("udp", p.remote.String())
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		for i := range rounds {
			local := p.ports(30000+i, 1)
			done := make(chan error, 1)
			go func() {
				buf := make([]byte, 1000)
				n, from, err := server.ReadFrom(buf)
				if err == nil {
					_, err = server.WriteTo(buf[:n], from)
				}
				done <- err
			}()
			own.do(errand{Do: "udp", Local: local, Remote: p.remote.String(), Say: "OURS"})
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			other.do(errand{Do: "bind", Local: local})
			to := net.UDPAddrFromAddrPort(netip.MustParseAddrPort(local[0]))
			if _, err := server.WriteTo([]byte("NOT-FOR-YOU-0;"), to); err != nil {
				t.Fatal(err)
			}
			other.do(errand{Do: "hear", Say: "NOT-FOR-YOU"})
		}
		server.Close()
	}
	packets := k.all()
	if want := 2 * rounds * len(seen); len(packets) != want {
		t.Errorf("%d packets, want %d:\n%s", len(packets), want, lines(packets))
	}
	checkCanaries(t, packets, nil)
}

// Both users use the same ports at the same time, whoever comes first, and end in all
// ways.
func TestTwoUsersAtOnce(t *testing.T) {
	t.Parallel()
	for _, v := range views {
		t.Run(v.name, func(t *testing.T) {
			t.Parallel()
			twoUsersAtOnce(t, v)
		})
	}
}

func twoUsersAtOnce(t *testing.T, v view) {
	a, b := netns.Two(t)
	serveAll(t, a, ":7")
	serveAll(t, b, ":7")
	own, other := startUser(t, a, firstUser), startUser(t, a, secondUser)
	k := openOn(t, a, v.config(firstUser))
	rounds := 15 * *times
	seen := v.places(a, b)
	run := func(u *user) error {
		for _, p := range seen {
			for _, end := range []string{"reset", "server", "udp"} {
				e := errand{Do: "tcp", End: end, Remote: p.remote.String(), Say: canaryOf(u == own)}
				if end == "udp" {
					e.Do = "udp"
				}
				for range rounds / 3 {
					e.Local = append(e.Local, p.ports(20000, 3)...)
				}
				if n, err := u.try(e); err != nil || n != rounds {
					return fmt.Errorf("user %d: %d, %w", u.uid, n, err)
				}
			}
		}
		return nil
	}
	done := make(chan error)
	go func() { done <- run(other) }()
	if err := errors.Join(run(own), <-done); err != nil {
		t.Fatal(err)
	}
	packets := k.all()
	checkCanaries(t, packets, nil)
	syns := having(packets, func(_ *Packet, s *sight) bool { return s.opens() })
	said := having(packets, func(p *Packet, _ *sight) bool { return bytes.Contains(p.Data, []byte("OURS-")) })
	if want := rounds * 2 * len(seen); len(syns) < want || len(said) < 3*want {
		t.Errorf("%d SYNs, want %d; %d packets with what was said, want %d", len(syns), want, len(said), 3*want)
	}
}

// What someone else has sent may still wait for the wire when the owner has the port.
func TestQueue(t *testing.T) {
	t.Parallel()
	a, b := netns.Two(t)
	yodeltest.NeedProgram(t, "tc")
	serveAll(t, b, ":7")
	own, other := startUser(t, a, firstUser), startUser(t, a, secondUser)
	for _, p := range places(a, b)[2:] { // know each other's link addresses
		own.do(errand{Do: "udp", Local: []string{":0"}, Remote: p.remote.String(), Say: "first"})
	}
	queue := func(rate, burst string) {
		a.Run("tc", "qdisc", "replace", "dev", "eth0", "root", "tbf", "rate", rate, "burst", burst, "limit", "1000000")
	}
	queue("2mbit", "1600")
	k := openOn(t, a, &Config{UID: firstUser, Method: ByKernel})
	for i, p := range places(a, b)[2:] {
		local := p.ports(20000+i, 1)
		other.do(errand{Do: "blurt", End: "tcp", Local: local, Remote: p.remote.String(), Say: "NOT-FOR-YOU"})
		own.do(errand{Do: "tcp", End: "server", Local: local, Remote: p.remote.String(), Say: "OURS"})
	}
	queue("1kbit", "1600") // nothing goes before it is let go
	sink := startUser(t, b, secondUser)
	sink.do(errand{Do: "bind", Local: []string{":10009"}})
	deaf := func(p place) string { return netip.AddrPortFrom(p.remote.Addr(), 10009).String() }
	for i, p := range places(a, b)[2:] {
		other.do(errand{Do: "blurt", End: "udp", Local: p.ports(20010+i, 1), Remote: deaf(p), Say: "NOT-FOR-YOU"})
		own.do(errand{Do: "blurt", End: "udp", Local: p.ports(20010+i, 1), Remote: deaf(p), Say: "OURS-BLURT"})

		// One that is connected, is known, and has not sent anything yet.
		other.do(errand{Do: "blurt", End: "udp", Local: p.ports(20020+i, 1), Remote: deaf(p), Say: "NOT-FOR-YOU"})
		own.do(errand{Do: "connect", Local: p.ports(20020+i, 1), Remote: deaf(p)})
		key := keyOf(unix.IPPROTO_UDP, netip.MustParseAddrPort(p.ports(20020+i, 1)[0]), netip.MustParseAddrPort(deaf(p)), 0)
		for known := false; !known; _, known = k.c.programs.own(&key) {
			runtime.Gosched()
		}

		// One that is not connected can't be told from its port's last holder.
		other.do(errand{Do: "blurt", End: "udp", Local: p.ports(20030+i, 1), Remote: deaf(p), Say: "NOT-FOR-YOU"})
		own.do(errand{Do: "send", Local: p.ports(20030+i, 1), Remote: deaf(p), Say: "OURS-HIDDEN"})
	}
	queue("1gbit", "1000000")
	for _, p := range places(a, b)[2:] { // behind all that
		own.do(errand{Do: "udp", Local: []string{":0"}, Remote: p.remote.String(), Say: "OURS-LAST"})
	}
	packets := k.all()
	checkCanaries(t, packets, nil)
	for said, want := range map[string]int{"OURS-0": 4, "OURS-BLURT": 16, "OURS-HIDDEN": 0, "OURS-LAST": 4} {
		if n := unlike(having(packets, func(p *Packet, _ *sight) bool { return bytes.Contains(p.Data, []byte(said)) })); n != want {
			t.Errorf("%s is in %d packets, want %d:\n%s", said, n, want, lines(packets))
		}
	}
}

// unlike returns how many packets there are, not counting what TCP has sent again.
func unlike(packets []Packet) (n int) {
	type segment struct {
		from netip.AddrPort
		seq  uint32
	}
	seenBefore := map[segment]bool{}
	for i := range packets {
		s := seen(&packets[i])
		one := segment{s.key.source(), s.seq}
		if s.key.Proto != unix.IPPROTO_TCP || !seenBefore[one] {
			n++
		}
		seenBefore[one] = true
	}
	return n
}

// A tunnel's packets carry those of many users. Only what is inside is shown, on the
// tunnel's own interface.
func TestTunnel(t *testing.T) {
	t.Parallel()
	a, b := netns.Two(t)
	for _, h := range []struct {
		*netns.Host
		far   netip.Addr
		inner string
	}{{a, b.V4, "10.9.0.1"}, {b, a.V4, "10.9.0.2"}} {
		out, err := h.Command("ip", "link", "add", "tunnel0", "type", "vxlan", "id", "1", "remote", h.far.String(),
			"dstport", "4789", "srcport", "20000", "20001", "dev", h.Device).CombinedOutput()
		if bytes.Contains(out, []byte("Unknown device type")) {
			yodeltest.Skip(t, "this kernel has no VXLAN", "load the module vxlan")
		}
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		h.Run("ip", "addr", "add", h.inner+"/24", "dev", "tunnel0")
		h.Run("ip", "link", "set", "tunnel0", "up")
	}
	serveAll(t, b, ":7")
	own, other := startUser(t, a, firstUser), startUser(t, a, secondUser)
	k := openOn(t, a, &Config{UID: firstUser})
	for _, do := range []string{"tcp", "udp"} {
		for range 10 {
			for _, u := range []*user{own, other} {
				u.do(errand{Do: do, Local: []string{":0"}, Remote: "10.9.0.2:7", Say: canaryOf(u == own)})
			}
		}
	}
	asTheTunnel := []string{"10.9.0.1:20000"}
	own.do(errand{Do: "udp", Local: asTheTunnel, Remote: "10.9.0.2:7", Say: "OURS"})
	other.do(errand{Do: "udp", Local: []string{":0"}, Remote: "10.9.0.2:7", Say: "NOT-FOR-YOU"})
	own.do(errand{Do: "bind", Local: asTheTunnel})
	own.do(errand{Do: "tell", Remote: "10.9.0.2:7", Say: "OURS"})
	other.do(errand{Do: "udp", Local: []string{":0"}, Remote: "10.9.0.2:7", Say: "NOT-FOR-YOU"})
	packets := k.all()
	checkCanaries(t, packets, nil)
	said := having(packets, func(p *Packet, _ *sight) bool { return bytes.Contains(p.Data, []byte("OURS")) })
	outside := having(packets, func(p *Packet, _ *sight) bool { return p.Name != "tunnel0" })
	if len(said) != 44 || len(outside) != 0 {
		t.Errorf("%d packets with what was said, want 44; %d outside of the tunnel:\n%s", len(said), len(outside), lines(outside))
	}
}

// A connection whose socket changes hands, as it does when somebody else accepts what a
// listener of the owner's has let in, is the owner's no longer.
func TestSocketGivenAway(t *testing.T) {
	t.Parallel()
	a, b := netns.Two(t)
	serveAll(t, b, ":7")
	var c net.Conn
	if err := a.Inside(func() (err error) {
		c, err = net.Dial("tcp", netip.AddrPortFrom(b.V4, 7).String())
		return err
	}); err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	first, second := openOn(t, a, nil), openOn(t, a, &Config{UID: firstUser})
	say := func(text string) {
		t.Helper()
		if _, err := io.WriteString(c, text); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(c, make([]byte, len(text))); err != nil {
			t.Fatal(err)
		}
	}
	say("before")
	raw, err := c.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var given error
	if err := raw.Control(func(fd uintptr) { given = unix.Fchown(int(fd), firstUser, firstUser) }); err != nil || given != nil {
		t.Fatal(err, given)
	}
	say("after")
	for name, k := range map[string]struct {
		*catch
		before, after int
	}{"who had it": {first, 2, 0}, "who has it": {second, 0, 2}} {
		packets := k.all()
		for text, want := range map[string]int{"before": k.before, "after": k.after} {
			said := having(packets, func(p *Packet, _ *sight) bool { return bytes.Contains(p.Data, []byte(text)) })
			if len(said) != want {
				t.Errorf("%s: %q was seen %d times, want %d:\n%s", name, text, len(said), want, lines(packets))
			}
		}
	}
}
