package sock

import (
	"errors"
	"io"
	"strings"
	"testing"

	"yodel/trace"
)

func TestOpenFD(t *testing.T) {
	t.Parallel()
	l, err := OpenListenFD(0)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	port := trace.AddrPort(l.Addr()).Port()
	for _, host := range []string{"127.0.0.1", "::1", "localhost", ""} {
		c, err := OpenClientFD(host, int(port))
		if err != nil {
			t.Fatalf("%q: %v", host, err)
		}
		served, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(served, "hi there\r\n")
		served.Close()
		if got, err := io.ReadAll(c); err != nil || len(got) != 10 {
			t.Errorf("%q: %q, %v", host, got, err)
		}
		c.Close()
	}
	if _, err := OpenListenFD(int(port)); !errors.Is(err, errnoInUse) {
		t.Errorf("bound twice: %v", err)
	}
	l.Close()
	if c, err := OpenClientFD("127.0.0.1", int(port)); c != nil || !isA[*ConnectError](err) {
		t.Errorf("a failed connect: %v, %v", c, err)
	}
	if c, err := OpenClientFD("no such host", 7); c != nil || !isA[*ResolveError](err) {
		t.Errorf("a failed name: %v, %v", c, err)
	}
}

func TestOpenFDPorts(t *testing.T) {
	t.Parallel()
	for _, port := range []int{-1, 65536} {
		l, err := OpenListenFD(port)
		if l != nil || err == nil || !strings.Contains(err.Error(), "0 to 65535") {
			t.Errorf("listen on port %d: %v, %v", port, l, err)
		}
		if c, err := OpenClientFD("localhost", port); c != nil || err == nil {
			t.Errorf("connect to port %d: %v, %v", port, c, err)
		}
	}
}
