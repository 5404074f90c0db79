package sock

import (
	"bytes"
	"net"
	"net/netip"
	"testing"

	"yodel/trace"
)

func TestPairPrintsAsTheLectureHasIt(t *testing.T) {
	t.Parallel()
	p := Pair{netip.MustParseAddrPort("128.2.194.242:51213"), netip.MustParseAddrPort("208.216.181.15:80")}
	if got, want := p.String(), "(128.2.194.242:51213, 208.216.181.15:80)"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got, want := p.Mirror().String(), "(208.216.181.15:80, 128.2.194.242:51213)"; got != want {
		t.Errorf("mirrored: got %s, want %s", got, want)
	}
	six := Pair{Client: netip.MustParseAddrPort("[fe80::1%eth0]:51213")}
	if got, want := six.String(), "([fe80::1%eth0]:51213, ?)"; got != want {
		t.Errorf("half known: got %s, want %s", got, want)
	}
}

func TestPairWire(t *testing.T) {
	t.Parallel()
	atClient := Pair{netip.MustParseAddrPort("[fe80::2%eth0]:51213"), netip.MustParseAddrPort("[fe80::1%eth0]:7")}
	atServer := Pair{netip.MustParseAddrPort("[fe80::2%br1]:51213"), netip.MustParseAddrPort("[fe80::1%br1]:7")}
	if atClient == atServer || atClient.Wire() != atServer.Wire() {
		t.Errorf("%v and %v are one connection", atClient.Wire(), atServer.Wire())
	}
	mapped := Pair{netip.MustParseAddrPort("[::ffff:10.0.0.1]:51213"), netip.MustParseAddrPort("[::ffff:10.0.0.2]:7")}
	if got, want := mapped.Wire().String(), "(10.0.0.1:51213, 10.0.0.2:7)"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got := (Pair{}).Wire(); got != (Pair{}) {
		t.Errorf("the zero pair becomes %v", got)
	}
}

// Both ends of a real connection see the same pair, also when the listener takes
// both versions of IP.
func TestPairOfBothEnds(t *testing.T) {
	t.Parallel()
	for _, listen := range []string{"127.0.0.1:0", ":0"} {
		client, server := connect(t, "tcp", listen)
		atClient, atServer := PairOf(client, trace.Client), PairOf(server, trace.Server)
		if atClient != atServer || !atClient.IsValid() || atClient != atClient.Wire() {
			t.Errorf("listening on %s: the client has %v, the server %v", listen, atClient, atServer)
		}
		if got := PairOf(server, trace.Client); got != atClient.Mirror() {
			t.Errorf("taken for the client, the server has %v, want %v", got, atClient.Mirror())
		}
	}
}

func connect(t *testing.T, network, listen string) (client, server net.Conn) {
	t.Helper()
	ln, err := net.Listen(network, listen)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	to := ln.Addr().String()
	if network == "tcp" {
		_, port, _ := net.SplitHostPort(to)
		to = "127.0.0.1:" + port
	}
	if client, err = net.Dial(network, to); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	if server, err = ln.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	return client, server
}

// An addrConn is a connection that has addresses and nothing else.
type addrConn struct {
	net.Conn
	local, remote net.Addr
}

func (c addrConn) LocalAddr() net.Addr  { return c.local }
func (c addrConn) RemoteAddr() net.Addr { return c.remote }

type textAddr string

func (textAddr) Network() string  { return "text" }
func (a textAddr) String() string { return string(a) }

func TestPairOfOtherAddresses(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		local, remote net.Addr
		want          string
	}{
		{textAddr("10.0.0.1:51213"), textAddr("[::ffff:10.0.0.2]:7"), "(10.0.0.1:51213, 10.0.0.2:7)"},
		{&net.UDPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 51213}, (*net.TCPAddr)(nil), "(10.0.0.1:51213, ?)"},
		{&net.UnixAddr{Name: "@", Net: "unix"}, &net.UnixAddr{Name: "/run/x", Net: "unix"}, "(?, ?)"},
		{nil, textAddr("pipe"), "(?, ?)"},
	} {
		p := PairOf(addrConn{local: tt.local, remote: tt.remote}, trace.Client)
		if got := p.String(); got != tt.want {
			t.Errorf("%v and %v make %s, want %s", tt.local, tt.remote, got, tt.want)
		}
		if p.IsValid() != (tt.want == "(10.0.0.1:51213, 10.0.0.2:7)") {
			t.Errorf("%s: IsValid is %v", tt.want, p.IsValid())
		}
	}
}

func TestNetworkBytes(t *testing.T) {
	t.Parallel()
	for addr, want := range map[string][]byte{
		"128.2.217.13":         {0x80, 0x02, 0xd9, 0x0d},
		"::ffff:128.2.217.13":  {0x80, 0x02, 0xd9, 0x0d},
		"2001:db8::ff%ignored": {0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff},
	} {
		if got := NetworkBytes(netip.MustParseAddr(addr)); !bytes.Equal(got, want) {
			t.Errorf("%s is % x, want % x", addr, got, want)
		}
	}
	if got := NetworkBytes(netip.Addr{}); got != nil {
		t.Errorf("no address is % x", got)
	}
	for port, want := range map[uint16][]byte{80: {0x00, 0x50}, 20480: {0x50, 0x00}, 15213: {0x3b, 0x6d}} {
		if got := NetworkPort(port); !bytes.Equal(got, want) {
			t.Errorf("%d is % x, want % x", port, got, want)
		}
	}
}
