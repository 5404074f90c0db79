package trace_test

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"yodel/trace"
)

func TestConnTellsAConversation(t *testing.T) {
	t.Parallel()
	s, client, rec := traced(t)
	send(t, client, "hello ")
	want(t, s, "hello ")
	send(t, client, "there\n")
	want(t, s, "there\n")
	send(t, s, "HELLO ")
	send(t, s, "THERE\n")
	client.CloseWrite()
	wantEOF(t, s)
	wantEOF(t, s)
	s.Close()
	rec.wantOps(t, "read write eof close")

	for _, e := range rec.all() {
		check(t, "conn", e.Conn, s.ID())
		check(t, "side", e.Side, trace.Server)
		check(t, "network", e.Network, "tcp")
		check(t, "remote", e.Remote.String(), client.LocalAddr().String())
		check(t, "local", e.Local.String(), client.RemoteAddr().String())
		if e.FD <= 2 || e.Time.IsZero() {
			t.Errorf("%s: descriptor %d, time %v", e.Op, e.FD, e.Time)
		}
	}
	read, write, end := rec.wait(t, trace.Read), rec.wait(t, trace.Write), rec.wait(t, trace.Close)
	if read.Took <= 0 || write.Took <= 0 {
		t.Errorf("calls took %v and %v, want more than 0", read.Took, write.Took)
	}
	check(t, "the first read", read.Bytes, 6)
	check(t, "the first write", write.Bytes, 6)
	check(t, "sums at the first write", sums(write), "12 in, 6 out")
	check(t, "sums at the end", sums(end), "12 in, 12 out")
	check(t, "how it ended", end.Text, trace.EndPeer)
	check(t, "error", end.Err, nil)
	if end.Took < read.Took {
		t.Errorf("lived for %v, but its first read took %v", end.Took, read.Took)
	}
}

func TestHowConnEnds(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		play func(t *testing.T, s *trace.Conn, client *net.TCPConn)
		text string
		err  error
	}{
		{"we close first", func(*testing.T, *trace.Conn, *net.TCPConn) {}, trace.EndHere, nil},
		{"we end our direction first", func(t *testing.T, s *trace.Conn, client *net.TCPConn) {
			s.CloseWrite()
			wantEOF(t, client)
			client.CloseWrite()
			wantEOF(t, s)
		}, trace.EndHere, nil},
		{"the peer ends its direction first", func(t *testing.T, s *trace.Conn, client *net.TCPConn) {
			client.CloseWrite()
			wantEOF(t, s)
			s.CloseWrite()
		}, trace.EndPeer, nil},
		{"the peer resets", func(_ *testing.T, s *trace.Conn, client *net.TCPConn) {
			client.SetLinger(0)
			client.Close()
			s.Read(make([]byte, 1))
		}, trace.EndReset, nil},
		{"the peer has gone when we write", func(t *testing.T, s *trace.Conn, client *net.TCPConn) {
			client.Close()
			wantEOF(t, s)
			for {
				if _, err := s.Write([]byte("x")); err != nil {
					return
				}
			}
		}, trace.EndReset, nil},
		{"a deadline is a tool, not an end", func(t *testing.T, s *trace.Conn, _ *net.TCPConn) {
			s.SetDeadline(time.Unix(1, 0))
			if _, err := s.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("read: %v", err)
			}
		}, trace.EndHere, nil},
		{"who knows better says so", func(_ *testing.T, s *trace.Conn, client *net.TCPConn) {
			client.SetLinger(0)
			client.Close()
			s.Read(make([]byte, 1))
			s.EndAs("idle")
			s.EndAs("too late")
		}, "idle", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s, client, rec := traced(t)
			c.play(t, s, client)
			s.Close()
			check(t, "how it ended", rec.wait(t, trace.Close).Text, c.text)
		})
	}
}

// script is a net.Conn whose calls do as they are told.
type script struct {
	net.Conn
	read, write func([]byte) (int, error)
	close       func() error
}

func (s script) Read(p []byte) (int, error)  { return s.read(p) }
func (s script) Write(p []byte) (int, error) { return s.write(p) }

func (s script) Close() error {
	if s.close == nil {
		return nil
	}
	return s.close()
}
func (s script) LocalAddr() net.Addr  { return nil }
func (s script) RemoteAddr() net.Addr { return nil }

func TestAddrPort(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		addr net.Addr
		want string
	}{
		{&net.TCPAddr{IP: net.ParseIP("::ffff:192.0.2.1"), Port: 7}, "192.0.2.1:7"},
		{&net.UDPAddr{IP: net.ParseIP("fe80::1"), Port: 7, Zone: "eth0"}, "[fe80::1%eth0]:7"},
		{&net.UnixAddr{Name: "/run/s", Net: "unix"}, "invalid AddrPort"},
		{nil, "invalid AddrPort"},
	} {
		check(t, "address", trace.AddrPort(c.addr).String(), c.want)
	}
}

type brief struct{ error } // a net.Error that is a timeout, and no deadline

func (brief) Timeout() bool   { return true }
func (brief) Temporary() bool { return true }

func TestErrorsOfConn(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		err   error
		text  string
		fault bool
	}{
		{"the peer vanished", os.NewSyscallError("read", vanished()), trace.EndVanished, true},
		{"another error", io.ErrUnexpectedEOF, trace.EndFault, true},
		{"closed meanwhile", net.ErrClosed, trace.EndHere, false},
		{"a pipe closed meanwhile", io.ErrClosedPipe, trace.EndHere, false},
		{"a timeout of some layer between", brief{errors.New("not yet")}, trace.EndHere, false},
	} {
		rec := newRecorder()
		fail := func([]byte) (int, error) { return 3, c.err }
		s := trace.NewConn(script{read: fail, write: fail}, trace.NewID(), trace.Client, rec)
		n, err := s.Write(make([]byte, 9))
		check(t, c.name+": written", n, 3)
		check(t, c.name+": error of Write", err, c.err)
		n, err = s.Read(make([]byte, 9))
		check(t, c.name+": read", n, 3)
		check(t, c.name+": error of Read", err, c.err)
		s.Close()
		rec.wantOps(t, "write read close")
		end := rec.wait(t, trace.Close)
		check(t, c.name, end.Text, c.text)
		check(t, c.name+": sums", sums(end), "3 in, 3 out")
		check(t, c.name+": has an error", end.Err != nil, c.fault)
		check(t, c.name+": network", end.Network, "")
		check(t, c.name+": descriptor", end.FD, 0)
	}
}

func vanished() error {
	if runtime.GOOS == "windows" {
		return syscall.Errno(10060)
	}
	return syscall.ETIMEDOUT
}

// TestCloseIsLast: a Read that is under way when Close is called still counts, and no
// event follows that of Close.
func TestCloseIsLast(t *testing.T) {
	t.Parallel()
	reading, closed, finish := make(chan bool), make(chan bool), make(chan bool)
	rec := newRecorder()
	s := trace.NewConn(script{
		read: func(p []byte) (int, error) {
			close(reading)
			<-closed
			<-finish
			return copy(p, "hello"), nil
		},
		write: func([]byte) (int, error) { return 0, net.ErrClosed },
		close: sync.OnceValue(func() error { close(closed); return nil }),
	}, trace.NewID(), trace.Server, trace.EachCall(rec))
	read := make(chan bool)
	go func() {
		s.Read(make([]byte, 9))
		close(read)
	}()
	<-reading
	s.Close()
	s.Close()
	rec.wantOps(t, "")
	close(finish)
	<-read
	rec.wantOps(t, "read close")
	check(t, "sums", sums(rec.wait(t, trace.Close)), "5 in, 0 out")

	if _, err := s.Write([]byte("x")); err != net.ErrClosed {
		t.Errorf("write after the end: %v", err)
	}
	s.Close()
	s.CloseWrite()
	rec.wantOps(t, "read close")
}

func TestConcurrentCallsAndClose(t *testing.T) {
	t.Parallel()
	for range 50 {
		s, client, rec := traced(t)
		var calls sync.WaitGroup
		calls.Go(func() { io.Copy(io.Discard, s) })
		calls.Go(func() { s.Write(make([]byte, 1000)) })
		calls.Go(func() { client.Write(make([]byte, 1000)) })
		calls.Go(func() { s.Close() })
		calls.Go(func() { s.Close() })
		calls.Wait()
		all := rec.all()
		end := all[len(all)-1]
		check(t, "the last event", end.Op, trace.Close)
		in, out := s.Sums()
		check(t, "sums in", end.In, in)
		check(t, "sums out", end.Out, out)
		if strings.Count(rec.ops(), "close") != 1 {
			t.Errorf("events: %s", rec.ops())
		}
	}
}

func TestEachCall(t *testing.T) {
	t.Parallel()
	client, server := pair(t)
	rec := newRecorder()
	s := trace.NewConn(server, trace.NewID(), trace.Server, trace.For("echo", trace.Tee(trace.Discard, trace.EachCall(rec))))
	send(t, client, "a")
	want(t, s, "a")
	send(t, client, "bc")
	want(t, s, "bc")
	io.Copy(s, strings.NewReader("ABC"))
	send(t, s, "D")
	client.CloseWrite()
	wantEOF(t, s)
	s.Close()
	rec.wantOps(t, "read read write write read eof close")
	for i, n := range []int{1, 2, 3, 1, 0} {
		e := rec.all()[i]
		check(t, "bytes", e.Bytes, n)
		check(t, "error", e.Err, nil)
		check(t, "service", e.Service, "echo")
	}
}

func TestNilSinkCountsAndCostsNothing(t *testing.T) {
	n := func(p []byte) (int, error) { return len(p), nil }
	s := trace.NewConn(script{read: n, write: n}, trace.NewID(), trace.Server, nil)
	p := make([]byte, 10)
	allocs := testing.AllocsPerRun(99, func() {
		s.Read(p)
		s.Write(p[:3])
	})
	check(t, "allocations", allocs, 0)
	in, out := s.Sums()
	check(t, "in", in, 1000)
	check(t, "out", out, 300)
	check(t, "close", s.Close(), nil)
	if err := s.CloseWrite(); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("CloseWrite of what has none: %v", err)
	}
	if _, err := s.SyscallConn(); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("SyscallConn of what has none: %v", err)
	}
}

func TestNilSinkOverTCP(t *testing.T) {
	t.Parallel()
	client, server := pair(t)
	s := trace.NewConn(server, trace.NewID(), trace.Server, nil)
	go io.WriteString(client, "hello")
	want(t, s, "hello")
	s.CloseWrite()
	wantEOF(t, client)
	check(t, "descriptor", trace.Descriptor(s), trace.Descriptor(server))
	check[net.Conn](t, "NetConn", s.NetConn(), server)
}

func TestUnixConn(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "s")
	rec := newRecorder()
	l := trace.Listener(listen(t, "unix", path), rec)
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	s, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	client := trace.NewConn(c, trace.NewID(), trace.Client, rec)
	client.Close()
	wantEOF(t, s)
	s.Close()
	rec.wantOps(t, "accept close eof close")
	for _, e := range rec.all() {
		check(t, string(e.Op)+": network", e.Network, "unix")
		check(t, string(e.Op)+": path", e.Path, path)
		check(t, string(e.Op)+": remote", e.Remote.IsValid(), false)
	}
}

func TestDescriptor(t *testing.T) {
	t.Parallel()
	client, server := pair(t)
	fd := trace.Descriptor(server)
	if fd <= 2 || fd == trace.Descriptor(client) {
		t.Errorf("descriptors %d and %d", fd, trace.Descriptor(client))
	}
	secure := tls.Server(server, nil)
	check(t, "below TLS", trace.Descriptor(secure), fd)
	s := trace.NewConn(secure, trace.NewID(), trace.Server, newRecorder())
	check(t, "below TLS and a trace", trace.Descriptor(s), fd)
	l := listen(t, "tcp", "127.0.0.1:0")
	check(t, "of a listener with a trace", trace.Descriptor(trace.Listener(l, trace.Discard)), trace.Descriptor(l))
	server.Close()
	check(t, "closed", trace.Descriptor(server), 0)
	check(t, "of what has none", trace.Descriptor(42), 0)
	check(t, "of what will not tell", trace.Descriptor(mute{}), 0)
}

type mute struct{}

func (mute) SyscallConn() (syscall.RawConn, error) { return nil, errors.ErrUnsupported }

func TestTLSAboveAndBelow(t *testing.T) {
	t.Parallel()
	client, server := pair(t)
	rec := newRecorder()
	s := trace.NewConn(tls.Server(server, &tls.Config{}), trace.NewID(), trace.Server, rec)
	client.Close()
	s.Read(make([]byte, 1))
	s.Close()
	check(t, "network", rec.wait(t, trace.Close).Network, "tls")
}

func BenchmarkConnRead(b *testing.B) {
	n := func(p []byte) (int, error) { return len(p), nil }
	p := make([]byte, 100)
	for name, sink := range map[string]trace.Sink{
		"nil": nil, "first": trace.Discard, "each": trace.EachCall(trace.Discard),
	} {
		b.Run(name, func(b *testing.B) {
			s := trace.NewConn(script{read: n}, trace.NewID(), trace.Server, sink)
			b.ReportAllocs()
			for b.Loop() {
				s.Read(p)
			}
		})
	}
}
