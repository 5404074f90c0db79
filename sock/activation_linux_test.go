package sock

import (
	"io"
	"net"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// options returns some options of a TCP socket, by their numbers.
func tcpOptionsOf(t *testing.T, f *os.File) map[int]int {
	t.Helper()
	got := make(map[int]int)
	for _, opt := range []int{unix.TCP_USER_TIMEOUT, unix.TCP_KEEPIDLE, unix.TCP_KEEPCNT, unix.TCP_NODELAY, unix.TCP_NOTSENT_LOWAT} {
		v, err := unix.GetsockoptInt(int(f.Fd()), unix.IPPROTO_TCP, opt)
		if err != nil {
			t.Fatal(err)
		}
		got[opt] = v
	}
	return got
}

func wantOptions(t *testing.T, what string, f *os.File, want map[int]int) {
	t.Helper()
	got := tcpOptionsOf(t, f)
	for opt, v := range want {
		if got[opt] != v {
			t.Errorf("%s: option %d is %d, want %d", what, opt, got[opt], v)
		}
	}
}

// listenerFile returns a listening socket, of Multipath TCP or not.
func listenerFile(t *testing.T, mptcp bool) *os.File {
	t.Helper()
	var lc net.ListenConfig
	lc.SetMultipathTCP(mptcp)
	inner, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer inner.Close()
	f, err := inner.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// Multipath TCP has not all options, which is no reason to serve nobody.
func TestPassedMultipathSocket(t *testing.T) {
	t.Parallel()
	p, err := passed(listenerFile(t, true), &Options{NotSentLowat: 1 << 17, UserTimeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	p.Close()
}

// A4, A5: a passed socket, which somebody else has made, has what ours have.
func TestPassedSocketIsAdopted(t *testing.T) {
	t.Parallel()
	f := listenerFile(t, false)
	p, err := passed(f, &Options{NotSentLowat: 1 << 17})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	wantOptions(t, "by default", f, map[int]int{
		unix.TCP_USER_TIMEOUT: 60_000, unix.TCP_KEEPIDLE: 15, unix.TCP_KEEPCNT: 4, unix.TCP_NODELAY: 1, unix.TCP_NOTSENT_LOWAT: 1 << 17,
	})
	if err := p.Listener.Adopt(&Options{UserTimeout: 7 * time.Second, KeepAliveIdle: time.Minute, Backlog: 3}); err != nil {
		t.Fatal(err)
	}
	wantOptions(t, "as asked", f, map[int]int{unix.TCP_USER_TIMEOUT: 7000, unix.TCP_KEEPIDLE: 60})
	if info, err := unix.GetsockoptTCPInfo(int(f.Fd()), unix.IPPROTO_TCP, unix.TCP_INFO); err != nil || info.Sacked != 3 { // of a listening socket, the backlog
		t.Errorf("%v: a backlog of %d", err, info.Sacked)
	}
	p.Close()
	if err := p.Listener.Adopt(nil); err == nil {
		t.Error("a closed one is adopted")
	}
}

func TestPassedConnIsAdopted(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer accepted.Close()
	f, err := accepted.(*net.TCPConn).File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	c, err := PassedConn(f, &Options{UserTimeout: 9 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	wantOptions(t, "the connection", f, map[int]int{unix.TCP_USER_TIMEOUT: 9000, unix.TCP_KEEPIDLE: 15, unix.TCP_KEEPCNT: 4, unix.TCP_NODELAY: 1})
	if c.RemoteAddr().String() != client.LocalAddr().String() {
		t.Errorf("the peer is %v, not %v", c.RemoteAddr(), client.LocalAddr())
	}
	if _, err := io.WriteString(client, "x"); err != nil {
		t.Fatal(err)
	}
	if n, err := c.Read(make([]byte, 9)); n != 1 || err != nil {
		t.Errorf("%d bytes, %v", n, err)
	}
}
