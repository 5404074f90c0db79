package process

import (
	"fmt"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"yodel/engine"
	"yodel/service/small"
	"yodel/trace"
)

func TestMain(m *testing.M) {
	Main(func(name string, _ []byte) (any, error) {
		switch name {
		case "echo":
			return small.Echo{}, nil
		}
		return nil, fmt.Errorf("no service %q", name)
	})
	os.Exit(m.Run())
}

func TestSmoke(t *testing.T) {
	l, _ := net.Listen("tcp", "127.0.0.1:0")
	e, err := New(small.Echo{}, &engine.Config{Service: "echo", Sink: trace.Func(func(e *trace.Event) { fmt.Printf("%+v\n", *e) })}, nil)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() { done <- e.Serve(l) }()
	from := time.Now()
	c, _ := net.Dial("tcp", l.Addr().String())
	big := make([]byte, 10<<20)
	go func() { c.Write(big); c.(*net.TCPConn).CloseWrite() }()
	n, err := io.Copy(io.Discard, c)
	t.Log(n, err, time.Since(from))
	if n != 10<<20 {
		t.Error(n)
	}
	c2, _ := net.Dial("tcp", l.Addr().String())
	c2.Write([]byte("x"))
	c2.Read(make([]byte, 1))
	from = time.Now()
	t.Log(e.Shutdown(t.Context()), time.Since(from))
	t.Log(<-done, e.Stats())
}
