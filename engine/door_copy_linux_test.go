package engine

import (
	"bytes"
	"io"
	"net"
	"testing"

	"golang.org/x/sys/unix"
)

// lowatOf returns TCP_NOTSENT_LOWAT of a connection.
func lowatOf(t *testing.T, nc net.Conn) (n int) {
	t.Helper()
	raw, err := nc.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	raw.Control(func(fd uintptr) {
		n, err = unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT)
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// A socket's bound on what is unsent is as it was when a large file has been copied, be it
// in memory or not.
func TestDoorCopyKeepsTheSocketsBound(t *testing.T) {
	t.Parallel()
	data := numbered(3 << 20)
	for name, unread := range map[string]bool{"in memory": false, "on disk": true} {
		f := fileOf(t, data)
		if unread {
			f.Sync()
			unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
		}
		l := listenTCP(t)
		startOn(t, listenerOf{l, func(nc net.Conn) net.Conn {
			raw, _ := nc.(*net.TCPConn).SyscallConn()
			raw.Control(func(fd uintptr) { unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, 70_000) })
			return nc
		}}, connFunc(func(nc net.Conn) {
			if n, err := io.Copy(nc, f); n != int64(len(data)) || err != nil {
				t.Errorf("%s: %d bytes, %v", name, n, err)
			}
			if n := lowatOf(t, nc.(*doorConn).Conn); n != 70_000 {
				t.Errorf("%s: TCP_NOTSENT_LOWAT is %d", name, n)
			}
		}), Config{})
		if got, err := io.ReadAll(dialTCP(t, l)); err != nil || !bytes.Equal(got, data) {
			t.Errorf("%s: got %d bytes, %v", name, len(got), err)
		}
	}
}
