package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"yodel/engine"
	"yodel/sock"
	"yodel/trace"
	"yodel/yodeltest"
)

// beKV makes the test's program be kv.
const beKV = "KV_TEST_BE_KV"

func TestMain(m *testing.M) {
	if os.Getenv(beKV) != "" {
		main()
	}
	os.Exit(m.Run())
}

// patience is how long a test waits for what must come.
const patience = 60 * time.Second

// boundAt reads the line with which kv says what it has bound.
func boundAt(t *testing.T, out io.Reader, engine string) string {
	t.Helper()
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("no line on the standard output: %v", err)
	}
	address, ok := strings.CutPrefix(line, "kv listening on ")
	address, with, _ := strings.Cut(address, ", ")
	if !ok || with != "engine "+engine+"\n" {
		t.Fatalf("it says %q", line)
	}
	return address
}

// program is kv as a process of its own.
type program struct {
	cmd    *exec.Cmd
	errs   bytes.Buffer
	port   string
	ending sync.Once
}

func startProgram(t *testing.T, args ...string) *program {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	p := &program{cmd: exec.CommandContext(ctx, self, args...)}
	p.cmd.Env = append(os.Environ(), beKV+"=1", "GORACE=atexit_sleep_ms=0")
	p.cmd.Stderr = &p.errs
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.stop(t) })
	_, p.port, err = net.SplitHostPort(boundAt(t, out, "goroutine"))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// stop ends the program by a signal and wants it to end well.
func (p *program) stop(t *testing.T) {
	t.Helper()
	p.ending.Do(func() {
		end := os.Interrupt
		if runtime.GOOS == "windows" {
			end = os.Kill
		}
		p.cmd.Process.Signal(end)
		if err := p.cmd.Wait(); err != nil && runtime.GOOS != "windows" {
			t.Errorf("kv ended with %v and said %q", err, p.errs.String())
		}
	})
}

// inProcess is kv within the test.
type inProcess struct {
	address string
	stop    chan os.Signal
	status  chan int
	errs    bytes.Buffer // to be read after status
}

func startInProcess(t *testing.T, engine string, args ...string) *inProcess {
	t.Helper()
	p := &inProcess{stop: make(chan os.Signal, 2), status: make(chan int, 1)}
	out, w := io.Pipe()
	go func() {
		p.status <- run(append([]string{"--engine", engine}, args...), w, &p.errs, p.stop)
		w.Close()
	}()
	p.address = boundAt(t, out, engine)
	return p
}

// wantStatus waits until kv has ended.
func (p *inProcess) wantStatus(t *testing.T, want int) (errs string) {
	t.Helper()
	select {
	case got := <-p.status:
		if got != want {
			t.Errorf("kv ended with status %d, want %d: %s", got, want, &p.errs)
		}
	case <-time.After(patience):
		t.Fatal("kv has not ended")
	}
	return p.errs.String()
}

func (p *inProcess) dial(t *testing.T) *sock.Conn {
	t.Helper()
	a, err := sock.ParseAddress(p.address)
	if err != nil {
		t.Fatal(err)
	}
	c, err := sock.Dial(t.Context(), a, nil)
	if err != nil {
		t.Fatal(err)
	}
	c.SetDeadline(time.Now().Add(patience))
	t.Cleanup(func() { c.Close() })
	return c
}

// ask sends in and wants as many bytes of reply as want has.
func ask(t *testing.T, c net.Conn, in, want string) {
	t.Helper()
	if _, err := io.WriteString(c, in); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(want))
	if n, err := io.ReadFull(c, got); err != nil || string(got) != want {
		t.Fatalf("%.60q: got %q, %v; want %q", in, got[:n], err, want)
	}
}

func TestOnEveryEngine(t *testing.T) {
	t.Parallel()
	for _, row := range engines {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			if e, err := row.make(newService(roomy), nil, 0); errors.Is(err, errors.ErrUnsupported) {
				yodeltest.Skip(t, err.Error(), "run it on Linux, which has all engines")
			} else if err == nil {
				e.Close()
			}
			kv := startInProcess(t, row.name, "127.0.0.1:0")
			c := kv.dial(t)
			value := strings.Repeat("v", 1<<20)
			ask(t, c, resp("SET", "a", value)+resp("INCR", "n"), "+OK\r\n:1\r\n")
			ask(t, c, resp("GET", "a")+"PING\r\n", "$1048576\r\n"+value+"\r\n+PONG\r\n")
			ask(t, c, resp("QUIT"), "+OK\r\n")
			if _, err := c.Read(make([]byte, 1)); err != io.EOF {
				t.Errorf("after QUIT: %v", err)
			}
			c.Close()
			d := kv.dial(t)
			ask(t, d, resp("GET", "n"), "$1\r\n1\r\n")
			ask(t, d, "*1\r\n$-1\r\n", "-ERR Protocol error: invalid bulk length\r\n")
			if _, err := d.Read(make([]byte, 1)); err != io.EOF {
				t.Errorf("after a protocol error: %v", err)
			}
			d.Close()
			kv.stop <- syscall.SIGTERM
			kv.wantStatus(t, exitDone)
		})
	}
}

// Clients at once, on memory that is overwritten after each Step.
func TestClientsAtOnce(t *testing.T) {
	t.Parallel()
	const clients, rounds = 16, 100
	var network yodeltest.Net
	l, err := network.Listen("192.0.2.2:6379")
	if err != nil {
		t.Fatal(err)
	}
	svc := newService(roomy)
	eng, err := engines[0].make(svc, &engine.Config{PoisonLent: true}, 0)
	if err != nil {
		t.Fatal(err)
	}
	go eng.Serve(l)
	defer eng.Close()
	var all sync.WaitGroup
	for i := range clients {
		all.Go(func() {
			c, err := network.Dial(t.Context(), "192.0.2.2:6379")
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			replies := bufio.NewReader(c)
			for j := range rounds {
				value := strings.Repeat(string(rune('a'+i)), 100*j) // short ones and gathered ones
				fmt.Fprint(c, resp("SET", "shared", value, "PX", "100")+resp("GET", "shared")+resp("INCR", "n"))
				if err := wantOneLetter(replies); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	talk := newTalk(t, svc)
	exchange{"GET n", fmt.Sprintf("$4\r\n%d", clients*rounds)}.with(talk)
}

// wantOneLetter reads the replies to SET, GET and INCR. The value may be anybody's, but
// is one client's from its first byte to its last; it may have expired.
func wantOneLetter(r *bufio.Reader) error {
	var length int
	if _, err := fmt.Fscanf(r, "+OK\r\n$%d\r\n", &length); err != nil {
		return fmt.Errorf("reply to SET: %w", err)
	}
	if length >= 0 {
		value := make([]byte, length+2)
		if _, err := io.ReadFull(r, value); err != nil {
			return err
		}
		if length > 0 && bytes.Count(value, value[:1]) != length {
			return fmt.Errorf("a mixed value: %q", value)
		}
	}
	var n int
	_, err := fmt.Fscanf(r, ":%d\r\n", &n)
	return err
}

func TestUnixSocketAndTrace(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "kv") // short: the path of a socket must be
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "trace.jsonl")
	path := filepath.Join(dir, "kv.sock")
	kv := startInProcess(t, "goroutine", "--trace", file, "unix:"+path)
	if kv.address != "unix:"+path {
		t.Errorf("bound to %q", kv.address)
	}
	c := kv.dial(t)
	ask(t, c, "PING\r\n", "+PONG\r\n")
	c.Close()
	kv.stop <- os.Interrupt
	kv.wantStatus(t, exitDone)
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	seen := map[trace.Op]trace.Event{}
	for r := trace.NewReader(f); ; {
		e, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		seen[e.Op] = e
	}
	if m := seen[trace.Message]; m.Bytes != len("PING\r\n") || m.Service != "kv" {
		t.Errorf("the message in the trace: %+v", m)
	}
	for _, op := range []trace.Op{trace.Listen, trace.Accept, trace.Close} {
		if seen[op].Op == "" {
			t.Errorf("no %s in the trace", op)
		}
	}
}

func TestShutdownWaitsForReplies(t *testing.T) {
	t.Parallel()
	kv := startInProcess(t, "goroutine", "127.0.0.1:0")
	c := kv.dial(t)
	value := strings.Repeat("v", 1<<20)
	ask(t, c, resp("SET", "a", value), "+OK\r\n")
	reply := "$1048576\r\n" + value + "\r\n"
	ask(t, c, strings.Repeat(resp("GET", "a"), 8), reply[:1])
	kv.stop <- syscall.SIGTERM
	rest, err := io.ReadAll(c)
	if err != nil || len(rest) != 8*len(reply)-1 {
		t.Errorf("%d bytes came after the signal, want %d; %v", len(rest), 8*len(reply)-1, err)
	}
	kv.wantStatus(t, exitDone)
}

func TestShutdownCuts(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, grace string
		signals     int
	}{{"after the time of grace", "50ms", 1}, {"at a second signal", "1h", 2}} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			kv := startInProcess(t, "goroutine", "--grace", tt.grace, "127.0.0.1:0")
			c := kv.dial(t)
			value := strings.Repeat("v", 1<<20)
			ask(t, c, resp("SET", "a", value), "+OK\r\n")
			ask(t, c, strings.Repeat(resp("GET", "a"), 20), "$") // and does not read on
			for range tt.signals {
				kv.stop <- syscall.SIGTERM
			}
			if errs := kv.wantStatus(t, exitFailed); !strings.HasPrefix(errs, "kv: 1 connections had not finished within ") {
				t.Errorf("it says %q", errs)
			}
		})
	}
}

func TestUsage(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		args string
		want string // on standard error
	}{
		{"--engine warp 0", `kv: --engine "warp": the engines are goroutine, iterative`},
		{"--max-keys 0 0", "kv: --max-keys 0: it must be at least 1"},
		{"--max-value 0 0", "kv: --max-value 0: it must be from 1 to 536870912"},
		{"--max-value 536870913 0", "kv: --max-value 536870913: it must be from 1 to 536870912"},
		{"--max-bytes -1 0", "kv: --max-bytes -1: it must be at least 1"},
		{"--no-such-flag", "kv: flag provided but not defined: -no-such-flag"},
		{"udp://:0", "kv: address udp://:0: kv serves tcp and unix, not udp"},
		{"a b c", "kv: address"},
	} {
		var errs strings.Builder
		if status := run(strings.Fields(tt.args), io.Discard, &errs, nil); status != exitUsage {
			t.Errorf("%s: status %d", tt.args, status)
		}
		if !strings.HasPrefix(errs.String(), tt.want) || strings.Count(errs.String(), "\n") != 1 {
			t.Errorf("%s:\ngot  %s\nwant %s", tt.args, errs.String(), tt.want)
		}
	}
}

func TestHelp(t *testing.T) {
	t.Parallel()
	var errs strings.Builder
	if status := run([]string{"--help"}, io.Discard, &errs, nil); status != exitDone {
		t.Errorf("status %d", status)
	}
	for _, word := range []string{"usage: kv", "-engine", "-max-keys", "-max-value", "-max-bytes", "goroutine, iterative"} {
		if !strings.Contains(errs.String(), word) {
			t.Errorf("%q is not in the help:\n%s", word, errs.String())
		}
	}
	for _, row := range engines {
		if !strings.Contains(errs.String(), row.name) {
			t.Errorf("the help does not name %s", row.name)
		}
	}
}

func TestDefaultAddress(t *testing.T) {
	t.Parallel()
	set, err := parseSettings(nil, io.Discard)
	if err != nil || set.address.String() != "localhost:6379" || set.engine.name != "goroutine" {
		t.Errorf("%v, %v on %v", err, set.engine.name, set.address)
	}
	if set, err = parseSettings([]string{"localhost", "7"}, io.Discard); err != nil || set.address.Port != 7 {
		t.Errorf("HOST PORT: %v, %v", set, err)
	}
}

func TestCannotServe(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for args, want := range map[string]string{
		taken.Addr().String():                            "kv: listen on " + taken.Addr().String(),
		"--trace " + t.TempDir() + "/none/trace.jsonl 0": "kv: --trace: open ",
	} {
		var errs strings.Builder
		if status := run(strings.Fields(args), io.Discard, &errs, nil); status != exitFailed || !strings.HasPrefix(errs.String(), want) {
			t.Errorf("%s: status %d, %q", args, status, errs.String())
		}
	}
}

func TestRedisCLI(t *testing.T) {
	t.Parallel()
	cli := yodeltest.NeedProgram(t, "redis-cli")
	kv := startProgram(t, "--max-keys", "10", "127.0.0.1:0")
	for _, tt := range []struct{ say, want string }{
		{"PING", "PONG"},
		{`ECHO "hello there"`, "hello there"},
		{`SET greeting "hello\nthere" EX 100`, "OK"},
		{"GET greeting", "hello\nthere"},
		{"TTL greeting", "100"},
		{"INCR n", "1"},
		{"INCRBY n 41", "42"},
		{"EXISTS n greeting nothing", "2"},
		{"DEL n nothing", "1"},
		{"GET n", ""},
		{"SET x 1 NX", "OK"},
		{"SELECT 0", "OK"},
		{"DBSIZE", "2"},
		{"INCR greeting", "ERR value is not an integer or out of range"},
		{"GET", "ERR wrong number of arguments for 'get' command"},
		{"NOSUCH a", "ERR unknown command 'NOSUCH', with args beginning with: 'a' "},
		{"CONFIG GET save", "save\n"},
		{"COMMAND COUNT", "24"},
		{"FLUSHALL", "OK"},
	} {
		cmd := exec.CommandContext(t.Context(), cli, "-p", kv.port)
		cmd.Stdin = strings.NewReader(tt.say + "\n")
		got, err := cmd.CombinedOutput()
		if err != nil || strings.TrimRight(string(got), "\n") != strings.TrimRight(tt.want, "\n") {
			t.Errorf("%s: %q, %v; want %q", tt.say, got, err, tt.want)
		}
	}
	info, err := exec.CommandContext(t.Context(), cli, "-p", kv.port, "INFO", "memory").CombinedOutput()
	if err != nil || !bytes.Contains(info, []byte("used_memory:0\r\n")) {
		t.Errorf("INFO: %q, %v", info, err)
	}
	testMassInsertion(t, cli, kv)
	kv.stop(t)
}

// redis-cli --pipe sends without waiting for replies, and counts them.
func testMassInsertion(t *testing.T, cli string, kv *program) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), cli, "-p", kv.port, "--pipe")
	cmd.Stdin = strings.NewReader(strings.Repeat(resp("SET", "big", strings.Repeat("x", 100_000))+resp("INCR", "n"), 100))
	if out, err := cmd.CombinedOutput(); err != nil || !bytes.Contains(out, []byte("errors: 0, replies: 200")) {
		t.Errorf("redis-cli --pipe: %v\n%s", err, out)
	}
}

func TestRedisBenchmark(t *testing.T) {
	t.Parallel()
	benchmark := yodeltest.NeedProgram(t, "redis-benchmark")
	kv := startProgram(t, "127.0.0.1:0")
	for _, tt := range []struct {
		tests string // those of its default set whose commands kv has
		args  []string
	}{
		{"PING_INLINE PING_MBULK SET GET INCR MSET", []string{"-t", "ping,set,get,incr,mset", "-n", "1000", "-c", "20"}},
		{"PING_INLINE PING_MBULK SET GET INCR", []string{"-t", "ping,set,get,incr", "-n", "2000", "-c", "10", "-P", "16", "-r", "1000"}},
		{"SET GET", []string{"-t", "set,get", "-n", "50", "-c", "5", "-d", "200000"}},
	} {
		args := append([]string{"-p", kv.port, "--csv"}, tt.args...)
		out, err := exec.CommandContext(t.Context(), benchmark, args...).CombinedOutput()
		if err != nil || bytes.Contains(out, []byte("rror")) || bytes.Contains(out, []byte("WARNING")) {
			t.Errorf("redis-benchmark %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		for name := range strings.FieldsSeq(tt.tests) {
			if !bytes.Contains(out, []byte("\n\""+name+"\",")) && !bytes.Contains(out, []byte("\n\""+name+" (")) {
				t.Errorf("redis-benchmark %s does not tell of %s:\n%s", strings.Join(args, " "), name, out)
			}
		}
	}
	kv.stop(t)
}
