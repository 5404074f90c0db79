package ftp

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestActive(t *testing.T) {
	t.Parallel()
	control := int(twoFreePorts(t)) + 1
	r := serveOn(t, fmt.Sprintf("127.0.0.1:%d", control), Config{}, nil)
	r.write("file", "hello")
	c := r.login()
	for i, verb := range []string{"EPRT", "PORT", "EPRT"} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		at := l.Addr().(*net.TCPAddr).AddrPort()
		arg := fmt.Sprintf("|1|127.0.0.1|%d|", at.Port())
		if verb == "PORT" {
			arg = formatPASV(at)
		}
		c.do(verb+" "+arg, "200")
		c.do("RETR file", "150")
		nc, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		// RFC 959: from the port below the control connection's.
		if from := nc.RemoteAddr().(*net.TCPAddr).Port; from != control-1 {
			t.Errorf("transfer %d comes from port %d, want %d", i, from, control-1)
		}
		if got, _ := io.ReadAll(nc); string(got) != "hello" {
			t.Errorf("%s brings %q", verb, got)
		}
		nc.Close()
		c.want("behind RETR", "226")
	}
	c.do("RETR file", "425 Say PASV") // each is good for one transfer
}

// Where the port below may not be bound, another will do.
func TestActiveFromAnyPort(t *testing.T) {
	t.Parallel()
	first := twoFreePorts(t)
	taken, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", first))
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	control := int(first) + 1
	r := serveOn(t, fmt.Sprintf("127.0.0.1:%d", control), Config{}, nil)
	r.write("file", "hello")
	c := r.login()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c.do("PORT "+formatPASV(l.Addr().(*net.TCPAddr).AddrPort()), "200")
	c.do("RETR file", "150")
	nc, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if from := nc.RemoteAddr().(*net.TCPAddr).Port; from == control-1 {
		t.Error("it comes from a port that somebody else has")
	}
	if got, _ := io.ReadAll(nc); string(got) != "hello" {
		t.Errorf("it brings %q", got)
	}
	nc.Close()
	c.want("behind RETR", "226")
}

func TestActiveNobodyThere(t *testing.T) {
	t.Parallel()
	r := serve(t, Config{})
	r.write("file", "hello")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := l.Addr().(*net.TCPAddr).AddrPort()
	l.Close()
	c := r.login()
	c.do("PORT "+formatPASV(at), "200")
	c.do("RETR file", "150")
	c.want("nobody listens", "425 There is no data connection.")
}

func TestPASV(t *testing.T) {
	t.Parallel()
	r := serve(t, Config{})
	r.write("file", "hello")
	c := r.login()
	text := c.do("PASV", "227 Entering passive mode (127,0,0,1,")
	at, err := parsePort(strings.TrimSuffix(strings.TrimPrefix(text, "227 Entering passive mode ("), ")."))
	if err != nil {
		t.Fatal(err)
	}
	nc, err := net.Dial("tcp", at.String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	c.do("RETR file", "150")
	if got, _ := io.ReadAll(nc); string(got) != "hello" {
		t.Errorf("it brings %q", got)
	}
	nc.Close()
	c.want("behind RETR", "226")
	c.talk(talk{
		{"EPSV 1", "229"},
		{"EPSV 2", "522 This connection has another version of IP: use (1)."},
		{"EPSV x", "522"},
		{"EPRT |3|x|1|", "522"},
		{"EPRT |1|127.0.0.1|x|", "501"},
		{"EPSV ALL", "200"},
		{"PASV", "501 You have said EPSV ALL."},
		{"PORT 127,0,0,1,4,1", "501 You have said EPSV ALL."},
		{"EPRT |1|127.0.0.1|1025|", "501"},
		{"EPSV", "229"},
	})
}

func TestIPv6(t *testing.T) {
	t.Parallel()
	r := serveOn(t, "[::1]:0", Config{AllowWrite: true}, nil)
	c := r.login()
	c.put("STOR file", "hello")
	if got := c.get("RETR file"); got != "hello" {
		t.Errorf("passive: %q", got)
	}
	l, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c.talk(talk{
		{"PASV", "425 PASV has no room for this address: say EPSV."},
		{"EPSV 1", "522 This connection has another version of IP: use (2)."},
		{"EPSV 2", "229"},
		{"EPRT |1|127.0.0.1|2000|", "501"},
		{fmt.Sprintf("EPRT |2|::1|%d|", l.Addr().(*net.TCPAddr).Port), "200"},
		{"RETR file", "150"},
	})
	nc, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if got, _ := io.ReadAll(nc); string(got) != "hello" {
		t.Errorf("active: %q", got)
	}
	nc.Close()
	c.want("behind RETR", "226")
}

func TestPassivePorts(t *testing.T) {
	t.Parallel()
	first := twoFreePorts(t)
	r := serve(t, Config{PassivePorts: PortRange{first, first + 1}, PassiveAddress: netip.MustParseAddr("192.0.2.9")})
	a, b, c := r.login(), r.login(), r.login()
	ports := map[string]bool{a.passive(): true, b.passive(): true}
	if len(ports) != 2 || !ports[fmt.Sprintf("127.0.0.1:%d", first)] || !ports[fmt.Sprintf("127.0.0.1:%d", first+1)] {
		t.Errorf("%v, want the ports from %d", ports, first)
	}
	c.do("EPSV", "425 There is no port")
	a.do("PASV", "227 Entering passive mode (127,0,0,1,") // this host needs no other address
}

// twoFreePorts returns the first of two ports that nobody listens on, below those that the
// system gives out.
func twoFreePorts(t *testing.T) uint16 {
	t.Helper()
	for range 1000 {
		port := 20000 + rand.IntN(10000)
		a, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			continue
		}
		b, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port+1))
		a.Close()
		if err == nil {
			b.Close()
			return uint16(port)
		}
	}
	t.Fatal("no two ports are free")
	return 0
}

// A listening socket that nobody has come to in time is gone.
func TestPassiveIsTimed(t *testing.T) {
	t.Parallel()
	r := serve(t, Config{DataTimeout: 50 * time.Millisecond})
	r.write("file", "hello")
	c := r.login()
	at := c.passive()
	c.do("RETR file", "150")
	c.want("nobody comes", "425 Nobody has come to the data port.")
	if nc, err := net.Dial("tcp", at); err == nil {
		nc.Close()
		t.Error("it still listens")
	}
	at = c.passive()
	until := time.Now().Add(patience)
	for {
		nc, err := net.DialTimeout("tcp", at, 20*time.Millisecond) // its accept queue may be full
		if errors.Is(err, syscall.ECONNREFUSED) {
			break
		}
		if err == nil {
			nc.Close()
		}
		if time.Now().After(until) {
			t.Fatal("it listens for ever, without a transfer")
		}
	}
	c.do("RETR file", "150")
	c.want("it was too late", "425 Nobody has come to the data port.")
}
