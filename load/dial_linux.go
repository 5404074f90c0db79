package load

import (
	"net/netip"
	"os"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// dial makes a non-blocking socket and begins to connect it: socket(2), bind(2) if a
// source is asked for, connect(2).
func dial(to *target, source netip.Addr) (fd int, err error) {
	family, kind := unix.AF_UNIX, unix.SOCK_STREAM
	if to.Address.Network != "unix" {
		family = familyOf(to.addr.Addr())
	}
	if to.Address.Network == "udp" {
		kind = unix.SOCK_DGRAM
	}
	fd, err = unix.Socket(family, kind|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	if err := prepare(fd, to, family, source); err != nil {
		unix.Close(fd)
		return -1, err
	}
	if err := unix.Connect(fd, sockaddr(to)); err != nil && err != unix.EINPROGRESS {
		unix.Close(fd)
		return -1, os.NewSyscallError("connect", err)
	}
	return fd, nil
}

// prepare sets what is to be set before connecting: no delay, and the source, whose port
// connect(2) chooses, so that one port serves many peers (ip(7)).
func prepare(fd int, to *target, family int, source netip.Addr) error {
	if to.Address.Network == "tcp" {
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
			return os.NewSyscallError("setsockopt TCP_NODELAY", err)
		}
	}
	if !source.IsValid() || family == unix.AF_UNIX {
		return nil
	}
	unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1) // without it there are fewer ports
	return os.NewSyscallError("bind "+source.String(), unix.Bind(fd, ipSockaddr(netip.AddrPortFrom(source, 0))))
}

func familyOf(a netip.Addr) int {
	if a.Unmap().Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

func sockaddr(to *target) unix.Sockaddr {
	if to.Address.Network == "unix" {
		return &unix.SockaddrUnix{Name: to.Address.Path} // which takes @ for an abstract name
	}
	return ipSockaddr(to.addr)
}

func ipSockaddr(a netip.AddrPort) unix.Sockaddr {
	if ip := a.Addr().Unmap(); ip.Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: ip.As4()}
	}
	return &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16(), ZoneId: zone(a.Addr().Zone())}
}

// zone returns the number of an interface, 0 if it is none.
func zone(name string) uint32 {
	if name == "" {
		return 0
	}
	var number uint32
	for _, b := range []byte(name) {
		if b < '0' || b > '9' {
			return indexOf(name)
		}
		number = number*10 + uint32(b-'0')
	}
	return number
}

// indexOf returns the number of an interface by its name: netdevice(7).
func indexOf(name string) uint32 {
	text, err := os.ReadFile("/sys/class/net/" + strings.ReplaceAll(name, "/", "") + "/ifindex")
	if err != nil {
		return 0
	}
	return zone(strings.TrimSpace(string(text)))
}

// kernelOf returns what the kernel knows of a TCP connection: TCP_INFO.
func kernelOf(fd int) (info *unix.TCPInfo, err error) {
	return unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
}

// dropsOf returns the datagrams that a socket's full buffer has cost: SO_MEMINFO.
func dropsOf(fd int) int64 {
	var info [9]uint32 // SK_MEMINFO_VARS, of which SK_MEMINFO_DROPS is the last
	size := uint32(len(info) * 4)
	const soMeminfo = 55
	_, _, errno := syscall.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, soMeminfo,
		uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 {
		return 0
	}
	return int64(info[8])
}
