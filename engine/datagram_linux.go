package engine

import (
	"encoding/binary"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// controlRoom is enough for the control messages that are asked for: of a datagram
// over IPv4 on a socket for both families the kernel says twice where it was sent to.
var controlRoom = unix.CmsgSpace(unix.SizeofInet4Pktinfo) + unix.CmsgSpace(unix.SizeofInet6Pktinfo) + unix.CmsgSpace(4)

// sourceControl makes the control message that sends a datagram from a certain
// address (IP_PKTINFO, ip(7); IPV6_PKTINFO, RFC 3542 §6.1). The zero value makes
// none.
type sourceControl struct {
	six bool   // the socket is an IPv6 one, also if it takes IPv4 as well
	buf []byte // the message, but for what follows its header
}

// ask makes the kernel say how many datagrams it dropped and, if the socket is
// bound to all addresses, where each was sent to.
func (c *sourceControl) ask(m messenger, all bool) error {
	raw, err := m.SyscallConn()
	if err != nil {
		return err
	}
	failed := raw.Control(func(fd uintptr) { err = c.set(int(fd), all) })
	if failed != nil {
		return failed
	}
	return err
}

func (c *sourceControl) set(fd int, all bool) error {
	unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RXQ_OVFL, 1) // without it none are counted
	if !all {
		return nil
	}
	// On an IPv6 socket too: only this option tells broadcasts from the rest.
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_PKTINFO, 1); err != nil {
		return os.NewSyscallError("setsockopt IP_PKTINFO", err)
	}
	family, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	if err != nil {
		return os.NewSyscallError("getsockopt SO_DOMAIN", err)
	}
	if c.six = family == unix.AF_INET6; !c.six {
		c.buf = unix.PktInfo4(&unix.Inet4Pktinfo{})
		return nil
	}
	c.buf = unix.PktInfo6(&unix.Inet6Pktinfo{})
	return os.NewSyscallError("setsockopt IPV6_RECVPKTINFO",
		unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1))
}

// message returns the control message for the answer to a datagram; it is valid
// until the next call.
func (c *sourceControl) message(asked packetInfo) []byte {
	if c.buf == nil || !asked.to.IsValid() {
		return nil
	}
	data := c.buf[unix.CmsgLen(0):]
	if !c.six { // int ipi_ifindex; struct in_addr ipi_spec_dst, ipi_addr
		addr := asked.to.As4()
		copy(data[4:], addr[:])
		return c.buf
	}
	// struct in6_addr ipi6_addr; int ipi6_ifindex. The interface is named only
	// where the address means nothing without it: else routing chooses it.
	addr := asked.to.As16()
	copy(data, addr[:])
	iface := uint32(0)
	if asked.to.IsLinkLocalUnicast() && asked.to.Is6() {
		iface = asked.iface
	}
	binary.NativeEndian.PutUint32(data[16:], iface)
	return c.buf
}

// parseControl reads the control messages of a datagram. What it does not know, or
// is cut short, it leaves out.
func parseControl(b []byte) packetInfo {
	var info packetInfo
	for len(b) >= unix.CmsgLen(0) {
		h, data, rest, err := unix.ParseOneSocketControlMessage(b)
		if err != nil {
			break
		}
		info.add(h, data)
		b = rest
	}
	return info
}

func (i *packetInfo) add(h unix.Cmsghdr, data []byte) {
	native := binary.NativeEndian
	switch {
	case h.Level == unix.IPPROTO_IP && h.Type == unix.IP_PKTINFO && len(data) >= unix.SizeofInet4Pktinfo:
		i.iface = native.Uint32(data)
		ours, to := [4]byte(data[4:8]), [4]byte(data[8:12])
		i.to = netip.AddrFrom4(to)
		// What came to one of many has another address as ours; it is 0 for what
		// came before we asked.
		i.group = ours != to && ours != [4]byte{}
	case h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_PKTINFO && len(data) >= unix.SizeofInet6Pktinfo:
		i.to = netip.AddrFrom16([16]byte(data[:16])).Unmap()
		i.iface = native.Uint32(data[16:])
	case h.Level == unix.SOL_SOCKET && h.Type == unix.SO_RXQ_OVFL && len(data) >= 4:
		i.missed = native.Uint32(data)
	}
}
