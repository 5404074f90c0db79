package sock

import (
	"errors"
	"fmt"
	"net"
	"os"
)

// PassedConn returns the connected socket that whoever accepted it has passed as f:
// inetd, or systemd with Accept=yes, as standard input and output. It is a
// *net.TCPConn or a *net.UnixConn, and a copy: the connection ends when f, and every
// other copy, is closed too. Of opts the options for connections count; the buffers
// are for who made the socket.
//
// The error says what f is instead: a listening socket, a datagram socket, or none.
func PassedConn(f *os.File, opts *Options) (net.Conn, error) {
	if listens(f) {
		return nil, fmt.Errorf("%s is a listening socket: let the one who passed it accept, as nowait and Accept=yes say", f.Name())
	}
	c, err := net.FileConn(f)
	if err != nil {
		return nil, fmt.Errorf("%s is no connected stream socket: %w", f.Name(), err)
	}
	if err := adoptConn(c, opts.clone()); err != nil {
		c.Close()
		return nil, fmt.Errorf("%s is no connected stream socket: %w", f.Name(), err)
	}
	return c, nil
}

var errNotConnected = errors.New("it has no peer, or no longer")

// adoptConn gives a connected socket what it would have from a listening socket of
// ours.
func adoptConn(c net.Conn, opts *Options) error {
	if c.RemoteAddr() == nil {
		return errNotConnected
	}
	switch c := c.(type) {
	case *net.TCPConn:
		if err := c.SetKeepAliveConfig(opts.keepAlive()); err != nil {
			return err
		}
		c.SetNoDelay(!opts.Delay) // best effort, as when it is accepted
		raw, err := c.SyscallConn()
		if err != nil {
			return err
		}
		return control(raw, func(fd uintptr) error { return setAll(fd, opts.tcpOptions()) })
	case *net.UnixConn:
		if c.LocalAddr().Network() == "unix" {
			return nil
		}
	}
	return fmt.Errorf("its network is %s", c.LocalAddr().Network())
}
