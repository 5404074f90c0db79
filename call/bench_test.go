package call

import (
	"io"
	"net"
	"testing"
)

// echoServer is an echo server on loopback for one connection after the other.
func echoServer(b *testing.B) string {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			echo(c.(*net.TCPConn))
			c.Close()
		}
	}()
	b.Cleanup(func() { l.Close(); <-done })
	return l.Addr().String()
}

const benchBytes = 64 << 20

func benchmarkMode(b *testing.B, mode func(net.Conn, io.Reader) error) {
	addr := echoServer(b)
	b.SetBytes(benchBytes)
	for b.Loop() {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			b.Fatal(err)
		}
		if err := mode(c, io.LimitReader(zeros{}, benchBytes)); err != nil {
			b.Fatal(err)
		}
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

func BenchmarkPipe(b *testing.B) {
	benchmarkMode(b, func(c net.Conn, in io.Reader) error { return Pipe(b.Context(), c, in, io.Discard, nil) })
}

func BenchmarkVerify(b *testing.B) {
	benchmarkMode(b, func(c net.Conn, in io.Reader) error {
		_, err := Verify(b.Context(), c, in, nil)
		return err
	})
}
