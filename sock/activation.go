package sock

import (
	"fmt"
	"net"
	"os"
	"time"

	"github.com/coreos/go-systemd/v22/activation"

	"yodel/trace"
)

// A Passed is a socket that whoever started this program has opened for it: systemd,
// by its protocol of socket activation (sd_listen_fds(3)). One of Listener and
// PacketConn is set.
type Passed struct {
	Name       string // FileDescriptorName of the unit; "" if it has none
	Listener   *Listener
	PacketConn *PacketConn
}

// Close closes the socket.
func (p Passed) Close() error {
	if p.Listener != nil {
		return p.Listener.Close()
	}
	return p.PacketConn.Close()
}

// PassedSockets returns the sockets that were passed, in their order: none if this
// program was started otherwise. It takes them: the environment that tells of them is
// cleared, so that no child takes them too, and a second call returns none. Of opts
// the Sink counts; all else is for who opened them.
//
// The error names a descriptor that is no listening socket and no datagram socket.
// Those before it are closed then.
func PassedSockets(opts *Options) ([]Passed, error) {
	var all []Passed
	for _, f := range activation.Files(true) {
		p, err := passed(f, opts.clone())
		f.Close() // what passed returns is a copy
		if err != nil {
			for _, p := range all {
				p.Close()
			}
			return nil, err
		}
		all = append(all, p)
	}
	return all, nil
}

func passed(f *os.File, opts *Options) (Passed, error) {
	name := f.Name()
	if name == fmt.Sprintf("LISTEN_FD_%d", f.Fd()) { // what the library calls one without a name
		name = ""
	}
	o := opening{opts: opts, id: trace.NewID(), side: trace.Server, ready: time.Now()}
	if inner, err := net.FileListener(f); err == nil {
		o.fd, o.addr = trace.Descriptor(inner), boundAddress(inner.Addr())
		if u, ok := inner.(*net.UnixListener); ok {
			u.SetUnlinkOnClose(false) // the path is for who made it
		}
		return Passed{Name: name, Listener: o.listener(inner)}, nil
	}
	inner, err := net.FilePacketConn(f)
	udp, ok := inner.(*net.UDPConn)
	if err != nil || !ok {
		return Passed{}, fmt.Errorf("descriptor %d (%q) that was passed to this program is no listening socket and no UDP socket", f.Fd(), name)
	}
	return Passed{Name: name, PacketConn: &PacketConn{
		UDPConn: udp, addr: boundAddress(udp.LocalAddr()), id: o.id, fd: trace.Descriptor(udp), began: o.ready, sink: opts.Sink,
	}}, nil
}

// boundAddress returns where a socket is bound, as Listen tells it.
func boundAddress(a net.Addr) Address {
	if u, ok := a.(*net.UnixAddr); ok {
		return Address{Network: "unix", Path: u.Name}
	}
	ap := addrPort(a)
	host := ap.Addr().String()
	if ap.Addr().IsUnspecified() {
		host = ""
	}
	return Address{Network: a.Network(), Host: host, Port: ap.Port()}
}
