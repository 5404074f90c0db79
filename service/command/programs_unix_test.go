//go:build unix

package command

import (
	"bufio"
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"yodel/yodeltest"
)

// ask runs a real client and returns what it says.
func ask(t *testing.T, stdin, name string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, yodeltest.NeedProgram(t, name), args...)
	cmd.Stdin, cmd.WaitDelay = strings.NewReader(stdin), time.Second
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%s %q: %v\n%s", name, args, err, out)
	}
	return string(out)
}

// wantLog waits until all programs have ended, and looks into the log.
func (r *rig) wantLog(want ...string) {
	r.t.Helper()
	if err := r.eng.Shutdown(r.t.Context()); err != nil {
		r.t.Error(err)
	}
	for _, w := range want {
		if !strings.Contains(r.log.String(), w) {
			r.t.Errorf("no %q in the log:\n%s", w, r.log)
		}
	}
}

// A program finds the environment that tcpserver itself gives it, and the same folder.
func TestEnvironmentIsTcpservers(t *testing.T) {
	t.Parallel()
	path := yodeltest.NeedProgram(t, "tcpserver")
	const script = `env | sed -n 's/^\(TCP[A-Z]*\|PROTO\)=/\1 /p' | grep -v PORT | sort`
	cmd := exec.CommandContext(t.Context(), path, "-1", "-H", "-R", "-l0", "127.0.0.1", "0", "/bin/sh", "-c", script)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	port, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	nc, err := net.Dial("tcp", "127.0.0.1:"+strings.TrimSpace(port))
	if err != nil {
		t.Fatal(err)
	}
	nc.SetDeadline(time.Now().Add(patience))
	theirs, ours := strings.Split(talk(t, nc, ""), "\n"), strings.Split(serve(t, script, Config{}).talk(""), "\n")
	theirs = slices.DeleteFunc(theirs, func(s string) bool { return strings.HasPrefix(s, "TCPLOCALHOST ") }) // -l0 makes it "0"
	if len(ours) < 3 || !slices.Equal(ours, theirs) {
		t.Errorf("tcpserver gives %q, we %q", theirs, ours)
	}
}

// Programs that were written for tcpserver run as they are, with the clients of theirs.
func TestProgramsForTcpserver(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		program string
		before  string // what the shell does with the program: exec, mostly
		args    func(t *testing.T) string
		use     func(t *testing.T, r *rig, port string)
	}{
		{"recordio", "exec", words(`/bin/sh -c 'read -r x; echo "got $x"'`), func(t *testing.T, r *rig, _ string) {
			if got := r.talk("hello\n"); got != "got hello\n" {
				t.Errorf("%q", got)
			}
			r.wantLog(" < hello", " > got hello")
		}},
		{"fixcrio", "exec", words(`/bin/sh -c 'read -r x; echo "got $x"'`), func(t *testing.T, r *rig, _ string) {
			if got := r.talk("hello\n"); got != "got hello\r\n" {
				t.Errorf("%q", got)
			}
		}},
		{"rblsmtpd", "exec env 'RBLSMTPD=-go away'", words("cat"), func(t *testing.T, r *rig, _ string) {
			if got := r.talk("MAIL FROM:<x>\r\nRCPT TO:<y>\r\nQUIT\r\n"); !strings.Contains(got, "553 go away\r\n") {
				t.Errorf("%q", got)
			}
			r.wantLog("rblsmtpd: 127.0.0.1 pid ")
		}},
		{"smtpfront-echo", "exec", words("accept add-received"), func(t *testing.T, r *rig, port string) {
			got := ask(t, "", "swaks", "--server", "127.0.0.1", "--port", port, "--helo", "client.example", "--from", "a@example.net", "--to", "b@example.org", "--body", "hi")
			if !strings.Contains(got, "<-  250 Recipient='b@example.org'.") || !strings.Contains(got, "<-  250 Received ") {
				t.Error(got)
			}
			r.wantLog("Received: from client.example ([127.0.0.1])")
		}},
		{"pop3front-maildir", "exec", maildir, func(t *testing.T, r *rig, port string) {
			got := ask(t, "STAT\r\nRETR 1\r\nQUIT\r\n", "ncat", "127.0.0.1", port)
			if !strings.Contains(got, "+OK 1 ") || !strings.Contains(got, "\r\nfrom a maildir\r\n") {
				t.Errorf("%q", got)
			}
		}},
		{"addcr", "head -n 1 |", words(""), func(t *testing.T, _ *rig, port string) {
			got := ask(t, "", "tcpclient", "-RHl0", "127.0.0.1", port, "/bin/sh", "-c", "echo hello >&7; exec 7>&-; head -n 1 <&6")
			if got != "hello\r\n" {
				t.Errorf("%q", got)
			}
		}},
	} {
		t.Run(tt.program, func(t *testing.T) {
			t.Parallel()
			path := yodeltest.NeedProgram(t, tt.program)
			r := serve(t, tt.before+" "+path+" "+tt.args(t), Config{})
			_, port, _ := net.SplitHostPort(r.addr.String())
			tt.use(t, r, port)
		})
	}
}

func words(w string) func(*testing.T) string { return func(*testing.T) string { return w } }

// maildir makes one with a message, which nobody may read too.
func maildir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"new", "cur", "tmp"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o777); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "new", "1"), []byte("Subject: x\n\nfrom a maildir\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for d := dir; d != os.TempDir() && d != "/"; d = filepath.Dir(d) {
		os.Chmod(d, 0o755)
	}
	return dir
}
