package sock

import (
	"net"
	"testing"
)

// A connection's life without a byte, beside package net's: what the options and
// the wrapping cost.
func BenchmarkConnect(b *testing.B) {
	b.Run("sock", func(b *testing.B) {
		l, err := Listen(b.Context(), Address{Network: "tcp", Host: "127.0.0.1"}, nil)
		if err != nil {
			b.Fatal(err)
		}
		benchmarkConnect(b, l, func() (net.Conn, error) { return Dial(b.Context(), l.Address(), nil) })
	})
	b.Run("net", func(b *testing.B) {
		var lc net.ListenConfig
		lc.SetMultipathTCP(false)
		l, err := lc.Listen(b.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		var d net.Dialer
		d.SetMultipathTCP(false)
		benchmarkConnect(b, l, func() (net.Conn, error) { return d.DialContext(b.Context(), "tcp", l.Addr().String()) })
	})
}

func benchmarkConnect(b *testing.B, l net.Listener, dial func() (net.Conn, error)) {
	defer l.Close()
	b.ReportAllocs()
	for b.Loop() {
		client, err := dial()
		if err != nil {
			b.Fatal(err)
		}
		server, err := l.Accept()
		if err != nil {
			b.Fatal(err)
		}
		client.Close() // first: the client keeps the TIME_WAIT
		server.Close()
	}
}
