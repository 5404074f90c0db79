package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"yodel/call"
	"yodel/trace"
)

// The tests of this file run the commands inside the test's process, so that the
// profile of what tests cover sees them. They run one after the other, before those
// that start programs: serve and call make the whole process ignore SIGPIPE, which
// programs would inherit.

// inside runs a command line in this process.
func inside(t *testing.T, stdin string, args ...string) result {
	t.Helper()
	t.Cleanup(func() { signal.Reset(syscall.SIGPIPE) })
	var out, errOut bytes.Buffer
	status := run(within(t), args, std{strings.NewReader(stdin), &out, &errOut})
	return result{status, out.String(), errOut.String()}
}

// wantInside runs a command line in this process, and wants its exit status and output.
func wantInside(t *testing.T, stdin string, status int, out, errOut string, args ...string) {
	t.Helper()
	r := inside(t, stdin, args...)
	if r.status != status || !strings.Contains(r.out, out) || out == "" && r.out != "" || !strings.Contains(r.err, errOut) {
		t.Errorf("yodel %q: status %d, want %d\nstdout %q, want %q\nstderr %q, want %q", args, r.status, status, r.out, out, r.err, errOut)
	}
}

// serveInside runs yodel serve --json in this process until the test's end, and returns
// what is bound.
func serveInside(t *testing.T, args ...string) *running {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	s := &running{started: &started{ended: make(chan struct{})}}
	status := 0
	go func() {
		defer close(s.ended)
		status = run(ctx, append([]string{"serve", "--json"}, args...), std{strings.NewReader(""), &s.out, &s.err})
	}()
	t.Cleanup(func() {
		stop()
		if <-s.ended; status != 0 {
			t.Errorf("serve ended with status %d: %s", status, &s.err)
		}
		signal.Reset(syscall.SIGPIPE)
	})
	for _, arg := range args {
		if !strings.HasPrefix(arg, "-") {
			s.at = append(s.at, s.listens(t, len(s.at)))
		}
	}
	return s
}

func TestInsideServeAndCall(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "trace")
	s := serveInside(t, "--names", "--trace="+file, "--each-call", "--allow=127.0.0.0/8,::1", "--deny=127.0.0.9", "--idle=1m",
		"upper@127.0.0.1:0", "echo@udp://127.0.0.1:0", "echo@tls://127.0.0.1:0", "discard@unix:"+filepath.Join(dir, "sock"), "chargen@:0")
	at := s.address(0)
	const said = "hello there\n"
	wantInside(t, said, 0, "HELLO THERE\n", "Socket pair", "call", at)
	wantInside(t, said, 0, "HELLO THERE\n", "", "call", "-q", "-4", "--source=127.0.0.1", at)
	wantInside(t, said, 0, "", "12 bytes sent, 12 came back right", "call", "--verify", "--upper", at)
	wantInside(t, said, 6, "", "wrong answer", "call", "--verify", "--quiet", at)
	wantInside(t, said, 6, `"type":"verified"`, "", "call", "--verify", "--json", at)
	wantInside(t, said, 0, `"type":"received"`, "", "call", "--json", at)
	wantInside(t, said, 0, "< 00000000  48 45", "", "call", "--hex", at)
	wantInside(t, said, 0, " > hello there", "", "call", "--time", "--crlf", at)
	wantInside(t, said, 0, "type:echo:HELLO THERE\ntype:\n", "", "call", "--prompt", at)
	wantInside(t, said, 0, "", "Connected", "call", "--connect-only", at)
	wantInside(t, said, 5, "", "no IPv6 address", "call", "-6", at)
	wantInside(t, said, 0, "hello there\n", "Sending to", "call", "--wait=500ms", s.address(1))
	wantInside(t, said, 2, "", "UDP makes no connection", "call", "--connect-only", s.address(1))
	wantInside(t, said, 0, "hello there\n", "", "call", "--pin", s.at[2].Fingerprint, s.address(2))
	wantInside(t, said, 0, "hello there\n", "", "call", "--insecure", s.address(2))
	wantInside(t, said, 1, "", "--pin with the fingerprint", "call", s.address(2))
	wantInside(t, said, 1, `"type":"failed"`, "--pin with the fingerprint", "call", "--json", s.address(2))
	wantInside(t, said, 0, "", "12 bytes sent, 0 received", "call", s.address(3))
	wantInside(t, said, 3, "", "connection refused", "call", "127.0.0.1", refusedPort(t))
	wantInside(t, said, 1, "", "address already in use", "serve", "echo@"+at)
	wantInside(t, said, 1, "", "address already in use", "serve", "echo@"+s.address(1))

	script := filepath.Join(dir, "script")
	if err := os.WriteFile(script, []byte("send \"a\\n\"\nnext \"A\\n\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	client := filepath.Join(dir, "client")
	wantInside(t, "", 0, "A\n", "", "call", "--expect", script, "--trace", client, at)
	for e := range traceFileEvents(t, client) {
		if e.Op == trace.Close && e.In != 2 {
			t.Errorf("%+v", e)
		}
	}
	wantInside(t, "", 1, "", "--trace: open", "call", "--trace", filepath.Join(dir, "no", "file"), at)
	s.await(t, &s.out, `"type":"accept".*"name":"localhost"`)
}

func TestInsideServeToPeople(t *testing.T) {
	ctx, stop := context.WithCancel(within(t))
	s := &started{ended: make(chan struct{})}
	go func() {
		defer close(s.ended)
		run(ctx, []string{"serve", "--engine=iterative", "upper@0", "echo@tls://:0"}, std{strings.NewReader(""), &s.out, &s.err})
	}()
	s.await(t, &s.out, `upper listening on \S+:\d+, engine iterative\n`)
	s.await(t, &s.out, `try: yodel call --pin sha256:\S+ tls://localhost:\d+\n`)
	stop()
	<-s.ended
	var out bytes.Buffer
	(&server{
		io: std{out: &out}, flags: &serveFlags{},
		served: []*served{{plan: plan{row: &services[0]}, at: loopback(15213), engine: "goroutine", passedOver: "ring: no TLS"}},
	}).announce(true)
	if want := "upper listening on 127.0.0.1:15213, engine goroutine (ring: no TLS)\nnext, in another terminal: yodel call localhost 15213\n"; out.String() != want {
		t.Errorf("%q", out.String())
	}
	signal.Reset(syscall.SIGPIPE)
}

// A server that is stopped, and has work left.
func TestInsideServeIsCut(t *testing.T) {
	ctx, stop := context.WithCancel(context.Background())
	s := &running{started: &started{ended: make(chan struct{})}}
	status := 0
	go func() {
		defer close(s.ended)
		status = run(ctx, []string{"serve", "--json", "--grace=50ms", "chargen@127.0.0.1:0"}, std{strings.NewReader(""), &s.out, &s.err})
	}()
	s.at = []listening{s.listens(t, 0)}
	c := s.dial(t, 0)
	ask(t, c, "", " !")
	go io.Copy(io.Discard, c)
	stop()
	if <-s.ended; status != 1 || !strings.HasSuffix(s.err.String(), "yodel: 1 connection cut: not finished within 50ms (--grace)\n") {
		t.Errorf("status %d, stderr %q", status, &s.err)
	}
	signal.Reset(syscall.SIGPIPE)
}

func TestInsideCertificateFiles(t *testing.T) {
	wantInside(t, "", 2, "", "--tls-cert and --tls-key go together", "serve", "--tls-key=x", "echo@tls://127.0.0.1:0")
	wantInside(t, "", 1, "", "no such file", "serve", "--tls-key=x", "--tls-cert=y", "echo@tls://127.0.0.1:0")
}

func TestInsideUsage(t *testing.T) {
	for want, args := range map[string][]string{
		`unknown command "nosuch"`:                {"nosuch"},
		`unknown command "nosuch"; see`:           {"help", "nosuch"},
		"say for which shell":                     {"completion"},
		"there is no service":                     {"serve", "nosuch"},
		"there is no engine":                      {"serve", "--engine=nosuch", "echo@0"},
		"has no datagram form":                    {"serve", "upper@udp://:0"},
		"not over http":                           {"serve", "echo@http://:0"},
		"which is not served here":                {"serve", "--line-max=9", "echo@0"},
		`--allow "x"`:                             {"serve", "--allow=x"},
		`--deny "x"`:                              {"serve", "--deny=x"},
		"give both":                               {"call", "--upper", "localhost", "7"},
		"is for tls://":                           {"call", "--server-name=x", "localhost", "7"},
		"--pin: ":                                 {"call", "--pin=x", "tls://localhost:7"},
		"--source":                                {"call", "--source=x", "localhost", "7"},
		"--expect: open":                          {"call", "--expect=nosuch", "localhost", "7"},
		"none of the others":                      {"call", "--prompt", "--verify", "localhost", "7"},
		"received 0; see yodel call --help":       {"call"},
		"is not the name of a service":            {"call", "localhost", "nosuchservice"},
		"is no port":                              {"name", "99999"},
		"unknown flag: --nosuch":                  {"demo", "--nosuch"},
		"accepts 1 arg(s), received 0; see yodel": {"man"},
	} {
		wantInside(t, "", 2, "", want, args...)
	}
	wantInside(t, "", 1, "", "--trace: open", "serve", "--trace=/nosuch/file")
	t.Setenv("YODEL_CALL_INSECURE", "1")
	wantInside(t, "", 2, "", "is not taken from the environment", "call", "tls://localhost:7")
}

func TestInsideHelp(t *testing.T) {
	wantInside(t, "", 0, welcome, "")
	wantInside(t, "", 0, "Available Commands:", "", "--help-all")
	wantInside(t, "", 0, "--each-call", "", "serve", "--help-all")
	wantInside(t, "", 0, "--insecure", "", "call", "--help-all") // without the arguments that it needs
	wantInside(t, "", 0, "Usage:\n  yodel call ADDRESS", "", "help", "call")
	wantInside(t, "", 0, "complete -c yodel", "", "completion", "fish")
	wantInside(t, "", 0, "upper\teach line", "", "__complete", "serve", "")
	wantInside(t, "", 0, "yodel ", "", "version")
	wantInside(t, "", 1, "", "no such file", "man", "/nosuch")
}

// The first help is for people who have no time: at most nine commands, and twelve
// flags each. What it leaves out is in --help-all.
func TestHelpIsShort(t *testing.T) {
	commands := 0
	for _, c := range newRoot(std{}).Commands() {
		if c.IsAvailableCommand() && c.Name() != "help" && c.Name() != "completion" {
			commands++
		}
		if c.Name() == "man" || c.Name() == "help" || c.Name() == "completion" {
			continue
		}
		short, long := inside(t, "", c.Name(), "--help"), inside(t, "", c.Name(), "--help-all")
		if n := len(flagsShown(short.out)); n > 12 {
			t.Errorf("%s --help shows %d flags", c.Name(), n)
		}
		if all := flagsShown(long.out); len(all) < len(flagsShown(short.out)) {
			t.Errorf("%s --help-all shows only %q", c.Name(), all)
		}
		if len(strings.Split(short.out, "\n")) > 60 { // serve has a line for each service, and one for its flags
			t.Errorf("%s --help is more than a screen:\n%s", c.Name(), short.out)
		}
	}
	if commands > 9 {
		t.Errorf("%d commands", commands)
	}
}

// flagsShown returns the flags in a help text, but for those that show help.
func flagsShown(text string) []string {
	var flags []string
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "-") && !strings.Contains(line, "--help") {
			flags = append(flags, line)
		}
	}
	return flags
}

func TestInsideName(t *testing.T) {
	wantInside(t, "", 0, "  address 127.0.0.1, in network order 7f 00 00 01\n    name localhost, which leads back to it\n", "", "name", "localhost")
	wantInside(t, "", 0, "  port 53, in network order 00 35\n    service domain over tcp\n    service domain over udp\n", "", "name", "domain")
	wantInside(t, "", 0, `"query":"25","port":{"port":25,"bytes":"00 19","tcp":"smtp"}`, "", "name", "--json", "25")
	wantInside(t, "", 5, "", `look up bad\x1b[2Jname: `, "name", "bad\x1b[2Jname")
	a := answer{Query: "x\x1b", Addresses: []addressLine{{
		Address: "192.0.2.1", Names: []nameLine{{Name: "liar.example"}}, Error: "no more",
	}}}
	var out bytes.Buffer
	a.print(std{out: &out})
	if want := "x\\x1b\n  address 192.0.2.1, in network order \n    name liar.example, which does not lead back to it\n    no name: no more\n"; out.String() != want {
		t.Errorf("%q", out.String())
	}
}

// The servers of this demo are processes of the test's own program.
func TestInsideDemo(t *testing.T) {
	wantInside(t, "", 0, "server received 12 bytes\n", "", "demo", "--burst=20ms")
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	var out, errOut bytes.Buffer
	if status := run(ctx, []string{"demo"}, std{strings.NewReader(""), &out, &errOut}); status == 0 {
		t.Errorf("a demo that was cancelled is content: %q", errOut.String())
	}
	t.Setenv("TMPDIR", filepath.Join(t.TempDir(), "nosuch"))
	wantInside(t, "", 1, "", "nosuch", "demo")
}

func TestChildThatCannotServe(t *testing.T) {
	_, err := startServe(within(t), "nosuch")
	if want := `yodel serve did not start: EOF: yodel: there is no service "nosuch"`; err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("%v", err)
	}
	c := &child{}
	if err := c.listens(strings.NewReader("not JSON\n")); err == nil {
		t.Error("a child may say anything")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	busy := strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
	if _, err := startServe(within(t), "echo@127.0.0.1:"+busy); err == nil || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("%v", err)
	}
}

func TestExitStatus(t *testing.T) {
	t.Parallel()
	for want, err := range map[int]error{
		0: nil, 1: errors.New("x"), 2: usagef("x: %w", io.EOF), 5: &net.DNSError{IsNotFound: true}, 130: call.ErrInterrupted,
	} {
		if got := exitStatus(err); got != want {
			t.Errorf("%v: %d, want %d", err, got, want)
		}
	}
	var out, errOut bytes.Buffer
	line, _ := json.Marshal(listening{Type: "listening"})
	if !strings.HasPrefix(string(line), `{"type":"listening"`) {
		t.Error("the type of a line comes first, for people who read it")
	}
	if status := run(t.Context(), []string{"version"}, std{nil, &out, &errOut}); status != 0 || errOut.Len() > 0 {
		t.Errorf("status %d, stderr %q", status, errOut.String())
	}
}
