package ssh

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"yodel/engine"
	"yodel/engine/goroutine"
	"yodel/internal/users"
	"yodel/yodeltest"
	"yodel/yodeltest/programs"
)

// many is how many sessions the test of what is left behind has; 10,000 take some minutes.
var many = flag.Int("sessions", 20, "sessions of TestNothingIsLeft")

// patience bounds what a test waits for; nothing waits for it when all is well.
const patience = 60 * time.Second

// rig is a server with one user, ada, whose password is "pass word", and whose key is in
// the file key.
type rig struct {
	t    testing.TB
	srv  *Server
	eng  goroutine.Engine
	addr net.Addr
	log  *programs.Log
	key  string
	mine ssh.Signer
}

func serve(t testing.TB, change func(*Config)) *rig {
	t.Helper()
	dir := t.TempDir()
	r := &rig{t: t, log: &programs.Log{}, key: filepath.Join(dir, "key")}
	var public string
	r.mine, public = newKey(t, r.key)
	if err := os.WriteFile(filepath.Join(dir, "authorized"), []byte("# those who may come\n\n"+public), 0o600); err != nil {
		t.Fatal(err)
	}
	passwords := filepath.Join(dir, "users")
	if _, err := users.Set(passwords, "ada", "pass word", "/"); err != nil {
		t.Fatal(err)
	}
	cfg := Config{Log: slog.New(slog.NewTextHandler(r.log, nil)), User: programs.Nobody(), AuthorizedKeys: filepath.Join(dir, "authorized")}
	var err error
	if cfg.Users, err = users.Open(passwords, &users.Config{Delay: -1, Log: cfg.Log}); err != nil {
		t.Fatal(err)
	}
	if cfg.HostKey, _, err = HostKey(filepath.Join(dir, "host")); err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(&cfg)
	}
	if r.srv, err = New(&cfg); err != nil {
		t.Fatal(err)
	}
	if r.eng, err = goroutine.New(r.srv, &engine.Config{Service: "ssh", Idle: -1, Linger: -1}); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.addr = l.Addr()
	yodeltest.Serve(t, r.eng, l, engine.ErrClosed)
	return r
}

// newKey makes a key for a client in a file, and returns its line of authorized_keys.
func newKey(t testing.TB, path string) (ssh.Signer, string) {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return signer, string(ssh.MarshalAuthorizedKey(signer.PublicKey()))
}

// dial logs in.
func (r *rig) dial(name string, by ...ssh.AuthMethod) (*ssh.Client, error) {
	r.t.Helper()
	c, err := ssh.Dial("tcp", r.addr.String(), &ssh.ClientConfig{
		User: name, Auth: by, Timeout: patience, HostKeyCallback: ssh.FixedHostKey(r.srv.cfg.HostKey.PublicKey()),
	})
	if err == nil {
		r.t.Cleanup(func() { c.Close() })
	}
	return c, err
}

func (r *rig) login() *ssh.Client {
	r.t.Helper()
	c, err := r.dial("ada", ssh.PublicKeys(r.mine))
	if err != nil {
		r.t.Fatal(err)
	}
	return c
}

func (r *rig) session() *ssh.Session {
	r.t.Helper()
	s, err := r.login().NewSession()
	if err != nil {
		r.t.Fatal(err)
	}
	return s
}

func TestWhoMayComeIn(t *testing.T) {
	t.Parallel()
	r := serve(t, nil)
	stranger, _ := newKey(t, filepath.Join(t.TempDir(), "stranger"))
	for _, tt := range []struct {
		what, name string
		by         ssh.AuthMethod
		ok         bool
	}{
		{"a password", "ada", ssh.Password("pass word"), true},
		{"a key", "ada", ssh.PublicKeys(r.mine), true},
		{"a wrong password", "ada", ssh.Password("wrong"), false},
		{"another key", "ada", ssh.PublicKeys(stranger), false},
		{"a name that there is not", "bob", ssh.PublicKeys(r.mine), false},
		{"a name that can't be", "-froot", ssh.PublicKeys(r.mine), false},
	} {
		c, err := r.dial(tt.name, tt.by)
		if (err == nil) != tt.ok {
			t.Errorf("%s: %v", tt.what, err)
		}
		if err == nil {
			c.Close()
		}
	}
	r.eng.Shutdown(t.Context())
	if got := r.log.String(); strings.Contains(got, "pass word") || !strings.Contains(got, "by=password") || !strings.Contains(got, `by="key SHA256:`) {
		t.Errorf("the log:\n%s", got)
	}
	keysOnly := serve(t, func(c *Config) { c.Users = nil })
	if _, err := keysOnly.dial("anybody", ssh.PublicKeys(keysOnly.mine)); err != nil {
		t.Errorf("without a users file: %v", err)
	}
	if err := os.WriteFile(keysOnly.srv.cfg.AuthorizedKeys, []byte("nonsense\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := keysOnly.dial("anybody", ssh.PublicKeys(keysOnly.mine)); err == nil {
		t.Error("with a file that can't be understood")
	}
}

func TestExec(t *testing.T) {
	t.Parallel()
	r := serve(t, nil)
	s := r.session()
	var out, errOut bytes.Buffer
	s.Stdin, s.Stdout, s.Stderr = strings.NewReader("input\n"), &out, &errOut
	err := s.Run(`cat; echo "$USER" "$TERM"; umask; echo trouble >&2; exit 3`)
	var exit *ssh.ExitError
	if !errors.As(err, &exit) || exit.ExitStatus() != 3 || out.String() != "input\nada dumb\n0077\n" || errOut.String() != "trouble\n" {
		t.Errorf("%q, %q, %v", &out, &errOut, err)
	}
	s = r.session()
	if err := s.Run(`kill -TERM $$`); !errors.As(err, &exit) || exit.Signal() != "TERM" {
		t.Errorf("ended by a signal: %v", err)
	}
	s = r.session()
	pipe, err := s.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(`trap 'echo got it; exit' INT; echo ready; while :; do sleep 0.05; done`); err != nil {
		t.Fatal(err)
	}
	wantLine(t, pipe, "ready\n")
	if err := s.Signal(ssh.SIGINT); err != nil {
		t.Fatal(err)
	}
	wantLine(t, pipe, "got it\n")
	big := r.session()
	got, err := big.Output(`head -c 3000000 /dev/zero`)
	if len(got) != 3000000 || err != nil {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

func wantLine(t testing.TB, from io.Reader, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if n, err := io.ReadFull(from, got); string(got[:n]) != want {
		t.Fatalf("%q, %v; want %q", got[:n], err, want)
	}
}

func TestTerminal(t *testing.T) {
	t.Parallel()
	r := serve(t, func(c *Config) {
		c.Shell = []string{"/bin/sh", "-c", `trap 'stty size' WINCH; trap 'echo quit' QUIT; echo "$TERM $LANG"; stty size; while [ "$line" != end ]; do read -r line; done; echo over`}
	})
	s := r.session()
	in, _ := s.StdinPipe()
	out, _ := s.StdoutPipe()
	for name, ok := range map[string]bool{"LANG": true, "LC_TIME": true, "LD_PRELOAD": false, "PATH": false} {
		if err := s.Setenv(name, "C.UTF-8"); (err == nil) != ok {
			t.Errorf("%s: %v", name, err)
		}
	}
	if s.Setenv("LANG", "../x y") == nil {
		t.Error("an odd LANG")
	}
	if err := s.RequestPty("XTERM", 30, 100, ssh.TerminalModes{}); err != nil {
		t.Fatal(err)
	}
	if s.RequestPty("XTERM", 30, 100, ssh.TerminalModes{}) == nil {
		t.Error("a second terminal")
	}
	if err := s.Shell(); err != nil {
		t.Fatal(err)
	}
	wantLine(t, out, "xterm C.UTF-8\r\n30 100\r\n")
	if err := s.WindowChange(40, 120); err != nil {
		t.Fatal(err)
	}
	io.WriteString(in, "\n")
	wantLine(t, out, "\r\n40 120\r\n")
	if ok, err := s.SendRequest("break", true, []byte{0, 0, 0, 0}); !ok || err != nil {
		t.Errorf("break: %v, %v", ok, err)
	}
	io.WriteString(in, "\n")
	for got := ""; !strings.Contains(got, "quit"); {
		b := make([]byte, 100)
		n, err := out.Read(b)
		if got += string(b[:n]); err != nil {
			t.Fatalf("break: %q, %v", got, err)
		}
	}
	io.WriteString(in, "end\n")
	if err := s.Wait(); err != nil {
		t.Error(err)
	}
}

// What else SSH has is refused.
func TestRefused(t *testing.T) {
	t.Parallel()
	r := serve(t, func(c *Config) { c.MaxPrograms = 1 })
	c := r.login()
	if _, _, err := c.OpenChannel("direct-tcpip", nil); err == nil {
		t.Error("a port is forwarded")
	}
	if _, err := c.Listen("tcp", "127.0.0.1:0"); err == nil {
		t.Error("a port is forwarded back")
	}
	s, err := c.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.NewSession(); err == nil {
		t.Error("more programs than MaxPrograms")
	}
	if s.RequestSubsystem("sftp") == nil {
		t.Error("a subsystem")
	}
	for _, r := range []string{"auth-agent-req@openssh.com", "x11-req", "window-change", "break", "signal", "pty-req", "exec", "env"} {
		if ok, _ := s.SendRequest(r, true, nil); ok {
			t.Errorf("%s is agreed to", r)
		}
	}
	if err := s.Start("sleep 1000"); err != nil {
		t.Fatal(err)
	}
	if ok, _ := s.SendRequest("shell", true, nil); ok {
		t.Error("a second program")
	}
	if ok, _ := s.SendRequest("pty-req", true, nil); ok {
		t.Error("a terminal for a program that runs")
	}
}

// F5: a hang-up reaches the whole group, and those who do not want to hear of it.
func TestHangUp(t *testing.T) {
	t.Parallel()
	for name, pty := range map[string]bool{"at a terminal": true, "on pipes": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := serve(t, func(c *Config) { c.Grace = 50 * time.Millisecond })
			for _, how := range []string{"client", "session", "server"} {
				r.hangUp(t, pty, how)
			}
		})
	}
}

func (r *rig) hangUp(t *testing.T, pty bool, how string) {
	c := r.login()
	s, err := c.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	if pty {
		s.RequestPty("xterm", 24, 80, nil)
	}
	out, _ := s.StdoutPipe()
	if err := s.Start(`trap '' HUP TERM; sleep 1000 & echo $$; echo $!; wait`); err != nil {
		t.Fatal(err)
	}
	var group [2]int
	if _, err := fmt.Fscan(out, &group[0], &group[1]); err != nil {
		t.Fatal(err)
	}
	switch how {
	case "client":
		c.Close()
	case "session":
		s.Close()
	case "server":
		r.eng.Close()
	}
	programs.WantGone(t, group[:])
}

// A1: who does not log in has a time, and is sent away at shutdown.
func TestStrangers(t *testing.T) {
	t.Parallel()
	r := serve(t, func(c *Config) { c.LoginTimeout = 50 * time.Millisecond })
	wantEnd(t, r.addr)
	r = serve(t, func(c *Config) { c.MaxSessions = 1 })
	nc, err := net.Dial("tcp", r.addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	wantLine(t, nc, "SSH-2.0-yodel\r\n")
	wantEnd(t, r.addr)
	if err := r.eng.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	a, b := net.Pipe()
	defer a.Close()
	r.srv.ServeConn(b) // returns at once
	in := serve(t, nil)
	in.session()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := in.eng.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("with somebody: %v", err)
	}
}

// wantEnd connects and waits for the end.
func wantEnd(t testing.TB, addr net.Addr) {
	t.Helper()
	nc, err := net.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(patience))
	if _, err := io.ReadAll(nc); err != nil && !errors.Is(err, syscall.ECONNRESET) {
		t.Error(err)
	}
}

func TestKeyFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "new", "host")
	key, made, err := HostKey(path)
	if err != nil || !made {
		t.Fatal(made, err)
	}
	again, made, err := HostKey(path)
	if err != nil || made || !bytes.Equal(key.PublicKey().Marshal(), again.PublicKey().Marshal()) {
		t.Errorf("the second time: %v, %v", made, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	file := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.WriteFile(path, []byte(text), 0o600), os.Chmod(path, mode)); err != nil {
			t.Fatal(err)
		}
		return path
	}
	os.Chmod(path, 0o644)
	for path, want := range map[string]string{path: "chmod 600", file("nonsense", "x", 0o600): "host key", filepath.Join(file("plain", "", 0o600), "x"): "not a directory"} {
		if _, _, err := HostKey(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", path, err, want)
		}
	}
	_, public := newKey(t, filepath.Join(dir, "k"))
	for path, want := range map[string]string{
		file("open", public, 0o666):                         "chmod go-w",
		file("options", "no-pty "+public, 0o600):            "line 1: options",
		file("bad", "# one\nssh-ed25519 AAAA\n", 0o600):     "line 2: no public key",
		file("long", strings.Repeat("#\n", maxKeys), 0o600): "more than",
		filepath.Join(dir, "none"):                          "no such file",
	} {
		if _, err := readKeys(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", path, err, want)
		}
		if _, err := New(&Config{HostKey: key, AuthorizedKeys: path}); err == nil {
			t.Errorf("%s: it serves", path)
		}
	}
}

func TestNew(t *testing.T) {
	t.Parallel()
	key, _, err := HostKey(filepath.Join(t.TempDir(), "host"))
	if err != nil {
		t.Fatal(err)
	}
	for want, cfg := range map[string]*Config{"no host key": {}, "nobody may log in": {HostKey: key}} {
		if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	if (&Config{}).log() != slog.Default() {
		t.Error("the default log")
	}
	r := serve(t, func(c *Config) { c.Shell = []string{"/no/such/program"}; c.Root = t.TempDir() })
	r.session().Run("x")
}

// FuzzKeys: whatever a file of keys has, it is understood or refused.
func FuzzKeys(f *testing.F) {
	_, public := newKey(f, filepath.Join(f.TempDir(), "k"))
	for _, s := range []string{"", "# x\n", public, "no-pty " + public, "ssh-rsa AAAA x\n", "\x00"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		keys, err := parseKeys(text)
		if err == nil && len(keys) > bytes.Count(text, []byte("\n"))+1 {
			t.Errorf("%d keys of %q", len(keys), text)
		}
	})
}

// OpenSSH's client: a command by key, and a terminal driven by expect with a password.
func TestOpenSSH(t *testing.T) {
	t.Parallel()
	client := yodeltest.NeedProgram(t, "ssh")
	expect := yodeltest.NeedProgram(t, "expect")
	r := serve(t, nil)
	host, port, _ := net.SplitHostPort(r.addr.String())
	known := filepath.Join(t.TempDir(), "known_hosts")
	line := fmt.Sprintf("[%s]:%s %s", host, port, ssh.MarshalAuthorizedKey(r.srv.cfg.HostKey.PublicKey()))
	if err := os.WriteFile(known, []byte(line), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"-F", "none", "-p", port, "-o", "UserKnownHostsFile=" + known, "-o", "StrictHostKeyChecking=yes", "-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none"}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, client, append(args, "-i", r.key, "ada@"+host, "tr a-z A-Z; echo $USER >&2; exit 7")...)
	var out, errOut bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader("hello\n"), &out, &errOut
	cmd.Run()
	if cmd.ProcessState.ExitCode() != 7 || out.String() != "HELLO\n" || errOut.String() != "ada\n" {
		t.Errorf("%v: %q, %q\n%s", cmd.ProcessState, &out, &errOut, r.log)
	}
	script := fmt.Sprintf(`
		set timeout 50
		proc want {text} { expect -ex $text {} timeout { puts "no $text"; exit 1 } eof { puts "ended before $text"; exit 1 } }
		set env(TERM) vt220
		set stty_init "rows 33 cols 77"
		spawn %s %s -o PubkeyAuthentication=no ada@%s
		want "password: "
		send "pass word\r"
		want "\$ "
		send "echo \$TERM; stty size\r"
		want "vt220\r\n33 77\r\n"
		want "\$ "
		send {sh -c "trap 'echo inter''rupted; exit' INT; echo wai''ting; while :; do sleep 0.05; done"}
		send "\r"
		want "waiting"
		send "\003"
		want "interrupted"
		want "\$ "
		send "echo back\$((1+1))\r"
		want "back2"
		send "exit 5\r"
		expect eof
		exit [lindex [wait] 3]
	`, client, strings.Join(args, " "), host)
	cmd = exec.CommandContext(ctx, expect, "-c", script)
	cmd.WaitDelay = time.Second
	text, err := cmd.CombinedOutput()
	if cmd.ProcessState.ExitCode() != 5 {
		t.Errorf("%v\n%s\n%s", err, text, r.log)
	}
}

// F5: sessions leave no terminal, descriptor, child or memory behind. It runs beside no
// other.
func TestNothingIsLeft(t *testing.T) {
	r := serve(t, func(cfg *Config) { cfg.Shell = []string{"/bin/sh", "-c", "sleep 1000 & echo ready; read -r line"} })
	(&programs.Sessions{
		N: *many, AtOnce: 4,
		Session: func(t testing.TB, i int) {
			mine := *r
			mine.t = t
			c := mine.login()
			defer c.Close()
			s, err := c.NewSession()
			if err != nil {
				t.Error(err)
				return
			}
			out, err := s.StdoutPipe()
			if err == nil && i%2 == 0 {
				err = s.RequestPty("xterm", 24, 80, nil)
			}
			if err == nil {
				err = s.Shell()
			}
			if err != nil {
				t.Error(err)
				return
			}
			wantLine(t, out, "ready")
		},
		Settle: func() {
			programs.Await(t, "no connection is served", func() bool { return r.eng.Stats().Active == 0 })
			r.log.Forget()
		},
	}).LeaveNothing(t)
}
