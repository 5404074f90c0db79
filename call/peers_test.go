package call

import (
	"bytes"
	"io"
	"net"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"yodel/yodeltest"
)

// program runs a real program that connects to us, in place of a port that it would
// have to be told, and returns our end. HOST and PORT in args are where to.
func program(t *testing.T, name string, args ...string) net.Conn {
	t.Helper()
	path := yodeltest.NeedProgram(t, name)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	args = slices.Clone(args)
	for i, a := range args {
		args[i] = strings.NewReplacer("HOST", "127.0.0.1", "PORT", port).Replace(a)
	}
	cmd := exec.CommandContext(within(t), path, args...)
	cmd.WaitDelay = time.Second
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	l.(*net.TCPListener).SetDeadline(time.Now().Add(patience))
	c, err := l.Accept()
	if err != nil {
		cmd.Wait()
		t.Fatalf("%s did not connect: %v\n%s", name, err, said.String())
	}
	t.Cleanup(func() {
		c.Close()
		cmd.Wait()
	})
	return c
}

func TestRealPeerEcho(t *testing.T) {
	t.Parallel()
	in := allBytes(300_000)
	socat := []string{"TCP:HOST:PORT", "EXEC:/bin/cat"}
	var out bytes.Buffer
	if err := Pipe(within(t), program(t, "socat", socat...), bytes.NewReader(in), &out, nil); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(out.Bytes(), in) {
		t.Errorf("pipe: %d bytes came back as %d other ones", len(in), out.Len())
	}
	v, err := Verify(within(t), program(t, "socat", socat...), bytes.NewReader(in), nil)
	if err != nil || v.Right != int64(len(in)) {
		t.Errorf("verify: %v, %v", v, err)
	}
}

func TestRealPeersPrompt(t *testing.T) {
	t.Parallel()
	for name, args := range map[string][]string{
		"ncat":  {"--exec", "/bin/cat", "HOST", "PORT"},
		"socat": {"TCP:HOST:PORT", "EXEC:/bin/cat"},
	} {
		var out bytes.Buffer
		typed := NewLines(strings.NewReader("hello\nagain\n"))
		if err := Prompt(within(t), program(t, name, args...), typed, &out, nil); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if want := "type:echo:hello\ntype:echo:again\ntype:\n"; out.String() != want {
			t.Errorf("%s: %q", name, out.String())
		}
	}
}

func TestRealPeerIsWrong(t *testing.T) {
	t.Parallel()
	conn := program(t, "socat", "TCP:HOST:PORT", "SYSTEM:tr x X")
	_, err := Verify(within(t), conn, strings.NewReader("abc xyz"), nil)
	if wrong := wantStatus[*MismatchError](t, err, StatusWrong); wrong.Offset != 4 || wrong.Got != 'X' {
		t.Errorf("%+v", wrong)
	}
}

func TestRealPeerScripted(t *testing.T) {
	t.Parallel()
	conn := program(t, "ncat", "--sh-exec",
		`printf '220 ready\r\nlogin: '; read name; printf '250 hello %s\n221 bye\n' "$name"`, "HOST", "PORT")
	s := mustScript(t, `next /^220 /`, `next "login: "`, `send "me\n"`, `expect /^250 hello me$/`, `next /^221/`, `next eof`)
	if err := Expect(within(t), conn, s, io.Discard, nil); err != nil {
		t.Error(err)
	}
}
