//go:build unix

package main

import (
	"fmt"
	"hash/fnv"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"yodel/engine"
	"yodel/trace"
	"yodel/yodeltest"
)

func TestInsideInetd(t *testing.T) {
	wantInside(t, "hello\n", 0, "HELLO\n", "upper closed by peer: 6 bytes in, 6 out", "serve", "--inetd", "upper")
	wantInside(t, "", 0, " ", "daytime done: 0 bytes in", "serve", "--inetd", "daytime")
	for want, args := range map[string][]string{
		"yodel serve --inetd SERVICE":                              {},
		"one connection of one service":                            {"echo", "upper"},
		"leave the address out":                                    {"echo@7"},
		"with --inetd the connection is standard input and output": {"web@tls://"},
		"there is no service":                                      {"nosuch"},
		"--engine means nothing with --inetd":                      {"--engine=goroutine", "echo"},
		"--max-conns means nothing with":                           {"--max-conns=5", "echo"},
		"--json prints on standard output":                         {"--json", "echo"},
		"--config means nothing with":                              {"--config=/nosuch", "echo"},
		"--tls-cert means nothing with":                            {"--tls-cert=x", "echo"},
		"--line-max is a flag of upper":                            {"--line-max=7", "echo"},
		"--user: drop privileges to nosuch: there":                 {"--user=nosuch", "echo"},
		`--allow "x": write a network as`:                          {"--allow=x", "echo"},
		"unknown flag: --nosuch":                                   {"--nosuch", "echo"},
	} {
		wantInside(t, "hello\n", 2, "", want, append([]string{"serve", "--inetd"}, args...)...)
	}
	wantInside(t, "", 1, "", "--trace: open", "serve", "--inetd", "--trace=/nosuch/file", "echo")
	t.Setenv("YODEL_SERVE_MAX_CONNS", "9")
	wantInside(t, "", 2, "", "--max-conns means nothing", "serve", "--inetd", "echo")
}

// Each way to end has a status, and what was not sent is none of the good ones.
func TestInetdStatus(t *testing.T) {
	t.Parallel()
	want := map[engine.Reason]int{
		engine.Done: 0, engine.Peer: 0, engine.PeerMistake: 0, engine.Drained: 0, engine.BadHandshake: 0,
		engine.Fault: 1, engine.Panic: 1, engine.LongMessage: 1, engine.Cut: 1,
		engine.Denied: 3, engine.PerAddress: 3, engine.BouncePort: 3, engine.Busy: 3, engine.NoProxyHeader: 3,
		engine.Idle: 4, engine.SlowMessage: 4, engine.SlowReader: 4, engine.Vanished: 4,
		engine.Reset: 7,
	}
	for reason, status := range want {
		err := inetdEnd(engine.Stats{Ended: map[engine.Reason]int64{reason: 1}})
		if got := exitStatus(err); got != status {
			t.Errorf("%v: status %d, want %d", reason, got, status)
		}
	}
	for reason := engine.Done; reason <= engine.NoProxyHeader; reason++ {
		if _, ok := want[reason]; !ok {
			t.Errorf("%v has no status", reason)
		}
	}
	if err := inetdEnd(engine.Stats{Ended: map[engine.Reason]int64{engine.Peer: 1}, Unsent: 1}); exitStatus(err) != 7 {
		t.Errorf("a byte was not sent, and the status is that of %v", err)
	}
}

// called is a "yodel serve --inetd" whose standard input, output and error are a
// connection, as inetd passes it, and the client's end of that.
type called struct {
	*started
	client *net.TCPConn
}

func inetd(t *testing.T, args ...string) *called {
	t.Helper()
	client, server := tcpPair(t)
	c := &called{&started{cmd: command(program(t), append([]string{"serve", "--inetd"}, args...)...)}, client}
	c.cmd.Stdin, c.cmd.Stdout, c.cmd.Stderr = server, server, server
	c.run(t)
	server.Close()
	return c
}

// tcpPair returns the two ends of a connection, that of the server as a file.
func tcpPair(t *testing.T) (client *net.TCPConn, server *os.File) {
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
	accepted, err := l.AcceptTCP()
	if err != nil {
		t.Fatal(err)
	}
	defer accepted.Close()
	if server, err = accepted.File(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	return client, server
}

// The peer hears the service and nothing else, although standard error is the
// connection too; the trace tells who it was.
func TestInetdOnASocket(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "trace")
	c := inetd(t, "--trace", file, "upper")
	ask(t, c.client, "hello\n", "HELLO\n")
	ask(t, c.client, "again\n", "AGAIN\n")
	c.client.CloseWrite()
	if rest, err := io.ReadAll(c.client); err != nil || len(rest) > 0 {
		t.Errorf("then it hears %q, %v", rest, err)
	}
	if status := c.wait(t); status != 0 {
		t.Errorf("status %d", status)
	}
	ops := make(map[trace.Op]trace.Event)
	for e := range traceFileEvents(t, file) {
		ops[e.Op] = e
	}
	if from := ops[trace.Accept].Remote.String(); from != c.client.LocalAddr().String() {
		t.Errorf("it says that %s called", from)
	}
	if e := ops[trace.Close]; e.In != 12 || e.Out != 12 || e.Text != trace.EndPeer || e.Network != "tcp" {
		t.Errorf("%+v", e)
	}
}

func TestInetdEnds(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		args   []string
		talk   func(*testing.T, *called)
		status int
	}{
		"a mistake on the command line is not told to the peer": {[]string{"nosuch"}, nil, 2},
		"nor is one among the flags":                            {[]string{"--nosuch", "echo"}, nil, 2},
		"a client that is not let in":                           {[]string{"--deny=127.0.0.1", "echo"}, nil, 3},
		"a client that is silent":                               {[]string{"--idle=100ms", "echo"}, nil, 4},
		"a client that resets": {[]string{"echo"}, func(t *testing.T, c *called) {
			ask(t, c.client, "x", "x")
			c.client.SetLinger(0)
			c.client.Close()
		}, 7},
		"a client behind a proxy": {[]string{"--proxy-from=127.0.0.1", "echo"}, func(t *testing.T, c *called) {
			ask(t, c.client, "PROXY TCP4 192.0.2.1 192.0.2.2 51213 7\r\nx", "x")
			c.client.CloseWrite()
		}, 0},
		"a proxy that does not say whom it brings": {[]string{"--proxy-from=127.0.0.1", "echo"}, func(t *testing.T, c *called) {
			c.client.CloseWrite()
		}, 3},
		"a server that is stopped": {[]string{"echo"}, func(t *testing.T, c *called) {
			ask(t, c.client, "x", "x")
			c.signal(t, syscall.SIGTERM)
		}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := inetd(t, tt.args...)
			if tt.talk != nil {
				tt.talk(t, c)
			}
			if heard, err := io.ReadAll(c.client); len(heard) > 0 {
				t.Errorf("the peer hears %q, %v", heard, err)
			}
			if status := c.wait(t); status != tt.status {
				t.Errorf("status %d, want %d", status, tt.status)
			}
		})
	}
}

// What is no connection is refused, and the reason said where it can be read.
func TestInetdOnWhatIsNoConnection(t *testing.T) {
	t.Parallel()
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	listening, err := l.File()
	if err != nil {
		t.Fatal(err)
	}
	defer listening.Close()
	_, server := tcpPair(t)
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	for want, files := range map[string][2]*os.File{
		"is a listening socket: let the one who passed it accept": {listening, listening},
		"standard input is a socket, and standard output is not":  {server, log},
	} {
		p := &started{cmd: command(program(t), "serve", "--inetd", "echo")}
		p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = files[0], files[1], &p.err
		p.run(t)
		if status := p.wait(t); status != 1 || !strings.Contains(p.err.String(), want) {
			t.Errorf("status %d, stderr %q; want %q", status, &p.err, want)
		}
	}
}

// printf 'hello\n' | yodel serve --inetd echo
func TestInetdInAPipe(t *testing.T) {
	t.Parallel()
	r := runYodel(t, "hello\n", "serve", "--inetd", "echo")
	wantStatus(t, r, 0, "echo connected on pipe", "echo closed by peer: 6 bytes in, 6 out")
	if r.out != "hello\n" {
		t.Errorf("%q", r.out)
	}
	long := longLine()
	r = runProgram(t, strings.NewReader(long), "sh", "-c", `cat | "$0" serve --inetd upper 2>/dev/null | cat`, program(t))
	if r.out != strings.ToUpper(long) {
		t.Errorf("%d bytes came back of %d", len(r.out), len(long))
	}
	// Who reads no more of a generator ends it.
	r = runProgram(t, nil, "sh", "-c", `{ "$0" serve --inetd chargen; echo "status $?" >&2; } | head -c 100 >/dev/null`, program(t))
	wantStatus(t, r, 0, "chargen reset by peer", "status 7\n")
	// A person at a keyboard may take all the time there is; a signal ends it.
	p := start(t, program(t), "serve", "--inetd", "upper")
	p.say(t, "one\n")
	p.await(t, &p.out, `^ONE\n$`)
	p.signal(t, syscall.SIGTERM)
	if status := p.wait(t); status != 0 || !strings.Contains(p.err.String(), "drained at shutdown") {
		t.Errorf("status %d, stderr %q", status, &p.err)
	}
}

// The programs that call others for each connection, each in its own way: by pipes, by
// a pair of Unix sockets, by the connection itself.
func TestInetdByRealPrograms(t *testing.T) {
	t.Parallel()
	yodeltest.NeedLinux(t)
	dir := t.TempDir()
	log := filepath.Join(dir, "log") // xinetd's, which has no other way to tell that it listens
	if err := unix.Mkfifo(log, 0o600); err != nil {
		t.Fatal(err)
	}
	yodel := program(t) + " serve --inetd upper"
	for name, tt := range map[string]struct {
		program string
		args    func(at string, port string) []string
		ready   string
	}{
		"ncat": {"ncat", func(at, port string) []string { return []string{"-v", "-l", at, port, "--exec", yodel} }, `Listening on `},
		"socat with a pair of sockets": {"socat", func(at, port string) []string {
			return []string{"-d", "-d", "TCP-LISTEN:" + port + ",bind=" + at + ",fork", "EXEC:" + yodel}
		}, `listening on `},
		"socat with the connection, for errors too": {"socat", func(at, port string) []string {
			return []string{"-d", "-d", "TCP-LISTEN:" + port + ",bind=" + at + ",fork", "EXEC:" + yodel + ",nofork,stderr"}
		}, `listening on `},
		"systemd-socket-activate": {"systemd-socket-activate", func(at, port string) []string {
			return append([]string{"--listen=" + at + ":" + port, "--accept", "--inetd"}, strings.Fields(yodel)...)
		}, `Listening on `},
		"tcpserver": {"tcpserver", func(at, port string) []string {
			return append([]string{"-v", "-RHl0", at, port}, strings.Fields(yodel)...)
		}, `status: 0`},
		"xinetd": {"xinetd", func(at, port string) []string {
			return []string{"-dontfork", "-pidfile", filepath.Join(dir, "pid"), "-filelog", log, "-f", xinetdConfig(t, at, port)}
		}, `Started working`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := yodeltest.NeedProgram(t, tt.program)
			at, port := loopbackOfTest(t), "7007"
			p := startWith(t, []string{"LOG=" + log}, "sh", append([]string{"-c", `[ "$0" != xinetd ] || cat "$LOG" >&2 & exec "$@"`, tt.program, path}, tt.args(at, port)...)...)
			p.await(t, &p.err, tt.ready)
			t.Cleanup(func() {
				if t.Failed() {
					t.Logf("%s said:\n%s", tt.program, &p.err)
				}
			})
			calls := 2
			if tt.program == "ncat" {
				calls = 1 // for several (-k) it may die of an assertion of its own
			}
			for range calls {
				c, err := net.Dial("tcp", net.JoinHostPort(at, port))
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				ask(t, c, "hello\n", "HELLO\n")
				ask(t, c, "again\n", "AGAIN\n")
				c.Close()
			}
		})
	}
}

// xinetdConfig writes the configuration that docs/serving.md shows, for this test.
func xinetdConfig(t *testing.T, at, port string) string {
	t.Helper()
	_, text, _ := strings.Cut(readFile(t, "../../docs/serving.md"), "\n    service upper\n")
	text, _, ok := strings.Cut(text, "\n    }\n")
	if !ok {
		t.Fatal("docs/serving.md shows no configuration of xinetd")
	}
	text = strings.NewReplacer("15213", port, "/usr/local/bin/yodel", program(t), "= nobody", "= root").Replace(text)
	path := filepath.Join(t.TempDir(), "xinetd.conf")
	if err := os.WriteFile(path, []byte("service upper\n"+text+"\nbind = "+at+"\n}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// loopbackOfTest returns a loopback address for this test alone, whose ports are free.
func loopbackOfTest(t testing.TB) string {
	t.Helper()
	yodeltest.NeedLinux(t) // elsewhere loopback is one address
	h := fnv.New32a()
	fmt.Fprint(h, t.Name(), os.Getpid())
	sum := h.Sum32()
	return fmt.Sprintf("127.82.%d.%d", sum>>8&0xff, sum&0xff)
}
