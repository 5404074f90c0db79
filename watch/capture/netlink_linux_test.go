package capture

import (
	"encoding/binary"
	"errors"
	"math"
	"net"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// message writes one netlink message.
func message(kind uint16, seq uint32, body []byte) []byte {
	b := make([]byte, unix.NLMSG_HDRLEN, unix.NLMSG_HDRLEN+len(body))
	binary.NativeEndian.PutUint32(b, uint32(len(b)+len(body)))
	binary.NativeEndian.PutUint16(b[4:], kind)
	binary.NativeEndian.PutUint32(b[8:], seq)
	b = append(b, body...)
	return append(b, make([]byte, -len(b)&3)...)
}

func errorBody(code int32) []byte { return binary.NativeEndian.AppendUint32(nil, uint32(-code)) }

func TestMessages(t *testing.T) {
	t.Parallel()
	short := message(99, 1, nil)
	binary.NativeEndian.PutUint32(short, 8)
	long := message(99, 1, nil)
	binary.NativeEndian.PutUint32(long, math.MaxUint32)
	for name, test := range map[string]struct {
		b     []byte
		kinds []uint16
		end   bool
		fails error
	}{
		"two and the end":   {slices.Concat(message(99, 1, []byte("abc")), message(98, 1, nil), message(unix.NLMSG_DONE, 1, nil)), []uint16{99, 98}, true, nil},
		"more to come":      {message(99, 1, nil), []uint16{99}, false, nil},
		"someone else's":    {slices.Concat(message(99, 2, nil), message(unix.NLMSG_DONE, 2, nil)), nil, false, nil},
		"an error":          {message(unix.NLMSG_ERROR, 1, errorBody(int32(unix.ENOENT))), nil, true, unix.ENOENT},
		"an acknowledgment": {message(unix.NLMSG_ERROR, 1, errorBody(0)), nil, true, nil},
		"half an error":     {message(unix.NLMSG_ERROR, 1, []byte{1}), nil, true, errAny},
		"a length too low":  {short, nil, true, errAny},
		"a length too high": {long, nil, true, errAny},
		"nothing":           {nil, nil, false, nil},
	} {
		var kinds []uint16
		end, err := messages(test.b, 1, func(kind uint16, _ []byte) { kinds = append(kinds, kind) })
		if end != test.end || !slices.Equal(kinds, test.kinds) || (err == nil) != (test.fails == nil) || err != nil && test.fails != errAny && !errors.Is(err, test.fails) {
			t.Errorf("%s: %v, %v, %v", name, kinds, end, err)
		}
	}
}

var errAny = errors.New("any error")

// The kernel's answers, whole, cut off and changed, are read without harm.
func FuzzNetlink(f *testing.F) {
	body := make([]byte, diagMessageSize+40)
	body[0] = unix.AF_INET
	binary.NativeEndian.PutUint16(body[diagMessageSize:], 12)
	binary.NativeEndian.PutUint16(body[diagMessageSize+2:], diagInfo)
	binary.NativeEndian.PutUint16(body[diagMessageSize+12:], 5)
	binary.NativeEndian.PutUint16(body[diagMessageSize+14:], diagV6Only)
	f.Add(message(unix.SOCK_DIAG_BY_FAMILY, 1, body))
	f.Add(message(unix.RTM_NEWLINK, 1, body))
	f.Add(message(unix.NLMSG_ERROR, 1, errorBody(5)))
	f.Fuzz(func(t *testing.T, b []byte) {
		messages(b, 1, func(_ uint16, body []byte) {
			if e, ok := parseSocket(unix.IPPROTO_TCP, body); ok {
				parseTCPInfo(e.TCPInfo)
				portsOf(&e)
				connection(&e, sighting{}, time.Time{})
			}
			if d, ok := parseDevice(body); ok {
				d.value()
			}
			parseAddresses(body)
		})
	})
}

func TestParseAddresses(t *testing.T) {
	t.Parallel()
	attribute := func(kind uint16, value string) []byte {
		b := binary.NativeEndian.AppendUint16(nil, uint16(4+len(value)))
		b = append(binary.NativeEndian.AppendUint16(b, kind), value...)
		return append(b, make([]byte, -len(b)&3)...)
	}
	head := make([]byte, unix.SizeofIfAddrmsg)
	own, peer, all := "\x0a\x00\x00\x01", "\x0a\x00\x00\x02", "\x0a\x00\x00\xff"
	pair := parseAddresses(slices.Concat(head, attribute(unix.IFA_ADDRESS, peer), attribute(unix.IFA_LOCAL, own), attribute(unix.IFA_BROADCAST, all)))
	if want := []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.255")}; !slices.Equal(pair, want) {
		t.Errorf("%v, want %v and not the other end's", pair, want)
	}
	if only := parseAddresses(slices.Concat(head, attribute(unix.IFA_ADDRESS, own), attribute(unix.IFA_LABEL, "lo"))); len(only) != 1 || only[0] != netip.MustParseAddr("10.0.0.1") {
		t.Errorf("%v", only)
	}
}

// What the kernel says about a socket is what the socket says about itself.
func TestDiag(t *testing.T) {
	t.Parallel()
	d, err := newDiag()
	if err != nil {
		t.Fatal(err)
	}
	defer d.close()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	u, err := net.ListenPacket("udp6", "[::1]:0")
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	listens := netip.MustParseAddrPort(l.Addr().String())
	waits := netip.MustParseAddrPort(u.LocalAddr().String())

	for _, test := range []struct {
		proto         uint8
		local, remote netip.AddrPort
		state         uint8
	}{
		{unix.IPPROTO_TCP, listens, netip.AddrPortFrom(netip.IPv4Unspecified(), 0), stateListen},
		{unix.IPPROTO_TCP, listens, netip.MustParseAddrPort("127.0.0.9:9"), stateListen},
		{unix.IPPROTO_UDP, waits, netip.MustParseAddrPort("[::1]:9"), 7},
	} {
		e, there, err := d.one(test.proto, test.local, test.remote, 0)
		if err != nil || !there || e.Local != test.local || e.State != test.state || e.UID != uint32(os.Getuid()) || e.Cookie == 0 || e.Inode == 0 || !e.hasOwner() {
			t.Errorf("%v: %+v, %v, %v", test.local, e, there, err)
		}
		var listed []socketEntry
		if err := d.all(test.proto, allStates, true, func(s *socketEntry) {
			if s.Cookie == e.Cookie {
				listed = append(listed, *s)
			}
		}); err != nil || len(listed) != 1 || listed[0].Local != test.local || listed[0].Inode != e.Inode {
			t.Errorf("%v is listed as %+v: %v", test.local, listed, err)
		}
	}
	if e, there, err := d.one(unix.IPPROTO_UDP, netip.AddrPortFrom(waits.Addr(), 1), netip.MustParseAddrPort("[::1]:9"), 0); there || err != nil {
		t.Errorf("nobody is there: %+v, %v", e, err)
	}
}
