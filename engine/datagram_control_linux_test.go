package engine

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// controlMessage returns a control message as the kernel writes it.
func controlMessage(level, kind int32, data ...byte) []byte {
	b := make([]byte, unix.CmsgSpace(len(data)))
	h := (*unix.Cmsghdr)(unsafe.Pointer(&b[0]))
	h.Level, h.Type = level, kind
	h.SetLen(unix.CmsgLen(len(data)))
	copy(b[unix.CmsgLen(0):], data)
	return b
}

func info4(ours, to string) []byte {
	return unix.PktInfo4(&unix.Inet4Pktinfo{
		Ifindex: 3, Spec_dst: netip.MustParseAddr(ours).As4(), Addr: netip.MustParseAddr(to).As4(),
	})
}

func info6(to string) []byte {
	return unix.PktInfo6(&unix.Inet6Pktinfo{Ifindex: 4, Addr: netip.MustParseAddr(to).As16()})
}

func TestParseControl(t *testing.T) {
	t.Parallel()
	addr := netip.MustParseAddr
	dropped := controlMessage(unix.SOL_SOCKET, unix.SO_RXQ_OVFL, 7, 0, 0, 0)
	seven := parseControl(dropped).missed // in this machine's byte order
	if seven != 7 && seven != 7<<24 {
		t.Fatalf("7 datagrams dropped, read as %d", seven)
	}
	whole := info4("192.0.2.5", "192.0.2.5")
	for _, tt := range []struct {
		why  string
		in   []byte
		want packetInfo
	}{
		{"nothing", nil, packetInfo{}},
		{"to us", whole, packetInfo{to: addr("192.0.2.5"), iface: 3}},
		{"to our network", info4("192.0.2.5", "192.0.2.255"), packetInfo{to: addr("192.0.2.255"), iface: 3, group: true}},
		{"it came before we asked", info4("0.0.0.0", "192.0.2.5"), packetInfo{to: addr("192.0.2.5"), iface: 3}},
		{"IPv6", info6("2001:db8::5"), packetInfo{to: addr("2001:db8::5"), iface: 4}},
		{"IPv4 on an IPv6 socket", info6("::ffff:192.0.2.5"), packetInfo{to: addr("192.0.2.5"), iface: 4}},
		{
			"both", slices.Concat(info6("::ffff:192.0.2.255"), info4("192.0.2.5", "192.0.2.255")),
			packetInfo{to: addr("192.0.2.255"), iface: 3, group: true},
		},
		{"dropped", slices.Concat(dropped, whole), packetInfo{to: addr("192.0.2.5"), iface: 3, missed: seven}},
		{
			"one that we do not know",
			slices.Concat(controlMessage(unix.SOL_SOCKET, unix.SO_TIMESTAMP, make([]byte, 16)...), whole),
			packetInfo{to: addr("192.0.2.5"), iface: 3},
		},
		{"too short for IPv4", controlMessage(unix.IPPROTO_IP, unix.IP_PKTINFO, make([]byte, 11)...), packetInfo{}},
		{"too short for IPv6", controlMessage(unix.IPPROTO_IPV6, unix.IPV6_PKTINFO, make([]byte, 19)...), packetInfo{}},
		{"too short for a number", controlMessage(unix.SOL_SOCKET, unix.SO_RXQ_OVFL, 1, 0, 0), packetInfo{}},
		{"cut in its data", whole[:unix.CmsgLen(5)], packetInfo{}},
		{"cut in its header", whole[:unix.CmsgLen(0)-1], packetInfo{}},
	} {
		if got := parseControl(tt.in); got != tt.want {
			t.Errorf("%s: %+v, want %+v", tt.why, got, tt.want)
		}
	}
}

func FuzzParseControl(f *testing.F) {
	f.Add(info4("192.0.2.5", "192.0.2.255"))
	f.Add(slices.Concat(info6("2001:db8::5"), controlMessage(unix.SOL_SOCKET, unix.SO_RXQ_OVFL, 1, 2, 3, 4)))
	f.Add(make([]byte, unix.CmsgLen(0)))
	f.Fuzz(func(t *testing.T, b []byte) {
		if info := parseControl(b); info.group && !info.to.Is4() {
			t.Errorf("a group without an address: %+v", info)
		}
	})
}

// The control message of an answer names the address that was asked, and an
// interface only where that is needed.
func TestSourceControl(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		network, bound string
		asked          string
		want           packetInfo // with group false and missed 0
	}{
		{"udp4", "0.0.0.0:0", "192.0.2.5", packetInfo{iface: 0}},
		{"udp", "[::]:0", "192.0.2.5", packetInfo{iface: 0}},
		{"udp", "[::]:0", "2001:db8::5", packetInfo{iface: 0}},
		{"udp6", "[::]:0", "fe80::5", packetInfo{iface: 9}},
		{"udp", "[::]:0", "169.254.1.1", packetInfo{iface: 0}},
	} {
		pc, err := net.ListenPacket(tt.network, tt.bound)
		if err != nil {
			t.Fatal(err)
		}
		defer pc.Close()
		var c sourceControl
		if err := c.ask(pc.(*net.UDPConn), true); err != nil {
			t.Fatal(err)
		}
		// An answer before it, over another interface, leaves no trace.
		c.message(packetInfo{to: netip.MustParseAddr("192.0.2.77"), iface: 8})
		tt.want.to = netip.MustParseAddr(tt.asked)
		b := c.message(packetInfo{to: tt.want.to, iface: 9})
		got := parseControl(b)
		if pc.LocalAddr().(*net.UDPAddr).IP.To4() != nil { // ipi_spec_dst is what counts
			got.to, got.group = netip.AddrFrom4([4]byte(b[unix.CmsgLen(4):])), false
		}
		if got != tt.want {
			t.Errorf("%s, asked at %s: %+v, want %+v", tt.network, tt.asked, got, tt.want)
		}
		if b := c.message(packetInfo{}); b != nil {
			t.Errorf("%s: not known where it was sent to: % x", tt.network, b)
		}
	}
	var none sourceControl
	if b := none.message(packetInfo{to: netip.MustParseAddr("192.0.2.5")}); b != nil {
		t.Errorf("bound to one address: % x", b)
	}
}

// strange is a UDP socket whose options can't be set.
type strange struct {
	*net.UDPConn
	raw func() (syscall.RawConn, error)
}

func (s strange) SyscallConn() (syscall.RawConn, error) { return s.raw() }

// A socket that fails to say where datagrams were sent to would answer from wrong
// addresses: it is not served.
func TestSocketThatFailsToTellAddresses(t *testing.T) {
	t.Parallel()
	file, _, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	closed, err := net.ListenUDP("udp4", nil)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := closed.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	for _, tt := range []struct {
		why  string
		raw  func() (syscall.RawConn, error)
		want string
	}{
		{"no descriptor", func() (syscall.RawConn, error) { return nil, errors.New("none") }, "none"},
		{"closed", func() (syscall.RawConn, error) { return raw, nil }, "use of closed"},
		{"no socket", file.SyscallConn, "setsockopt IP_PKTINFO: socket operation on non-socket"},
	} {
		pc, err := net.ListenUDP("udp4", nil)
		if err != nil {
			t.Fatal(err)
		}
		err = NewDatagrams(nil, nil).Serve(strange{pc, tt.raw})
		if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "0.0.0.0") {
			t.Errorf("%s: %v, want one that names the socket and %q", tt.why, err, tt.want)
		}
	}
}

// Where the system has no way to say it, the socket is served without.
func TestSocketThatCannotTellAddresses(t *testing.T) {
	t.Parallel()
	other, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(t.TempDir(), "s"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	pc, err := net.ListenUDP("udp4", nil)
	if err != nil {
		t.Fatal(err)
	}
	s, err := newUDPSocket(strange{pc, other.SyscallConn}) // IP_PKTINFO: operation not supported
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	client, err := net.Dial("udp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(int(s.bound.Port()))))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	client.Write([]byte("hello"))
	if err := s.read(); err != nil || s.peer.Remote.String() != client.LocalAddr().String() || s.peer.Local != s.bound {
		t.Errorf("read %+v, error %v", s.peer, err)
	}
	if err := s.send([]byte("world"), time.Now()); err != nil {
		t.Error(err)
	}
	in := make([]byte, 10)
	client.SetReadDeadline(time.Now().Add(10 * time.Second))
	if n, err := client.Read(in); string(in[:n]) != "world" {
		t.Errorf("the client has read %q, error %v", in[:n], err)
	}
}
