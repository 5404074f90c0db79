package enginetest

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"yodel/engine"
	"yodel/trace"
	"yodel/yodeltest"
)

// tryMaxConns: those beyond MaxConns wait in the accept queue, and are served when
// others leave.
func tryMaxConns(k *kit, t *testing.T) {
	most := 2
	if k.traits.OneAtATime {
		most = 1
	}
	gate := engine.NewGate(&engine.GateConfig{MaxConns: most})
	s := k.serve(t, k.line(), engine.Config{Gate: gate})
	var inside []*client
	for range most {
		c := s.dial()
		c.ask("within the bound", "hi\n", k.says("hi\n"))
		inside = append(inside, c)
	}
	waiting := s.dial()
	waiting.send("me too\n")
	for range 20 {
		for _, c := range inside {
			c.ask("those inside are served", "hi\n", k.says("hi\n"))
		}
	}
	if n := s.Stats().Accepted; n != int64(most) {
		t.Errorf("%d were accepted", n)
	}
	inside[0].Close()
	waiting.want("one has left", k.says("me too\n"))
	list, _ := s.events.look()
	if order := opsOf(list, trace.Accept, trace.Close); order != strings.Repeat("accept ", most)+"close accept " {
		t.Errorf("the order is %s", order)
	}
}

// tryMaxConnsOverall: MaxConns holds for all listeners together, whoever waited for a
// connection on the others when the last place was taken on one.
func tryMaxConnsOverall(k *kit, t *testing.T) {
	s := k.serve(t, k.line(), engine.Config{Gate: engine.NewGate(&engine.GateConfig{MaxConns: 1})})
	places := []place{s.at, onTCP(t), onTCP(t)}
	for i, at := range places { // now all are accepted from
		if i > 0 {
			s.alsoAt(at)
		}
		c := s.dialAt(at)
		c.ask("alone", "hi\n", k.says("hi\n"))
		c.Close()
		s.awaitEnds("it leaves", i+1, engine.Peer)
	}
	inside := s.dial()
	inside.ask("the only one", "hi\n", k.says("hi\n"))
	const waiting = 9
	answers := make(chan string, waiting)
	for i := range waiting {
		c := s.dialAt(places[i%len(places)])
		c.send("me too\n")
		go func() {
			answer := make([]byte, len(k.says("me too\n")))
			n, _ := io.ReadFull(c, answer)
			c.Close()
			answers <- string(answer[:n])
		}()
	}
	for range 20 {
		inside.ask("the one inside is served", "hi\n", k.says("hi\n"))
	}
	inside.Close()
	for range waiting {
		if got := <-answers; got != k.says("me too\n") {
			t.Errorf("one that had waited was told %q", got)
		}
	}
	all := len(places) + 1 + waiting
	s.awaitEnds("all have left", all, engine.Peer)
	list, _ := s.events.look()
	if order := opsOf(list, trace.Accept, trace.Close); order != strings.Repeat("accept close ", all) {
		t.Errorf("two were served at once: %s", order)
	}
}

// tryFullStop: who waits for a place is let go by Close, and was never served.
func tryFullStop(k *kit, t *testing.T) {
	s := k.serve(t, k.line(), engine.Config{Gate: engine.NewGate(&engine.GateConfig{MaxConns: 1})})
	other := onTCP(t)
	s.alsoAt(other)
	c := s.dialAt(other) // now it is accepted from
	c.ask("alone", "hi\n", k.says("hi\n"))
	c.Close()
	s.awaitEnds("it leaves", 1, engine.Peer)
	inside := s.dial()
	inside.ask("the only one", "hi\n", k.says("hi\n"))
	waiting := []*client{s.dial(), s.dialAt(other)}
	for range 20 {
		inside.ask("the one inside is served", "hi\n", k.says("hi\n"))
	}
	wantErr(t, "Close", s.Close(), nil)
	for range 2 {
		s.wantServed(engine.ErrClosed)
	}
	for _, c := range append(waiting, inside) {
		c.wantGone("the engine is closed")
	}
	if n := s.Stats().Accepted; n != 2 {
		t.Errorf("%d were accepted", n)
	}
}

// opsOf names those events of list that are one of ops, in order.
func opsOf(list []trace.Event, ops ...trace.Op) string {
	var b strings.Builder
	for _, e := range list {
		for _, op := range ops {
			if e.Op == op {
				b.WriteString(string(op) + " ")
			}
		}
	}
	return b.String()
}

// tryPerAddress: one address has its bound, and others are not touched by it.
func tryPerAddress(k *kit, t *testing.T) {
	at := fromAfar(t, "198.51.100.7:1000", "198.51.100.7:1001", "198.51.100.7:1002", "198.51.100.8:1000", "198.51.100.7:1003")
	s := k.serveAt(t, at, "echo", engine.Config{Gate: engine.NewGate(&engine.GateConfig{MaxPerIP: 2})})
	first, second := s.dial(), s.dial()
	first.ask("the first", "x", "x")
	second.ask("the second of the same address", "x", "x")
	s.dial().wantGone("the third")
	s.awaitEnds("it is counted", 1, engine.PerAddress)
	s.dial().ask("another address", "x", "x")
	first.Close()
	s.awaitEnds("the first leaves", 1, engine.Peer)
	s.dial().ask("one more of that address", "x", "x")
	s.wantOneLog("connection refused", "198.51.100.7:1002")
}

// wantOneLog wants one line in the log, with all of words.
func (s *server) wantOneLog(words ...string) {
	s.t.Helper()
	text := s.logs.text()
	for _, w := range words {
		if strings.Count(text, "\n") != 1 || !strings.Contains(text, w) {
			s.t.Errorf("one line with %q is wanted, and logged was:\n%s", words, text)
		}
	}
}

// fromAfar is a TCP socket whose peers seem to come from the addresses remotes, one
// after the other.
func fromAfar(t *testing.T, remotes ...string) place {
	at := onTCP(t)
	at.Listener = &strangers{Listener: at.Listener, remotes: remotes}
	return at
}

type strangers struct {
	net.Listener
	remotes []string
}

func (l *strangers) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	s := stranger{nc.(*net.TCPConn), net.TCPAddrFromAddrPort(netip.MustParseAddrPort(l.remotes[0]))}
	l.remotes = l.remotes[1:]
	return s, nil
}

type stranger struct {
	*net.TCPConn
	remote net.Addr
}

func (s stranger) RemoteAddr() net.Addr { return s.remote }

// tryAllowDeny: who is not allowed is closed at once, and counted.
func tryAllowDeny(k *kit, t *testing.T) {
	yodeltest.NeedLinux(t) // where all of 127.0.0.0/8 is this host
	gate := engine.NewGate(&engine.GateConfig{
		Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/24")},
		Deny:  []netip.Prefix{netip.MustParsePrefix("127.0.0.9/32")},
	})
	s := k.serve(t, "echo", engine.Config{Gate: gate})
	for i, from := range []string{"127.0.0.9", "127.0.1.1"} {
		s.dialFrom(from, 0).wantGone(from)
		s.awaitEnds(from, i+1, engine.Denied)
	}
	s.dialFrom("127.0.0.8", 0).ask("allowed", "x", "x")
	s.wantOneLog("connection refused", "127.0.0.9:")
}

// tryBounce: a source port that FTP servers call from is not served.
func tryBounce(k *kit, t *testing.T) {
	yodeltest.NeedLinux(t)
	yodeltest.NeedRoot(t)
	s := k.serve(t, "echo", engine.Config{RefuseFrom: []uint16{20}})
	host := fmt.Sprintf("127.20.%d.%d", os.Getpid()>>8&0xff, os.Getpid()&0xff) // other tests have others
	s.dialFrom(host, 20).wantGone("port 20")
	s.awaitEnds("it is refused", 1, engine.BouncePort)
	s.dialFrom(host, 0).ask("any other port", "x", "x")
	s.wantOneLog("connection refused", host+":20")
}

// dialFrom connects from an address of this host; port 0 is any.
func (s *server) dialFrom(host string, port uint16) *client {
	s.t.Helper()
	d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(host), port)), Timeout: patience}
	nc, err := d.DialContext(context.Background(), "tcp", s.at.Addr().String())
	if err != nil {
		s.t.Fatal(err)
	}
	return s.talkOver(nc)
}

// tryRefusedStorm: refusals are logged once a second, however many there are.
func tryRefusedStorm(k *kit, t *testing.T) {
	const storm = 300
	from := time.Now()
	s := k.serve(t, "echo", engine.Config{RefuseFrom: allPorts(), Gate: engine.NewGate(nil)})
	for range storm {
		s.dial().wantGone("it is refused")
	}
	s.awaitEnds("all are counted", storm, engine.BouncePort)
	if n := strings.Count(s.logs.text(), "\n"); n > 1+int(time.Since(from).Seconds()) {
		t.Errorf("%d lines in %v", n, time.Since(from))
	}
}

func allPorts() (ports []uint16) {
	for p := range 1 << 16 {
		ports = append(ports, uint16(p))
	}
	return ports
}
