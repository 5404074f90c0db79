package sock

import (
	"context"
	"fmt"
	"math"
	"net"
)

// OpenListenFD listens on port, on every interface, as open_listenfd in the lecture:
// socket, setsockopt (SO_REUSEADDR), bind, listen. Port 0 takes a free one. FD is the
// lecture's word: what comes back is Go's form of the listening descriptor. The
// error is a [*ListenError], or says that port is none.
//
// Nothing is timed: a connection may be silent for as long as it likes.
func OpenListenFD(port int) (*net.TCPListener, error) {
	p, err := checkPort(port)
	if err != nil {
		return nil, err
	}
	l, err := Listen(context.Background(), Address{Network: "tcp", Port: p}, untimed())
	if err != nil {
		return nil, err
	}
	return l.inner.(*net.TCPListener), nil
}

// OpenClientFD connects to port at host, as open_clientfd in the lecture: socket,
// gethostbyname, connect. It returns Go's form of the connected descriptor. Where
// the lecture returns -2 for a name that cannot be looked up, the error is a
// [*ResolveError]; where it returns -1, it is a [*ConnectError].
//
// Nothing is timed but connect, by the kernel.
func OpenClientFD(host string, port int) (*net.TCPConn, error) {
	p, err := checkPort(port)
	if err != nil {
		return nil, err
	}
	c, err := Dial(context.Background(), Address{Network: "tcp", Host: host, Port: p}, untimed())
	if err != nil {
		return nil, err
	}
	return c.raw.(*net.TCPConn), nil
}

// untimed are the options of the lecture's programs: they set no clock.
func untimed() *Options { return &Options{KeepAliveIdle: -1, UserTimeout: -1} }

func checkPort(port int) (uint16, error) {
	if port < 0 || port > math.MaxUint16 {
		return 0, fmt.Errorf("port %d is out of range: ports are numbers of 16 bits, 0 to 65535", port)
	}
	return uint16(port), nil
}
