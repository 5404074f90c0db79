package sock

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"runtime"
	"syscall"
	"time"

	"yodel/trace"
)

// A Family says which version of IP to use.
type Family uint8

// The families. Both is the zero value: a listener for all interfaces takes
// IPv4 and IPv6, and Dial races the two.
const (
	Both Family = iota
	V4          // IPv4 only
	V6          // IPv6 only
)

// has reports whether an address of this family may be used.
func (f Family) has(a netip.Addr) bool {
	return f == Both || f == familyOf(a)
}

func familyOf(a netip.Addr) Family {
	if a.Unmap().Is4() {
		return V4
	}
	return V6
}

// suffix is what package net appends to the name of a network.
func (f Family) suffix() string { return [...]string{Both: "", V4: "4", V6: "6"}[f] }

// String returns "both", "v4" or "v6".
func (f Family) String() string { return [...]string{Both: "both", V4: "v4", V6: "v6"}[f] }

// Options says how sockets are made. The zero Options, and a nil *Options, are
// the defaults written here.
//
// An option that is set and that this system does not have makes the call fail
// with an error that wraps [errors.ErrUnsupported]; a default is then left out
// without a word. The options for connections (Delay, the KeepAlive group,
// UserTimeout, the buffers, NotSentLowat) are set on a listening socket too: on
// Linux each connected socket inherits them, so they cost nothing for each
// connection and hold for descriptors that an event loop accepts by itself.
type Options struct {
	// NoReuseAddr turns SO_REUSEADDR off. Without it a listener binds although
	// connections of an earlier one still wait in TIME_WAIT, so that a server can
	// be started again at once; two listeners on one port it never allows
	// (socket(7); RFC 9293 §3.6.1). Stream sockets only. Windows has no such wait,
	// and there it is not supported.
	NoReuseAddr bool

	// ReusePort prepares a listener for Listener.Share, with SO_REUSEPORT. The
	// port is first taken exclusively, so a port that somebody else holds is an
	// error and never shared by accident. TCP and TLS, Linux only.
	ReusePort bool

	// Backlog is how many connections may wait to be accepted. If zero, it is as
	// many as the system allows (Linux: net.core.somaxconn, which also bounds a
	// greater Backlog). Not on Windows.
	Backlog int

	// Delay turns Nagle's algorithm on, which holds small writes back while
	// others are not yet acknowledged. By default TCP_NODELAY turns it off (tcp(7)).
	Delay bool

	// KeepAliveIdle is how long a connection is silent before the kernel probes
	// whether the peer is still there. If zero, 15 seconds; if negative, it never
	// probes. Whole seconds, rounded up.
	KeepAliveIdle time.Duration

	// KeepAliveInterval is the time between two probes. If zero, 15 seconds.
	KeepAliveInterval time.Duration

	// KeepAliveCount is how many probes without an answer end a connection. If
	// zero, 4. Where UserTimeout is on, that ends the connection if it is shorter.
	KeepAliveCount int

	// UserTimeout is how long sent data may stay without acknowledgement, or
	// unsent before a closed window, until the kernel ends the connection
	// (TCP_USER_TIMEOUT, RFC 5482). It bounds connect too. If zero, 60 seconds; if
	// negative, the kernel's own much longer limits hold. A person who stops a
	// terminal with Ctrl-S closes the window: be negative there. Linux only.
	UserTimeout time.Duration

	// ReadBuffer and WriteBuffer are the kernel's buffers in bytes (SO_RCVBUF,
	// SO_SNDBUF). If zero, the kernel sizes them itself and adapts them as it goes,
	// which is nearly always better. Linux keeps twice the number, within
	// net.core.rmem_max and wmem_max (socket(7)).
	ReadBuffer, WriteBuffer int

	// NotSentLowat bounds the bytes that wait in the kernel without having been
	// sent: above it the socket is not writable (TCP_NOTSENT_LOWAT, tcp(7)). If
	// zero, only WriteBuffer bounds them. Linux only.
	NotSentLowat int

	// MPTCP makes Multipath TCP sockets (RFC 8684), which fall back to TCP where
	// the peer does not speak it. Linux only; off by default, unlike in package
	// net, because packet filters, Landlock and BPF socket maps do not see through
	// it.
	MPTCP bool

	// Device is the interface to use, and no other: "eth0" (SO_BINDTODEVICE,
	// socket(7)). If empty, routing chooses. Linux only.
	Device string

	// Source is the address Dial comes from; the port is the kernel's choice. If
	// not valid (zero), routing chooses.
	Source netip.Addr

	// ProxyHeader is the version, 1 or 2, of the PROXY header that Dial sends before
	// all else, TLS included, as a proxy does for servers that ask for it (see
	// ProxyHeader). If zero, none is sent. Not for datagrams.
	ProxyHeader int

	// ProxySource is who that header says is calling. If not valid (zero), the
	// connection's own address: the header is true then. It must be of the same
	// version of IP as the server's address.
	ProxySource netip.AddrPort

	// Family restricts a name's addresses, and what a listener for all interfaces
	// takes.
	Family Family

	// UnixMode is the permission bits of a Unix socket's path: who may write to it
	// may connect (unix(7)). If zero, 0600. Abstract names have none.
	UnixMode fs.FileMode

	// TLS configures the network "tls". If nil, a listener makes a certificate for
	// itself (see SelfSigned and Listener.Fingerprint) and Dial trusts what the
	// system trusts. Dial fills in ServerName where it is empty.
	TLS *tls.Config

	// HandshakeTimeout bounds the TLS handshake in Dial. If zero, 10 seconds; if
	// negative, only the context does.
	HandshakeTimeout time.Duration

	// Resolver looks up names. If nil, the zero Resolver does.
	Resolver *Resolver

	// Sink takes the trace events of every call. If nil, there are none.
	Sink trace.Sink
}

// clone returns a copy that is the callee's own; nil becomes the defaults.
func (o *Options) clone() *Options {
	if o == nil {
		return &Options{}
	}
	c := *o
	return &c
}

const (
	defaultKeepAlive      = 15 * time.Second
	defaultKeepAliveCount = 4
	defaultUserTimeout    = 60 * time.Second
	defaultHandshake      = 10 * time.Second
	defaultUnixMode       = fs.FileMode(0o600)
)

func (o *Options) keepAlive() net.KeepAliveConfig {
	return net.KeepAliveConfig{
		Enable:   o.KeepAliveIdle >= 0,
		Idle:     cmp.Or(o.KeepAliveIdle, defaultKeepAlive),
		Interval: cmp.Or(o.KeepAliveInterval, defaultKeepAlive),
		Count:    cmp.Or(o.KeepAliveCount, defaultKeepAliveCount),
	}
}

// userTimeout returns 0 for off, as the kernel has it.
func (o *Options) userTimeout() time.Duration {
	return max(cmp.Or(o.UserTimeout, defaultUserTimeout), 0)
}

// handshakeTimeout returns 0 for none.
func (o *Options) handshakeTimeout() time.Duration {
	return max(cmp.Or(o.HandshakeTimeout, defaultHandshake), 0)
}

func (o *Options) unixMode() fs.FileMode {
	return cmp.Or(o.UnixMode, defaultUnixMode).Perm()
}

func (o *Options) resolver() *Resolver {
	if o.Resolver == nil {
		return &Resolver{}
	}
	return o.Resolver
}

// A sockopt is one setsockopt(2) call.
type sockopt struct {
	name    string // as the man page has it
	level   int
	opt     int // absent where the system has no such option
	value   int
	asked   bool   // false: a default, left out where it can't be set
	instead string // what to do where it is absent
}

// absent is the number of an option that this system does not have.
const absent = -1

// set makes the call.
func (o sockopt) set(fd uintptr) error {
	if o.opt == absent {
		return unsupported(o.name, o.instead)
	}
	return os.NewSyscallError("setsockopt "+o.name, setsockoptInt(fd, o.level, o.opt, o.value))
}

// setAll sets opts in order and returns the first failure of one that was asked
// for.
func setAll(fd uintptr, opts []sockopt) error {
	for _, o := range opts {
		if err := o.set(fd); err != nil && o.asked {
			return err
		}
	}
	return nil
}

// unsupported says that this system lacks what, and what to do about it.
func unsupported(what, instead string) error {
	return fmt.Errorf("%s: %w on %s: %s", what, errors.ErrUnsupported, runtime.GOOS, instead)
}

// control runs f on the descriptor of c.
func control(c syscall.RawConn, f func(fd uintptr) error) error {
	var inner error
	if err := c.Control(func(fd uintptr) { inner = f(fd) }); err != nil {
		return err
	}
	return inner
}

// listenOptions are the calls for a listening TCP socket, between socket and
// bind: the kernel announces a window scale from the buffers it finds then.
func (o *Options) listenOptions() []sockopt {
	opts := o.bufferOptions()
	if o.NoReuseAddr {
		opts = append(opts, sockopt{
			"SO_REUSEADDR", syscall.SOL_SOCKET, soReuseAddr, 0, true,
			"a port is free there as soon as its listener is closed: leave NoReuseAddr out",
		})
	}
	opts = append(opts, o.tcpOptions()...)
	if inherits {
		opts = append(opts, o.inherited()...)
	}
	return opts
}

// dialOptions are the calls for a TCP socket that connects.
func (o *Options) dialOptions() []sockopt {
	opts := append(o.bufferOptions(), o.tcpOptions()...)
	if o.Source.IsValid() {
		// Without it bind picks a port that no other connection of that source
		// may use; with it connect does, and one port serves many peers (ip(7)).
		opts = append(opts, sockopt{name: "IP_BIND_ADDRESS_NO_PORT", level: syscall.IPPROTO_IP, opt: ipBindAddressNoPort, value: 1})
	}
	return opts
}

func (o *Options) bufferOptions() []sockopt {
	var opts []sockopt
	if o.ReadBuffer > 0 {
		opts = append(opts, sockopt{"SO_RCVBUF", syscall.SOL_SOCKET, syscall.SO_RCVBUF, o.ReadBuffer, true, ""})
	}
	if o.WriteBuffer > 0 {
		opts = append(opts, sockopt{"SO_SNDBUF", syscall.SOL_SOCKET, syscall.SO_SNDBUF, o.WriteBuffer, true, ""})
	}
	return opts
}

func (o *Options) tcpOptions() []sockopt {
	opts := []sockopt{{
		"TCP_USER_TIMEOUT", syscall.IPPROTO_TCP, tcpUserTimeout,
		int(o.userTimeout().Milliseconds()), o.UserTimeout > 0,
		"leave UserTimeout out, and set write deadlines",
	}}
	if o.NotSentLowat > 0 {
		opts = append(opts, sockopt{
			"TCP_NOTSENT_LOWAT", syscall.IPPROTO_TCP, tcpNotSentLowat, o.NotSentLowat, true,
			"set WriteBuffer, which bounds what is unsent as well",
		})
	}
	return opts
}

// inherited are the options that package net would otherwise set on each
// connected socket.
func (o *Options) inherited() []sockopt {
	ka := o.keepAlive()
	asked := o.KeepAliveIdle > 0 || o.KeepAliveInterval > 0 || o.KeepAliveCount > 0
	opts := []sockopt{
		{name: "TCP_NODELAY", level: syscall.IPPROTO_TCP, opt: syscall.TCP_NODELAY, value: bit(!o.Delay)},
		{name: "SO_KEEPALIVE", level: syscall.SOL_SOCKET, opt: syscall.SO_KEEPALIVE, value: bit(ka.Enable)},
	}
	if !ka.Enable {
		return opts
	}
	return append(opts,
		sockopt{"TCP_KEEPIDLE", syscall.IPPROTO_TCP, tcpKeepIdle, seconds(ka.Idle), asked, ""},
		sockopt{"TCP_KEEPINTVL", syscall.IPPROTO_TCP, tcpKeepInterval, seconds(ka.Interval), asked, ""},
		sockopt{"TCP_KEEPCNT", syscall.IPPROTO_TCP, tcpKeepCount, ka.Count, asked, ""},
	)
}

func bit(b bool) int {
	if b {
		return 1
	}
	return 0
}

// seconds rounds up: rounding down would turn a short time into none.
func seconds(d time.Duration) int { return int((d + time.Second - 1) / time.Second) }

// checkMPTCP fails if Multipath TCP was asked for and fd is plain TCP: package net
// falls back without a word where the kernel has it not, or has it turned off.
func (o *Options) checkMPTCP(fd uintptr) error {
	if !o.MPTCP || isMPTCP(fd) {
		return nil
	}
	return unsupported("MPTCP", "use plain TCP, or set net.mptcp.enabled=1 on Linux 5.6 or later")
}
