package capture

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"yodel/yodeltest/netns"
)

// Without programs in the kernel: a connection that lasts is seen from its SYN on.
func TestByPort(t *testing.T) {
	t.Parallel()
	a, b := netns.Two(t)
	serveAll(t, a, ":7")
	serveAll(t, b, ":7")
	for _, p := range places(a, b) {
		t.Run(p.name, func(t *testing.T) {
			var c *Capture
			var conn net.Conn
			if err := a.Inside(func() (err error) {
				if c, err = Open(&Config{Method: ByPort, Ports: []uint16{7}}); err == nil {
					conn, err = net.Dial("tcp", p.remote.String())
				}
				return err
			}); err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			defer conn.Close()
			if info := c.Info(); info.Method != ByPort || fmt.Sprint(info.Ports) != "[7]" || info.Exact {
				t.Errorf("%+v", info)
			}
			watchdog := time.AfterFunc(patience, func() { c.Close() })
			defer watchdog.Stop()
			syns := 0
			for _, say := range []string{"one", "two", "three"} {
				io.WriteString(conn, say)
				for heard := 0; heard < 2; { // there and back
					packets, err := c.Next()
					if err != nil {
						t.Fatalf("%v, waiting for %q; %+v", err, say, c.Stats())
					}
					for _, packet := range packets {
						if packet.Proof != Socket {
							t.Errorf("proved by %v", packet.Proof)
						}
						if s := seen(&packet); s.opens() {
							syns++
						}
						heard += bytes.Count(packet.Data, []byte(say))
					}
				}
			}
			if syns != 1 {
				t.Errorf("%d SYNs", syns)
			}
		})
	}
}

// Without programs in the kernel less of the owner is seen, and of another user nothing
// all the same.
func TestByPortTakingTurns(t *testing.T) {
	t.Parallel()
	a, b := netns.Two(t)
	serveAll(t, a, ":7")
	serveAll(t, b, ":7")
	own, other := startUser(t, a, firstUser), startUser(t, a, secondUser)
	k := openOn(t, a, &Config{UID: firstUser, Method: ByPort, Ports: []uint16{7}})
	for _, p := range places(a, b) {
		for i := range 7 * *times {
			for _, end := range []string{"reset", "server", "udp"} {
				for _, u := range []*user{other, own, other} {
					e := errand{Do: "tcp", End: end, Local: p.ports(20000+i, 1), Remote: p.remote.String(), Say: canaryOf(u == own)}
					if end == "udp" {
						e.Do = "udp"
					}
					u.do(e)
				}
			}
		}
	}
	packets := k.all()
	checkCanaries(t, packets, nil)
	if s := k.c.Stats(); s.Unproved == 0 || s.Unproved+s.Delivered != s.Received {
		t.Errorf("%+v", s)
	}
}

// The ports that the owner has in use are taken, where none is named, and what comes to
// a socket that waits is seen.
func TestByPortInUse(t *testing.T) {
	t.Parallel()
	a, b := netns.Two(t)
	own, other, caller := startUser(t, a, firstUser), startUser(t, a, secondUser), startUser(t, b, secondUser)
	own.do(errand{Do: "serve", Local: []string{":10007"}})
	own.do(errand{Do: "bind", Local: []string{":10008"}})
	other.do(errand{Do: "serve", Local: []string{":10009"}})
	k := openOn(t, a, &Config{UID: firstUser, Method: ByPort})
	if ports := fmt.Sprint(k.c.Info().Ports); ports != "[10007 10008]" {
		t.Errorf("ports %s", ports)
	}
	for _, port := range []uint16{10007, 10009} {
		caller.do(errand{Do: "tcp", Local: []string{":0"}, Remote: netip.AddrPortFrom(a.V6, port).String(), Say: "x", End: "fin"})
	}
	packets := k.all()
	of := having(packets, func(_ *Packet, s *sight) bool {
		return s.key.source().Port() == 10007 || s.key.destination().Port() == 10007
	})
	if len(of) == 0 || len(of) != len(packets) || !func() bool { s := seen(&packets[0]); return s.opens() }() {
		t.Errorf("want the SYN to 10007 and what follows, nothing else:\n%s", lines(packets))
	}
}

// Of two connections with the same ports, one after the other, only the packets of the
// one whose socket was seen are proved.
func TestPortProofs(t *testing.T) {
	t.Parallel()
	key := keyOf(unix.IPPROTO_TCP, netip.MustParseAddrPort("192.0.2.1:1000"), netip.MustParseAddrPort("192.0.2.2:7"), 0)
	packet := func(out bool, flags byte, seq uint32, time int64) sight {
		s := sight{transport: true, direction: In, time: time, header: header{key: *key.reversed(), flags: flags, seq: seq}}
		if out {
			s.direction, s.key = Out, key
		}
		return s
	}
	all := []sight{
		packet(true, tcpSYN, 1, 10), // someone else's
		packet(true, tcpACK, 2, 20),
		packet(false, tcpACK, 9, 30),
		packet(true, tcpSYN, 5, 40), // ours
		packet(true, tcpSYN, 5, 50), // again
		packet(false, tcpACK, 6, 60),
		packet(false, tcpACK, 6, 90), // after it was seen last
	}
	d, err := newDiag()
	if err != nil {
		t.Fatal(err)
	}
	defer d.close()
	g := &portGate{
		asker:  asker{keeper: &keeper{}, diag: d},
		starts: map[flowKey]start{}, now: map[flowKey]provedFlow{},
	}
	for i := range all {
		g.note(i, &all[i])
	}
	a := &answer{socketEntry: socketEntry{Cookie: 3}, asked: 80}
	g.now[key] = g.first(key, a, true)
	for i, want := range []bool{false, false, false, true, true, true, false} {
		if v := g.admit(i, &all[i], &Packet{}); v == shown != want {
			t.Errorf("packet %d is shown: %v", i, !want)
		}
	}
	if g.admit(0, &sight{}, &Packet{}) == shown {
		t.Error("what is neither TCP nor UDP is shown")
	}
	udp := keyOf(unix.IPPROTO_UDP, key.source(), key.destination(), 0)
	if f := g.first(udp, a, true); f.covers(0, 50) {
		t.Error("a datagram from before its socket was known is shown")
	}
	if f := g.first(key, a, false); f.covers(3, 50) {
		t.Error("a connection is proved by a SYN that may not be its own")
	}
	g.keeper.since = map[uint64]int64{3: 45}
	if f := g.first(udp, a, false); f.from != 45 {
		t.Errorf("a socket that waits since 45 is known from %d", f.from)
	}
}

// A socket that has changed hands proves nothing from then on.
func TestPortProofEndsWithTheOwner(t *testing.T) {
	t.Parallel()
	key := keyOf(unix.IPPROTO_TCP, netip.MustParseAddrPort("192.0.2.1:1000"), netip.MustParseAddrPort("192.0.2.2:7"), 0)
	g := &portGate{asker: asker{uid: firstUser}, known: map[flowKey]provedFlow{key: {cookie: 3, from: 10, until: 20}}}
	a := &answer{socketEntry: socketEntry{Cookie: 3, UID: secondUser, Inode: 7, State: 1, Remote: key.destination()}, there: true, asked: 80, answered: 90}
	if f := g.prove(key, a, true); !f.covers(0, 15) || f.covers(0, 50) {
		t.Errorf("it proves from %d until %d", f.from, f.until)
	}
	if f, still := g.known[key]; still {
		t.Errorf("it is still known, from %d until %d", f.from, f.until)
	}
	g.known[key] = provedFlow{cookie: 3, from: 10, until: 20}
	a.UID, a.Inode = 0, 0
	if f := g.prove(key, a, true); !f.covers(0, 50) {
		t.Error("a socket that is closed is somebody else's")
	}
}
