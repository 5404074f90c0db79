package engine

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"testing"
)

// Serve of a Single returns when its one connection has ended, and so it does if the
// connection is refused.
func TestSingle(t *testing.T) {
	for _, tt := range []struct {
		what string
		cfg  GateConfig
		want Reason
	}{
		{"served", GateConfig{}, Peer},
		{"refused", GateConfig{Deny: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}, Denied},
	} {
		t.Run(tt.what, func(t *testing.T) {
			client, server := connected(t)
			b, err := NewBlocking(stepFunc(echo), &Config{Gate: NewGate(&tt.cfg)}, func(serve func()) { serve() })
			if err != nil {
				t.Fatal(err)
			}
			l := Single(server)
			if l.Addr().String() != server.LocalAddr().String() {
				t.Errorf("it is at %v", l.Addr())
			}
			go func() {
				io.WriteString(client, "hello")
				client.CloseWrite()
			}()
			if err := b.Serve(l); !errors.Is(err, net.ErrClosed) {
				t.Errorf("serve: %v", err)
			}
			if n := b.Stats().Ended[tt.want]; n != 1 {
				t.Errorf("ended: %v", b.Stats().Ended)
			}
		})
	}
	_, server := connected(t)
	l := Single(server)
	l.Close()
	if c, err := l.Accept(); err != net.ErrClosed {
		t.Errorf("after Close: %v, %v", c, err)
	}
}

// connected returns the two ends of a connection.
func connected(t *testing.T) (client, server *net.TCPConn) {
	t.Helper()
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if client, err = net.DialTCP("tcp", nil, l.Addr().(*net.TCPAddr)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	if server, err = l.AcceptTCP(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	return client, server
}
