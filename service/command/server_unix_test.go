//go:build unix

package command

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"yodel/engine"
	"yodel/engine/goroutine"
	"yodel/internal/child"
	"yodel/sock"
	"yodel/yodeltest"
	"yodel/yodeltest/programs"
)

// patience bounds what a test waits for; nothing waits for it when all is well.
const patience = 60 * time.Second

// rig is a server behind the goroutine engine.
type rig struct {
	t    testing.TB
	srv  *Server
	eng  goroutine.Engine
	addr net.Addr
	log  *programs.Log
}

// serve runs a script of the shell's for each connection, until the test is over.
func serve(t testing.TB, script string, cfg Config) *rig { return serveOn(t, script, cfg, "tcp", nil) }

func serveOn(t testing.TB, script string, cfg Config, network string, over *tls.Config) *rig {
	t.Helper()
	return serveWith(t, script, cfg, network, &engine.Config{TLS: over})
}

func serveWith(t testing.TB, script string, cfg Config, network string, ec *engine.Config) *rig {
	t.Helper()
	r := &rig{t: t, log: &programs.Log{}}
	cfg.Path, cfg.Args, cfg.User = "/bin/sh", []string{"-c", script}, programs.Nobody()
	cfg.Log = slog.New(slog.NewTextHandler(r.log, nil))
	ec.Service, ec.Linger = "command", -1
	var err error
	if r.srv, err = New(&cfg); err != nil {
		t.Fatal(err)
	}
	if r.eng, err = goroutine.New(r.srv, ec); err != nil {
		t.Fatal(err)
	}
	at := map[string]string{"tcp": "127.0.0.1:0", "tcp6": "[::1]:0", "unix": filepath.Join(t.TempDir(), "s")}[network]
	l, err := net.Listen(network, at)
	if err != nil {
		yodeltest.Skip(t, err.Error(), "give the loopback interface IPv6 (sysctl net.ipv6.conf.lo.disable_ipv6=0)")
	}
	r.addr = l.Addr()
	yodeltest.Serve(t, r.eng, l, engine.ErrClosed)
	return r
}

// call connects.
func (r *rig) call() net.Conn {
	r.t.Helper()
	nc, err := net.Dial(r.addr.Network(), r.addr.String())
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { nc.Close() })
	nc.SetDeadline(time.Now().Add(patience))
	return nc
}

// talk sends a text and its end, and returns all that comes.
func (r *rig) talk(send string) string {
	r.t.Helper()
	return talk(r.t, r.call(), send)
}

func talk(t testing.TB, nc net.Conn, send string) string {
	t.Helper()
	if _, err := io.WriteString(nc, send); err != nil {
		t.Fatal(err)
	}
	if err := nc.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(nc)
	if err != nil {
		t.Fatal(err)
	}
	nc.Close()
	return string(got)
}

// The socket, or what stands for it, is the program's input and output; its end is the
// program's, and the other way round.
func TestConnectionIsInputAndOutput(t *testing.T) {
	t.Parallel()
	cert, _, err := sock.SelfSigned([]string{"localhost"})
	if err != nil {
		t.Fatal(err)
	}
	big := strings.Repeat("0123456789abcdef", 1<<16)
	for name, over := range map[string]*tls.Config{"the socket": nil, "TLS": {Certificates: []tls.Certificate{cert}}} {
		r := serveOn(t, `cat; echo end`, Config{}, "tcp", over)
		nc := r.call()
		if over != nil {
			nc = tls.Client(nc, &tls.Config{InsecureSkipVerify: true})
		}
		go func() {
			io.WriteString(nc, big)
			nc.(interface{ CloseWrite() error }).CloseWrite()
		}()
		got, err := io.ReadAll(nc)
		if err != nil || string(got) != big+"end\n" {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
	}
	if got := serveOn(t, `cat; test -S /dev/stdin && echo a socket`, Config{}, "unix", nil).talk("hello\n"); got != "hello\na socket\n" {
		t.Errorf("a Unix socket: %q", got)
	}
}

// What tcpserver's programs are told, and nothing of the server's own environment.
func TestEnvironment(t *testing.T) {
	t.Setenv("SECRET", "not for programs")
	lookup := func(context.Context, netip.Addr) string { return "localhost" }
	for _, network := range []string{"tcp", "tcp6", "unix"} {
		r := serveOn(t, `env`, Config{Lookup: lookup}, network, nil)
		nc := r.call()
		local, remote := nc.LocalAddr().String(), nc.RemoteAddr().String()
		got := strings.Fields(talk(t, nc, ""))
		want := []string{"PATH=" + child.Path, "PROTO=UNIX", "UNIXLOCALPATH=" + r.addr.String()}
		if network != "unix" {
			client, server := netip.MustParseAddrPort(local), netip.MustParseAddrPort(remote)
			want = append(pairEnviron("TCP", server, client, "localhost"), "PATH="+child.Path, "PROTO="+strings.ToUpper(network))
			if network == "tcp6" {
				want = append(want, pairEnviron("TCP6", server, client, "localhost")...)
			}
		}
		for _, w := range want {
			if !slices.Contains(got, w) {
				t.Errorf("%s: no %s in %q", network, w, got)
			}
		}
		allowed := append(child.Environ(want...), "PWD=/", "OLDPWD=/", "_=/usr/bin/env", "SHLVL=0", "SHLVL=1")
		for _, g := range got {
			if !slices.Contains(allowed, g) {
				t.Errorf("%s: %s is not for programs", network, g)
			}
		}
	}
}

// F6: descriptors 0, 1 and 2, a session and a group of its own, limits, umask 077.
func TestWhatAProgramHas(t *testing.T) {
	t.Parallel()
	yodeltest.NeedLinux(t) // it looks into /proc
	// Without a pipe: its ends are the shell's while it starts the second program.
	r := serve(t, `ls /proc/$$/fd; umask; ulimit -n; ulimit -c; cut -d' ' -f5,6 /proc/$$/stat; echo $$`, Config{})
	got := strings.Fields(r.talk(""))
	if n := len(got); n < 9 {
		t.Fatalf("%q", got)
	}
	pid := got[len(got)-1]
	if want := []string{"0", "1", "2", "0077", "1024", "0", pid, pid, pid}; !slices.Equal(got, want) {
		t.Errorf("it has %q, want %q", got, want)
	}
}

func TestStderr(t *testing.T) {
	t.Parallel()
	if got := serve(t, `echo to you; echo for the log >&2`, Config{Stderr: true}).talk(""); got != "to you\nfor the log\n" {
		t.Errorf("with Stderr: %q", got)
	}
	r := serve(t, `echo to you; printf 'for the log \033[31m\n' >&2`, Config{})
	if got := r.talk(""); got != "to you\n" {
		t.Errorf("without: %q", got)
	}
	r.eng.Shutdown(t.Context())
	if got := r.log.String(); !strings.Contains(got, `for the log \\x1b[31m`) {
		t.Errorf("the log: %q", got)
	}
}

// pids reads the numbers of n processes, a line each.
func pids(t testing.TB, nc net.Conn, n int) (all []int) {
	t.Helper()
	in := bufio.NewReader(nc)
	for range n {
		line, err := in.ReadString('\n')
		pid, errNumber := strconv.Atoi(strings.TrimSpace(line))
		if err != nil || errNumber != nil {
			t.Fatalf("%q, %v", line, err)
		}
		all = append(all, pid)
	}
	return all
}

// F5: a hang-up reaches the whole group, also those who do not want to hear of it.
func TestHangUp(t *testing.T) {
	t.Parallel()
	cert, _, err := sock.SelfSigned([]string{"localhost"})
	if err != nil {
		t.Fatal(err)
	}
	const script = `trap '' TERM; sleep 1000 & echo $$; echo $!; wait`
	for name, over := range map[string]*tls.Config{"the socket": nil, "TLS": {Certificates: []tls.Certificate{cert}}} {
		r := serveOn(t, script, Config{Grace: 50 * time.Millisecond}, "tcp", over)
		raw := r.call()
		nc := raw
		if over != nil {
			nc = tls.Client(raw, &tls.Config{InsecureSkipVerify: true})
		}
		group := pids(t, nc, 2)
		raw.(*net.TCPConn).SetLinger(0)
		raw.Close()
		programs.WantGone(t, group)
		_ = name
	}
	r := serve(t, script, Config{Grace: 50 * time.Millisecond})
	group := pids(t, r.call(), 2)
	r.eng.Close()
	programs.WantGone(t, group)
}

// A peer that has only ended its own direction is answered.
func TestHalfClose(t *testing.T) {
	t.Parallel()
	if got := serve(t, `cat >/dev/null; sleep 0.2; echo still here`, Config{}).talk("x"); got != "still here\n" {
		t.Errorf("%q", got)
	}
}

// Beyond MaxPrograms clients wait for their turn.
func TestMaxPrograms(t *testing.T) {
	t.Parallel()
	r := serve(t, `read line; echo "$line"`, Config{MaxPrograms: 1})
	first, second := r.call(), r.call()
	io.WriteString(second, "second\n")
	io.WriteString(first, "first\n")
	for want, nc := range map[string]net.Conn{"first\n": first, "second\n": second} {
		if got, err := io.ReadAll(nc); string(got) != want || err != nil {
			t.Errorf("%q, %v; want %q", got, err, want)
		}
	}
	held, waits := r.call(), r.call()
	io.WriteString(waits, "never\n")
	_ = held
	r.eng.Close()
	unbounded := serve(t, `echo hello`, Config{MaxPrograms: -1})
	if got := unbounded.talk(""); got != "hello\n" {
		t.Errorf("without a bound: %q", got)
	}
}

// Shutdown waits for programs to end by themselves; who comes later is not served.
func TestShutdown(t *testing.T) {
	t.Parallel()
	r := serve(t, `read line; echo "$line"`, Config{})
	nc := r.call()
	in := bufio.NewReader(nc)
	for r.eng.Stats().Active == 0 { // until it is accepted
		runtime.Gosched()
	}
	short, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := r.eng.Shutdown(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("with a program: %v", err)
	}
	io.WriteString(nc, "on my way\n")
	if line, err := in.ReadString('\n'); line != "on my way\n" {
		t.Errorf("%q, %v", line, err)
	}
	if err := r.eng.Shutdown(t.Context()); err != nil {
		t.Errorf("without: %v", err)
	}
	a, b := net.Pipe()
	defer a.Close()
	r.srv.ServeConn(b) // returns at once
}

func TestNew(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"cat": "not an absolute path", "/no/such/program": "no such file", file: "chmod +x", "/bin": "chmod +x",
	} {
		if _, err := New(&Config{Path: path, User: programs.Nobody()}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", path, err, want)
		}
	}
	if os.Geteuid() == 0 {
		if _, err := New(&Config{Path: "/bin/cat"}); !errors.Is(err, child.ErrRoot) {
			t.Errorf("as root: %v", err)
		}
	}
	s, err := New(&Config{Path: "/bin/cat"})
	if os.Geteuid() != 0 {
		if err != nil || s.cfg.log() != slog.Default() {
			t.Errorf("defaults: %v", err)
		}
	}
}

// A program that can't be started is an entry of the log.
func TestNotStarted(t *testing.T) {
	t.Parallel()
	r := serve(t, `echo hello`, Config{Dir: "/no/such/folder"})
	if got := r.talk(""); got != "" {
		t.Errorf("%q", got)
	}
	a, b := net.Pipe() // what is no socket
	defer a.Close()
	r.srv.ServeConn(b)
	r.eng.Shutdown(t.Context())
	if n := strings.Count(r.log.String(), "program not run"); n != 2 {
		t.Errorf("the log has it %d times:\n%s", n, r.log)
	}
}

// A11: behind a proxy the program is told of the client, and gets all that came behind the
// header.
func TestBehindAProxy(t *testing.T) {
	t.Parallel()
	r := serveWith(t, `echo "$TCPREMOTEIP $TCPREMOTEPORT"; cat`, Config{}, "tcp", &engine.Config{ProxyFrom: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	for version := 1; version <= 2; version++ {
		head, err := sock.ProxyHeader(version, sock.Pair{Client: netip.MustParseAddrPort("192.0.2.1:51213"), Server: netip.MustParseAddrPort("198.51.100.7:80")})
		if err != nil {
			t.Fatal(err)
		}
		if got := r.talk(string(head) + "hello\n"); got != "192.0.2.1 51213\nhello\n" {
			t.Errorf("version %d: %q", version, got)
		}
	}
}
