package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"yodel/engine"
	"yodel/sock"
	"yodel/yodeltest"
)

// runs serves with args as somebody who may run programs for others: nobody, if the test
// is root's, in the program as it is released.
func runs(t testing.TB, services int, args ...string) *running {
	t.Helper()
	if os.Geteuid() != 0 {
		return serve(t, args...)
	}
	return serveReleased(t, services, append([]string{"--user=nobody"}, args...)...)
}

// open makes a folder with files that nobody may read too, and write.
func openFolder(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o755)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.Chmod(filepath.Dir(dir), 0o755), os.Chmod(dir, 0o755)); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 {
		err := filepath.Walk(dir, func(path string, _ os.FileInfo, err error) error {
			return errors.Join(err, os.Lchown(path, 65534, 65534))
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// wantOutput runs a real program and wants something in what it prints.
func wantOutput(t testing.TB, want, name string, args ...string) {
	t.Helper()
	r := runProgram(t, nil, yodeltest.NeedProgram(t, name), args...)
	if r.status != 0 || !strings.Contains(r.out, want) {
		t.Errorf("%s %q: status %d, no %q in\n%s\n%s", name, args, r.status, want, r.out, r.err)
	}
}

// Files and programs over HTTP, by the clients that people use.
func TestServeWeb(t *testing.T) {
	t.Parallel()
	dir := openFolder(t, map[string]string{"files/a.txt": "the file a\n", "cgi/who": "#!/bin/sh\necho Content-Type: text/plain; echo; echo \"$REQUEST_METHOD $PATH_INFO\"; cat\n"})
	log := filepath.Join(dir, "log")
	s := runs(t, 2, "--root="+filepath.Join(dir, "files"), "--cgi="+filepath.Join(dir, "cgi"), "--access-log="+log, "web@127.0.0.1:0", "web@tls://127.0.0.1:0")
	plain, secure := "http://127.0.0.1:"+s.port(0), "https://127.0.0.1:"+s.port(1)
	wantOutput(t, "the file a\n", "curl", "-s", plain+"/a.txt")
	wantOutput(t, "file", "curl", "-s", "-r", "4-7", plain+"/a.txt")
	wantOutput(t, "POST /x\nbody", "curl", "-s", "-d", "body", plain+"/cgi-bin/who/x")
	wantOutput(t, "the file a\n2", "curl", "-sk", "--http2", "-w", "%{http_version}", secure+"/a.txt")
	wantOutput(t, "the file a\n", "wget", "-qO-", plain+"/a.txt")
	wantOutput(t, "a.txt", "lynx", "-dump", plain+"/")
	wantOutput(t, "the file a\n", "nghttp", "--no-verify-peer", secure+"/a.txt")
	s.stop(t)
	if text := readFile(t, log); strings.Count(text, `"GET /a.txt HTTP/`) != 5 || !strings.Contains(text, `"POST /cgi-bin/who/x HTTP/1.1" 200 `) {
		t.Errorf("the access log:\n%s", text)
	}
}

// Without files the caller is shown who he is; on one connection under inetd, too.
func TestServeWebCaller(t *testing.T) {
	t.Parallel()
	s := serve(t, "--engine=iterative", "web@127.0.0.1:0")
	wantOutput(t, "socket pair: (127.0.0.1:", "curl", "-s", "http://127.0.0.1:"+s.port(0)+"/")
	r := runYodel(t, "GET / HTTP/1.0\r\nHost: x\r\n\r\n", "serve", "--inetd", "web")
	if r.status != 0 || !strings.HasPrefix(r.out, "HTTP/1.0 200 OK\r\n") && !strings.HasPrefix(r.out, "HTTP/1.1 200 OK\r\n") {
		t.Errorf("under inetd: %+v", r)
	}
}

// FTP, and a users file that yodel passwd writes.
func TestServeFTP(t *testing.T) {
	t.Parallel()
	dir := openFolder(t, map[string]string{"files/a.txt": "the file a\n", "up.txt": "going up\n"})
	passwords := filepath.Join(dir, "users")
	r := runYodel(t, "pass word\n", "passwd", passwords, "ada")
	wantStatus(t, r, 0)
	files := filepath.Join(dir, "files")
	s := serve(t, "--root="+files, "--users="+passwords, "--anonymous", "--allow-write", "ftp@127.0.0.1:0", "ftp@tls://127.0.0.1:0")
	at := "ftp://127.0.0.1:" + s.port(0) + "/"
	wantOutput(t, "the file a\n", "curl", "-s", at+"a.txt")
	wantOutput(t, "", "curl", "-s", "-u", "ada:pass word", "-T", filepath.Join(dir, "up.txt"), at+"b.txt")
	wantOutput(t, "going up\n", "curl", "-sk", "--ssl-reqd", "-u", "ada:pass word", at+"b.txt")
	wantOutput(t, "going up\n", "curl", "-sk", "ftps://127.0.0.1:"+s.port(1)+"/b.txt")
	wantOutput(t, "b.txt", "lftp", "-e", "set ssl:verify-certificate no; cls -1; bye", "-u", "ada,pass word", at)
	if r := runProgram(t, nil, yodeltest.NeedProgram(t, "curl"), "-s", "-T", filepath.Join(dir, "up.txt"), at+"c.txt"); r.status == 0 {
		t.Error("anonymous may write where there are users")
	}
	if got := readFile(t, filepath.Join(files, "b.txt")); got != "going up\n" {
		t.Errorf("stored: %q", got)
	}
	wantStatus(t, runYodel(t, "", "passwd", passwords, "ada", "--remove"), 0)
	for late := time.Now().Add(patience); ; { // the file is looked at once a second
		r := runProgram(t, nil, yodeltest.NeedProgram(t, "curl"), "-s", "-u", "ada:pass word", at+"a.txt")
		if r.status != 0 {
			break
		}
		if time.Now().After(late) {
			t.Fatal("who was taken out of the file may still log in")
		}
	}
}

// Mail by swaks, and what yodel mail and s-nail say of it.
func TestServeMail(t *testing.T) {
	t.Parallel()
	spool := filepath.Join(t.TempDir(), "spool")
	s := serve(t, "--spool="+spool, "--domain=example.org", "mail@127.0.0.1:0", "mail@tls://127.0.0.1:0")
	wantOutput(t, "250 2.0.0 stored as ", "swaks", "--server", "127.0.0.1", "--port", s.port(0), "--from", "bob@example.net", "--to", "alice@example.org", "--header", "Subject: lunch", "--body", "From twelve on?")
	wantOutput(t, "250 2.0.0 stored as ", "swaks", "--tlsc", "--server", "127.0.0.1", "--port", s.port(1), "--from", "bob@example.net", "--to", "alice@example.org")
	if r := runProgram(t, nil, yodeltest.NeedProgram(t, "swaks"), "--server", "127.0.0.1", "--port", s.port(0), "--to", "x@elsewhere.example"); r.status == 0 || !strings.Contains(r.out, "550 5.7.1") {
		t.Errorf("relayed: %+v", r)
	}
	for want, args := range map[string][]string{"2 messages": {}, "lunch": {"alice"}, "\nFrom twelve on?\n": {"alice", "1"}, "\n>From twelve": {"alice", "1", "--raw"}, `"type":"message"`: {"alice", "--json"}} {
		r := runYodel(t, "", append([]string{"mail", "--spool", spool}, args...)...)
		if want[1] == '>' {
			want = "\n" + want[2:] // quoting is the file's, and taken away again
		}
		if r.status != 0 || !strings.Contains(r.out, want) {
			t.Errorf("yodel mail %q: no %q in %+v", args, want, r)
		}
	}
	wantOutput(t, "lunch", "s-nail", "-n", "-H", "-f", filepath.Join(spool, "alice"))
	for want, args := range map[string][]string{
		"say which spool": {"mail"}, "no number of a message": {"mail", "--spool=x", "a", "0"}, "--raw is for one": {"mail", "--spool=x", "--raw"},
	} {
		wantStatus(t, runYodel(t, "", args...), 2, want)
	}
	wantStatus(t, runYodel(t, "", "mail", "--spool", spool, "alice", "9"), 1, "no such message")
}

// What a service must be told, and what it refuses.
func TestServeRefusals(t *testing.T) {
	t.Parallel()
	dir := openFolder(t, map[string]string{"files/cgi/x": "", "users": "", "plain": ""})
	files, users := filepath.Join(dir, "files"), filepath.Join(dir, "users")
	for _, tt := range []struct {
		want string
		args []string
	}{
		{"say which folder to serve", []string{"ftp", "--anonymous"}},
		{"no such file", []string{"ftp", "--anonymous", "--root=/no/such"}},
		{"not a folder", []string{"ftp", "--anonymous", "--root=" + users}},
		{"say who may log in", []string{"ftp", "--root=" + dir}},
		{"--passive-ports", []string{"ftp", "--anonymous", "--root=" + dir, "--passive-ports=9-3"}},
		{"--passive-address", []string{"ftp", "--anonymous", "--root=" + dir, "--passive-address=::1"}},
		{"--passive-address", []string{"ftp", "--anonymous", "--root=" + dir, "--passive-address=here"}},
		{"leave tls:// out", []string{"ftp@tls://127.0.0.1:0", "--anonymous", "--root=" + dir, "--require-tls-reuse"}},
		{"ftp@tls://127.0.0.1:0: --require-tls-reuse", []string{"ftp@127.0.0.1:0", "ftp@tls://127.0.0.1:0", "--anonymous", "--root=" + dir, "--require-tls-reuse"}},
		{"say where messages are stored", []string{"mail"}},
		{"there are mbox and maildir", []string{"mail", "--spool=x", "--format=mh"}},
		{"listens on this host only", []string{"mail@:0", "--spool=x", "--accept-all"}},
		{"say who may log in", []string{"telnet"}},
		{"could be read on the way", []string{"telnet@:0", "--users=" + users}},
		{"say who may log in", []string{"ssh"}},
		{"say which program", []string{"command"}},
		{"write the whole path", []string{"command", "--", "cat"}},
		{"write the program of command once", []string{"command", "--program=/bin/cat", "--", "/bin/cat"}},
		{"with --json standard output has lines of JSON", []string{"web", "--json", "--access-log=-"}},
		{"engine process: what connections share is lost", []string{"--engine=process", "web"}},
		{"web has no datagram form", []string{"web@udp://:0"}},
		{"a flag of web, which is not served here", []string{"echo", "--cgi=x"}},
		{"all is every service", []string{"all", "echo"}},
		{"leave --config", []string{"all", "--config=x"}},
		{"mail can't serve with --inetd", []string{"--inetd", "mail"}},
		{"they are in it", nil},
	} {
		if tt.args == nil {
			continue
		}
		r := runProgram(t, nil, asNobody(t), append([]string{"serve"}, tt.args...)...)
		if r.status == 0 || !strings.Contains(r.err, tt.want) {
			t.Errorf("%q: status %d, %q; want %q", tt.args, r.status, r.err, tt.want)
		}
	}
	r := runProgram(t, nil, asNobody(t), "serve", "web@127.0.0.1:0", "ftp@127.0.0.1:0", "--anonymous", "--root="+files, "--cgi="+filepath.Join(files, "cgi"), "--allow-write")
	wantStatus(t, r, 2, "clients of ftp may write to --root "+files)
	if os.Geteuid() == 0 {
		for _, args := range [][]string{{"telnet", "--users=x"}, {"ssh", "--users=x"}, {"command", "--", "/bin/cat"}, {"web", "--cgi=" + dir}} {
			wantStatus(t, runYodel(t, "", append([]string{"serve"}, args...)...), 2, "not as root: give up root with --user")
		}
	}
}

// asNobody returns a program that runs yodel as nobody, if the test is root's.
func asNobody(t testing.TB) string {
	t.Helper()
	if os.Geteuid() != 0 {
		return program(t)
	}
	path := filepath.Join(t.TempDir(), "yodel")
	script := fmt.Sprintf("#!/bin/sh\nexec setpriv --reuid=65534 --regid=65534 --clear-groups %s \"$@\"\n", releasedProgram(t))
	if err := os.WriteFile(path, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	for dir := folder; dir != "/" && dir != os.TempDir(); dir = filepath.Dir(dir) {
		os.Chmod(dir, 0o755)
	}
	return path
}

func TestPasswd(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "users")
	if r := runYodel(t, "one\n", "passwd", file, "ada", "--home=/ada"); r.status != 0 || r.out != "ada is now in "+file+"\n" {
		t.Errorf("%+v", r)
	}
	if r := runYodel(t, "two", "passwd", file, "ada"); r.status != 0 || !strings.Contains(r.out, "has a new password") {
		t.Errorf("%+v", r)
	}
	if text := readFile(t, file); !strings.HasPrefix(text, "ada:$argon2id$") || !strings.HasSuffix(text, ":/ada\n") {
		t.Errorf("the file: %q", text)
	}
	wantStatus(t, runYodel(t, "", "passwd", file, "bob"), 2, "no password on standard input")
	wantStatus(t, runYodel(t, "x\n", "passwd", file, "-froot"), 2)
	wantStatus(t, runYodel(t, "a\x01b\n", "passwd", file, "bob"), 2)
	wantStatus(t, runYodel(t, "", "passwd", file, "bob", "--remove"), 1, "there is no user")
	words := []string{"one", "two"}
	_, err := typedPassword(&strings.Builder{}, "ada", func() ([]byte, error) {
		w := words[0]
		words = words[1:]
		return []byte(w), nil
	})
	if err == nil || !strings.Contains(err.Error(), "two passwords") {
		t.Error(err)
	}
	if _, err := typedPassword(&strings.Builder{}, "ada", func() ([]byte, error) { return nil, syscall.EIO }); err != syscall.EIO {
		t.Error(err)
	}
	word, err := typedPassword(&strings.Builder{}, "ada", func() ([]byte, error) { return []byte("one"), nil })
	if word != "one" || err != nil {
		t.Error(word, err)
	}
}

// Every line that serve all prints is typed, and does what it should.
func TestServeAll(t *testing.T) {
	t.Parallel()
	expect := yodeltest.NeedProgram(t, "expect")
	state := t.TempDir()
	env := []string{"XDG_STATE_HOME=" + state, "HOME=" + state}
	var s *started
	if os.Geteuid() == 0 {
		s = startWith(t, env, releasedProgram(t), "serve", "all", "--base=0", "--user=nobody")
	} else {
		s = startWith(t, env, program(t), "serve", "all", "--base=0")
	}
	m := s.await(t, &s.out, `\nuser (\S+) password (\S+)\n\nnext, in another terminal:\n((?:  .*\n)+)\n`)
	user, password := m[1], m[2]
	want := []string{"HELLO", "hello", "hello", "", "20", "", "!\"#$", "", "hello there", "hello, 127.0.0.1", "hello there", "hello there", "", "", "\nhello\n"}
	var typed int
	for i, line := range strings.Split(strings.TrimSpace(m[3]), "\n") {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "telnet "), strings.HasPrefix(line, "ssh "):
			typeInto(t, expect, line, user, password)
		case i < len(want):
			wantLineOutput(t, line, want[i])
		default:
			wantLineOutput(t, line, "TCPREMOTEIP=127.0.0.1")
		}
		typed++
	}
	if typed != 18 {
		t.Errorf("%d lines were typed", typed)
	}
	s.signal(t, syscall.SIGTERM)
	if status := s.wait(t); status != 0 {
		t.Errorf("status %d\n%s", status, &s.err)
	}
	if left, _ := filepath.Glob(filepath.Join(os.TempDir(), "yodel-all-*", password)); left != nil {
		t.Errorf("left: %q", left)
	}
}

// wantLineOutput types a line into a shell, and hello into the program that it starts.
func wantLineOutput(t *testing.T, line, want string) {
	t.Helper()
	cmd := exec.CommandContext(within(t), "/bin/sh", "-c", "PATH="+filepath.Dir(program(t))+":$PATH\n"+strings.Replace(line, "yodel call ", "timeout 1 yodel call ", 1))
	cmd.Stdin = strings.NewReader("hello\n")
	out, err := cmd.CombinedOutput()
	if !strings.Contains(string(out), want) {
		t.Errorf("%s: %v, no %q in\n%.2000s", line, err, want, out)
	}
}

// typeInto types a line, and then what a person would.
func typeInto(t *testing.T, expect, line, user, password string) {
	t.Helper()
	login := fmt.Sprintf("want \"login: \"\nsend %q\n", user+"\r")
	if strings.HasPrefix(line, "ssh ") {
		login = "want \"(yes/no\"\nsend \"yes\\r\"\n"
		line = strings.Replace(line, "ssh ", "ssh -F none -o UserKnownHostsFile="+filepath.Join(t.TempDir(), "known")+" -o IdentityAgent=none ", 1)
	}
	script := fmt.Sprintf(`
		set timeout 50
		proc want {text} { expect -ex $text {} timeout { puts "no $text"; exit 1 } eof { puts "ended before $text"; exit 1 } }
		spawn %s
		%s
		want "password: "
		send %q
		want "\$ "
		send "echo \$((40+2)); cat hello.txt\r"
		want "42\r\nhello there"
		send "exit\r"
		expect eof
	`, line, login, password+"\r")
	cmd := exec.CommandContext(within(t), expect, "-c", script)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%s: %v\n%s", line, err, out)
	}
}

// F4: a server that asks for the client's environment gets what was typed, and nothing
// else.
func TestCallSendsOnlyWhatIsTyped(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	heard := make(chan string, 1)
	go func() {
		nc, err := l.Accept()
		if err != nil {
			heard <- err.Error()
			return
		}
		defer nc.Close()
		io.WriteString(nc, "\xff\xfd\x27\xff\xfa\x27\x01\x00USER\x03SECRET\xff\xf0login: ") // DO NEW-ENVIRON, SB NEW-ENVIRON SEND
		all, _ := io.ReadAll(nc)
		heard <- string(all)
	}()
	runProgram(t, strings.NewReader("typed\n"), program(t), "call", l.Addr().String())
	if got := <-heard; got != "typed\n" {
		t.Errorf("it sends %q", got)
	}
}

// A program for each connection, as its clients find it.
func TestServeCommand(t *testing.T) {
	t.Parallel()
	if os.Geteuid() == 0 {
		s := &running{started: start(t, releasedProgram(t), "serve", "--json", "--user=nobody", "command@127.0.0.1:0", "--", "/bin/sh", "-c", "echo $PROTO $#; cat", "sh")}
		t.Cleanup(func() { s.stop(t) })
		s.at = append(s.at, s.listens(t, 0))
		r := runProgram(t, strings.NewReader("hello\n"), yodeltest.NeedProgram(t, "ncat"), "127.0.0.1", s.port(0))
		if r.out != "TCP 0\nhello\n" {
			t.Errorf("%+v", r)
		}
	}
}

func TestDoorHelpers(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := errors.Join(os.MkdirAll(filepath.Join(dir, "a/b"), 0o755), os.Symlink("a/b", filepath.Join(dir, "link"))); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		path, folder string
		want         bool
	}{{"a/b", "a", true}, {"a", "a", true}, {"link", "a", true}, {"a", "a/b", false}, {"none", "a", false}, {"a", "none", false}} {
		if got := isBelow(filepath.Join(dir, tt.path), filepath.Join(dir, tt.folder)); got != tt.want {
			t.Errorf("%s below %s: %v", tt.path, tt.folder, got)
		}
	}
	for _, tt := range []struct {
		at   sock.Address
		want bool
	}{
		{sock.Address{Network: "unix", Path: "/x"}, true},
		{sock.Address{Network: "tcp", Host: "localhost"}, true},
		{sock.Address{Network: "tcp", Host: "127.0.0.9"}, true},
		{sock.Address{Network: "tcp", Host: "::1"}, true},
		{sock.Address{Network: "tcp"}, false},
		{sock.Address{Network: "tls", Host: "192.0.2.1"}, false},
		{sock.Address{Network: "tcp", Host: "example.org"}, false},
	} {
		if got := isLoopback(tt.at); got != tt.want {
			t.Errorf("%v: %v", tt.at, got)
		}
	}
	if r, err := portRange("50000"); err != nil || r.First != 50000 || r.Last != 50000 {
		t.Error(r, err)
	}
	s := &server{gate: engine.NewGate(&engine.GateConfig{Deny: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}})}
	if _, err := s.admitData(netip.MustParseAddrPort("192.0.2.1:7")); err == nil {
		t.Error("who is denied may have a data connection")
	}
	release, err := s.admitData(netip.MustParseAddrPort("127.0.0.1:7"))
	if err != nil {
		t.Fatal(err)
	}
	release()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := pending{l}
	if p.Stats().Accepted != 0 || p.Shutdown(t.Context()) != nil {
		t.Error("a pending listener")
	}
	doorForm{}.ServeConn(nil)
}
