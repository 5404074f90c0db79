package capture

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// A socketEntry is a socket as the kernel lists it: sock_diag(7).
type socketEntry struct {
	Proto   uint8 // IPPROTO_TCP or IPPROTO_UDP
	State   uint8 // TCP_ESTABLISHED and so on, also of UDP sockets
	Local   netip.AddrPort
	Remote  netip.AddrPort // port 0: not connected
	Bound   uint32         // the interface that it is bound to; 0: none
	Cookie  uint64
	UID     uint32
	Inode   uint32 // 0: no file: the kernel's, or after the last close
	RQueue  uint32
	WQueue  uint32
	V6Only  bool
	TCPInfo []byte // struct tcp_info, as long as this kernel has it; lent
}

// hasOwner reports whether the kernel still says whose the socket is. In TIME_WAIT it
// says user 0 for all, as it does for a SYN that is being answered.
func (s *socketEntry) hasOwner() bool { return s.State != stateTimeWait && s.State != stateNewSyn }

// A diag asks the kernel for its list of sockets, over netlink(7). It is for one
// goroutine. The list is that of the network namespace in which it was made.
type diag struct {
	fd  int
	seq uint32
	buf []byte
}

func newDiag() (*diag, error) {
	fd, err := netlinkSocket(unix.NETLINK_SOCK_DIAG, 0)
	if err != nil {
		return nil, err
	}
	return &diag{fd: fd, buf: make([]byte, 1<<16)}, nil
}

// netlinkSocket returns a netlink socket that receives these groups.
func netlinkSocket(family int, groups uint32) (int, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, family)
	if err != nil {
		return -1, os.NewSyscallError("socket AF_NETLINK", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groups}); err != nil {
		unix.Close(fd)
		return -1, os.NewSyscallError("bind AF_NETLINK", err)
	}
	// The kernel answers in the same call; this is for one that does not.
	tv := unix.NsecToTimeval(int64(5 * time.Second))
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv); err != nil {
		unix.Close(fd)
		return -1, os.NewSyscallError("setsockopt SO_RCVTIMEO", err)
	}
	return fd, nil
}

func (d *diag) close() { unix.Close(d.fd) }

// States as bits of a request.
const (
	listening = 1 << 10
	unbound   = 1 << 7 // TCP_CLOSE: a UDP socket that is not connected
	allStates = 0xffffffff
)

// Offsets and sizes of struct inet_diag_req_v2 and struct inet_diag_msg
// (linux/inet_diag.h).
const (
	diagRequestSize = 56
	diagMessageSize = 72
	diagInfo        = 2  // INET_DIAG_INFO
	diagV6Only      = 11 // INET_DIAG_SKV6ONLY
)

// all calls f for each socket of a protocol, IPv4 and IPv6, in one of the states. With
// info it has TCPInfo.
func (d *diag) all(proto uint8, states uint32, info bool, f func(*socketEntry)) error {
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		req := d.request(family, proto, unix.NLM_F_DUMP)
		if info {
			req[unix.NLMSG_HDRLEN+2] = 1 << (diagInfo - 1)
		}
		binary.NativeEndian.PutUint32(req[unix.NLMSG_HDRLEN+4:], states)
		err := d.ask(req, f)
		if errors.Is(err, unix.ENOENT) {
			continue // this kernel has no such protocol
		}
		if err != nil {
			return fmt.Errorf("list sockets: %w", err)
		}
	}
	return nil
}

// one returns the socket that would take what comes from remote to local by an
// interface, or ok false if there is none. With an unspecified remote it is who
// listens.
func (d *diag) one(proto uint8, local, remote netip.AddrPort, index uint32) (s socketEntry, ok bool, err error) {
	family := uint8(unix.AF_INET)
	if local.Addr().Is6() {
		family = unix.AF_INET6
	}
	src, dst := local, remote
	if proto == unix.IPPROTO_UDP {
		src, dst = dst, src // the other way round than for TCP, "for historical reasons" (udp_diag.c)
	}
	req := d.request(family, proto, 0)
	id := req[unix.NLMSG_HDRLEN+8:]
	binary.BigEndian.PutUint16(id[0:], src.Port())
	binary.BigEndian.PutUint16(id[2:], dst.Port())
	copy(id[4:20], src.Addr().AsSlice())
	copy(id[20:36], dst.Addr().AsSlice())
	binary.NativeEndian.PutUint32(id[36:], index)
	for i := 40; i < 48; i++ {
		id[i] = 0xff // INET_DIAG_NOCOOKIE
	}
	binary.NativeEndian.PutUint32(req[unix.NLMSG_HDRLEN+4:], allStates)
	err = d.ask(req, func(e *socketEntry) { s, ok = *e, true })
	if errors.Is(err, unix.ENOENT) {
		return s, false, nil
	}
	if err != nil {
		return s, false, fmt.Errorf("look up a socket: %w", err)
	}
	return s, ok, nil
}

func (d *diag) request(family, proto uint8, flags uint16) []byte {
	d.seq++
	req := make([]byte, unix.NLMSG_HDRLEN+diagRequestSize)
	binary.NativeEndian.PutUint32(req[0:], uint32(len(req)))
	binary.NativeEndian.PutUint16(req[4:], unix.SOCK_DIAG_BY_FAMILY)
	binary.NativeEndian.PutUint16(req[6:], unix.NLM_F_REQUEST|flags)
	binary.NativeEndian.PutUint32(req[8:], d.seq)
	req[unix.NLMSG_HDRLEN], req[unix.NLMSG_HDRLEN+1] = family, proto
	return req
}

// ask sends a request and calls f for each socket of the answer.
func (d *diag) ask(req []byte, f func(*socketEntry)) error {
	proto := req[unix.NLMSG_HDRLEN+1]
	dump := binary.NativeEndian.Uint16(req[6:])&unix.NLM_F_DUMP != 0
	if err := unix.Sendto(d.fd, req, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return os.NewSyscallError("sendto AF_NETLINK", err)
	}
	for {
		n, err := receive(d.fd, d.buf)
		if err != nil {
			return err
		}
		end, err := messages(d.buf[:n], d.seq, func(kind uint16, body []byte) {
			if e, ok := parseSocket(proto, body); ok && kind == unix.SOCK_DIAG_BY_FAMILY {
				f(&e)
			}
		})
		if end || err != nil || !dump {
			return err
		}
	}
}

func receive(fd int, buf []byte) (int, error) {
	for {
		n, _, err := unix.Recvfrom(fd, buf, 0)
		if !errors.Is(err, unix.EINTR) {
			return n, os.NewSyscallError("recvfrom AF_NETLINK", err)
		}
	}
}

// messages calls f for each netlink message in b with this sequence number, and
// reports whether the answer is complete.
func messages(b []byte, seq uint32, f func(kind uint16, body []byte)) (end bool, err error) {
	for len(b) >= unix.NLMSG_HDRLEN {
		n := binary.NativeEndian.Uint32(b)
		if n < unix.NLMSG_HDRLEN || uint64(n) > uint64(len(b)) {
			return true, fmt.Errorf("netlink: a message of %d bytes in %d", n, len(b))
		}
		kind, body := binary.NativeEndian.Uint16(b[4:]), b[unix.NLMSG_HDRLEN:n]
		ours := binary.NativeEndian.Uint32(b[8:]) == seq
		b = b[min(uint64(n+3)&^3, uint64(len(b))):]
		switch {
		case !ours:
		case kind == unix.NLMSG_DONE:
			return true, nil
		case kind == unix.NLMSG_ERROR:
			if len(body) < 4 {
				return true, errors.New("netlink: a short error")
			}
			if code := int32(binary.NativeEndian.Uint32(body)); code != 0 {
				return true, unix.Errno(-code)
			}
			return true, nil
		default:
			f(kind, body)
		}
	}
	return false, nil
}

// parseSocket reads a struct inet_diag_msg and its attributes.
func parseSocket(proto uint8, b []byte) (socketEntry, bool) {
	if len(b) < diagMessageSize {
		return socketEntry{}, false
	}
	id := b[4:52]
	e := socketEntry{
		Proto:  proto,
		State:  b[1],
		Local:  diagAddr(b[0], id[4:20], id[0:2]),
		Remote: diagAddr(b[0], id[20:36], id[2:4]),
		Bound:  binary.NativeEndian.Uint32(id[36:]),
		Cookie: uint64(binary.NativeEndian.Uint32(id[44:]))<<32 | uint64(binary.NativeEndian.Uint32(id[40:])),
		RQueue: binary.NativeEndian.Uint32(b[56:]),
		WQueue: binary.NativeEndian.Uint32(b[60:]),
		UID:    binary.NativeEndian.Uint32(b[64:]),
		Inode:  binary.NativeEndian.Uint32(b[68:]),
	}
	attributes(b[diagMessageSize:], func(kind uint16, value []byte) {
		switch kind {
		case diagInfo:
			e.TCPInfo = value
		case diagV6Only:
			e.V6Only = len(value) > 0 && value[0] != 0
		}
	})
	return e, true
}

func diagAddr(family uint8, addr, port []byte) netip.AddrPort {
	a := netip.AddrFrom16([16]byte(addr))
	if family == unix.AF_INET {
		a = netip.AddrFrom4([4]byte(addr))
	}
	return netip.AddrPortFrom(a, binary.BigEndian.Uint16(port))
}

// nlaType are the bits of an attribute's kind that are not flags.
const nlaType = 0x3fff

// attributes calls f for each netlink attribute: netlink(7), struct nlattr.
func attributes(b []byte, f func(kind uint16, value []byte)) {
	for len(b) >= unix.NLA_HDRLEN {
		n := int(binary.NativeEndian.Uint16(b))
		if n < unix.NLA_HDRLEN || n > len(b) {
			return
		}
		f(binary.NativeEndian.Uint16(b[2:])&nlaType, b[unix.NLA_HDRLEN:n])
		b = b[min((n+3)&^3, len(b)):]
	}
}
