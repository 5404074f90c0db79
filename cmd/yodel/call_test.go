package main

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"yodel/sock"
	"yodel/trace"
	"yodel/yodeltest"
)

// listen runs a server in the test: handle talks with each client. It returns its
// address.
func listen(t testing.TB, handle func(*net.TCPConn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				c.SetDeadline(time.Now().Add(patience))
				handle(c.(*net.TCPConn))
			}()
		}
	}()
	return l.Addr().String()
}

// blackHole returns an address that answers nothing: its accept queue is full, and the
// kernel drops further requests.
func blackHole(t testing.TB) string {
	t.Helper()
	yodeltest.NeedLinux(t)
	l, err := sock.Listen(t.Context(), sock.Address{Network: "tcp", Host: "127.0.0.1"}, &sock.Options{Backlog: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	for {
		c, err := net.DialTimeout("tcp", l.Addr().String(), 50*time.Millisecond)
		if err != nil {
			return l.Addr().String()
		}
		t.Cleanup(func() { c.Close() })
	}
}

func silent(c *net.TCPConn) { io.Copy(io.Discard, c) }

func TestCallTimesOut(t *testing.T) {
	t.Parallel()
	hole := blackHole(t)
	r := runYodel(t, "", "call", "--timeout=200ms", hole)
	wantStatus(t, r, 4, "yodel: connect to "+hole+": ", "no answer: the host is down, or a firewall drops what is sent to it")
	r = runYodel(t, "hello\n", "call", "--timeout=200ms", "--json", hole)
	if wantStatus(t, r, 4); !strings.Contains(r.out, `"type":"failed"`) || !strings.Contains(r.out, `"status":4}`) {
		t.Errorf("stdout %q", r.out)
	}
	// One that connects, and then says nothing.
	mute := listen(t, silent)
	r = runYodel(t, "hello\n", "call", "--timeout=2s", "--verify", mute)
	wantStatus(t, r, 6, "answer lost: 6 bytes missing after offset 0")
	p := start(t, program(t), "call", "--timeout=2s", mute)
	if status := p.wait(t); status != 4 {
		t.Errorf("status %d, stderr %q", status, &p.err)
	}
}

func TestCallIsBroken(t *testing.T) {
	t.Parallel()
	reset := listen(t, func(c *net.TCPConn) {
		io.ReadFull(c, make([]byte, 6))
		c.SetLinger(0)
	})
	r := runYodel(t, "hello\n", "call", reset)
	wantStatus(t, r, 7, "Connection reset by peer; 6 bytes sent, 0 received", "yodel: connection broken: ", "; 6 bytes sent")

	// One that hangs up while there is more to say.
	leaves := listen(t, func(c *net.TCPConn) {
		io.ReadFull(c, make([]byte, 6))
		io.WriteString(c, "that will do\n")
	})
	r = runProgram(t, endless{}, program(t), "call", leaves)
	wantStatus(t, r, 7, "sent")
	if r.out != "" && r.out != "that will do\n" { // a reset may have overtaken it
		t.Errorf("stdout %q", r.out)
	}
	r = runYodel(t, "hello\nthere\n", "call", "--prompt", listen(t, func(c *net.TCPConn) {
		io.ReadFull(c, make([]byte, 6))
		io.WriteString(c, "HELLO\n")
		c.CloseWrite() // an end, and no reset: what else comes is read
		io.Copy(io.Discard, c)
	}))
	wantStatus(t, r, 7, "closed by peer before the end")
	if want := "type:echo:HELLO\ntype:"; !strings.HasPrefix(r.out, want) {
		t.Errorf("stdout %q, want %q", r.out, want)
	}
}

// endless is input without end.
type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

func TestCallFindsWhatIsWrong(t *testing.T) {
	t.Parallel()
	liar := listen(t, func(c *net.TCPConn) {
		io.ReadAll(c)
		io.WriteString(c, "hello thexe\n")
	})
	r := runYodel(t, "hello there\n", "call", "--verify", liar)
	wantStatus(t, r, 6, "yodel: wrong answer: byte at offset 9 is 0x78 (x), expected 0x72 (r)")
	chatty := listen(t, func(c *net.TCPConn) {
		p, _ := io.ReadAll(c)
		c.Write(append(p, "and\x1b[2J"...))
	})
	r = runYodel(t, "hello\n", "call", "--verify", chatty)
	wantStatus(t, r, 6, `yodel: wrong answer: unexpected bytes at offset 6: "and\x1b[2J"`)
}

func TestCallIsInterrupted(t *testing.T) {
	t.Parallel()
	mute := listen(t, silent)
	for _, sig := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		p := start(t, program(t), "call", mute)
		p.await(t, &p.err, `Socket pair`)
		p.signal(t, sig)
		if status := p.wait(t); status != 130 {
			t.Errorf("%v: status %d, stderr %q", sig, status, &p.err)
		}
		p.await(t, &p.err, `\nyodel: interrupted\n$`)
	}
	p := start(t, program(t), "call", blackHole(t))
	p.await(t, &p.err, `Trying`)
	p.signal(t, os.Interrupt)
	if status := p.wait(t); status != 130 {
		t.Errorf("while it connects: status %d, stderr %q", status, &p.err)
	}
}

// A closed output is told as an error, and is none of the server's doing.
func TestCallWithAClosedOutput(t *testing.T) {
	t.Parallel()
	s := serve(t, "chargen@127.0.0.1:0")
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p := &started{cmd: command(program(t), "call", s.address(0))}
	p.cmd.Stdout, p.cmd.Stderr = w, &p.err
	p.begin(t)
	w.Close()
	io.CopyN(io.Discard, r, 100)
	r.Close()
	if status := p.wait(t); status != 1 || !strings.Contains(p.err.String(), "yodel: output: ") {
		t.Errorf("status %d, stderr %q", status, &p.err)
	}
}

// noise returns n bytes, all values among them, the same each time.
func noise(n int) []byte {
	p := make([]byte, n)
	rand.NewChaCha8(sha256.Sum256([]byte("yodel"))).Read(p)
	return p
}

func TestCallIsAFaithfulPipe(t *testing.T) {
	t.Parallel()
	in := noise(3 << 20)
	s := serve(t, "echo@127.0.0.1:0", "echo@tls://127.0.0.1:0", "echo@unix:"+filepath.Join(t.TempDir(), "sock"), "upper@127.0.0.1:0")
	for i := range 3 {
		r := runProgram(t, bytes.NewReader(in), program(t), "call", "--insecure="+boolText(s.at[i].Network == "tls"), s.address(i))
		if wantStatus(t, r, 0); r.out != string(in) {
			t.Errorf("over %s %d bytes came back as %d other ones", s.at[i].Network, len(in), len(r.out))
		}
	}
	r := runProgram(t, bytes.NewReader(in), program(t), "call", "--verify", "--upper", s.address(3))
	wantStatus(t, r, 0, "3145728 bytes sent, 3145728 came back right")
}

func boolText(b bool) string {
	if b {
		return "true"
	}
	return "false"
}

func TestCallTrace(t *testing.T) {
	t.Parallel()
	s := serve(t, "echo@127.0.0.1:0")
	file := filepath.Join(t.TempDir(), "client.jsonl")
	wantStatus(t, runYodel(t, "hello\n", "call", "--trace", file, "--each-call", s.address(0)), 0)
	var ops []string
	for e := range traceFileEvents(t, file) {
		if e.Op != trace.Header && e.Side != trace.Client {
			t.Errorf("%+v", e)
		}
		if e.Op == trace.Close && (e.In != 6 || e.Out != 6 || e.Remote.String() != s.address(0)) {
			t.Errorf("%+v", e)
		}
		ops = append(ops, string(e.Op))
	}
	got := strings.Join(ops, " ")
	for _, op := range []string{"trace socket connect ", " write ", " read ", " shutdown ", " eof", " close"} {
		if !strings.Contains(got, op) {
			t.Errorf("no %q in %s", op, got)
		}
	}
}

// Several addresses, one of which answers.
func TestCallTriesAllAddresses(t *testing.T) {
	t.Parallel()
	s := serve(t, "echo@127.0.0.1:0")
	r := runYodel(t, "hello\n", "call", "localhost", s.port(0))
	if wantStatus(t, r, 0, "Trying 127.0.0.1...\n", "Connected to localhost.\n"); r.out != "hello\n" {
		t.Errorf("stdout %q", r.out)
	}
}

func TestCallSendsCRLFWhereItIsDue(t *testing.T) {
	t.Parallel()
	yodeltest.NeedRoot(t) // a port below 1024
	pid := os.Getpid()    // an address of its own for each run of the tests
	s := serve(t, fmt.Sprintf("echo@127.23.%d.%d:23", pid>>8&0xff, pid&0xff))
	r := runYodel(t, "hello\n", "call", s.address(0))
	if wantStatus(t, r, 0, "Sending each newline as CR LF, as this port wants it; --crlf=false leaves them.\n"); r.out != "hello\r\n" {
		t.Errorf("stdout %q", r.out)
	}
	r = runYodel(t, "hello\n", "call", "--crlf=false", s.address(0))
	if wantStatus(t, r, 0); r.out != "hello\n" || strings.Contains(r.err, "CR LF") {
		t.Errorf("stdout %q, stderr %q", r.out, r.err)
	}
}
