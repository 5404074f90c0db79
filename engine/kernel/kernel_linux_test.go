package kernel_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"yodel/engine"
	"yodel/engine/enginetest"
	"yodel/engine/kernel"
	"yodel/service/small"
	"yodel/yodeltest"
)

// served is an engine that serves echo, and the address of its listener.
type served struct {
	kernel.Engine
	t    *testing.T
	addr net.Addr
}

func serve(t *testing.T, cfg *engine.Config, opts *kernel.Options) *served {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return serveOn(t, l, cfg, opts)
}

func serveOn(t *testing.T, l net.Listener, cfg *engine.Config, opts *kernel.Options) *served {
	t.Helper()
	yodeltest.NeedRoot(t)
	e, err := kernel.New(small.Echo{}, cfg, opts)
	if err != nil {
		t.Fatal(err)
	}
	yodeltest.Serve(t, e, l, engine.ErrClosed)
	return &served{e, t, l.Addr()}
}

func (s *served) dial() *net.TCPConn {
	s.t.Helper()
	nc, err := net.Dial("tcp", s.addr.String())
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { nc.Close() })
	nc.SetDeadline(time.Now().Add(time.Minute))
	return nc.(*net.TCPConn)
}

// ask sends text and wants it back.
func (s *served) ask(nc net.Conn, text string) {
	s.t.Helper()
	if _, err := io.WriteString(nc, text); err != nil {
		s.t.Fatal(err)
	}
	got := make([]byte, len(text))
	if n, err := io.ReadFull(nc, got); string(got) != text {
		s.t.Fatalf("sent %q, got %q: %v", text, got[:n], err)
	}
}

func TestConformance(t *testing.T) {
	yodeltest.NeedRoot(t)
	enginetest.Run(t, func(svc any, cfg *engine.Config) (engine.Engine, error) {
		return kernel.New(svc, cfg, nil)
	}, enginetest.Traits{SocketsOnly: true, NoUnix: true, NoTLS: true, NoDoor: true, EchoOnly: true})
}

func TestEchoes(t *testing.T) {
	s := serve(t, nil, nil)
	nc := s.dial()
	from := time.Now()
	n := 0
	for ; time.Since(from) < 300*time.Millisecond; n++ {
		s.ask(nc, fmt.Sprintf("message %d", n))
	}
	t.Logf("%d round trips of a Go client, %v each; %+v, relayed %d", n, time.Since(from)/time.Duration(n), s.Stats(), s.Relayed())
}

// stream sends size bytes, ends its direction, and verifies what comes back.
func (s *served) stream(nc *net.TCPConn, size int) error {
	sent := make(chan error, 1)
	go func() {
		piece := make([]byte, 64<<10)
		for at := 0; at < size; {
			n := min(len(piece), size-at)
			fill(piece[:n], at)
			if _, err := nc.Write(piece[:n]); err != nil {
				sent <- err
				return
			}
			at += n
		}
		sent <- nc.CloseWrite()
	}()
	got, want := make([]byte, 64<<10), make([]byte, 64<<10)
	at := 0
	for {
		n, err := nc.Read(got)
		fill(want[:n], at)
		if !bytes.Equal(got[:n], want[:n]) {
			return fmt.Errorf("a wrong byte among the %d after byte %d", n, at)
		}
		at += n
		if err == io.EOF {
			break
		}
		if err != nil {
			return fmt.Errorf("after %d of %d bytes: %w", at, size, err)
		}
	}
	if at != size {
		return fmt.Errorf("%d bytes came back of %d", at, size)
	}
	return <-sent
}

func fill(p []byte, at int) {
	for len(p) > 0 {
		n := copy(p, pattern[at%251:])
		p, at = p[n:], at+n
	}
}

var pattern = func() (p [16 * 251]byte) {
	for i := range p {
		p[i] = byte(i % 251)
	}
	return p
}()

func TestStream(t *testing.T) {
	s := serve(t, nil, nil)
	from := time.Now()
	if err := s.stream(s.dial(), 256<<20); err != nil {
		t.Error(err)
	}
	t.Logf("256 MiB in %v; relayed %d of %d bytes", time.Since(from), s.Relayed(), s.Stats().BytesIn)
}
