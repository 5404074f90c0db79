//go:build unix

package process

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"yodel"
	"yodel/engine"
	"yodel/engine/enginetest"
	"yodel/service/small"
	"yodel/sock"
	"yodel/trace"
	"yodel/yodeltest"
)

func TestMain(m *testing.M) {
	Main(func(name string, settings []byte) (any, error) {
		if name == "says its settings" {
			return says(settings), nil
		}
		svc, ok := enginetest.Services()[name]
		if !ok {
			return nil, fmt.Errorf("there is no service %q", name)
		}
		return svc, nil
	})
	os.Exit(m.Run())
}

// says is a service that says what it is, and its process.
type says string

func (s says) Open(yodel.Peer) yodel.Session { return s }

func (s says) Step(_ yodel.Input, out *yodel.Out) (int, error) {
	fmt.Fprintf(out, "%s %d %d", string(s), os.Getpid(), os.Getppid())
	return 0, io.EOF
}

// server is an engine under test, with a client's view of it.
type server struct {
	*testing.T
	Engine
	addr   string
	events chan trace.Event
}

func serve(t *testing.T, svc any, name string, opts *Options) *server {
	t.Helper()
	return serveOn(t, svc, &engine.Config{Service: name, Linger: -1}, opts, nil)
}

func serveWith(t *testing.T, svc any, cfg *engine.Config, l net.Listener) *server {
	t.Helper()
	return serveOn(t, svc, cfg, nil, l)
}

// serveOn serves on l, or on a port of loopback.
func serveOn(t *testing.T, svc any, cfg *engine.Config, opts *Options, l net.Listener) *server {
	t.Helper()
	s := &server{T: t, events: make(chan trace.Event, 1000)}
	cfg.Sink = trace.Func(func(e *trace.Event) { s.events <- *e })
	var err error
	if s.Engine, err = New(svc, cfg, opts); err != nil {
		t.Fatal(err)
	}
	if l == nil {
		if l, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
	}
	s.addr = l.Addr().String()
	go s.Serve(l)
	t.Cleanup(func() { s.Close() })
	return s
}

func (s *server) dial() net.Conn {
	s.Helper()
	c, err := net.Dial("tcp", s.addr)
	if err != nil {
		s.Fatal(err)
	}
	c.SetDeadline(time.Now().Add(time.Minute))
	s.Cleanup(func() { c.Close() })
	return c
}

// until returns the next event of op.
func (s *server) until(op trace.Op) trace.Event {
	s.Helper()
	for {
		select {
		case e := <-s.events:
			if e.Op == op {
				return e
			}
		case <-time.After(time.Minute):
			s.Fatalf("no %s event", op)
		}
	}
}

func TestChildIsAnotherProcessWithTheSettings(t *testing.T) {
	s := serve(t, says(""), "says its settings", &Options{Settings: []byte("blue")})
	var word string
	var pid, parent int
	if _, err := fmt.Fscanf(s.dial(), "%s %d %d", &word, &pid, &parent); err != nil {
		t.Fatal(err)
	}
	if word != "blue" || pid == os.Getpid() || parent != os.Getpid() {
		t.Errorf("service %q in process %d of parent %d; the test is %d", word, pid, parent, os.Getpid())
	}
}

// echo sends text and wants it back.
func (s *server) echo(c net.Conn, text string) error {
	if _, err := io.WriteString(c, text); err != nil {
		return err
	}
	got := make([]byte, len(text))
	_, err := io.ReadFull(c, got)
	if err == nil && string(got) != text {
		err = fmt.Errorf("%q came back for %q", got, text)
	}
	return err
}

// children returns the processes that this one has started and not reaped.
func children(t *testing.T) []string {
	t.Helper()
	return childrenOf(t, "self")
}

func childrenOf(t *testing.T, pid string) (all []string) {
	t.Helper()
	yodeltest.NeedLinux(t) // which tells by /proc
	tasks, err := os.ReadDir("/proc/" + pid + "/task")
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range tasks {
		text, _ := os.ReadFile("/proc/" + pid + "/task/" + task.Name() + "/children")
		all = append(all, strings.Fields(string(text))...)
	}
	return all
}

// A child that is killed takes its client with it, and nobody else's.
func TestKilledChild(t *testing.T) {
	s := serve(t, small.Echo{}, "echo", nil)
	first := s.dial()
	if err := s.echo(first, "one"); err != nil {
		t.Fatal(err)
	}
	pid := s.onlyChild()
	told := s.until(trace.Write)
	second := s.dial()
	if err := s.echo(second, "two"); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if _, err := first.Read(make([]byte, 1)); err == nil {
		t.Error("the first client is still served")
	}
	if e := s.until(trace.Close); e.Text != engine.Fault.String() || e.Err == nil || !strings.Contains(e.Err.Error(), "killed") {
		t.Errorf("its last event: %+v", e)
	} else if e.In != told.In || e.Out != told.Out || e.Out == 0 {
		t.Errorf("its last event has %d bytes in and %d out, the one before %d and %d", e.In, e.Out, told.In, told.Out)
	}
	if err := s.echo(second, "still here"); err != nil {
		t.Errorf("the second client: %v", err)
	}
	if got := s.Stats(); got.Active != 1 || got.Ended[engine.Fault] != 1 {
		t.Errorf("sums: %+v", got)
	}
	second.Close()
	s.until(trace.Close)
	if got := children(t); len(got) != 0 {
		t.Errorf("children that were not reaped: %v", got)
	}
}

// More clients than children wait, and are served when one ends.
func TestMaxChildren(t *testing.T) {
	s := serve(t, small.Echo{}, "echo", &Options{MaxChildren: 1})
	first, second := s.dial(), s.dial()
	if err := s.echo(first, "one"); err != nil {
		t.Fatal(err)
	}
	io.WriteString(second, "two")
	for range 20 {
		if err := s.echo(first, "again"); err != nil {
			t.Fatal(err)
		}
	}
	if got := s.Stats(); got.Accepted != 1 {
		t.Errorf("%d are accepted, and there is place for one", got.Accepted)
	}
	first.Close()
	got := make([]byte, 3)
	if _, err := io.ReadFull(second, got); err != nil || string(got) != "two" {
		t.Errorf("the second: %q, %v", got, err)
	}
}

// The child has its socket and the control pipe, and none of our other descriptors.
func TestChildInheritsNothingElse(t *testing.T) {
	secret, err := os.CreateTemp(t.TempDir(), "secret")
	if err != nil {
		t.Fatal(err)
	}
	defer secret.Close()
	s := serve(t, small.Echo{}, "echo", nil)
	if err := s.echo(s.dial(), "x"); err != nil {
		t.Fatal(err)
	}
	pids := children(t)
	fds, err := os.ReadDir("/proc/" + pids[0] + "/fd")
	if err != nil {
		t.Fatal(err)
	}
	sockets := 0
	for _, fd := range fds {
		what, _ := os.Readlink("/proc/" + pids[0] + "/fd/" + fd.Name())
		switch {
		case strings.HasPrefix(what, "socket:"):
			sockets++
		case what == secret.Name():
			t.Errorf("descriptor %s is our secret", fd.Name())
		}
	}
	if sockets > 3 { // the connection, its first descriptor until it is closed, the control pipe
		t.Errorf("%d sockets in the child", sockets)
	}
}

func TestServiceThatTheChildDoesNotKnow(t *testing.T) {
	s := serve(t, small.Echo{}, "unknown", nil)
	if _, err := s.dial().Read(make([]byte, 1)); err == nil {
		t.Error("served")
	}
	if e := s.until(trace.Close); e.Text != engine.Fault.String() {
		t.Errorf("%+v", e)
	}
}

func TestUnfit(t *testing.T) {
	for what, cfg := range map[string]*tls.Config{
		"without certificates": {},
		"with a function":      {GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return nil, nil }},
		"with client certs":    {ClientAuth: tls.RequireAnyClientCert},
	} {
		if _, err := New(small.Echo{}, &engine.Config{TLS: cfg}, nil); !errors.Is(err, engine.ErrUnfit) {
			t.Errorf("TLS %s: %v", what, err)
		}
	}
	if _, err := New("no service", nil, nil); !errors.Is(err, engine.ErrUnfit) {
		t.Errorf("no service: %v", err)
	}
}

// A child that does not react is killed.
func TestStuckChild(t *testing.T) {
	s := serve(t, small.Echo{}, "echo", nil)
	c := s.dial()
	if err := s.echo(c, "one"); err != nil {
		t.Fatal(err)
	}
	pid := s.onlyChild()
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	s.Close()
	if e := s.until(trace.Close); e.Text != engine.Cut.String() || e.Err != nil {
		t.Errorf("its last event: %+v", e)
	}
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("the client is still served")
	}
	if err := syscall.Kill(pid, 0); err != syscall.ESRCH {
		t.Errorf("process %d: %v, want it gone", pid, err)
	}
}

func (s *server) onlyChild() (pid int) {
	s.Helper()
	pids := children(s.T)
	if len(pids) != 1 {
		s.Fatalf("children %v, want one", pids)
	}
	fmt.Sscan(pids[0], &pid)
	return pid
}

// A server that was killed leaves no child behind, and no client without an end.
func TestKilledServer(t *testing.T) {
	if os.Getenv("YODEL_PROCESS_TEST_SERVER") != "" {
		s := serve(t, small.Echo{}, "echo", nil)
		fmt.Printf("address %s\n", s.addr)
		select {}
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestKilledServer$", "-test.timeout=2m")
	cmd.Env = append(os.Environ(), "YODEL_PROCESS_TEST_SERVER=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	s := &server{T: t}
	if _, err := fmt.Fscanf(out, "address %s\n", &s.addr); err != nil {
		t.Fatal(err)
	}
	c := s.dial()
	if err := s.echo(c, "one"); err != nil {
		t.Fatal(err)
	}
	pids := childrenOf(t, strconv.Itoa(cmd.Process.Pid))
	if len(pids) != 1 {
		t.Fatalf("children %v, want one", pids)
	}
	cmd.Process.Kill()
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("the client is still served")
	}
	for look := time.NewTicker(time.Millisecond); ; <-look.C {
		if _, err := os.Stat("/proc/" + pids[0] + "/fd/0"); err != nil { // gone, or a zombie that init has to reap
			break
		}
	}
}

// A certificate may change from one connection to the next.
func TestCertificateIsAskedForEachTime(t *testing.T) {
	var certs []tls.Certificate
	for range 2 {
		c, _, err := sock.SelfSigned([]string{"localhost"})
		if err != nil {
			t.Fatal(err)
		}
		certs = append(certs, c)
	}
	var asked atomic.Int32
	get := func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		n := asked.Add(1)
		if int(n) > len(certs) {
			return nil, errors.New("there are no more")
		}
		return &certs[n-1], nil
	}
	s := serveWith(t, small.Echo{}, &engine.Config{Service: "echo", Linger: -1, TLS: &tls.Config{GetCertificate: get}}, nil)
	for i, want := range certs {
		c := tls.Client(s.dial(), &tls.Config{InsecureSkipVerify: true})
		if err := s.echo(c, "hello"); err != nil {
			t.Fatal(err)
		}
		if got := c.ConnectionState().PeerCertificates[0]; !bytes.Equal(got.Raw, want.Certificate[0]) {
			t.Errorf("connection %d: another certificate", i)
		}
		c.Close()
		s.until(trace.Close)
	}
	if err := tls.Client(s.dial(), &tls.Config{InsecureSkipVerify: true}).Handshake(); err == nil {
		t.Error("served without a certificate")
	}
	if e := s.until(trace.Close); e.Text != engine.Fault.String() || !strings.Contains(e.Err.Error(), "there are no more") {
		t.Errorf("its last event: %+v", e)
	}
}

// A listener that is none of the kernel's has nothing to hand to a process.
func TestNoSocket(t *testing.T) {
	var n yodeltest.Net
	l, err := n.Listen("server")
	if err != nil {
		t.Fatal(err)
	}
	s := serveWith(t, small.Echo{}, &engine.Config{Service: "echo", Linger: -1}, l)
	c, err := n.Dial(t.Context(), "server")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if e := s.until(trace.Close); !errors.Is(e.Err, engine.ErrUnfit) {
		t.Errorf("its last event: %+v", e)
	}
}

func TestConformance(t *testing.T) {
	enginetest.Run(t, func(svc any, cfg *engine.Config) (engine.Engine, error) {
		return New(svc, cfg, nil)
	}, enginetest.Traits{SocketsOnly: true, ShortConns: 2000, RaceConns: 200})
}

func TestProbe(t *testing.T) {
	if err := Probe(); err != nil {
		t.Error(err)
	}
}
