package engine_test

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"yodel/engine"
	"yodel/trace"
	"yodel/yodeltest"
)

func TestDatagramUnfitSockets(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "s")
	connected, err := net.Dial("udp", "127.0.0.1:9")
	if err != nil {
		t.Fatal(err)
	}
	socks := map[string]net.PacketConn{"a connected one": connected.(net.PacketConn)}
	if u, err := net.ListenPacket("unixgram", path); err == nil { // not on Windows
		socks["a Unix one"] = u
	}
	for name, pc := range socks {
		d := engine.NewDatagrams(echoReply, nil)
		if err := d.Serve(pc); !errors.Is(err, engine.ErrUnfit) {
			t.Errorf("%s: %v, want one that wraps ErrUnfit", name, err)
		}
		if err := pc.SetReadDeadline(time.Time{}); !errors.Is(err, net.ErrClosed) {
			t.Errorf("%s is not closed: %v", name, err)
		}
	}
}

// listenUDP returns a bound socket, and skips where the family is missing.
func listenUDP(t testing.TB, network, addr string) *net.UDPConn {
	t.Helper()
	pc, err := net.ListenPacket(network, addr)
	if err != nil {
		yodeltest.Skip(t, "no socket on "+addr+": "+err.Error(), "run it where IPv6 is on")
	}
	t.Cleanup(func() { pc.Close() })
	return pc.(*net.UDPConn)
}

// The least and the most that a datagram can carry, and some between (HOSTILE B3).
func TestDatagramSizes(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		network, addr string
		most          int
	}{
		{"udp4", "127.0.0.1:0", 65_507},
		{"udp6", "[::1]:0", 65_527},
		{"udp4", "0.0.0.0:0", 65_507},
	} {
		t.Run(tt.network+" "+tt.addr, func(t *testing.T) {
			t.Parallel()
			pc := listenUDP(t, tt.network, tt.addr)
			r := serveDatagrams(t, echoReply, engine.DatagramConfig{PoisonLent: true}, pc)
			to := pc.LocalAddr().(*net.UDPAddr)
			if to.IP.IsUnspecified() {
				to = &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: to.Port}
			}
			c, err := net.DialUDP("udp", nil, to)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			c.SetDeadline(time.Now().Add(20 * time.Second))
			in := make([]byte, 1<<16)
			for _, n := range []int{0, 1, 1472, 9000, 65_506, tt.most, 0} {
				out := bytes.Repeat([]byte{byte(n)}, n)
				if _, err := c.Write(out); err != nil {
					t.Fatalf("%d bytes: %v", n, err)
				}
				got, err := c.Read(in)
				if err != nil || !bytes.Equal(in[:got], out) {
					t.Fatalf("of %d bytes %d came back, error %v", n, got, err)
				}
			}
			r.Shutdown(t.Context())
			r.wantDropped("all sizes", map[engine.Reason]int64{})
		})
	}
}

// Real clients whose source ports are those of known reflectors.
func TestDatagramReflectorPorts(t *testing.T) {
	t.Parallel()
	pc := listenUDP(t, "udp4", "127.0.0.1:0")
	r := serveDatagrams(t, echoReply, engine.DatagramConfig{}, pc)
	for _, port := range []int{1900, 2049, 5353, 11211} {
		c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
		if err != nil {
			t.Logf("port %d is taken: %v", port, err)
			continue
		}
		defer c.Close()
		c.WriteTo([]byte("hello"), pc.LocalAddr())
		if e := r.next(trace.Refuse, trace.Write); e.Text != engine.ServerPort.String() || int(e.Remote.Port()) != port {
			t.Errorf("from port %d: %v %q", port, e.Op, e.Text)
		}
	}
	if n := r.Stats().DatagramsOut; n > 0 {
		t.Errorf("%d were answered", n)
	}
}

// echoRoundTrip returns a function that sends 64 bytes to an echo on addr and waits
// for them.
func echoRoundTrip(t testing.TB, addr string) func() {
	pc := listenUDP(t, "udp", addr)
	d := engine.NewDatagrams(echoReply, &engine.DatagramConfig{Guard: engine.NewGuard(&engine.GuardConfig{LoopbackRate: -1})})
	go d.Serve(pc)
	t.Cleanup(func() { d.Close() })
	c := listenUDP(t, "udp4", "127.0.0.1:0")
	to := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(pc.LocalAddr().(*net.UDPAddr).Port))
	out, in := make([]byte, 64), make([]byte, 100)
	c.SetReadDeadline(time.Now().Add(time.Minute))
	return func() {
		c.WriteToUDPAddrPort(out, to)
		if _, _, err := c.ReadFromUDPAddrPort(in); err != nil {
			t.Fatal(err)
		}
	}
}

func TestDatagramsDoNotAllocate(t *testing.T) {
	for _, addr := range []string{"127.0.0.1:0", "0.0.0.0:0", "[::]:0"} {
		roundTrip := echoRoundTrip(t, addr)
		for range 100 {
			roundTrip()
		}
		if n := testing.AllocsPerRun(1000, roundTrip); n > 0 {
			t.Errorf("%s: %v allocations a datagram, want 0", addr, n)
		}
	}
}

func BenchmarkDatagramEcho(b *testing.B) {
	for _, addr := range []string{"127.0.0.1:0", "0.0.0.0:0", "[::]:0"} {
		b.Run(addr, func(b *testing.B) {
			roundTrip := echoRoundTrip(b, addr)
			b.ReportAllocs()
			for b.Loop() {
				roundTrip()
			}
		})
	}
}
