package mail

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"yodel/engine"
	"yodel/engine/goroutine"
	"yodel/service/mail/spool"
)

// A test binary that finds childEnv in its environment is a mail server, for tests that
// kill it or make its system calls fail: it prints where it listens and serves until its
// standard input ends. The variable holds a childConfig.
const childEnv = "YODEL_MAIL_TEST_SERVER"

type childConfig struct {
	Dir    string
	Format spool.Format
}

func TestMain(m *testing.M) {
	if text := os.Getenv(childEnv); text != "" {
		if err := childServer(text); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

func childServer(text string) error {
	var cfg childConfig
	if err := json.Unmarshal([]byte(text), &cfg); err != nil {
		return err
	}
	s, err := New(&Config{Dir: cfg.Dir, Format: cfg.Format, Domains: []string{"example.org"}, Hostname: "mx.example.org", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	e, err := goroutine.New(s, &engine.Config{Service: "mail", Idle: -1})
	if err != nil {
		return err
	}
	go e.Serve(l)
	fmt.Println(l.Addr())
	io.Copy(io.Discard, os.Stdin)
	return e.Close()
}

// A child is a server in a process of its own.
type child struct {
	t    testing.TB
	cmd  *exec.Cmd
	addr string
	stop io.Closer
	said strings.Builder // on standard error; to be read when it has ended
}

// startChild starts one. It is killed at the end of the test if it has not ended.
func startChild(t testing.TB, cfg childConfig) *child {
	t.Helper()
	text, err := json.Marshal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := &child{t: t, cmd: exec.Command(self)}
	c.cmd.Env = append(os.Environ(), childEnv+"="+string(text))
	c.cmd.Stderr = &c.said
	if c.stop, err = c.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := c.cmd.StdoutPipe()
	if err == nil {
		err = c.cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.cmd.Process.Kill()
		c.cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		c.cmd.Wait()
		t.Fatalf("the server does not say where it listens: %v\n%s", err, &c.said)
	}
	c.addr = strings.TrimSpace(line)
	return c
}

// kill ends it as kill -9 does.
func (c *child) kill() {
	c.cmd.Process.Kill()
	c.cmd.Wait()
	if c.said.Len() > 0 {
		c.t.Errorf("the server has said\n%s", &c.said)
		c.said.Reset()
	}
}

// end ends it in order.
func (c *child) end() {
	c.t.Helper()
	c.stop.Close()
	if err := c.cmd.Wait(); err != nil || c.said.Len() > 0 {
		c.t.Errorf("the server has ended with %v\n%s", err, &c.said)
	}
}
