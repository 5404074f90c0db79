//go:build unix

package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"yodel/yodeltest"
)

// typist plays a script of expect(1) at a terminal of its own, where $yodel is the
// program, and returns what was on it. The script fails by a time-out, or by saying so.
func typist(t *testing.T, env []string, script string) string {
	t.Helper()
	expect := yodeltest.NeedProgram(t, "expect")
	file := filepath.Join(t.TempDir(), "script.exp")
	head := fmt.Sprintf(`
set timeout %d
set yodel %q
proc fail {what} { puts stderr "FAILED: $what"; exit 1 }
proc see {text} {
	expect {
		-exact $text {}
		timeout { fail "never saw: $text" }
		eof { fail "ended before: $text" }
	}
}
proc ended {status} {
	expect {
		eof {}
		timeout { fail "it does not end" }
	}
	set was [lindex [wait] 3]
	if {$was != $status} { fail "exit status $was, want $status" }
}
`, int(patience.Seconds()/2), program(t))
	if err := os.WriteFile(file, []byte(head+script), 0o600); err != nil {
		t.Fatal(err)
	}
	p := startWith(t, append(env, "TERM=xterm"), expect, "-f", file)
	if status := p.wait(t); status != 0 {
		t.Fatalf("%s\non the terminal was:\n%s", &p.err, strings.ReplaceAll(p.out.String(), "\x1b", `\e`))
	}
	return p.out.String()
}

// A person types lines, takes one back from the history and changes it, and leaves.
func TestTerminalDialogue(t *testing.T) {
	t.Parallel()
	s := serve(t, "upper@127.0.0.1:0")
	state := "XDG_STATE_HOME=" + t.TempDir()
	typist(t, []string{state}, `
spawn $yodel call 127.0.0.1 `+s.port(0)+`
see "Trying 127.0.0.1...\r\n"
see "Connected to 127.0.0.1.\r\n"
see "Escape character is '^]'.\r\n"
send "hello there\r"
see "HELLO THERE\r\n"
send "second linr\177e\r"
see "SECOND LINE\r\n"
send "\033\[A\033\[A"
see "hello there"
send "!\r"
see "HELLO THERE!\r\n"
send "half a line\035"
see "Connection closed here; "
ended 0
`)
	// The next call remembers.
	typist(t, []string{state}, `
spawn $yodel call --prompt 127.0.0.1 `+s.port(0)+`
see "type:"
send "\033\[A"
see "hello there!"
send "\r"
see "echo:HELLO THERE!\r\n"
see "type:"
send "\004"
see "closed here"
ended 0
`)
	// Unless it should not, or has another memory.
	for _, flag := range []string{"--no-history", "--history=" + filepath.Join(t.TempDir(), "other")} {
		if out := typist(t, []string{state}, `
spawn $yodel call `+flag+` 127.0.0.1 `+s.port(0)+`
see "Escape character"
send "\033\[A"
send "new\r"
see "NEW\r\n"
send "\035"
ended 0
`); strings.Contains(out, "hello") {
			t.Errorf("%s remembers:\n%s", flag, out)
		}
	}
}

// However a call ends, the shell that it was called from has its terminal back.
func TestTerminalIsRestored(t *testing.T) {
	t.Parallel()
	s := serve(t, "upper@127.0.0.1:0")
	hangsUp := listen(t, func(c *net.TCPConn) { io.ReadFull(c, make([]byte, 3)) })
	tests := map[string]struct{ addr, keys, status string }{
		"escape":          {s.address(0), `"\035"`, "0"},
		"end of input":    {s.address(0), `"\004"`, "0"},
		"interrupt":       {s.address(0), `"\003"`, "130"},
		"peer hangs up":   {hangsUp, `"hi\r"`, "0"},
		"ended by signal": {s.address(0), "", "130"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			leave := "send " + tt.keys
			if tt.keys == "" {
				leave = "exec kill -TERM [exec cat $env(PIDFILE)]"
			}
			settle := "send \"line\\r\"\nsee \"LINE\\r\\n\"" // from now on it reads the keys
			if tt.addr == hangsUp {
				settle = ""
			}
			pidFile := filepath.Join(t.TempDir(), "pid")
			typist(t, []string{"PIDFILE=" + pidFile}, `
set env(YODEL) $yodel
spawn sh -c {
	before=$(stty -g)
	sh -c 'echo $$ >$PIDFILE; exec $YODEL call `+tt.addr+`'
	echo "status $?"
	test "$(stty -g)" = "$before" && echo restored
}
see "Escape character"
`+settle+`
`+leave+`
see "status `+tt.status+`\r\n"
see "restored\r\n"
ended 0
`)
		})
	}
}

// A server that lies sends what a terminal would obey.
const hostile = "\x1b[2J\x1b]0;owned\x07before\u202eafter\x9b31m\r\x00 caf\u00e9\nlast\n"

const hostileShown = `\x1b[2J\x1b]0;owned\abefore\u202eafter\x9b31m\r\x00 café`

func TestTerminalObeysNoPeer(t *testing.T) {
	t.Parallel()
	liar := listen(t, func(c *net.TCPConn) {
		io.WriteString(c, hostile)
		io.Copy(io.Discard, c)
	})
	host, port, _ := net.SplitHostPort(liar)
	out := typist(t, nil, `
spawn $yodel call `+host+` `+port+`
see "last\r\n"
send "\035"
ended 0
`)
	if !strings.Contains(out, hostileShown) {
		t.Errorf("on the terminal was %q", out)
	}
	for _, bad := range []string{"\x1b[2J", "\x1b]", "\x07", "\u202e", "\x9b", "\x00"} {
		if strings.Contains(out, bad) {
			t.Errorf("%q has reached the terminal: %q", bad, out)
		}
	}
}

// tmux is a terminal that can say what is on its screen.
func TestTerminalScreen(t *testing.T) {
	t.Parallel()
	tmux := yodeltest.NeedProgram(t, "tmux")
	dir := t.TempDir()
	do := func(args ...string) string {
		t.Helper()
		r := runProgram(t, nil, tmux, append([]string{"-S", filepath.Join(dir, "tmux"), "-f", os.DevNull}, args...)...)
		if r.status != 0 {
			t.Fatalf("tmux %q: %s", args, r.err)
		}
		return r.out
	}
	asked := make(chan string, 1)
	liar := listen(t, func(c *net.TCPConn) {
		p := make([]byte, 100)
		n, _ := c.Read(p)
		asked <- string(p[:n])
		io.WriteString(c, hostile)
		io.Copy(io.Discard, c)
	})
	do("new-session", "-d", "-x", "100", "-y", "24", "-s", "yodel",
		`tmux -S `+dir+`/tmux wait-for go; `+program(t)+` call --no-history `+liar+`; stty -a | grep -ow -e -icanon -e icanon; exec cat`)
	t.Cleanup(func() { do("kill-server") })
	// What is written to the screen is read here too, so that it need not be looked at
	// again and again.
	fifo := filepath.Join(dir, "fifo")
	if r := runProgram(t, nil, "mkfifo", fifo); r.status != 0 {
		t.Fatal(r.err)
	}
	seen := start(t, "cat", fifo)
	do("pipe-pane", "-t", "yodel", "exec cat >"+fifo)
	do("wait-for", "-S", "go")
	seen.await(t, &seen.out, `Escape character is`)
	do("send-keys", "-t", "yodel", "-l", "typed")
	do("send-keys", "-t", "yodel", "BSpace", "BSpace", "Enter")
	if got := <-asked; got != "typ\n" {
		t.Errorf("typed and sent: %q", got)
	}
	seen.await(t, &seen.out, `last`)
	screen := do("capture-pane", "-p", "-t", "yodel")
	for _, want := range []string{"Connected to 127.0.0.1.\n", "\n" + hostileShown + "\nlast\n"} {
		if !strings.Contains(screen, want) {
			t.Errorf("the screen has no %q:\n%s", want, screen)
		}
	}
	if title := do("display-message", "-p", "-t", "yodel", "#{pane_title}"); strings.Contains(title, "owned") {
		t.Errorf("the title is %q", title)
	}
	do("send-keys", "-t", "yodel", "C-]")
	seen.await(t, &seen.out, `Connection closed here[^\n]*\n[^\n]*icanon`)
	if screen := do("capture-pane", "-p", "-t", "yodel"); strings.Contains(screen, "-icanon") || !strings.Contains(screen, "icanon") {
		t.Errorf("the terminal is still raw:\n%s", screen)
	}
}
