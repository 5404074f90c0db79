package capture

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"yodel/yodeltest"
	"yodel/yodeltest/netns"
)

// The owner is a server, and strangers call: a user of the same host, and another host.
func TestOwnServer(t *testing.T) {
	t.Parallel()
	a, b := netns.Two(t)
	own, neighbour, caller := startUser(t, a, firstUser), startUser(t, a, secondUser), startUser(t, b, secondUser)
	own.do(errand{Do: "serve", Local: []string{":10007"}})
	k := openOn(t, a, &Config{UID: firstUser})
	const calls = 25
	at := map[netip.Addr]*user{
		netip.MustParseAddr("127.0.0.1"): neighbour, netip.IPv6Loopback(): neighbour, a.V4: caller, a.V6: caller,
	}
	for addr, u := range at {
		for _, end := range []string{"fin", "server"} {
			local := slices.Repeat([]string{":0"}, calls)
			u.do(errand{Do: "tcp", Local: local, Remote: netip.AddrPortFrom(addr, 10007).String(), Say: "FOR-THE-SERVER", End: end})
		}
	}
	if served := own.do(errand{Do: "served"}); served != 2*calls*len(at) {
		t.Errorf("served %d", served)
	}
	packets := k.all()
	count := func(flags byte) int {
		return len(having(packets, func(_ *Packet, s *sight) bool { return s.flags&(tcpSYN|tcpACK|tcpFIN) == flags }))
	}
	want := []int{200, 200, 400}
	if got := []int{count(tcpSYN), count(tcpSYN | tcpACK), count(tcpFIN | tcpACK)}; !slices.Equal(got, want) {
		t.Errorf("SYN, SYN-ACK and FIN: %v, want %v; %+v", got, want, k.c.Stats())
	}
	if said := having(packets, func(p *Packet, _ *sight) bool { return bytes.Contains(p.Data, []byte("FOR-THE-SERVER")) }); len(said) != 400 {
		t.Errorf("%d packets with what was said, want 400", len(said))
	}
}

// A connection that is older than the capture is the owner's all the same, in both
// directions, and no other is.
func TestOlderConnections(t *testing.T) {
	t.Parallel()
	a, b := netns.Two(t)
	yodeltest.NeedRoot(t)
	var c, server net.Conn
	var l net.Listener
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(b.Inside(func() (err error) { l, err = net.Listen("tcp", ":7"); return err }))
	defer l.Close()
	must(a.Inside(func() (err error) { c, err = net.Dial("tcp", netip.AddrPortFrom(b.V4, 7).String()); return err }))
	defer c.Close()
	server, err := l.Accept()
	must(err)
	defer server.Close()

	own, others := openOn(t, a, nil), openOn(t, a, &Config{UID: firstUser})
	io.WriteString(server, "from far")
	_, err = io.ReadFull(c, make([]byte, 8))
	must(err)
	io.WriteString(c, "back")
	_, err = io.ReadFull(server, make([]byte, 4))
	must(err)
	packets := own.all()
	for _, text := range []string{"from far", "back"} {
		if said := having(packets, func(p *Packet, _ *sight) bool { return bytes.Contains(p.Data, []byte(text)) }); len(said) != 1 {
			t.Errorf("%q was seen %d times:\n%s", text, len(said), lines(packets))
		}
	}
	if packets := others.all(); len(packets) != 0 {
		t.Errorf("another user's capture has\n%s", lines(packets))
	}
}

// Datagrams that don't fit into a packet, in both directions, of two users at once.
func TestFragments(t *testing.T) {
	t.Parallel()
	a, b := netns.Two(t)
	serveAll(t, b, ":7")
	own, other := startUser(t, a, firstUser), startUser(t, a, secondUser)
	k := openOn(t, a, &Config{UID: firstUser})
	const long = 9000
	for _, p := range places(a, b)[2:] {
		for range 10 {
			for _, u := range []*user{own, other} {
				say := strings.Repeat(canaryOf(u == own), long/len(canaryOf(u == own)))
				u.do(errand{Do: "udp", Local: []string{":0"}, Remote: p.remote.String(), Say: say})
			}
		}
	}
	packets := k.all()
	checkCanaries(t, packets, nil)
	for _, family := range []uint8{4, 6} {
		// 9,000 bytes and the number in pieces of 1,480 or 1,448: seven, there and back.
		var bytes int
		of := having(packets, func(p *Packet, _ *sight) bool { return p.Data[14]>>4 == family })
		for _, p := range of {
			bytes += p.Length
		}
		if len(of) != 10*2*7 || bytes < 10*2*long {
			t.Errorf("IPv%d: %d fragments, %d bytes:\n%s", family, len(of), bytes, lines(of))
		}
	}
}

// An answer that says that nobody is there is shown, and of what it quotes only the
// headers.
func TestICMPErrors(t *testing.T) {
	t.Parallel()
	a, b := netns.Two(t)
	own, other := startUser(t, a, firstUser), startUser(t, a, secondUser)
	k := openOn(t, a, &Config{UID: firstUser})
	all := places(a, b)
	for _, p := range all {
		for _, u := range []*user{own, other} {
			_, err := u.try(errand{Do: "udp", Local: p.ports(20000, 1), Remote: p.remote.String(), Say: canaryOf(u == own)})
			if err == nil || !strings.Contains(err.Error(), "refused") {
				t.Fatalf("%s: %v", p.name, err)
			}
		}
	}
	packets := k.all()
	checkCanaries(t, packets, nil)
	for i, p := range all {
		about := packets[min(2*i, len(packets)):min(2*i+2, len(packets))]
		header, quoted := 20, 20
		if p.local.Is6() {
			header, quoted = 40, 40
		}
		if len(about) != 2 || bytes.Contains(about[1].Data, []byte("OURS")) || len(about[1].Data) != 14+header+8+quoted+8 || about[1].Length <= len(about[1].Data) {
			t.Errorf("%s: a datagram and what came back:\n%s", p.name, lines(about))
		}
	}
}

// Only what was asked for.
func TestNarrowed(t *testing.T) {
	t.Parallel()
	a, b := netns.Two(t)
	serveAll(t, a, ":7", ":8")
	serveAll(t, b, ":7", ":8")
	own := startUser(t, a, firstUser)
	captures := map[string]*catch{}
	for name, cfg := range map[string]*Config{
		"7 on loopback":         {Ports: []uint16{9, 7}, Interface: "lo"},
		"8 on the cable":        {Ports: []uint16{8}, Interface: "eth0"},
		"7 at 127.0.0.1":        {Ports: []uint16{7}, Addresses: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}},
		"8 at 2001:db8::/64":    {Ports: []uint16{8}, Addresses: []netip.Prefix{netip.MustParsePrefix("fe80::/10"), netip.MustParsePrefix("2001:db8::/64")}},
		"7 at 192.0.2.2":        {Ports: []uint16{7}, Addresses: []netip.Prefix{netip.PrefixFrom(b.V4, 32)}},
		"everyone's 7 to ::1":   {AllUsers: true, Ports: []uint16{7}, Addresses: []netip.Prefix{netip.PrefixFrom(netip.IPv6Loopback(), 128)}},
		"everyone's 8 at eth0":  {AllUsers: true, Ports: []uint16{8}, Interface: "eth0"},
		"nothing of user 12346": {UID: firstUser + 1},
	} {
		if !cfg.AllUsers && cfg.UID == 0 {
			cfg.UID = firstUser
		}
		captures[name] = openOn(t, a, cfg)
	}
	for _, p := range places(a, b) {
		for _, port := range []uint16{7, 8} {
			for _, do := range []string{"tcp", "udp"} {
				own.do(errand{Do: do, Local: []string{":0"}, Remote: netip.AddrPortFrom(p.remote.Addr(), port).String(), Say: "x", End: "server"})
			}
		}
	}
	for name, want := range map[string][]string{
		"7 on loopback":         {"127.0.0.1:7", "[::1]:7"},
		"8 on the cable":        {"192.0.2.2:8", "[2001:db8::2]:8"},
		"7 at 127.0.0.1":        {"127.0.0.1:7"},
		"8 at 2001:db8::/64":    {"[2001:db8::2]:8"},
		"7 at 192.0.2.2":        {"192.0.2.2:7"},
		"everyone's 7 to ::1":   {"[::1]:7"},
		"everyone's 8 at eth0":  {"192.0.2.2:8", "[2001:db8::2]:8"},
		"nothing of user 12346": nil,
	} {
		var got []string
		for _, p := range captures[name].all() {
			s := seen(&p)
			got = append(got, s.key.destination().String(), s.key.source().String())
		}
		slices.Sort(got)
		got = slices.DeleteFunc(slices.Compact(got), func(s string) bool { p := netip.MustParseAddrPort(s).Port(); return p != 7 && p != 8 })
		if !slices.Equal(got, want) {
			t.Errorf("%s: saw talks with %v", name, got)
		}
	}
}

// A process, what it starts, and nothing else of the same user's.
func TestProcesses(t *testing.T) {
	t.Parallel()
	a, b := netns.Two(t)
	serveAll(t, b, ":7", ":8")
	yodeltest.NeedProgram(t, "bash")
	wanted, other, caller := startUser(t, a, firstUser), startUser(t, a, firstUser), startUser(t, b, firstUser)
	for u, port := range map[*user]string{wanted: "17", other: "18"} {
		u.do(errand{Do: "serve", Local: []string{":100" + port}})
	}
	k := openOn(t, a, &Config{UID: firstUser, Processes: []int{wanted.cmd.Process.Pid}})
	const shell = "for i in 1 2 3; do (bash -c 'exec 3<>/dev/tcp/%s/7; echo \"$0 of a grandchild bye.\" >&3; cat <&3 >/dev/null' %s); done"
	for u, say := range map[*user]string{wanted: "OURS", other: "NOT-FOR-YOU"} {
		u.do(errand{Do: "tcp", Local: []string{":0"}, Remote: netip.AddrPortFrom(b.V4, 7).String(), Say: say, End: "server"})
		u.do(errand{Do: "udp", Local: []string{":0"}, Remote: netip.AddrPortFrom(b.V6, 7).String(), Say: say})
		u.do(errand{Do: "run", Local: []string{"bash", "-c", fmt.Sprintf(shell, b.V4, say)}})
		port := uint16(10017)
		if u == other {
			port++
		}
		caller.do(errand{Do: "tcp", Local: []string{":0"}, Remote: netip.AddrPortFrom(a.V4, port).String(), Say: say, End: "server"})
	}
	packets := k.all()
	checkCanaries(t, packets, nil)
	ours := having(packets, func(p *Packet, _ *sight) bool { return bytes.Contains(p.Data, []byte("OURS")) })
	syns := having(packets, func(_ *Packet, s *sight) bool { return s.opens() })
	if len(ours) != 12 || len(syns) != 5 {
		t.Errorf("%d packets with what was said, want 12; %d SYNs, want 5; %+v\n%s", len(ours), len(syns), k.c.Stats(), lines(packets))
	}
	if k.c.Stats().OtherProcess == 0 {
		t.Error("what the other process sent is in no sum")
	}
}

// Of a process also what has no ports of its own: later fragments, and ICMP errors about
// what it sent.
func TestProcessesWithoutPorts(t *testing.T) {
	t.Parallel()
	a, b := netns.Two(t)
	serveAll(t, b, ":7")
	wanted, other := startUser(t, a, firstUser), startUser(t, a, firstUser)
	k := openOn(t, a, &Config{UID: firstUser, Processes: []int{wanted.cmd.Process.Pid}})
	all := places(a, b)[2:]
	for _, p := range all {
		nobody := netip.AddrPortFrom(p.remote.Addr(), 9).String()
		for u, say := range map[*user]string{wanted: "OURS", other: "NOT-FOR-YOU"} {
			u.do(errand{Do: "udp", Local: []string{":0"}, Remote: p.remote.String(), Say: strings.Repeat(say, 9000/len(say))})
			if _, err := u.try(errand{Do: "udp", Local: []string{":0"}, Remote: nobody, Say: say}); err == nil {
				t.Fatalf("%s: somebody is there", nobody)
			}
		}
	}
	packets := k.all()
	checkCanaries(t, packets, nil)
	for _, family := range []uint8{4, 6} {
		pieces := having(packets, func(p *Packet, s *sight) bool { return p.Data[14]>>4 == family && s.part })
		errors := having(packets, func(p *Packet, s *sight) bool { return p.Data[14]>>4 == family && !s.part && !s.transport })
		if len(pieces) != 2*7 || len(errors) != 1 {
			t.Errorf("IPv%d: %d fragments, want 14; %d ICMP errors, want 1:\n%s", family, len(pieces), len(errors), lines(packets))
		}
	}
}

// A Next that waits ends with Close, and what it has lent is there until it is called
// again.
func TestClose(t *testing.T) {
	t.Parallel()
	a, _ := netns.Two(t)
	serveAll(t, a, ":7")
	own := startUser(t, a, firstUser)
	var c *Capture
	if err := a.Inside(func() (err error) {
		c, err = Open(&Config{UID: firstUser})
		return err
	}); err != nil {
		t.Fatal(err)
	}
	own.do(errand{Do: "udp", Local: []string{":0"}, Remote: "127.0.0.1:7", Say: "a word"})
	packets, err := c.Next()
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(c.Close(), c.Close(), c.Stop()); err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(packets[0].Data, []byte("a word")) {
		t.Errorf("after Close the packet is %q", packets[0].Data)
	}
	for range 2 {
		if p, err := c.Next(); !errors.Is(err, net.ErrClosed) || p != nil {
			t.Errorf("Next after Close: %v, %v", p, err)
		}
	}
	if s := c.Stats(); s.Delivered != uint64(len(packets)) || s.Received < s.Delivered {
		t.Errorf("%+v", s)
	}

	if err := a.Inside(func() (err error) {
		c, err = Open(&Config{UID: firstUser})
		return err
	}); err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() {
		_, err := c.Next()
		done <- err
	}()
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-done:
		if !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
	case <-time.After(patience):
		t.Error("Next still waits")
	}
}

// The packets of a block are wiped that can't be shown to be the owner's: here those of
// a port that was the owner's until a moment ago.
func TestUnproved(t *testing.T) {
	t.Parallel()
	a, b := netns.Two(t)
	own, caller := startUser(t, a, firstUser), startUser(t, b, secondUser)
	own.do(errand{Do: "serve", Local: []string{":10007"}})
	var c *Capture
	if err := a.Inside(func() (err error) {
		c, err = Open(&Config{UID: firstUser})
		return err
	}); err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.keeper.finish() // it learns no more
	own.do(errand{Do: "served"})
	caller.try(errand{Do: "tcp", Local: []string{":0"}, Remote: netip.AddrPortFrom(a.V4, 10007).String(), Say: "NOT-FOR-YOU"})
	if err := c.read(); err != nil || len(c.packets) != 0 {
		t.Errorf("%v:\n%s", err, lines(c.packets))
	}
	block := c.ring.block(c.ring.current - 1)
	if s := c.Stats(); s.Unproved == 0 || s.Delivered != 0 || s.UnprovedBytes < 60 {
		t.Errorf("%+v", s)
	}
	c.ring.each(block, func(f frame) {
		if data, _ := f.data(); slices.Max(data) != 0 {
			t.Errorf("not wiped: %x", data)
		}
	})
}

// The ring is as large as was asked for, what does not fit is counted, and no more of a
// packet is kept than was asked for.
func TestRingFull(t *testing.T) {
	t.Parallel()
	a, _ := netns.Two(t)
	own := startUser(t, a, firstUser)
	own.do(errand{Do: "bind", Local: []string{"127.0.0.1:10009"}})
	var c *Capture
	var to net.Conn
	if err := a.Inside(func() (err error) {
		if c, err = Open(&Config{AllUsers: true, Ports: []uint16{10009}, Snap: 60000, Ring: 1, Delay: time.Millisecond}); err == nil {
			to, err = net.Dial("udp", "127.0.0.1:10009")
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	defer to.Close()
	const sent = 100
	for range sent {
		if _, err := to.Write(make([]byte, 60000)); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Stop(); err != nil {
		t.Fatal(err)
	}
	for {
		packets, err := c.Next()
		if err != nil {
			break
		}
		for _, p := range packets {
			if len(p.Data) != 60000 || p.Length != 60000+14+20+8 || !p.Unsummed {
				t.Errorf("%d of %d bytes, %v", len(p.Data), p.Length, p.Unsummed)
			}
		}
	}
	if s := c.Stats(); s.Dropped == 0 || s.Delivered == 0 || s.Delivered+s.Dropped != sent || s.Received != s.Delivered || s.Frozen == 0 {
		t.Errorf("%+v", s)
	}
}

func TestConfigIsRefused(t *testing.T) {
	t.Parallel()
	yodeltest.NeedRoot(t)
	for want, cfg := range map[string]*Config{
		"65 ports":                       {Ports: make([]uint16, 65)},
		"65 addresses":                   {Addresses: make([]netip.Prefix, 65)},
		"1000000 bytes of a packet":      {Snap: 1e6},
		`no interface "no-such-device0"`: {Interface: "no-such-device0"},
	} {
		c, err := Open(cfg)
		if err == nil {
			c.Close()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// An interface may go down and come up again; one that is gone ends its capture.
func TestInterfaceGoes(t *testing.T) {
	t.Parallel()
	a, b := netns.Two(t)
	serveAll(t, b, ":7")
	own := startUser(t, a, firstUser)
	one, all := openOn(t, a, &Config{UID: firstUser, Interface: "eth0"}), openOn(t, a, &Config{UID: firstUser})
	a.LinkDown()
	a.LinkUp()
	own.do(errand{Do: "udp", Local: []string{":0"}, Remote: netip.AddrPortFrom(b.V4, 7).String(), Say: "up again"})
	a.Run("ip", "link", "del", "eth0")
	select {
	case <-one.done:
	case <-time.After(patience):
		t.Fatal("the capture waits for an interface that is gone")
	}
	if one.err == nil || !strings.Contains(one.err.Error(), "eth0 is gone") {
		t.Error(one.err)
	}
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	var v linkValue
	for end := time.Now().Add(patience); all.c.programs.tables.links.Lookup(uint32(2), &v) == nil; <-tick.C {
		if time.Now().After(end) {
			t.Fatal("the interface is still looked at")
		}
	}
	for _, packets := range [][]Packet{one.packets, all.all()} {
		if said := having(packets, func(p *Packet, _ *sight) bool { return bytes.Contains(p.Data, []byte("up again")) }); len(said) != 2 {
			t.Errorf("seen %d times:\n%s", len(said), lines(packets))
		}
	}
}

// The kernel keeps a VLAN tag beside the packet; on the wire it stands after the
// addresses.
func TestTag(t *testing.T) {
	t.Parallel()
	raw := append(make([]byte, 100), "destinsource\x08\x00payload"...)
	f := frame{raw: raw, hdr: &unix.Tpacket3Hdr{Mac: 100, Net: 114, Snaplen: uint32(len(raw) - 100), Status: unix.TP_STATUS_VLAN_VALID}}
	f.hdr.Hv1.Vlan_tci = 0x2005
	if data, network := f.data(); string(data) != "destinsource\x81\x00\x20\x05\x08\x00payload" || network != 18 {
		t.Errorf("%q, network header at %d", data, network)
	}
	raw = append(make([]byte, 100), "destinsource\x08\x00payload"...)
	f.raw = raw
	f.hdr.Status |= unix.TP_STATUS_VLAN_TPID_VALID
	f.hdr.Hv1.Vlan_tpid = 0x88a8
	if data, _ := f.data(); string(data[12:16]) != "\x88\xa8\x20\x05" {
		t.Errorf("%q", data)
	}
	f.hdr.Status = 0
	if data, network := f.data(); len(data) != 21 || network != 14 {
		t.Errorf("%q, network header at %d", data, network)
	}
}

func TestCapabilities(t *testing.T) {
	t.Parallel()
	yodeltest.NeedRoot(t)
	if none, err := onlyCapabilities(0); none || err != nil {
		t.Errorf("root has none: %v, %v", none, err)
	}
	if all, err := onlyCapabilities(1<<64 - 1); !all || err != nil {
		t.Errorf("root has more than all: %v, %v", all, err)
	}
}

// A block that is not as documented ends the capture, and is not read.
func TestStrangeBlock(t *testing.T) {
	t.Parallel()
	const blockSize = 1 << 18
	for name, change := range map[string]func(desc *unix.TpacketHdrV1, hdr *unix.Tpacket3Hdr){
		"a packet behind the end":   func(desc *unix.TpacketHdrV1, _ *unix.Tpacket3Hdr) { desc.Offset_to_first_pkt = blockSize - 10 },
		"a length behind the end":   func(_ *unix.TpacketHdrV1, hdr *unix.Tpacket3Hdr) { hdr.Snaplen = blockSize },
		"network before link":       func(_ *unix.TpacketHdrV1, hdr *unix.Tpacket3Hdr) { hdr.Net = 70 },
		"no room for a tag":         func(_ *unix.TpacketHdrV1, hdr *unix.Tpacket3Hdr) { hdr.Mac = 0 },
		"a next one behind the end": func(desc *unix.TpacketHdrV1, hdr *unix.Tpacket3Hdr) { desc.Num_pkts, hdr.Next_offset = 2, 1<<32-1 },
	} {
		block := make([]byte, blockSize)
		desc := (*unix.TpacketHdrV1)(unsafe.Pointer(&block[unsafe.Offsetof(unix.TpacketBlockDesc{}.Hdr)]))
		desc.Num_pkts, desc.Offset_to_first_pkt = 1, 48
		hdr := (*unix.Tpacket3Hdr)(unsafe.Pointer(&block[48]))
		hdr.Mac, hdr.Net, hdr.Snaplen = 100, 114, 60
		change(desc, hdr)
		if err := (&ring{}).each(block, func(frame) {}); !errors.Is(err, errRing) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
