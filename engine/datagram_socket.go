package engine

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"yodel"
	"yodel/trace"
)

// sendPatience is how long, about, a send waits for room in the kernel, twice. What
// has not gone by then is dropped, as a network would: one neighbour that does not
// answer ARP can fill a socket's buffer for seconds.
const sendPatience = 200 * time.Millisecond

// messenger is a socket that reads and writes control messages beside datagrams,
// such as *net.UDPConn.
type messenger interface {
	syscall.Conn
	ReadMsgUDPAddrPort(b, oob []byte) (n, oobn, flags int, addr netip.AddrPort, err error)
	WriteMsgUDPAddrPort(b, oob []byte, addr netip.AddrPort) (n, oobn int, err error)
}

// packetInfo is what the kernel says of a datagram beside its bytes and source.
type packetInfo struct {
	to     netip.Addr // where it was sent to; not valid: not known
	iface  uint32     // index of the interface it came in by; 0: not known
	group  bool       // it was sent to a broadcast or multicast address
	missed uint32     // datagrams dropped before it for want of buffer, modulo 2^32
}

// udpSocket reads and sends datagrams. Without a messenger, or without control
// messages on this system, the kernel chooses the address that an answer leaves from.
type udpSocket struct {
	pc    net.PacketConn
	msg   messenger      // nil: none
	bound netip.AddrPort // not 4-in-6

	in      []byte
	control []byte // room for control messages
	from    sourceControl
	renew   time.Time // when the deadline of sends is to be set anew
	missed  uint32    // as of the last reading

	// The datagram that was read.
	request []byte
	peer    yodel.Peer
	info    packetInfo
}

// newUDPSocket makes pc ready for reading. The error wraps ErrUnfit if pc is no UDP
// socket or is connected.
func newUDPSocket(pc net.PacketConn) (*udpSocket, error) {
	bound := trace.AddrPort(pc.LocalAddr())
	if !bound.IsValid() {
		return nil, fmt.Errorf("%w: %T is no UDP socket; bind one, with udp://HOST:PORT", ErrUnfit, pc)
	}
	if c, ok := pc.(net.Conn); ok && c.RemoteAddr() != nil {
		return nil, fmt.Errorf("%w: the UDP socket on %v is connected to %v; bind one that is not", ErrUnfit, bound, c.RemoteAddr())
	}
	s := &udpSocket{pc: pc, bound: bound, in: make([]byte, 1<<16), control: make([]byte, controlRoom)}
	if m, ok := pc.(messenger); ok {
		s.msg = m
		if err := s.from.ask(m, bound.Addr().IsUnspecified()); err != nil && !errors.Is(err, errors.ErrUnsupported) {
			return nil, fmt.Errorf("ask for the addresses of datagrams on %v: %w", bound, err)
		}
	}
	return s, nil
}

// read reads one datagram.
func (s *udpSocket) read() error {
	n, remote, err := s.receive()
	if err != nil {
		return err
	}
	local := s.bound
	if s.info.to.IsValid() {
		local = netip.AddrPortFrom(s.info.to, local.Port())
	}
	s.request = s.in[:n]
	s.peer = yodel.Peer{Network: "udp", Local: local, Remote: remote}
	return nil
}

func (s *udpSocket) receive() (n int, remote netip.AddrPort, err error) {
	s.info = packetInfo{}
	if s.msg == nil {
		n, from, err := s.pc.ReadFrom(s.in)
		return n, trace.AddrPort(from), err
	}
	n, oobn, _, from, err := s.msg.ReadMsgUDPAddrPort(s.in, s.control)
	if err == nil {
		s.info = parseControl(s.control[:oobn])
	}
	return n, netip.AddrPortFrom(from.Addr().Unmap(), from.Port()), err
}

// newlyMissed returns how many datagrams the kernel has dropped since it was last
// called.
func (s *udpSocket) newlyMissed() int64 {
	if s.info.missed == 0 { // the kernel leaves it out while it is 0
		return 0
	}
	n := s.info.missed - s.missed
	s.missed = s.info.missed
	return int64(n)
}

// send sends answer to whoever sent the last datagram, from the address that it was
// sent to.
func (s *udpSocket) send(answer []byte, now time.Time) error {
	if !now.Before(s.renew) {
		s.allow(now)
	}
	err := s.write(answer)
	switch {
	case err == nil:
	case errors.Is(err, os.ErrDeadlineExceeded):
		s.allow(time.Now()) // we may have been held up, and not the datagram
		err = s.write(answer)
	case isEcho(err):
		err = s.write(answer)
	}
	return err
}

// allow lets sends wait for room. Setting a deadline is not free, so one is good
// for several.
func (s *udpSocket) allow(now time.Time) {
	s.renew = now.Add(sendPatience / 2)
	s.pc.SetWriteDeadline(now.Add(sendPatience))
}

// isEcho reports whether err may be what the network said of an earlier answer: the
// kernel then hands it to the next call, which did nothing.
func isEcho(err error) bool {
	return errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.EHOSTUNREACH) || errors.Is(err, syscall.ENETUNREACH)
}

func (s *udpSocket) write(answer []byte) error {
	if s.msg == nil {
		_, err := s.pc.WriteTo(answer, net.UDPAddrFromAddrPort(s.peer.Remote))
		return err
	}
	_, _, err := s.msg.WriteMsgUDPAddrPort(answer, s.from.message(s.info), s.peer.Remote)
	return err
}
