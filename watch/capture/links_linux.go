package capture

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// A device is a network interface as rtnetlink(7) lists it.
type device struct {
	Index  int
	Name   string
	Type   uint16 // ARPHRD_…
	Flags  uint32 // IFF_…
	Master uint32 // the bridge or bond that it is a port of; 0: none
	Queue  string // the queueing discipline, "noqueue" for none
}

func (d *device) loopback() bool { return d.Flags&unix.IFF_LOOPBACK != 0 }

// linkType returns what packets of the device begin with. Of those whose header is not
// Ethernet's it is left out.
func (d *device) linkType() LinkType {
	if d.Type == unix.ARPHRD_ETHER || d.Type == unix.ARPHRD_LOOPBACK {
		return Ethernet
	}
	return RawIP
}

func (d *device) value() linkValue {
	var v linkValue
	if d.loopback() {
		v.Flags |= linkLoopback
	}
	if d.Queue != "noqueue" {
		v.Flags |= linkQueued
	}
	if d.linkType() == Ethernet {
		v.MAC = 14
	}
	return v
}

// A routes asks for interfaces and addresses, and hears of changes. It is for one
// goroutine.
type routes struct {
	fd  int
	seq uint32
	buf []byte
}

func newRoutes() (*routes, error) {
	groups := uint32(0)
	for _, g := range []uint{unix.RTNLGRP_LINK, unix.RTNLGRP_TC, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR} {
		groups |= 1 << (g - 1)
	}
	fd, err := netlinkSocket(unix.NETLINK_ROUTE, groups)
	if err != nil {
		return nil, err
	}
	return &routes{fd: fd, buf: make([]byte, 1<<16)}, nil
}

func (r *routes) close() { unix.Close(r.fd) }

// dump asks for all objects of a kind.
func (r *routes) dump(kind uint16, f func(kind uint16, body []byte)) error {
	r.seq++
	req := make([]byte, unix.NLMSG_HDRLEN+unix.SizeofIfInfomsg)
	binary.NativeEndian.PutUint32(req[0:], uint32(len(req)))
	binary.NativeEndian.PutUint16(req[4:], kind)
	binary.NativeEndian.PutUint16(req[6:], unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	binary.NativeEndian.PutUint32(req[8:], r.seq)
	if err := unix.Sendto(r.fd, req, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return os.NewSyscallError("sendto AF_NETLINK", err)
	}
	for {
		n, err := receive(r.fd, r.buf)
		if err != nil {
			return err
		}
		if end, err := messages(r.buf[:n], r.seq, f); end || err != nil {
			return err
		}
	}
}

// devices returns all interfaces.
func (r *routes) devices() ([]device, error) {
	var all []device
	err := r.dump(unix.RTM_GETLINK, func(kind uint16, body []byte) {
		if d, ok := parseDevice(body); ok && kind == unix.RTM_NEWLINK {
			all = append(all, d)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	return all, nil
}

// addresses returns the addresses of this host, with those of broadcasts.
func (r *routes) addresses() ([]netip.Addr, error) {
	var all []netip.Addr
	err := r.dump(unix.RTM_GETADDR, func(kind uint16, body []byte) {
		if kind == unix.RTM_NEWADDR {
			all = append(all, parseAddresses(body)...)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	return all, nil
}

// parseDevice reads a struct ifinfomsg and its attributes.
func parseDevice(b []byte) (device, bool) {
	if len(b) < unix.SizeofIfInfomsg {
		return device{}, false
	}
	d := device{
		Type:  binary.NativeEndian.Uint16(b[2:]),
		Index: int(int32(binary.NativeEndian.Uint32(b[4:]))),
		Flags: binary.NativeEndian.Uint32(b[8:]),
	}
	attributes(b[unix.SizeofIfInfomsg:], func(kind uint16, value []byte) {
		switch {
		case kind == unix.IFLA_IFNAME:
			d.Name = unix.ByteSliceToString(value)
		case kind == unix.IFLA_QDISC:
			d.Queue = unix.ByteSliceToString(value)
		case kind == unix.IFLA_MASTER && len(value) >= 4:
			d.Master = binary.NativeEndian.Uint32(value)
		}
	})
	return d, true
}

// parseAddresses reads a struct ifaddrmsg and its attributes. IFA_ADDRESS is the other
// end's where there is an IFA_LOCAL.
func parseAddresses(b []byte) []netip.Addr {
	if len(b) < unix.SizeofIfAddrmsg {
		return nil
	}
	found := map[uint16]netip.Addr{}
	attributes(b[unix.SizeofIfAddrmsg:], func(kind uint16, value []byte) {
		if a, ok := netip.AddrFromSlice(value); ok {
			found[kind] = a
		}
	})
	var all []netip.Addr
	for _, kind := range []uint16{unix.IFA_LOCAL, unix.IFA_ADDRESS, unix.IFA_BROADCAST} {
		_, local := found[unix.IFA_LOCAL]
		if a, ok := found[kind]; ok && (kind != unix.IFA_ADDRESS || !local) {
			all = append(all, a)
		}
	}
	return all
}
