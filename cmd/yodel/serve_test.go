package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"yodel/trace"
	"yodel/yodeltest"
)

// dial connects to service n.
func (s *running) dial(t testing.TB, n int) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", net.JoinHostPort(hostOf(s.at[n]), s.port(n)))
	if err != nil {
		t.Fatal(err)
	}
	c.SetDeadline(time.Now().Add(patience))
	t.Cleanup(func() { c.Close() })
	return c
}

// ask sends text and wants answer.
func ask(t testing.TB, c net.Conn, text, answer string) {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(answer))
	if n, err := io.ReadFull(c, got); err != nil || string(got) != answer {
		t.Fatalf("asked %q, and the answer is %q (%v), not %q", text, got[:n], err, answer)
	}
}

func TestServeSaysWhatIsBound(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "sock")
	before := time.Now()
	s := serve(t, "upper@0", "echo@127.0.0.2:0", "echo@:0", "chargen@udp://127.0.0.1:0", "echo@tls://127.0.0.1:0", "discard@unix:"+path)
	want := []listening{
		{Service: "upper", Network: "tcp", Address: "127.0.0.1:"},
		{Service: "echo", Network: "tcp", Address: "127.0.0.2:"},
		{Service: "echo", Network: "tcp", Address: ":"},
		{Service: "chargen", Network: "udp", Address: "127.0.0.1:", Engine: "datagrams"},
		{Service: "echo", Network: "tls", Address: "127.0.0.1:"},
		{Service: "discard", Network: "unix", Address: path, Path: path},
	}
	for i, got := range s.at {
		if at, err := time.Parse(time.RFC3339Nano, got.Time); err != nil || at.Before(before.Add(-time.Second)) || at.After(time.Now()) {
			t.Errorf("service %d: time %q", i, got.Time)
		}
		if got.Network != "unix" {
			if got.Port == 0 {
				t.Errorf("service %d: no port", i)
			}
			want[i].Address += strconv.Itoa(int(got.Port))
			want[i].Port = got.Port
		}
		if (len(got.Fingerprint) == len("sha256:")+64) != (got.Network == "tls") {
			t.Errorf("service %d: fingerprint %q", i, got.Fingerprint)
		}
		if want[i].Engine == "" {
			by := autoFor(t, got.Network)
			want[i].Engine, want[i].PassedOver = by.engine, by.passedOver
		}
		want[i].Type, want[i].Time, want[i].Fingerprint, want[i].PID = "listening", got.Time, got.Fingerprint, s.cmd.Process.Pid
		if got != want[i] {
			t.Errorf("service %d:\ngot  %+v\nwant %+v", i, got, want[i])
		}
	}
	for i, query := range []string{"hello\n", "hello\n", "hello\n"} {
		answer := query
		if i == 0 {
			answer = strings.ToUpper(query)
		}
		ask(t, s.dial(t, i), query, answer)
	}
}

// What people read has the same, and a line to type that works.
func TestServeSaysItToPeople(t *testing.T) {
	t.Parallel()
	s := start(t, program(t), "serve", "upper@127.0.0.1:0", "echo@tls://:0", "echo@udp://:0")
	s.await(t, &s.out, `(?m)^upper listening on 127\.0\.0\.1:[1-9]\d*, `+regexp.QuoteMeta(byAuto(t, "tcp"))+`\n`+
		`echo listening on tls://:[1-9]\d*, `+regexp.QuoteMeta(byAuto(t, "tls"))+`\n`)
	s.await(t, &s.out, `(?m)^echo listening on udp://:[1-9]\d*, engine datagrams\n`)
	line := s.await(t, &s.out, `(?m)^  try: yodel (call --pin sha256:[0-9a-f]{64} tls://localhost:\d+)\n`)[1]
	if r := runYodel(t, "hello\n", strings.Fields(line)...); r.status != 0 || r.out != "hello\n" {
		t.Errorf("yodel %s: %+v", line, r)
	}
	s.await(t, &s.out, `(?m)^[0-9a-f]{8}-\d+ echo connected from 127\.0\.0\.1, port \d+\n`)
	s.await(t, &s.out, `(?m)^[0-9a-f]{8}-\d+ echo closed by peer: 6 bytes in, 6 out, `)
	s.signal(t, syscall.SIGTERM)
	if status := s.wait(t); status != 0 || s.err.String() != "" {
		t.Errorf("status %d, stderr %q", status, &s.err)
	}
}

// yodel serve alone, and what its help and the README say to type next, on a host
// where those ports are free.
func TestServeByDefault(t *testing.T) {
	t.Parallel()
	yodeltest.NeedLinux(t)
	yodeltest.NeedRoot(t)
	yodeltest.NeedProgram(t, "ip")
	unshare := yodeltest.NeedProgram(t, "unshare")
	nsenter := yodeltest.NeedProgram(t, "nsenter")
	s := start(t, unshare, "--net", "sh", "-c", `ip link set lo up && exec "$0" serve`, program(t))
	s.await(t, &s.out, `^upper listening on \S+:15213, `+regexp.QuoteMeta(byAuto(t, "tcp"))+`\necho listening on \S+:10007, `+regexp.QuoteMeta(byAuto(t, "tcp"))+`\n`+
		`next, in another terminal: yodel call localhost 15213\n`)
	there := []string{"--net=/proc/" + strconv.Itoa(s.cmd.Process.Pid) + "/ns/net", program(t), "call"}
	r := runProgram(t, strings.NewReader("hello\n"), nsenter, append(there, "--verify", "--upper", "localhost", "15213")...)
	wantStatus(t, r, 0, "6 bytes sent, 6 came back right")
	r = runProgram(t, strings.NewReader("hello\n"), nsenter, append(there, "localhost", "10007")...)
	if wantStatus(t, r, 0, "Connected to localhost."); r.out != "hello\n" {
		t.Errorf("echo: %q", r.out)
	}
	s.signal(t, syscall.SIGTERM)
	if status := s.wait(t); status != 0 {
		t.Errorf("status %d, stderr %q", status, &s.err)
	}
}

func TestServeOnATakenPort(t *testing.T) {
	t.Parallel()
	s := serve(t, "echo@127.0.0.1:0", "echo@udp://127.0.0.1:0")
	for i, who := range []string{"-ltnp", "-lunp"} {
		r := runYodel(t, "", "serve", "echo@"+s.address(i))
		wantStatus(t, r, 1, "yodel: listen on "+s.address(i)+": bind: address already in use; another program listens there: `ss "+who)
		if r.out != "" {
			t.Errorf("it says %q before it knows", r.out)
		}
	}
	// The others of a line that cannot be served whole are not served either.
	r := runYodel(t, "", "serve", "upper@127.0.0.1:0", "echo@"+s.address(0))
	if wantStatus(t, r, 1); r.out != "" {
		t.Errorf("stdout %q", r.out)
	}
}

func TestServeRestartsOverTimeWait(t *testing.T) {
	t.Parallel()
	s := serve(t, "daytime@127.0.0.1:0")
	if _, err := io.ReadAll(s.dial(t, 0)); err != nil { // the server closes first: TIME_WAIT is its
		t.Fatal(err)
	}
	at := s.address(0)
	s.stop(t)
	serve(t, "daytime@"+at)
}

// events returns the JSON lines of stdout of a type, as a Reader of traces sees them.
func (s *running) events(t testing.TB, op trace.Op) []trace.Event {
	t.Helper()
	var list []trace.Event
	for r := trace.NewReader(strings.NewReader(s.out.String())); ; {
		e, err := r.Next()
		if err == io.EOF {
			return list
		}
		if err != nil {
			t.Fatal(err)
		}
		if e.Op == op {
			list = append(list, e)
		}
	}
}

func TestServeTellsWhoCame(t *testing.T) {
	t.Parallel()
	s := serve(t, "--names", "upper@127.0.0.1:0")
	c := s.dial(t, 0)
	ask(t, c, "hi there\r\n", "HI THERE\r\n")
	c.Close()
	s.await(t, &s.out, `"type":"close"`)
	accepted, closed := s.events(t, trace.Accept), s.events(t, trace.Close)
	if len(accepted) != 1 || len(closed) != 1 {
		t.Fatalf("%d accepted, %d closed", len(accepted), len(closed))
	}
	a, e := accepted[0], closed[0]
	if a.Remote.String() != c.LocalAddr().String() || a.Service != "upper" || a.Name != "localhost" {
		t.Errorf("accept: %+v", a)
	}
	if e.Conn != a.Conn || e.Conn.IsZero() || e.In != 10 || e.Out != 10 || e.Text != trace.EndPeer || e.Took <= 0 {
		t.Errorf("close: %+v", e)
	}
	for line := range strings.Lines(s.out.String()) {
		if !json.Valid([]byte(line)) {
			t.Errorf("not JSON: %q", line)
		}
	}
}

func TestServeAllowAndDeny(t *testing.T) {
	t.Parallel()
	s := serve(t, "--allow=127.0.0.0/30,::1", "--deny=127.0.0.2", "echo@127.0.0.1:0")
	for from, served := range map[string]bool{"127.0.0.1": true, "127.0.0.3": true, "127.0.0.2": false, "127.0.0.4": false} {
		r := runYodel(t, "hello\n", "call", "--source", from, s.address(0))
		if served != (r.status == 0 && r.out == "hello\n") {
			t.Errorf("from %s: %+v", from, r)
		}
	}
	s.await(t, &s.out, `"type":"refuse"[^\0]*"type":"refuse".*\n`)
	refused := s.events(t, trace.Refuse)
	for _, e := range refused {
		if e.Text != "address denied" || e.Remote.Port() == 0 {
			t.Errorf("%+v", e)
		}
	}
	if len(refused) != 2 {
		t.Errorf("%d refused:\n%s", len(refused), &s.out)
	}
}

func TestServeOneAtATime(t *testing.T) {
	t.Parallel()
	for _, flag := range []string{"--engine=iterative", "--max-conns=1"} {
		s := serve(t, flag, "echo@127.0.0.1:0")
		first, second := s.dial(t, 0), s.dial(t, 0)
		ask(t, first, "one\n", "one\n")
		io.WriteString(second, "two\n") // the kernel takes it
		ask(t, first, "still\n", "still\n")
		first.Close()
		ask(t, second, "", "two\n")
		s.await(t, &s.out, `"type":"accept"[^\0]*"type":"accept"`)
		if end, next := s.events(t, trace.Close)[0], s.events(t, trace.Accept)[1]; next.Time.Before(end.Time) {
			t.Errorf("%s: the second was served before the first had ended", flag)
		}
	}
}

func TestServeTrace(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "trace.jsonl")
	s := serve(t, "--trace="+file, "--each-call", "upper@127.0.0.1:0", "echo@tls://127.0.0.1:0")
	const calls = 3
	for range calls {
		wantStatus(t, runYodel(t, "hello\n", "call", "--verify", "--upper", s.address(0)), 0)
		wantStatus(t, runYodel(t, "hello\n", "call", "--pin", s.at[1].Fingerprint, "--verify", s.address(1)), 0)
	}
	s.stop(t)
	ops, conns := make(map[trace.Op]int), make(map[trace.ConnID][]trace.Op)
	for e := range traceFileEvents(t, file) {
		ops[e.Op]++
		if e.Op != trace.Header {
			conns[e.Conn] = append(conns[e.Conn], e.Op)
		}
	}
	if ops[trace.Header] != 1 || ops[trace.Listen] != 2 || ops[trace.Accept] != 2*calls || ops[trace.Close] < 2*calls ||
		ops[trace.Handshake] != calls || ops[trace.Message] != calls || ops[trace.Read] < calls || ops[trace.Write] < calls {
		t.Errorf("events: %v", ops)
	}
	for id, list := range conns {
		if list[0] == trace.Accept && list[len(list)-1] != trace.Close {
			t.Errorf("connection %v: %v", id, list)
		}
	}
}

// traceFileEvents yields the events of a trace file.
func traceFileEvents(t testing.TB, path string) func(yield func(trace.Event) bool) {
	return func(yield func(trace.Event) bool) {
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		r := trace.NewReader(f)
		for {
			e, err := r.Next()
			if err == io.EOF {
				if r.Header().PID == 0 {
					t.Errorf("%s has no header", path)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if !yield(e) {
				return
			}
		}
	}
}

func TestServeEngineFromTheEnvironment(t *testing.T) {
	t.Parallel()
	s := serveWith(t, []string{"YODEL_SERVE_ENGINE=iterative"}, "echo@127.0.0.1:0")
	if got := s.at[0].Engine; got != "iterative" {
		t.Errorf("engine %s", got)
	}
}

// isReset reports whether err is what a connection that was cut ends with.
func isReset(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

func TestServeStops(t *testing.T) {
	t.Parallel()
	t.Run("at once, when there is nobody", func(t *testing.T) {
		t.Parallel()
		for _, sig := range []os.Signal{syscall.SIGTERM, os.Interrupt} {
			s := serve(t, "upper@127.0.0.1:0", "echo@udp://127.0.0.1:0", "echo@unix:"+filepath.Join(t.TempDir(), "sock"))
			began := time.Now()
			s.signal(t, sig)
			if status := s.wait(t); status != 0 {
				t.Errorf("%v: status %d, stderr %q", sig, status, &s.err)
			}
			if took := time.Since(began); took > 9*time.Second { // the grace is 10 s
				t.Errorf("%v: it took %v", sig, took)
			}
			if _, err := os.Lstat(s.at[2].Path); err == nil {
				t.Errorf("%v: the socket is still there", sig)
			}
		}
	})
	t.Run("when a person is silent", func(t *testing.T) {
		t.Parallel()
		s := serve(t, "upper@127.0.0.1:0")
		c := s.dial(t, 0)
		ask(t, c, "hello\n", "HELLO\n")
		s.signal(t, syscall.SIGTERM)
		if rest, err := io.ReadAll(c); err != nil || len(rest) > 0 {
			t.Errorf("the silent one hears %q, %v, not an orderly end", rest, err)
		}
		c.Close()
		if status := s.wait(t); status != 0 {
			t.Errorf("status %d, stderr %q", status, &s.err)
		}
	})
	t.Run("when a busy client has finished", func(t *testing.T) {
		t.Parallel()
		s := serve(t, "chargen@127.0.0.1:0")
		c := s.dial(t, 0)
		ask(t, c, "", " !")
		s.signal(t, syscall.SIGTERM)
		s.await(t, &s.err, `^yodel: stopping; waiting at most (10s|10m0s) \(--grace\) for 1 connection; a second signal cuts\n`)
		io.CopyN(io.Discard, c, 1<<20) // it is served to its own end
		c.Close()
		if status := s.wait(t); status != 0 {
			t.Errorf("status %d, stderr %q", status, &s.err)
		}
	})
	t.Run("at the second signal", func(t *testing.T) {
		t.Parallel()
		s := serve(t, "--grace=10m", "chargen@127.0.0.1:0")
		c := s.dial(t, 0)
		ask(t, c, "", " !")
		ended := make(chan error, 1)
		go func() { // it is busy until it is cut
			_, err := io.Copy(io.Discard, c)
			ended <- err
		}()
		s.signal(t, syscall.SIGTERM)
		s.await(t, &s.err, `^yodel: stopping; waiting at most (10s|10m0s) \(--grace\) for 1 connection; a second signal cuts\n`)
		s.signal(t, syscall.SIGTERM)
		if status := s.wait(t); status != 1 {
			t.Errorf("status %d", status)
		}
		if err := <-ended; err != nil && !isReset(err) {
			t.Errorf("the client hears %v", err)
		}
		s.await(t, &s.err, `\nyodel: 1 connection cut: a second signal came\n$`)
	})
	t.Run("when the grace is over", func(t *testing.T) {
		t.Parallel()
		s := serve(t, "--grace=200ms", "chargen@127.0.0.1:0")
		for range 2 {
			c := s.dial(t, 0)
			ask(t, c, "", " !")
			go io.Copy(io.Discard, c)
		}
		s.signal(t, syscall.SIGTERM)
		if status := s.wait(t); status != 1 {
			t.Errorf("status %d", status)
		}
		s.await(t, &s.err, `\nyodel: 2 connections cut: not finished within 200ms \(--grace\)\n$`)
	})
}

// A reader of the log that goes away must not take the server with it.
func TestServeSurvivesAClosedOutput(t *testing.T) {
	t.Parallel()
	for name, both := range map[string]bool{"stdout": false, "stdout and stderr": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			s := &running{started: &started{cmd: command(program(t), "serve", "--json", "echo@127.0.0.1:0")}}
			s.cmd.Stdout = w
			if s.cmd.Stderr = &s.err; both {
				s.cmd.Stderr = w
			}
			s.begin(t)
			w.Close()
			line, err := bufio.NewReader(r).ReadBytes('\n')
			var l listening
			if err = errors.Join(err, json.Unmarshal(line, &l)); err != nil {
				t.Fatal(err)
			}
			s.at = []listening{l}
			r.Close()
			for range 5 { // each one comes and goes with a line in the log
				c := s.dial(t, 0)
				ask(t, c, "hello\n", "hello\n")
				c.Close()
			}
			s.signal(t, syscall.SIGTERM)
			if status := s.wait(t); status != 0 {
				t.Errorf("status %d, stderr %q", status, &s.err)
			}
			if said := s.err.String(); !both && strings.Count(said, "\n") > 2 {
				t.Errorf("a storm on stderr:\n%s", said)
			}
		})
	}
}
