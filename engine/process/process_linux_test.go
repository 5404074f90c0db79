package process

import (
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"yodel/engine"
	"yodel/service/small"
	"yodel/sock"
	"yodel/yodeltest"
)

// The child's socket has the options that it had in the parent.
func TestChildKeepsSocketOptions(t *testing.T) {
	l, err := sock.Listen(t.Context(), sock.Address{Network: "tcp", Host: "127.0.0.1"}, &sock.Options{
		KeepAliveIdle: 7 * time.Second, KeepAliveInterval: 3 * time.Second, KeepAliveCount: 5, Delay: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	s := serveWith(t, small.Echo{}, &engine.Config{Service: "echo", Linger: -1}, l.Plain())
	c := s.dial()
	if err := s.echo(c, "one"); err != nil {
		t.Fatal(err)
	}
	fd := connectedSocketOf(t, s.onlyChild(), c.LocalAddr().(*net.TCPAddr).Port)
	for want, o := range map[int]option{
		1: {unix.SOL_SOCKET, unix.SO_KEEPALIVE}, 7: {unix.IPPROTO_TCP, unix.TCP_KEEPIDLE}, 3: {unix.IPPROTO_TCP, unix.TCP_KEEPINTVL},
		5: {unix.IPPROTO_TCP, unix.TCP_KEEPCNT}, 0: {unix.IPPROTO_TCP, unix.TCP_NODELAY},
	} {
		if got, err := unix.GetsockoptInt(fd, o.level, o.name); got != want || err != nil {
			t.Errorf("option %+v is %d, %v; want %d", o, got, err, want)
		}
	}
}

// connectedSocketOf returns a copy of the socket of another process that is connected
// to that port.
func connectedSocketOf(t *testing.T, pid, port int) int {
	t.Helper()
	yodeltest.NeedRoot(t)
	process, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(process)
	for n := range 64 {
		fd, err := unix.PidfdGetfd(process, n, 0)
		if err != nil {
			continue
		}
		if a, err := unix.Getpeername(fd); err == nil {
			if a, ok := a.(*unix.SockaddrInet4); ok && a.Port == port {
				t.Cleanup(func() { unix.Close(fd) })
				return fd
			}
		}
		unix.Close(fd)
	}
	t.Fatalf("process %d has no socket that is connected to port %d", pid, port)
	return 0
}
