package sock

import (
	"errors"
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
// the Sink counts, a Backlog, and the options for connections; all else is for who
// opened them.
//
// The error names a descriptor that is no listening stream socket and no UDP socket.
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
	if listens(f) {
		return o.passedListener(f, name)
	}
	inner, err := net.FilePacketConn(f)
	if udp, ok := inner.(*net.UDPConn); ok && udp.RemoteAddr() == nil {
		return Passed{Name: name, PacketConn: &PacketConn{
			UDPConn: udp, addr: boundAddress(udp.LocalAddr()), id: o.id, fd: trace.Descriptor(udp), began: o.ready, sink: opts.Sink,
		}}, nil
	}
	if err == nil {
		inner.Close()
	}
	return Passed{}, passedError(f, name, whatElse(f))
}

func (o *opening) passedListener(f *os.File, name string) (Passed, error) {
	inner, err := net.FileListener(f)
	if err != nil {
		return Passed{}, passedError(f, name, err)
	}
	if u, ok := inner.(*net.UnixListener); ok {
		u.SetUnlinkOnClose(false) // the path is for who made it
	}
	o.fd, o.addr = trace.Descriptor(inner), boundAddress(inner.Addr())
	l := o.listener(inner)
	if err := l.Adopt(o.opts); err != nil {
		l.Close()
		return Passed{}, err
	}
	return Passed{Name: name, Listener: l}, nil
}

func passedError(f *os.File, name string, err error) error {
	return fmt.Errorf("descriptor %d (%q) that was passed to this program: %w", f.Fd(), name, err)
}

// Adopt sets on a socket that was passed what counts of opts: see PassedSockets, which
// has done that with its own. Closing the socket never removes its path.
func (l *Listener) Adopt(opts *Options) error {
	o := opts.clone()
	raw, err := l.SyscallConn()
	if err != nil {
		return err
	}
	err = control(raw, func(fd uintptr) error {
		if o.Backlog > 0 {
			if err := relisten(fd, o.Backlog); err != nil {
				return err
			}
		}
		if l.addr.Network == "unix" || !inherits {
			return nil
		}
		sets := append(o.tcpOptions(), o.inherited()...)
		for i := range sets {
			sets[i].asked = sets[i].asked && !isMPTCP(fd) // it lacks some, and who passes it wants it
		}
		return setAll(fd, sets)
	})
	if err != nil {
		return fmt.Errorf("the socket %v that was passed to this program: %w", l.addr, err)
	}
	return nil
}

// whatElse tells what f is, if it is neither a listening socket nor a datagram socket.
func whatElse(f *os.File) error {
	if c, err := net.FileConn(f); err == nil {
		defer c.Close()
		if c.RemoteAddr() != nil {
			return errors.New("it is a connection, as units with Accept=yes pass them: let StandardInput=socket make it the standard input of a program that serves one")
		}
	}
	return errors.New("it is no listening stream socket and no UDP socket")
}

// boundAddress returns where a socket is bound, as Listen tells it.
func boundAddress(a net.Addr) Address {
	if u, ok := a.(*net.UnixAddr); ok {
		return Address{Network: "unix", Path: u.Name}
	}
	ap := trace.AddrPort(a)
	host := ap.Addr().String()
	if ap.Addr().IsUnspecified() {
		host = ""
	}
	return Address{Network: a.Network(), Host: host, Port: ap.Port()}
}
