package capture

import (
	"encoding/hex"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"yodel/yodeltest"
)

// Packets from the network header on, and what they are.
var packets = []struct {
	name, hex string
	want      string // source, destination, "" if it is neither TCP nor UDP
}{
	{"IPv4 TCP", "45000028 00000000 40060000 0a000001 0a000002 1f90 0050 00000001 00000002 5010 ffff 0000 0000", "10.0.0.1:8080 10.0.0.2:80"},
	{"IPv4 with options", "4600002c 00000000 40060000 0a000001 0a000002 01010101 1f90 0050 00000001 00000002 5010 ffff 0000 0000", "10.0.0.1:8080 10.0.0.2:80"},
	{"IPv4 UDP", "4500001c 00000000 40110000 0a000001 0a000002 1f90 0050 0008 0000", "10.0.0.1:8080 10.0.0.2:80"},
	{"first fragment", "4500001c 00002000 40110000 0a000001 0a000002 1f90 0050 0008 0000", "10.0.0.1:8080 10.0.0.2:80"},
	{"later fragment", "4500001c 00000001 40110000 0a000001 0a000002 1f90 0050 0008 0000", ""},
	{"header too short", "4400001c 00000000 40110000 0a000001 0a000002 1f90 0050 0008 0000", ""},
	{"header longer than the packet", "4f00001c 00000000 40110000 0a000001 0a000002 1f90 0050 0008 0000", ""},
	{"half of the ports", "4500001c 00000000 40110000 0a000001 0a000002 1f90 00", ""},
	{"TCP cut off", "45000028 00000000 40060000 0a000001 0a000002 1f90 0050 00000001 00000002 5010 ffff 0000", ""},
	{"ICMP", "4500001c 00000000 40010000 0a000001 0a000002 0800 0000 0000 0000", ""},
	{"IPv6 UDP", "60000000 0008 11 40 20010db8000000000000000000000001 20010db8000000000000000000000002 1f90 0050 0008 0000", "[2001:db8::1]:8080 [2001:db8::2]:80"},
	{"IPv6 with options, routing and a fragment header", "60000000 0020 00 40 20010db8000000000000000000000001 20010db8000000000000000000000002" +
		"3c00 000000000000 2b00 000000000000 2c00 000000000000 1100 0001 00000007 1f90 0050 0008 0000", "[2001:db8::1]:8080 [2001:db8::2]:80"},
	{"IPv6, too many headers", "60000000 0028 00 40 20010db8000000000000000000000001 20010db8000000000000000000000002" +
		"3c00 000000000000 3c00 000000000000 3c00 000000000000 3c00 000000000000 1100 000000000000 1f90 0050 0008 0000", ""},
	{"IPv6 later fragment", "60000000 0010 2c 40 20010db8000000000000000000000001 20010db8000000000000000000000002 1100 0008 00000007 1f90 0050 0008 0000", ""},
	{"IPv6 options longer than the packet", "60000000 0010 00 40 20010db8000000000000000000000001 20010db8000000000000000000000002 11ff 000000000000 1f90 0050 0008 0000", ""},
	{"IPv6 cut off", "60000000 0010 11 40 20010db8000000000000000000000001 20010db80000000000000000000000", ""},
	{"IPv6 link-local", "60000000 0008 11 40 fe800000000000000000000000000001 fe800000000000000000000000000002 1f90 0050 0008 0000", "[fe80::1]:8080 [fe80::2]:80"},
	{"another protocol", "55000028 00000000", ""},
	{"nothing", "", ""},
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestParse(t *testing.T) {
	t.Parallel()
	for _, p := range packets {
		var h header
		got := ""
		if h.parse(unhex(t, p.hex)) {
			got = h.key.source().String() + " " + h.key.destination().String()
		}
		if got != p.want {
			t.Errorf("%s: %q, want %q", p.name, got, p.want)
		}
	}
}

func TestKeys(t *testing.T) {
	t.Parallel()
	a, b := netip.MustParseAddrPort("192.0.2.1:80"), netip.MustParseAddrPort("192.0.2.2:8080")
	mapped := netip.AddrPortFrom(netip.AddrFrom16(a.Addr().As16()), 80)
	if keyOf(6, a, b, 3) != keyOf(6, mapped, b, 3) {
		t.Error("an IPv4 address has another key as a mapped one")
	}
	if k := keyOf(6, a, b, 3); *k.reversed() != keyOf(6, b, a, 0) || *k.reversed().reversed() != k {
		t.Errorf("reversed %+v is %+v", k, k.reversed())
	}
	local := netip.MustParseAddrPort("[fe80::1]:80")
	if k := keyOf(6, local, netip.MustParseAddrPort("[ff02::1]:80"), 3); k.Scope != 3 {
		t.Errorf("a link-local flow has scope %d", k.Scope)
	}
}

func FuzzParse(f *testing.F) {
	for _, p := range packets {
		f.Add(unhex(f, p.hex))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var h, quote header
		if quote.parseQuote(b) && quote.key.Proto != unix.IPPROTO_TCP && quote.key.Proto != unix.IPPROTO_UDP {
			t.Errorf("a quote of %+v", quote.key)
		}
		if !h.parse(b) {
			return
		}
		h.key.scoped(7)
		if h.key.Family != 4 && h.key.Family != 6 || h.key.Proto != unix.IPPROTO_TCP && h.key.Proto != unix.IPPROTO_UDP {
			t.Errorf("%+v", h.key)
		}
		if again := keyOf(h.key.Proto, h.key.source(), h.key.destination(), 7); h.key.Family == 4 && again != h.key {
			t.Errorf("%+v is not %+v", again, h.key)
		}
	})
}

// FuzzFilter gives packets to the filter as the kernel runs it, and compares it with the
// parser here: what is the owner's passes, whatever it looks like, and nothing else does.
func FuzzFilter(f *testing.F) {
	if os.Geteuid() != 0 {
		yodeltest.Skip(f, "loading BPF programs needs root", "run it as root")
	}
	for _, p := range packets {
		f.Add(unhex(f, p.hex))
	}
	tb, err := newTables(0)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { tb.close() })
	const loopback = 1 // test packets come from there
	if err := tb.links.Put(uint32(loopback), linkValue{MAC: 14}); err != nil {
		f.Fatal(err)
	}
	filter, err := loadProgram(ebpf.SocketFilter, 0, "yodel_filter", tb.filter(&selection{}, 1<<17))
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { filter.Close() })
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < 20 || len(b) < 40 && b[0]>>4 == 6 || len(b) > 1400 {
			return // the kernel does not test with less
		}
		var h header
		ok := h.parse(b)
		h.key.scoped(loopback)
		frame := append(make([]byte, 12), 0x08, 0x00)
		if b[0]>>4 == 6 {
			frame[12], frame[13] = 0x86, 0xdd
		}
		frame = append(frame, b...)
		if n, _, err := filter.Test(frame); err != nil || n != 0 {
			t.Fatalf("of a stranger's packet %d bytes pass: %v", n, err)
		}
		if !ok {
			return
		}
		key := h.key.reversed()
		if err := tb.flows.Put(key, &flowValue{Cookie: 1}); err != nil {
			t.Fatal(err)
		}
		n, _, err := filter.Test(frame)
		tb.flows.Delete(key)
		var part flowKey
		for tb.parts.NextKey(nil, &part) == nil {
			tb.parts.Delete(&part)
		}
		want := h.key.Proto == unix.IPPROTO_UDP || h.flags&tcpACK != 0 || h.flags&(tcpRST|tcpSYN) == tcpRST
		if err != nil || n > 0 != want {
			t.Errorf("%d bytes pass, want any: %v (%v); flags %#x", n, want, err, h.flags)
		}
	})
}
