package main

import (
	"debug/buildinfo"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"yodel/internal/privilege"
	"yodel/yodeltest"
)

// releasedProgram returns the path of the program, for tests as root: it is without cgo, so
// that it can give up root in all of its threads.
func releasedProgram(t testing.TB) string {
	t.Helper()
	yodeltest.NeedRoot(t)
	return program(t)
}

// serveReleased is serve with the program without cgo.
func serveReleased(t testing.TB, services int, args ...string) *running {
	t.Helper()
	s := &running{started: start(t, releasedProgram(t), append([]string{"serve", "--json"}, args...)...)}
	t.Cleanup(func() { s.stop(t) })
	for n := range services {
		s.at = append(s.at, s.listens(t, n))
	}
	return s
}

// nobody returns what each thread of a process without rights has in its status file.
func nobody(t testing.TB) map[string]string {
	t.Helper()
	who, err := privilege.Lookup("nobody")
	if err != nil {
		t.Fatal(err)
	}
	const none = "0000000000000000"
	four := func(id uint32) string { return strings.TrimSpace(strings.Repeat(fmt.Sprint(id, " "), 4)) }
	want := map[string]string{
		"Uid": four(who.UID), "Gid": four(who.GID), "NoNewPrivs": "1",
		"CapInh": none, "CapPrm": none, "CapEff": none, "CapBnd": none, "CapAmb": none,
	}
	var groups []string
	for _, g := range who.Groups {
		groups = append(groups, fmt.Sprint(g))
	}
	want["Groups"] = strings.Join(groups, " ")
	return want
}

// wantThreads wants each thread of a process to have that in its status file.
func wantThreads(t testing.TB, pid int, want map[string]string) {
	t.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	if err != nil || len(files) == 0 {
		t.Fatalf("process %d has no threads (%v)", pid, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // the thread has ended
		}
		got := make(map[string]string)
		for line := range strings.Lines(string(text)) {
			name, value, _ := strings.Cut(line, ":")
			got[name] = strings.Join(strings.Fields(value), " ")
		}
		for name, value := range want {
			if got[name] != value {
				t.Errorf("%s: %s is %q, want %q", file, name, got[name], value)
			}
		}
	}
}

// children returns the processes that a process has started.
func children(t testing.TB, pid int) []int {
	t.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		t.Fatal(err)
	}
	var all []int
	for _, file := range files {
		text, _ := os.ReadFile(file) // fails for a thread that has ended
		for word := range strings.FieldsSeq(string(text)) {
			n, err := strconv.Atoi(word)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, n)
		}
	}
	return all
}

// A port below 1024 is bound as root, and served without any right of root's: by every
// engine, in each thread and in each child.
func TestUserGivesUpRoot(t *testing.T) {
	t.Parallel()
	for _, e := range engines.here() {
		t.Run(e.name, func(t *testing.T) {
			t.Parallel()
			at := loopbackOfTest(t)
			s := serveReleased(t, 3, "--user=nobody", "--engine="+e.name, "--admin=127.0.0.1:0", "--trace="+filepath.Join(t.TempDir(), "trace"),
				"echo@"+at+":7", "echo@udp://"+at+":7")
			want := nobody(t)
			wantThreads(t, s.cmd.Process.Pid, want)
			c := s.dial(t, 0)
			ask(t, c, "hello\n", "hello\n")
			wantThreads(t, s.cmd.Process.Pid, want)
			kids := children(t, s.cmd.Process.Pid)
			if e.children != (len(kids) > 0) {
				t.Errorf("children: %v", kids)
			}
			for _, pid := range kids {
				wantThreads(t, pid, want)
			}
			if s.at[0].User != "nobody" || s.at[2].User != "nobody" || s.at[2].Service != "admin" {
				t.Errorf("it says %+v", s.at)
			}
			if status, body := get(t, s.at[2], "/metrics"); status != http.StatusOK || !strings.Contains(body, `yodel_kernel_listen_total{result="drop"}`) {
				t.Errorf("/metrics: %d\n%s", status, body)
			}
			c.Close()
			s.stop(t)
		})
	}
}

// publicFolder returns a folder that everybody may read.
func publicFolder(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "yodel-public-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// SIGHUP reads the certificate as that user. What this can't do is said: at the start,
// and when it fails.
func TestUserMustReadWhatIsReloaded(t *testing.T) {
	t.Parallel()
	releasedProgram(t)
	dir := publicFolder(t)
	cert, key := writePair(t, dir)
	s := serveReleased(t, 1, "--user=nobody", "--tls-cert="+cert, "--tls-key="+key, "echo@tls://127.0.0.1:0")
	s.await(t, &s.err, `yodel: SIGHUP will not reload the certificate: .*permission denied; nobody \(--user\) must be able to read it`)
	wantStatus(t, runYodel(t, "hello\n", "call", "--verify", "--pin", s.at[0].Fingerprint, s.address(0)), 0)
	s.signal(t, syscall.SIGHUP)
	s.await(t, &s.err, `yodel: not reloaded, the old one stays: .*permission denied; nobody \(--user\) must be able to read it`)
	wantStatus(t, runYodel(t, "hello\n", "call", "--verify", "--pin", s.at[0].Fingerprint, s.address(0)), 0)
	for _, file := range []string{cert, key} {
		if err := os.Chmod(file, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	s.signal(t, syscall.SIGHUP)
	s.await(t, &s.err, `yodel: certificate reloaded: sha256:`)
}

// The path of a Unix socket is root's and outlives the server, which does not keep the
// next one from listening there.
func TestUserLeavesThePath(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "sock")
	for range 2 {
		s := serveReleased(t, 1, "--user=nobody", "echo@unix:"+path)
		r := runYodel(t, "hello\n", "call", "--verify", s.address(0))
		wantStatus(t, r, 0)
		s.stop(t)
		if _, err := os.Lstat(path); err != nil {
			t.Errorf("%v: then docs/serving.md is wrong", err)
		}
	}
}

// A child is this program once more: who may not run it serves nobody, and does not
// begin to.
func TestUserMustRunTheProgram(t *testing.T) {
	t.Parallel()
	own := filepath.Join(t.TempDir(), "yodel")
	text, err := os.ReadFile(releasedProgram(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(own, text, 0o700); err != nil {
		t.Fatal(err)
	}
	r := runProgram(t, nil, own, "serve", "--user=nobody", "--engine=process", "echo@127.0.0.1:0")
	wantStatus(t, r, 1, "yodel: as nobody: ", "permission denied; let that user read and execute this program's file")
	if r.out != "" {
		t.Errorf("it says %q", r.out)
	}
}

func TestUserThatCannotBe(t *testing.T) {
	t.Parallel()
	path := releasedProgram(t)
	file := filepath.Join(t.TempDir(), "trace")
	for _, tt := range []struct {
		status int
		want   string
		args   []string
	}{
		{2, "drop privileges to nosuch: there is no such user", []string{"--user=nosuch"}},
		{2, "drop privileges to root: user 0 is root itself; name another user", []string{"--user=root"}},
		{2, "there is no user in it", []string{"--user="}},
		{2, "drop privileges to a:b:c: there are two colons in it", []string{"--user=a:b:c"}},
	} {
		r := runProgram(t, nil, path, append([]string{"serve", "--trace=" + file, "echo@127.0.0.1:0"}, tt.args...)...)
		wantStatus(t, r, tt.status, "yodel: --user: ", tt.want)
	}
	as4242 := asUser(t, path, "4242")
	r := as4242("serve", "--user=nobody", "--trace="+file, "echo@127.0.0.1:0")
	wantStatus(t, r, 1, "user 4242 may not do that without CAP_SETUID, CAP_SETGID", "start it as root, or name the user that it runs as: 4242")
	if _, err := os.Stat(file); err == nil {
		t.Error("it opened the trace before it knew")
	}
}

// asUser returns what runs a program as another user.
func asUser(t *testing.T, program, id string) func(args ...string) result {
	t.Helper()
	setpriv := yodeltest.NeedProgram(t, "setpriv")
	path := filepath.Join(publicFolder(t), "yodel")
	text, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, text, 0o755); err != nil {
		t.Fatal(err)
	}
	return func(args ...string) result {
		return runProgram(t, nil, setpriv, append([]string{"--reuid=" + id, "--regid=" + id, "--clear-groups", path}, args...)...)
	}
}

// With the race detector the program has cgo, whose threads are out of reach.
func TestUserWithCgo(t *testing.T) {
	t.Parallel()
	yodeltest.NeedRoot(t)
	info, err := buildinfo.ReadFile(racing(t))
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(info.Settings, debug.BuildSetting{Key: "CGO_ENABLED", Value: "1"}) {
		return // it was built without
	}
	r := runProgram(t, nil, racing(t), "serve", "--user=nobody", "echo@127.0.0.1:0")
	wantStatus(t, r, 1, "this program was built with cgo", "build it with CGO_ENABLED=0")
}

// inetd's server may give up root too.
func TestUserOfInetd(t *testing.T) {
	t.Parallel()
	client, server := tcpPair(t)
	p := &started{cmd: command(releasedProgram(t), "serve", "--inetd", "--user=nobody", "echo")}
	p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = server, server, &p.err
	p.run(t)
	server.Close()
	ask(t, client, "x", "x")
	wantThreads(t, p.cmd.Process.Pid, nobody(t))
	client.CloseWrite()
	if rest, err := io.ReadAll(client); err != nil || len(rest) > 0 {
		t.Errorf("%q, %v", rest, err)
	}
	if status := p.wait(t); status != 0 {
		t.Errorf("status %d: %s", status, &p.err)
	}
}
