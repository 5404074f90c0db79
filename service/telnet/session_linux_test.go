package telnet

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"yodel/engine"
	"yodel/engine/goroutine"
	"yodel/internal/child"
	"yodel/internal/users"
	"yodel/yodeltest"
	"yodel/yodeltest/programs"
)

// many is how many sessions the test of what is left behind has; 10,000 take some minutes.
var many = flag.Int("sessions", 20, "sessions of TestNothingIsLeft")

// patience bounds what a test waits for; nothing waits for it when all is well.
const patience = 60 * time.Second

// ada is a file in which one user is, made once.
var ada = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "yodel-telnet-")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "users")
	hash, err := bcrypt.GenerateFromPassword([]byte("pass word"), bcrypt.MinCost) // quick
	if err != nil {
		return "", err
	}
	return path, os.WriteFile(path, []byte("ada:"+string(hash)+":/home\n"), 0o600)
})

func TestMain(m *testing.M) {
	status := m.Run()
	if path, err := ada(); err == nil {
		os.RemoveAll(filepath.Dir(path))
	}
	os.Exit(status)
}

type rig struct {
	t    testing.TB
	srv  *Server
	eng  goroutine.Engine
	addr net.Addr
	log  *programs.Log
}

// serve serves until the test is over. A script takes the shell's place.
func serve(t testing.TB, script string, cfg Config) *rig {
	t.Helper()
	path, err := ada()
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, log: &programs.Log{}}
	cfg.Log, cfg.User = slog.New(slog.NewTextHandler(r.log, nil)), programs.Nobody()
	if cfg.Users, err = users.Open(path, &users.Config{Delay: -1, Log: cfg.Log}); err != nil {
		t.Fatal(err)
	}
	if script != "" {
		cfg.Shell = []string{"/bin/sh", "-c", script}
	}
	if r.srv, err = New(&cfg); err != nil {
		t.Fatal(err)
	}
	if r.eng, err = goroutine.New(r.srv, &engine.Config{Service: "telnet", Idle: -1, Linger: -1}); err != nil {
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

// A client is one that a test plays.
type client struct {
	t    testing.TB
	nc   net.Conn
	text string // what came, commands left out, and was not waited for
}

func (r *rig) call() *client {
	r.t.Helper()
	nc, err := net.Dial("tcp", r.addr.String())
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { nc.Close() })
	nc.SetDeadline(time.Now().Add(patience))
	return &client{t: r.t, nc: nc}
}

func (c *client) say(text string) {
	c.t.Helper()
	if _, err := io.WriteString(c.nc, text); err != nil {
		c.t.Fatal(err)
	}
}

// more reads more, and takes commands out.
func (c *client) more() error {
	buf := make([]byte, 4<<10)
	n, err := c.nc.Read(buf)
	for i := 0; i < n; i++ {
		switch b := buf[i]; {
		case b == cmdIAC && i+2 < n && buf[i+1] >= cmdWILL && buf[i+1] <= cmdDONT:
			i += 2
		case b == cmdIAC && i+1 < n && buf[i+1] == cmdIAC:
			c.text += "\xff"
			i++
		case b == cmdIAC && i+1 < n && buf[i+1] == cmdSB:
			i += 5
		default:
			c.text += string([]byte{b})
		}
	}
	return err
}

// want waits for a match and returns its groups.
func (c *client) want(pattern string) []string {
	c.t.Helper()
	re := regexp.MustCompile(pattern)
	for {
		if at := re.FindStringSubmatchIndex(c.text); at != nil {
			m := re.FindStringSubmatch(c.text)
			c.text = c.text[at[1]:]
			return m
		}
		if err := c.more(); err != nil {
			c.t.Fatalf("%v, and no /%s/ in %q", err, pattern, c.text)
		}
	}
}

// wantText is want for a text that may be no UTF-8.
func (c *client) wantText(text string) {
	c.t.Helper()
	for {
		if _, after, ok := strings.Cut(c.text, text); ok {
			c.text = after
			return
		}
		if err := c.more(); err != nil {
			c.t.Fatalf("%v, and no %q in %q", err, text, c.text)
		}
	}
}

// wantEnd waits for the end and returns what came before.
func (c *client) wantEnd() string {
	c.t.Helper()
	for c.more() == nil {
	}
	return c.text
}

// login logs in.
func (c *client) login() *client {
	c.t.Helper()
	c.want("login: ")
	c.say("ada\r\n")
	c.want("ada\r\npassword: ")
	c.say("pass word\r\n")
	c.want("^\r\n") // and nothing of the password
	return c
}

// loginUnechoed logs in where the client echoes what is typed.
func (c *client) loginUnechoed() *client {
	c.t.Helper()
	c.want("login: ")
	c.say("ada\r\n")
	c.want("^password: ")
	c.say("pass word\r\n")
	return c
}

// loginByExpect is what scripts of expect for the real client begin with; which client it
// is, and the port, are to be put in.
const loginByExpect = `
	set timeout 50
	proc want {text} { expect -ex $text {} timeout { puts "no $text"; exit 1 } eof { puts "ended before $text"; exit 1 } }
	set env(TERM) vt220
	set stty_init "rows 33 cols 77"
	spawn %s 127.0.0.1 %s
	want "login: "
	send "ada\r"
	want "password: "
	send "pass word\r"
`

func TestLogin(t *testing.T) {
	t.Parallel()
	r := serve(t, `echo "$TERM $USER $LOGNAME $#"; stty size; tty | cut -c1-9; umask; echo "$HOME"`, Config{Root: folder(t)})
	c := r.call()
	c.say("\xff\xfb\x1f\xff\xfa\x1f\x00\x64\x00\x1e\xff\xf0\xff\xfb\x18\xff\xfa\x18\x00XTERM-256color\xff\xf0")
	c.login().want("xterm-256color ada ada 0\r\n30 100\r\n/dev/pts/\r\n0077\r\n.*/home\r\n$")
	c.wantEnd()
	c = r.call()
	c.want("login: ")
	c.say("\r\nxx\x15a\x7fada\b\b\bada\r\x00pass word\xc3\xbc\x7f\n") // in one go, with slips
	c.want("xx\b \b\b \ba\b \bada\b \b\b \b\b \bada\r\npassword: \r\n")
	c.want("dumb ada")
	c.wantEnd()
	if got := r.log.String(); strings.Count(got, "msg=login") != 2 || strings.Contains(got, "pass word") {
		t.Errorf("the log:\n%s", got)
	}
}

// folder makes one with a home in it.
func folder(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "home"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{dir, filepath.Dir(dir)} { // nobody must get there
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestWrongPasswords(t *testing.T) {
	t.Parallel()
	r := serve(t, "", Config{})
	c := r.call()
	for _, who := range []string{"ada\r\nwrong\r\n", "nobody\r\npass word\r\n", "-froot\r\n\r\n"} { // CVE-2026-24061
		c.want("login: ")
		c.say(who)
		if who[0] != '-' {
			c.want("That is not it")
		}
	}
	if got := c.wantEnd(); !strings.Contains(got, "Too many failures") {
		t.Errorf("%q", got)
	}
	for _, leave := range []string{"\x03", "\x04", "ad\xff\xf4", "\xff\xec"} {
		c := r.call()
		c.want("login: ")
		c.say(leave)
		c.wantEnd()
	}
}

func TestLoginIsTimed(t *testing.T) {
	t.Parallel()
	if got := serve(t, "", Config{LoginTimeout: 50 * time.Millisecond}).call().wantEnd(); !strings.Contains(got, "too long") {
		t.Errorf("%q", got)
	}
}

// F3: half a sub-negotiation is a close, at a login and at the terminal.
func TestHalfACommand(t *testing.T) {
	t.Parallel()
	r := serve(t, "echo ready; cat", Config{HeaderTimeout: 50 * time.Millisecond})
	c := r.call()
	c.say("\xff\xfa\x18\x00XT")
	c.wantEnd()
	c = r.call().login()
	c.want("ready")
	c.say("\xff\xfa\x18\x00XT")
	c.wantEnd()
	c = r.call()
	c.say("\xff\xfa\x18" + strings.Repeat("x", maxSub+1))
	c.wantEnd()
	c = r.call().login()
	c.want("ready")
	c.say(strings.Repeat("\xff\xfd\x01", maxOptions+1))
	c.wantEnd()
}

// The keys of the terminal, as bytes and as commands; its size; eight bits.
func TestTerminal(t *testing.T) {
	t.Parallel()
	r := serve(t, `trap 'echo interrupted' INT; trap 'echo quit' QUIT; trap 'stty size' WINCH
		echo ready
		while [ "$line" != end ]; do read -r line || echo "status $?"; printf '<%s>\n' "$line"; done; echo over`, Config{})
	c := r.call()
	c.say("\xff\xfb\x1f")
	c.login().want("ready\r\n")
	c.say("gr\xc3\xbc\xc3\x9f\xff\xff\x80\r\n")
	c.wantText("gr\xc3\xbc\xc3\x9f\xff\x80\r\n<gr\xc3\xbc\xc3\x9f\xff\x80>\r\n")
	for key, want := range map[string]string{"\x03": "interrupted", "\xff\xf4": "interrupted", "\xff\xf3": "quit", "\xff\xee": "quit"} {
		c.say(key + "\r\n")
		c.want(want + "\r\n")
	}
	c.say("abx\xff\xf7c\r\n")
	c.want("<abc>\r\n")
	c.say("wrong\xff\xf8right\r\n")
	c.want("<right>\r\n")
	c.say("\xff\xfa\x1f\x00\x78\x00\x28\xff\xf0\xff\xf6")
	c.want("\r\n\\[yes\\]\r\n")
	c.say("\r\n")
	c.want("40 120\r\n")
	c.say("\xff\xec")
	c.want("status 1\r\n")
	c.say("end\r\n")
	c.want("over")
	c.wantEnd()
}

// A client that echoes itself gets no second echo.
func TestLocalEcho(t *testing.T) {
	t.Parallel()
	r := serve(t, `echo ready; read -r line; printf '<%s>\n' "$line"; read -r line; printf '<%s>\n' "$line"`, Config{})
	c := r.call()
	c.say("\xff\xfe\x01")
	c.loginUnechoed().want("ready\r\n")
	c.say("hello\r\n")
	c.want("^<hello>\r\n")
	c.say("\xff\xfd\x01\xff\xf6")
	c.want("yes\\]\r\n")
	c.say("again\r\n")
	c.want("^again\r\n<again>\r\n")
	c.wantEnd()
}

// A program that does not read what is typed is interrupted all the same.
func TestInterruptOverFullInput(t *testing.T) {
	t.Parallel()
	r := serve(t, `trap 'echo interrupted; exit' INT; stty -echo -icanon; echo ready; while :; do sleep 0.05; done`, Config{})
	c := r.call().login()
	c.want("ready")
	c.say(strings.Repeat("typed ahead ", 5000) + "\xff\xf4")
	c.want("interrupted")
	c.wantEnd()
}

func (c *client) pids(n int) (all []int) {
	c.t.Helper()
	for range n {
		pid, err := strconv.Atoi(c.want(`(\d+)\r\n`)[1])
		if err != nil {
			c.t.Fatal(err)
		}
		all = append(all, pid)
	}
	return all
}

// F5: a hang-up reaches the whole group, and those who do not want to hear of it.
func TestHangUp(t *testing.T) {
	t.Parallel()
	const script = `trap '' HUP; sleep 1000 & echo $$; echo $!; wait`
	hang := map[string]func(*rig, *client){
		"the end": func(_ *rig, c *client) { c.nc.Close() },
		"a reset": func(_ *rig, c *client) { c.nc.(*net.TCPConn).SetLinger(0); c.nc.Close() },
		"an end":  func(_ *rig, c *client) { c.nc.(*net.TCPConn).CloseWrite() },
		"Close":   func(r *rig, _ *client) { r.eng.Close() },
		"Shutdown": func(r *rig, c *client) {
			go r.eng.Shutdown(context.Background())
			c.want("shutting down")
			r.eng.Close()
		},
	}
	for name, do := range hang {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := serve(t, script, Config{Grace: 50 * time.Millisecond})
			c := r.call().login()
			group := c.pids(2)
			do(r, c)
			programs.WantGone(t, group)
		})
	}
}

// Shutdown sends away who has not logged in, and waits for the others.
func TestShutdown(t *testing.T) {
	t.Parallel()
	r := serve(t, `echo ready; read -r line`, Config{})
	in, out := r.call().login(), r.call()
	in.want("ready")
	out.want("login: ")
	done := make(chan error, 1)
	go func() { done <- r.eng.Shutdown(t.Context()) }()
	if got := out.wantEnd(); !strings.Contains(got, goingDown) {
		t.Errorf("%q", got)
	}
	in.want(goingDown)
	in.say("\r\n")
	in.wantEnd()
	if err := <-done; err != nil {
		t.Error(err)
	}
	a, b := net.Pipe()
	go r.srv.ServeConn(b)
	if got := (&client{t: t, nc: a}); true {
		got.want(goingDown)
	}
}

func TestMaxSessions(t *testing.T) {
	t.Parallel()
	r := serve(t, "", Config{MaxSessions: 1})
	r.call().want("login: ")
	if got := r.call().wantEnd(); !strings.Contains(got, "Too many people") {
		t.Errorf("%q", got)
	}
}

func TestNew(t *testing.T) {
	t.Parallel()
	if _, err := New(&Config{}); err == nil || !strings.Contains(err.Error(), "nobody may log in") {
		t.Error(err)
	}
	path, err := ada()
	if err != nil {
		t.Fatal(err)
	}
	file, err := users.Open(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := New(&Config{Users: file, Shell: []string{"sh"}, User: programs.Nobody()}); err == nil || !strings.Contains(err.Error(), "not an absolute path") {
		t.Error(err)
	}
	if os.Geteuid() == 0 {
		if _, err := New(&Config{Users: file}); !errors.Is(err, child.ErrRoot) {
			t.Errorf("as root: %v", err)
		}
	}
	if (&Config{}).log() != slog.Default() {
		t.Error("the default log")
	}
	r := serve(t, "", Config{Shell: []string{"/no/such/program"}})
	c := r.call().login()
	c.wantEnd()
}

// F5: sessions leave no terminal, descriptor, child or memory behind. It runs beside no
// other.
func TestNothingIsLeft(t *testing.T) {
	r := serve(t, `sleep 1000 & echo ready; read -r line`, Config{})
	(&programs.Sessions{
		N: *many, AtOnce: 4,
		Session: func(t testing.TB, _ int) {
			mine := *r
			mine.t = t
			c := mine.call().login()
			c.want("ready")
			c.nc.Close()
		},
		Settle: func() { r.wantQuiet(); r.log.Forget() },
	}).LeaveNothing(t)
}

// wantQuiet waits until no connection is served.
func (r *rig) wantQuiet() {
	r.t.Helper()
	programs.Await(r.t, "no connection is served", func() bool { return r.eng.Stats().Active == 0 })
}

// The real client, driven by expect: a login, the terminal's size and type, an interrupt
// by key and by command, and the end.
func TestRealTelnet(t *testing.T) {
	t.Parallel()
	expect := yodeltest.NeedProgram(t, "expect")
	for _, name := range []string{"telnet", "inetutils-telnet"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := yodeltest.NeedProgram(t, name)
			r := serve(t, `trap 'echo interrupted' INT; echo "$TERM"; stty size; while [ "$line" != end ]; do read -r line; echo "<$line>"; done; echo over`, Config{})
			_, port, _ := net.SplitHostPort(r.addr.String())
			script := fmt.Sprintf(loginByExpect+`
				want "vt220"
				want "33 77"
				send "hello\r"
				want "<hello>"
				send "\003"
				want "interrupted"
				send "\035"
				want "telnet> "
				send "send ip\r"
				want "interrupted"
				send "\rend\r"
				want "over"
				expect eof
			`, path, port)
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			cmd := exec.CommandContext(ctx, expect, "-c", script)
			cmd.WaitDelay = time.Second
			cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8")
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v\n%s\nthe server's log:\n%s", err, out, r.log)
			}
		})
	}
}
