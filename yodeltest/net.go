package yodeltest

import (
	"cmp"
	"context"
	"math"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
)

// Net is a network in memory: listeners by name, and connections that behave like
// TCP's, without sockets. It works inside a testing/synctest bubble: whoever waits
// on it is durably blocked, and deadlines follow the bubble's clock.
//
// The zero value is ready to use. Fields must not change after the first call.
type Net struct {
	// Buffer is how many bytes may be under way in each direction of a
	// connection before Write blocks. 0: 65,536. Negative: no bound.
	Buffer int

	// Backlog is how many connections may wait for Accept before Dial blocks.
	// 0: 128.
	Backlog int

	mu        sync.Mutex
	listeners map[string]*listener
	dialed    int
}

// Addr is the address of an end in a [Net] whose name is not an IP address with a
// port.
type Addr string

// Network returns "memory".
func (Addr) Network() string { return "memory" }

// String returns the name.
func (a Addr) String() string { return string(a) }

// address makes "192.0.2.1:7" a *net.TCPAddr, so that code that looks at addresses
// can be tried here.
func address(name string) net.Addr {
	if ap, err := netip.ParseAddrPort(name); err == nil {
		return net.TCPAddrFromAddrPort(ap)
	}
	return Addr(name)
}

func (n *Net) buffer() int {
	if n.Buffer < 0 {
		return math.MaxInt
	}
	return cmp.Or(n.Buffer, 64<<10)
}

// Listen returns a listener that [Net.Dial] reaches by name, which may be any
// text. A name like "192.0.2.1:7" makes the addresses of its connections
// *net.TCPAddr. A name that is listening already is EADDRINUSE.
func (n *Net) Listen(name string) (net.Listener, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.listeners[name] != nil {
		return nil, opError("listen", nil, address(name), os.NewSyscallError("bind", syscall.EADDRINUSE))
	}
	l := &listener{
		net:    n,
		name:   name,
		queue:  make(chan *Conn, cmp.Or(n.Backlog, 128)),
		closed: make(chan struct{}),
	}
	if n.listeners == nil {
		n.listeners = make(map[string]*listener)
	}
	n.listeners[name] = l
	return l, nil
}

// Dial connects to the listener of that name. The client's address is 192.0.2.1
// (RFC 5737) and a port of its own. As on a real host, the connection stands
// before it is accepted; Dial blocks while the backlog is full. Where nobody
// listens the error is ECONNREFUSED.
func (n *Net) Dial(ctx context.Context, name string) (*Conn, error) {
	return n.DialFrom(ctx, n.ephemeral(), name)
}

// ephemeral returns the next client address, its port from the range that RFC 6335
// §6 leaves for such use.
func (n *Net) ephemeral() string {
	const first, count = 49152, 16384
	n.mu.Lock()
	defer n.mu.Unlock()
	port := first + n.dialed%count
	n.dialed++
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, 1}), uint16(port)).String()
}

// DialFrom is Dial with the client's address chosen by the caller: any text, as in
// [Net.Listen]. The same one may be used many times.
func (n *Net) DialFrom(ctx context.Context, from, name string) (*Conn, error) {
	local, remote := address(from), address(name)
	if err := ctx.Err(); err != nil {
		return nil, opError("dial", local, remote, err)
	}
	l := n.find(name)
	if l == nil {
		return nil, opError("dial", local, remote, errRefused)
	}
	client, server := newPair(local, remote, n.buffer())
	if err := l.enqueue(ctx, server); err != nil {
		return nil, opError("dial", local, remote, err)
	}
	return client, nil
}

var errRefused = os.NewSyscallError("connect", syscall.ECONNREFUSED)

func (n *Net) find(name string) *listener {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.listeners[name]
}

// Pipe returns the two ends of a new connection that no listener has seen.
func (n *Net) Pipe() (client, server *Conn) {
	return newPair(address(n.ephemeral()), Addr("pipe"), n.buffer())
}

type listener struct {
	net    *Net
	name   string
	queue  chan *Conn
	closed chan struct{} // closed by Close, under net.mu
}

// enqueue hands the server's end of a new connection to Accept.
func (l *listener) enqueue(ctx context.Context, c *Conn) error {
	select {
	case l.queue <- c:
	case <-l.closed:
		return errRefused
	case <-ctx.Done():
		return ctx.Err()
	}
	if l.isClosed() { // it may have emptied its queue before c came
		l.resetQueued()
	}
	return nil
}

// Accept waits for the next connection.
func (l *listener) Accept() (net.Conn, error) {
	if l.isClosed() {
		return nil, opError("accept", nil, l.Addr(), net.ErrClosed)
	}
	select {
	case c := <-l.queue:
		return c, nil
	case <-l.closed:
		return nil, opError("accept", nil, l.Addr(), net.ErrClosed)
	}
}

// Close resets the connections that were not accepted and frees the name.
func (l *listener) Close() error {
	l.net.mu.Lock()
	defer l.net.mu.Unlock()
	if l.isClosed() {
		return opError("close", nil, l.Addr(), net.ErrClosed)
	}
	delete(l.net.listeners, l.name)
	close(l.closed)
	l.resetQueued()
	return nil
}

func (l *listener) isClosed() bool {
	select {
	case <-l.closed:
		return true
	default:
		return false
	}
}

func (l *listener) resetQueued() {
	for {
		select {
		case c := <-l.queue:
			c.Reset()
		default:
			return
		}
	}
}

// Addr returns the name that was given to Listen.
func (l *listener) Addr() net.Addr { return address(l.name) }
