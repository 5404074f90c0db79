package sock

import (
	"errors"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"yodel/trace"
	"yodel/yodeltest"
)

// onFD runs f on the descriptor of s.
func onFD(t *testing.T, s syscall.Conn, f func(fd int) error) {
	t.Helper()
	raw, err := s.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := control(raw, func(fd uintptr) error { return f(int(fd)) }); err != nil {
		t.Fatal(err)
	}
}

func getsockopt(t *testing.T, s syscall.Conn, level, opt int) (value int) {
	t.Helper()
	onFD(t, s, func(fd int) (err error) {
		value, err = unix.GetsockoptInt(fd, level, opt)
		return err
	})
	return value
}

// What the options come to in the kernel: for a listening socket, the connected
// socket that inherits from it, and the one that dials.
func TestOptionsReachTheKernel(t *testing.T) {
	t.Parallel()
	const tcp, sock = unix.IPPROTO_TCP, unix.SOL_SOCKET
	type expect struct{ level, opt, listening, accepted, dialled int }
	const any = -2 // not looked at
	for _, tt := range []struct {
		what string
		opts Options
		want map[string]expect
	}{
		{"defaults", Options{}, map[string]expect{
			"SO_REUSEADDR":      {sock, unix.SO_REUSEADDR, 1, any, 0},
			"SO_REUSEPORT":      {sock, unix.SO_REUSEPORT, 0, 0, 0},
			"TCP_NODELAY":       {tcp, unix.TCP_NODELAY, 1, 1, 1},
			"SO_KEEPALIVE":      {sock, unix.SO_KEEPALIVE, 1, 1, 1},
			"TCP_KEEPIDLE":      {tcp, unix.TCP_KEEPIDLE, 15, 15, 15},
			"TCP_KEEPINTVL":     {tcp, unix.TCP_KEEPINTVL, 15, 15, 15},
			"TCP_KEEPCNT":       {tcp, unix.TCP_KEEPCNT, 4, 4, 4},
			"TCP_USER_TIMEOUT":  {tcp, unix.TCP_USER_TIMEOUT, 60_000, 60_000, 60_000},
			"SO_PROTOCOL":       {sock, unix.SO_PROTOCOL, unix.IPPROTO_TCP, unix.IPPROTO_TCP, unix.IPPROTO_TCP},
			"TCP_NOTSENT_LOWAT": {tcp, unix.TCP_NOTSENT_LOWAT, 0, 0, 0},
		}},
		{"all set", Options{
			NoReuseAddr: true, Delay: true, KeepAliveIdle: 1500 * time.Millisecond, KeepAliveInterval: 3 * time.Second,
			KeepAliveCount: 7, UserTimeout: 1500 * time.Millisecond, ReadBuffer: 40_000, WriteBuffer: 50_000, NotSentLowat: 16_384,
		}, map[string]expect{
			"SO_REUSEADDR":      {sock, unix.SO_REUSEADDR, 0, any, 0},
			"TCP_NODELAY":       {tcp, unix.TCP_NODELAY, 0, 0, 0},
			"SO_KEEPALIVE":      {sock, unix.SO_KEEPALIVE, 1, 1, 1},
			"TCP_KEEPIDLE":      {tcp, unix.TCP_KEEPIDLE, 2, 2, 2},
			"TCP_KEEPINTVL":     {tcp, unix.TCP_KEEPINTVL, 3, 3, 3},
			"TCP_KEEPCNT":       {tcp, unix.TCP_KEEPCNT, 7, 7, 7},
			"TCP_USER_TIMEOUT":  {tcp, unix.TCP_USER_TIMEOUT, 1500, 1500, 1500},
			"SO_RCVBUF":         {sock, unix.SO_RCVBUF, 80_000, 80_000, 80_000},
			"SO_SNDBUF":         {sock, unix.SO_SNDBUF, 100_000, 100_000, 100_000},
			"TCP_NOTSENT_LOWAT": {tcp, unix.TCP_NOTSENT_LOWAT, 16_384, 16_384, 16_384},
		}},
		{"no clocks", Options{KeepAliveIdle: -1, UserTimeout: -1}, map[string]expect{
			"SO_KEEPALIVE":     {sock, unix.SO_KEEPALIVE, 0, 0, 0},
			"TCP_USER_TIMEOUT": {tcp, unix.TCP_USER_TIMEOUT, 0, 0, 0},
		}},
		{"ReusePort", Options{ReusePort: true}, map[string]expect{
			"SO_REUSEPORT": {sock, unix.SO_REUSEPORT, 1, any, 0},
		}},
		{"MPTCP", Options{MPTCP: true}, map[string]expect{
			"SO_PROTOCOL": {sock, unix.SO_PROTOCOL, unix.IPPROTO_MPTCP, unix.IPPROTO_MPTCP, unix.IPPROTO_MPTCP},
		}},
		{"Source", Options{Source: netip.MustParseAddr("127.0.0.2")}, map[string]expect{
			"IP_BIND_ADDRESS_NO_PORT": {unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 0, any, 1},
		}},
	} {
		t.Run(tt.what, func(t *testing.T) {
			t.Parallel()
			l := listenOn(t, "127.0.0.1:0", &tt.opts)
			dialled, accepted := pairUp(t, l, &tt.opts)
			for name, want := range tt.want {
				for _, s := range []struct {
					who  string
					s    syscall.Conn
					want int
				}{{"listening", l, want.listening}, {"accepted", accepted, want.accepted}, {"dialled", dialled, want.dialled}} {
					if s.want == any {
						continue
					}
					if got := getsockopt(t, s.s, want.level, want.opt); got != s.want {
						t.Errorf("%s of the %s socket is %d, want %d", name, s.who, got, s.want)
					}
				}
			}
		})
	}
}

func TestBuffersOfOtherSockets(t *testing.T) {
	t.Parallel()
	opts := &Options{ReadBuffer: 40_000, WriteBuffer: 50_000}
	dialled, _ := pairUp(t, listenOn(t, "tmp:s", opts), opts)
	packets, err := ListenPacket(t.Context(), mustParse(t, "udp://127.0.0.1:0"), opts)
	if err != nil {
		t.Fatal(err)
	}
	defer packets.Close()
	for what, s := range map[string]syscall.Conn{"unix": dialled, "udp": packets, "dialled udp": dial(t, packets.Address(), opts)} {
		if r, w := getsockopt(t, s, unix.SOL_SOCKET, unix.SO_RCVBUF), getsockopt(t, s, unix.SOL_SOCKET, unix.SO_SNDBUF); r != 80_000 || w != 100_000 {
			t.Errorf("%s: buffers of %d and %d bytes", what, r, w)
		}
	}
}

func TestBacklog(t *testing.T) {
	t.Parallel()
	most := backlogInForce(0)
	if most < 1 {
		t.Fatalf("somaxconn is %d", most)
	}
	for _, tt := range []struct{ asked, want int }{{0, most}, {-1, most}, {5, 5}, {most + 1, most}} {
		var sink recorder
		l := listenOn(t, "127.0.0.1:0", &Options{Backlog: tt.asked, Sink: &sink})
		var info *unix.TCPInfo
		onFD(t, l, func(fd int) (err error) {
			info, err = unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
			return err
		})
		if int(info.Sacked) != tt.want { // of a listening socket that field is the backlog
			t.Errorf("Backlog %d is %d in the kernel, want %d", tt.asked, info.Sacked, tt.want)
		}
		if e := sink.all()[2]; e.Op != trace.Listen || e.Bytes != tt.want {
			t.Errorf("Backlog %d: the event is %s of %d, want %d", tt.asked, e.Op, e.Bytes, tt.want)
		}
	}
}

func TestDevice(t *testing.T) {
	t.Parallel()
	opts := &Options{Device: "lo"}
	l := listenOn(t, "127.0.0.1:0", opts)
	echo(t, l)
	c := dial(t, l.Address(), opts)
	onFD(t, c, func(fd int) error {
		if name, err := unix.GetsockoptString(fd, unix.SOL_SOCKET, unix.SO_BINDTODEVICE); err != nil || name != "lo" {
			t.Errorf("bound to the device %q, %v", name, err)
		}
		return nil
	})
	say(t, c, "hello there\n")
	if _, err := Dial(t.Context(), l.Address(), &Options{Device: "yodel0"}); !errors.Is(err, unix.ENODEV) {
		t.Errorf("dial over an interface that is not there: %v", err)
	}
}

// Without the capability, in a thread of its own: it ends with the goroutine.
func TestPrivilegedPort(t *testing.T) {
	start, err := os.ReadFile("/proc/sys/net/ipv4/ip_unprivileged_port_start")
	if err != nil || string(start) != "1024\n" {
		yodeltest.Skip(t, "the system lets everybody bind any port", "sysctl net.ipv4.ip_unprivileged_port_start=1024")
	}
	result := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked
		if err := dropCapability(unix.CAP_NET_BIND_SERVICE); err != nil {
			t.Error(err)
		}
		l, err := Listen(t.Context(), Address{Network: "tcp", Host: "127.0.0.1", Port: 1023}, nil)
		if l != nil {
			l.Close()
		}
		result <- err
	}()
	err = <-result
	want := "listen on 127.0.0.1:1023: bind: permission denied; ports below 1024 need CAP_NET_BIND_SERVICE: try 127.0.0.1:8023, or setcap cap_net_bind_service=+ep PROGRAM"
	if err == nil || err.Error() != want || !errors.Is(err, unix.EACCES) {
		t.Errorf("\n got %v\nwant %s", err, want)
	}
}

// dropCapability takes a capability away from the calling thread.
func dropCapability(which int) error {
	header := &unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData
	if err := unix.Capget(header, &sets[0]); err != nil {
		return err
	}
	sets[which/32].Effective &^= 1 << (which % 32)
	return unix.Capset(header, &sets[0])
}

// Another program that would share its port gladly: we do not take the offer.
func TestReusePortDoesNotJoinStrangers(t *testing.T) {
	t.Parallel()
	stranger := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		return control(c, reusePort.set)
	}}
	stranger.SetMultipathTCP(false)
	l, err := stranger.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	a := Address{Network: "tcp", Host: "127.0.0.1", Port: trace.AddrPort(l.Addr()).Port()}
	if _, err := Listen(t.Context(), a, &Options{ReusePort: true}); !errors.Is(err, unix.EADDRINUSE) {
		t.Errorf("a port that another program shares: %v", err)
	}
}

func TestShareSpreadsConnections(t *testing.T) {
	t.Parallel()
	for _, word := range []string{"127.0.0.1:0", "[::1]:0", ":0", "tls://127.0.0.1:0"} {
		t.Run(word, func(t *testing.T) {
			t.Parallel()
			var sink recorder
			first := listenOn(t, word, &Options{ReusePort: true, NotSentLowat: 5000, Sink: &sink})
			all := []*Listener{first}
			for range 2 {
				l, err := first.Share()
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { l.Close() })
				all = append(all, l)
			}
			for _, l := range all {
				if l.Address() != first.Address() || l.Fingerprint() != first.Fingerprint() {
					t.Errorf("shared is %+v, the first %+v", l.Address(), first.Address())
				}
				if got := getsockopt(t, l, unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT); got != 5000 {
					t.Errorf("TCP_NOTSENT_LOWAT of one is %d", got)
				}
				if got := ops(sink.of(l.ID())); got != "socket bind listen" {
					t.Errorf("events of one: %s", got)
				}
			}
			dialUntilAllAccept(t, all)
			first.Close() // and the others go on
			dialUntilAllAccept(t, all[1:])
		})
	}
}

// dialUntilAllAccept connects again and again; the kernel chooses by a hash of the
// socket pair, so that after 500 there is no listener left out but by a fault.
func dialUntilAllAccept(t *testing.T, all []*Listener) {
	t.Helper()
	var served sync.WaitGroup
	var reached atomic.Int32
	for _, l := range all {
		l.SetDeadline(time.Time{})
		served.Go(func() {
			for n := 0; ; n++ {
				c, err := l.Accept()
				if err != nil {
					return
				}
				if n == 0 {
					reached.Add(1)
				}
				c.Close()
			}
		})
	}
	for range 500 {
		c, err := net.Dial("tcp", all[len(all)-1].Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		c.Read(make([]byte, 1)) // until it has been accepted
		c.Close()
		if int(reached.Load()) == len(all) {
			break
		}
	}
	if n := int(reached.Load()); n != len(all) {
		t.Errorf("%d of %d listeners accepted something", n, len(all))
	}
	for _, l := range all {
		l.SetDeadline(time.Now())
	}
	served.Wait()
}

func TestShareNeedsReusePort(t *testing.T) {
	t.Parallel()
	for _, l := range []*Listener{listenOn(t, "127.0.0.1:0", nil), listenOn(t, "tmp:s", nil), listenOn(t, "unix:@yodel-test-share", nil)} {
		_, err := l.Share()
		if !errors.Is(err, errors.ErrUnsupported) || !strings.Contains(err.Error(), "set ReusePort") {
			t.Errorf("%v: %v", l.Address(), err)
		}
	}
}

func TestShareOfAPortThatWasLost(t *testing.T) {
	t.Parallel()
	l := listenOn(t, "127.0.0.1:0", &Options{ReusePort: true})
	l.Close()
	other := listenOn(t, l.Addr().String(), nil)
	if _, err := l.Share(); !errors.Is(err, unix.EADDRINUSE) {
		t.Errorf("Share while %v has the port: %v", other.Address(), err)
	}
}

func TestListenErrorsSayWhatToDo(t *testing.T) {
	t.Parallel()
	l := listenOn(t, "127.0.0.1:0", nil)
	u := listenOn(t, "tmp:s", nil)
	for _, tt := range []struct {
		what string
		addr Address
		opts *Options
		is   error  // in the chain
		call string // system call that failed
		want string
	}{
		{
			"a port that is taken", l.Address(), nil, errnoInUse, "bind",
			"listen on " + l.Address().String() + ": bind: address already in use; another program listens there: `" + whoListens(l.Address()) + "` shows which, or choose another port",
		},
		{
			"a path that is taken", u.Address(), nil, errnoInUse, "bind",
			"listen on " + u.Address().String() + ": bind: address already in use; another program listens there: `ss -lxp` shows which, or choose another path",
		},
		{
			"an address of another host",
			Address{Network: "tcp", Host: "192.0.2.1"},
			nil, errnoNotAvail, "bind",
			"listen on 192.0.2.1:0: bind: cannot assign requested address; this host has no such address: leave the host out to listen on all it has",
		},
		{
			"datagrams",
			Address{Network: "udp", Port: 7},
			nil, nil, "",
			"listen on udp://:7: datagrams have no connections to listen for; use ListenPacket",
		},
		{
			"a network nobody knows",
			Address{Network: "ipx\n"},
			nil, nil, "",
			`listen on ipx\n://:0: unknown network "ipx\\n": use tcp, tls or unix`,
		},
		{
			"a folder that is not there",
			Address{Network: "unix", Path: "/nowhere\x1b/s"},
			nil, fs.ErrNotExist, "bind",
			`listen on unix:/nowhere\x1b/s: bind: no such file or directory; the folder of the path does not exist: make it first`,
		},
		{
			"an abstract name with a mode",
			Address{Network: "unix", Path: "@x"},
			&Options{UnixMode: 0o666}, nil, "",
			"listen on unix:@x: an abstract name has no permissions: leave UnixMode out, or use a path",
		},
		{
			"a path of no length",
			Address{Network: "unix"},
			nil, nil, "",
			"listen on unix:: the path is empty; write unix:PATH, or unix:@NAME for an abstract socket",
		},
		{
			"a path with NUL",
			Address{Network: "unix", Path: "a\x00b"},
			nil, nil, "",
			`listen on unix:a\x00b: a Unix socket's path cannot hold a NUL byte`,
		},
		{
			"ReusePort on a path",
			Address{Network: "unix", Path: t.TempDir() + "/s"},
			&Options{ReusePort: true}, errors.ErrUnsupported, "",
			"SO_REUSEPORT on a Unix socket: unsupported operation on linux: use one listener and accept from it in several goroutines",
		},
		{
			"an interface that is not there",
			Address{Network: "tcp", Host: "127.0.0.1"},
			&Options{Device: "yodel0"}, errnoNoDevice, "setsockopt SO_BINDTODEVICE",
			"listen on 127.0.0.1:0: setsockopt SO_BINDTODEVICE: no such device; there is no interface yodel0",
		},
		{
			"a keepalive longer than the kernel's longest",
			Address{Network: "tcp", Host: "127.0.0.1"},
			&Options{KeepAliveIdle: 1e6 * time.Second}, syscall.EINVAL, "setsockopt TCP_KEEPIDLE",
			"listen on 127.0.0.1:0: setsockopt TCP_KEEPIDLE: invalid argument",
		},
	} {
		_, err := Listen(t.Context(), tt.addr, tt.opts)
		if !isA[*ListenError](err) || !strings.HasSuffix(err.Error(), tt.want) {
			t.Errorf("%s:\n got %v\nwant %s", tt.what, err, tt.want)
		}
		if tt.is != nil && !errors.Is(err, tt.is) {
			t.Errorf("%s: %v is not %v", tt.what, err, tt.is)
		}
		if call, _ := errors.AsType[*os.SyscallError](err); tt.call != "" && (call == nil || call.Syscall != tt.call) {
			t.Errorf("%s: the call is %v, want %s", tt.what, call, tt.call)
		}
	}
}

// What this machine may not be able to show.
func TestListenAdvice(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		addr, call string
		err        error
		want       string
	}{
		{":7", "bind", errnoAccess, "listen on :7: bind: permission denied; ports below 1024 need CAP_NET_BIND_SERVICE: try :7007, or setcap cap_net_bind_service=+ep PROGRAM"},
		{"tls://localhost:443", "bind", errnoAccess, "listen on tls://localhost:443: bind: permission denied; ports below 1024 need CAP_NET_BIND_SERVICE: try tls://localhost:7443, or setcap cap_net_bind_service=+ep PROGRAM"},
		{":7007", "bind", errnoAccess, "listen on :7007: bind: permission denied; a rule of this system forbids it (seccomp, SELinux, Landlock)"},
		{":7", "socket", errnoAccess, "listen on :7: socket: permission denied; a rule of this system forbids it (seccomp, SELinux, Landlock)"},
		{":7", "listen", errnoPerm, "listen on :7: listen: operation not permitted; a rule of this system forbids it (seccomp, SELinux, Landlock)"},
		{"udp://:7007", "bind", errnoInUse, "listen on udp://:7007: bind: address already in use; another program listens there: `ss -lunp sport = :7007` shows which, or choose another port"},
		{"[::1]:7", "socket", errnoFamily, "listen on [::1]:7: socket: address family not supported by protocol; this host does not speak that version of IP"},
		{":7", "socket", syscall.EMFILE, "listen on :7: socket: too many open files"},
	} {
		o := &opening{addr: mustParse(t, tt.addr), opts: &Options{}}
		err := o.failed(&net.OpError{Op: "listen", Err: os.NewSyscallError(tt.call, tt.err)})
		if err.Error() != tt.want {
			t.Errorf("\n got %v\nwant %s", err, tt.want)
		}
	}
}
