//go:build unix

package web

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"yodel/engine"
	"yodel/internal/child"
	"yodel/yodeltest"
)

// nobody is as whom programs run in tests that root runs.
func nobody() *child.User {
	if os.Geteuid() != 0 {
		return nil
	}
	return &child.User{UID: 65534, GID: 65534}
}

// programs makes a folder of programs of the shell's. A name without a line of its own is
// one of these.
func programs(t testing.TB, more map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for _, d := range []string{dir, filepath.Dir(dir)} { // nobody must get there
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	all := map[string]string{
		"hello": "echo Content-Type: text/plain; echo; echo hello",
		"cat":   "echo Content-Type: text/plain; echo; cat",
		"env":   "echo Content-Type: text/plain; echo; env",
		"count": "n=$(wc -c); echo Content-Type: text/plain; echo; echo $n",
	}
	for name, text := range more {
		all[name] = text
	}
	for name, text := range all {
		put(t, filepath.Join(dir, name), "#!/bin/sh\n"+text+"\n", 0o755)
	}
	return dir
}

// cgi serves such programs.
func cgi(t testing.TB, cfg *Config, more map[string]string) *site {
	t.Helper()
	cfg.CGI, cfg.CGIUser = programs(t, more), nobody()
	return newSite(t, cfg)
}

func TestCGI(t *testing.T) {
	t.Parallel()
	s := cgi(t, &Config{}, map[string]string{
		"sub/deep/p": "echo Content-Type: text/plain; echo; echo $SCRIPT_NAME $PATH_INFO",
		"status":     "echo Status: 418 Teapot; echo Content-Type: text/plain; echo X-Own: a; echo X-Own: b; echo; echo short and stout",
		"empty":      "echo Status: 204; echo",
		"notmod":     "echo Status: 304; echo; echo ignored",
		"where":      "echo Location: http://a.example/x; echo",
		"see":        "echo Status: 303; echo Location: /y; echo",
		"length":     "echo Content-Length: 3; echo Content-Type: text/plain; echo; printf abc",
		"stderr":     "echo Content-Type: text/plain; echo; printf 'trouble \\033[31m' >&2; echo fine",
		"exit":       "echo Content-Type: text/plain; echo; echo done; exit 7",
		"pwd":        "echo Content-Type: text/plain; echo; pwd; id -u; echo $#",
		"untyped":    "echo Status: 200; echo; echo '<html>'",
	})
	for _, c := range []struct {
		path string
		code int
		body string
	}{
		{"/cgi-bin/hello", 200, "hello\n"},
		{"/cgi-bin/hello/", 200, "hello\n"},
		{"/cgi-bin/sub/deep/p", 200, "/cgi-bin/sub/deep/p\n"},
		{"/cgi-bin/sub/deep/p/a//b", 200, "/cgi-bin/sub/deep/p /a//b\n"},
		{"/cgi-bin/status", 418, "short and stout\n"},
		{"/cgi-bin/empty", 204, ""},
		{"/cgi-bin/notmod", 304, ""},
		{"/cgi-bin/where", 302, ""},
		{"/cgi-bin/see", 303, ""},
		{"/cgi-bin/length", 200, "abc"},
		{"/cgi-bin/stderr", 200, "fine\n"},
		{"/cgi-bin/exit", 200, "done\n"},
		{"/cgi-bin/untyped", 200, "<html>\n"},
	} {
		r := s.want("a program", c.path, c.code, c.body)
		if c.body == "" && r.body != "" {
			t.Errorf("%s: %q", c.path, r.body)
		}
	}
	if got := s.get("/cgi-bin/status").Header; fmt.Sprint(got["X-Own"]) != "[a b]" || got.Get("Content-Type") != "text/plain" {
		t.Errorf("%v", got)
	}
	if got := s.get("/cgi-bin/untyped").Header["Content-Type"]; got != nil {
		t.Errorf("a type was guessed: %q", got)
	}
	if got := s.get("/cgi-bin/where").Header.Get("Location"); got != "http://a.example/x" {
		t.Errorf("%q", got)
	}
	if r := s.do("HEAD", "/cgi-bin/hello", ""); r.StatusCode != 200 || r.body != "" {
		t.Errorf("HEAD: %s %q", r.Status, r.body)
	}
	uid := "65534"
	if os.Geteuid() != 0 {
		uid = strconv.Itoa(os.Geteuid())
	}
	dir, _ := realPath(s.cfg.CGI)
	s.want("the query is no argument", "/cgi-bin/pwd?a+b", 200, dir+"\n"+uid+"\n0\n") // E6
	s.log.await(t, `program=stderr line="trouble \\x1b[31m"`)
	s.log.await(t, `program=exit with="exit status 7"`)
}

// A program is told all about the request, and nothing about the server.
func TestCGIEnvironment(t *testing.T) {
	t.Setenv("SECRET_OF_THE_SERVER", "x")
	root := folder(t, nil)
	s := cgi(t, &Config{Root: root}, nil)
	r := s.get("/cgi-bin/env/a%20b?q=%22", "Proxy: http://evil.example/", "X_Y: z", "X-Y: y", "Authorization: Basic eDp5", "Host: h.example:99")
	files, _ := realPath(root)
	has := func(line string) bool { return strings.Contains("\n"+r.body, "\n"+line+"\n") }
	for _, line := range []string{
		"REQUEST_METHOD=GET", "QUERY_STRING=q=%22", "PATH_INFO=/a b", "PATH_TRANSLATED=" + files + "/a b", "SCRIPT_NAME=/cgi-bin/env",
		"SERVER_NAME=h.example", "HTTP_HOST=h.example:99", "HTTP_X_Y=y", "REMOTE_ADDR=127.0.0.1", "GATEWAY_INTERFACE=CGI/1.1", "PATH=" + child.Path,
	} {
		if !has(line) {
			t.Errorf("there is no %s in\n%s", line, r.body)
		}
	}
	for _, not := range []string{"SECRET", "evil", "HTTP_PROXY", "AUTHORIZATION", "HTTP_X_Y=z"} {
		if strings.Contains(r.body, not) {
			t.Errorf("%s is in\n%s", not, r.body)
		}
	}
}

// What is no program is not there; what can't be run is not shown either. E3, E6.
func TestCGIPrograms(t *testing.T) {
	t.Parallel()
	dir := programs(t, map[string]string{".hidden": "echo", "sub/p": "echo"})
	put(t, filepath.Join(dir, "plain.txt"), "not a program", 0o644)
	put(t, filepath.Join(dir, "anybodys"), "#!/bin/sh\n", 0o777)
	put(t, filepath.Join(dir, "binary"), "\x00\x01", 0o755)
	put(t, filepath.Join(dir, "lost"), "#!/no/such/interpreter\n", 0o755)
	for name, to := range map[string]string{"out": "/bin/sh", "in": "hello"} {
		if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o755); err != nil {
		t.Fatal(err)
	}
	root := folder(t, map[string]string{"hello": "a file", "cgi-bin/hello": "a file too"})
	s := newSite(t, &Config{Root: root, CGI: dir, CGIUser: nobody()})
	for path, code := range map[string]int{
		"/cgi-bin/": 404, "/cgi-bin/none": 404, "/cgi-bin/sub": 404, "/cgi-bin/sub/": 404, "/cgi-bin/.hidden": 404, "/cgi-bin//hello": 404,
		"/cgi-bin/../hello": 404, "/cgi-bin/./hello": 404, "/cgi-bin/sub/../hello": 404, "/cgi-bin/%2e%2e/hello": 404, "/cgi-bin/sub%2fp": 404,
		"/cgi-bin/hello/../../x": 404, "/cgi-bin/hello%00": 404, "/cgi-bin/out": 404, "/cgi-bin/pipe": 404, "/cgi-bin/in": 200, "/cgi-bin/hello": 200,
		"/cgi-bin/" + strings.Repeat("a/", 100): 404, "/cgi-bin/" + strings.Repeat("a", 300): 404,
		"/cgi-bin/plain.txt": 403, "/cgi-bin/anybodys": 403, "/cgi-bin/binary": 502, "/cgi-bin/lost": 502,
		"/hello": 200, "/cgi-bin": 301,
	} {
		w := s.dial()
		w.send("GET " + path + " HTTP/1.1\r\nHost: x\r\n\r\n")
		if r := w.want(path, code); strings.Contains(r.body, "not a program") {
			t.Errorf("%s: %q", path, r.body)
		}
	}
	s.log.await(t, "it may not be run: chmod +x")
	s.log.await(t, "everybody may write to it")
	s.log.await(t, `program=binary error=`)
}

// Programs whose folder is in that of files are not sent as files.
func TestCGIFolderAmongFiles(t *testing.T) {
	t.Parallel()
	root := programs(t, nil)
	put(t, filepath.Join(root, "bin/p"), "#!/bin/sh\necho Content-Type: text/plain; echo; echo runs\n", 0o755)
	put(t, filepath.Join(root, "binary"), "a file", 0o644)
	s := newSite(t, &Config{Root: root, CGI: filepath.Join(root, "bin"), CGIUser: nobody()})
	s.want("as a program", "/cgi-bin/p", 200, "runs\n")
	for _, path := range []string{"/bin/p", "/bin/", "/bin", "/BIN/p"} {
		s.want("as a file", path, 404, "")
	}
	s.want("another name", "/binary", 200, "a file")
	if list := s.get("/").body; strings.Contains(list, `"./bin/"`) {
		t.Errorf("%s", list)
	}
}

// Where clients may put files there are no programs.
func TestCGIFoldersThatAreRefused(t *testing.T) {
	t.Parallel()
	root := programs(t, map[string]string{"bin/p": "echo"})
	inside := filepath.Join(root, "bin")
	open := programs(t, nil)
	if err := os.Chmod(open, 0o757); err != nil {
		t.Fatal(err)
	}
	alias := filepath.Join(t.TempDir(), "alias")
	if err := os.Symlink(inside, alias); err != nil {
		t.Fatal(err)
	}
	for why, c := range map[string]struct {
		cfg  Config
		says string // "": it is taken
	}{
		"apart":                   {Config{Root: root, CGI: programs(t, nil), Writable: true}, ""},
		"inside":                  {Config{Root: root, CGI: inside}, ""},
		"inside of a writable":    {Config{Root: root, CGI: inside, Writable: true}, "clients may write to --root"},
		"by a link":               {Config{Root: root, CGI: alias, Writable: true}, "clients may write to --root"},
		"the same":                {Config{Root: root, CGI: root}, "give each a folder of its own"},
		"files inside":            {Config{Root: inside, CGI: root}, "give each a folder of its own"},
		"everybody may write":     {Config{CGI: open}, "chmod o-w"},
		"no files that are there": {Config{Root: "/no/such", CGI: inside}, "no such file"},
	} {
		c.cfg.Log = quiet
		s, err := New(&c.cfg)
		if c.says == "" {
			if err != nil {
				t.Errorf("%s: %v", why, err)
				continue
			}
			s.Close()
			continue
		}
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", why, err)
		}
	}
}

// As root nothing is run.
func TestCGIRefusesRoot(t *testing.T) {
	t.Parallel()
	s, err := New(&Config{CGI: programs(t, nil), CGIUser: &child.User{UID: 0}, Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	l := &oneConn{closed: make(chan bool)}
	if err := s.Serve(l); !errors.Is(err, child.ErrRoot) {
		t.Errorf("Serve: %v", err)
	}
	if _, err := l.Accept(); err == nil {
		t.Error("the listener is open")
	}
}

// A body goes to the program as it comes, whatever its form and length.
func TestCGIBody(t *testing.T) {
	t.Parallel()
	s := cgi(t, &Config{BodyMax: 8 << 20}, map[string]string{
		"length": `echo Content-Type: text/plain; echo; echo "$CONTENT_LENGTH $CONTENT_TYPE"; wc -c`,
		"deaf":   "echo Content-Type: text/plain; echo; echo 'I do not listen'",
	})
	big := strings.Repeat("0123456789abcdef", 1<<18)
	for _, body := range []string{"", "hello", big} {
		if r := s.do("POST", "/cgi-bin/cat", body); r.body != body {
			t.Errorf("%d of %d bytes came back, %s", len(r.body), len(body), r.Status)
		}
	}
	if r := s.do("PUT", "/cgi-bin/length", "hello", "Content-Type: text/x"); strings.Fields(r.body)[0] != "5" || strings.Fields(r.body)[1] != "text/x" || strings.Fields(r.body)[2] != "5" {
		t.Errorf("%q", r.body)
	}
	s.want("after that", "/cgi-bin/hello", 200, "hello\n")
	w := s.dial()
	w.send("POST /cgi-bin/length HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", "3\r\nabc\r\n", "2;x=y\r\nde\r\n", "0\r\nX: y\r\n\r\n")
	if r := w.want("chunks", 200); strings.Fields(r.body)[0] != "5" {
		t.Errorf("chunks: %q", r.body)
	}
	w.send("GET /cgi-bin/hello HTTP/1.1\r\nHost: x\r\n\r\n")
	w.want("after chunks", 200)
	for name, body := range map[string]io.Reader{"little": strings.NewReader("abc"), "too much": io.LimitReader(zeros{}, gatherMax+1)} {
		r, err := http.NewRequestWithContext(t.Context(), "POST", s.url("/cgi-bin/length"), struct{ io.Reader }{body})
		if err != nil {
			t.Fatal(err)
		}
		resp, err := s.browser.Do(r)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		resp.Body.Close()
		if want := map[string]int{"little": 200, "too much": 411}[name]; resp.StatusCode != want {
			t.Errorf("chunks, %s: %s", name, resp.Status)
		}
	}
	if r := s.do("POST", "/cgi-bin/deaf", big); r.StatusCode != 200 || r.body != "I do not listen\n" {
		t.Errorf("%s %q", r.Status, r.body)
	}
	w = s.dial()
	w.send("POST /cgi-bin/cat HTTP/1.1\r\nHost: x\r\nContent-Length: 8388609\r\n\r\n")
	w.want("too long", 413)
	w = s.dial()
	w.send("POST /cgi-bin/cat HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
	if line, _ := w.in.ReadString('\n'); line != "HTTP/1.1 100 Continue\r\n" {
		t.Errorf("%q", line)
	}
	for line := ""; line != "\r\n"; {
		line, _ = w.in.ReadString('\n')
	}
	w.send("hello")
	if r := w.want("when told to", 200); r.body != "hello" {
		t.Errorf("%q", r.body)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// A body that does not come, comes too slowly, or is broken, is not passed off as a whole
// one: the program is ended before it sees an end.
func TestCGIBodyThatDoesNotCome(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	os.Chmod(filepath.Dir(dir), 0o755)
	os.Chmod(dir, 0o777)
	s := cgi(t, &Config{MinRate: 1000, MinRateAfter: 100 * time.Millisecond}, map[string]string{
		"whole": "trap 'exit 1' TERM; cat >/dev/null; echo whole >" + dir + "/$QUERY_STRING; echo Content-Type: text/plain; echo; echo whole",
	})
	head := "POST /cgi-bin/whole?%s HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n"
	w := s.dial()
	w.send(fmt.Sprintf(head, "slow"), "a few bytes")
	w.want("too slow", 408)
	w.wantEnd("too slow")
	w = s.dial()
	w.send(fmt.Sprintf(head, "ended"), "a few bytes")
	w.Conn.(interface{ CloseWrite() error }).CloseWrite()
	w.want("ended", 400)
	w = s.dial()
	w.send("POST /cgi-bin/whole?chunks HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", "3\r\nabc\n")
	w.want("broken", 400)
	w = s.dial()
	w.send("POST /cgi-bin/whole?chunks HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", "3\r\nab")
	w.want("slow chunks", 408)
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("a program has seen the end of %q", left)
	}
	w = s.dial()
	w.send(fmt.Sprintf(head, "steady"))
	for range 100 {
		w.send(strings.Repeat("x", 1000))
		<-time.After(3 * time.Millisecond)
	}
	w.want("slow enough", 200)
}

// A slow body for what takes none is not waited for long.
func TestBodyThatNobodyWants(t *testing.T) {
	t.Parallel()
	s := newSite(t, &Config{HeaderTimeout: 50 * time.Millisecond})
	w := s.dial()
	w.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nx")
	if r := w.want("no body wanted", 405); !r.Close {
		t.Errorf("%v", r.Header)
	}
	w.wantEnd("and the end")
}

// What a program says wrong is 502, what it does not say in time 504. E7.
func TestCGIFailures(t *testing.T) {
	t.Parallel()
	all := map[string]string{
		"nothing":   "exit 0",
		"dies":      "exit 3",
		"killed":    "kill -9 $$",
		"early":     "echo Content-Type: text/plain",
		"garbage":   "echo this is no header; echo",
		"html":      "echo '<html>'; echo '</html>'",
		"long":      "while :; do echo X: y; done",
		"line":      "head -c 100000 /dev/zero | tr '\\0' x",
		"hangs":     "sleep 1000",
		"ignores":   "trap '' TERM; sleep 1000 & wait; sleep 1000",
		"half":      "echo Content-Type: text/plain; sleep 1000",
		"elsewhere": "echo Location: '/%zz'; echo",
	}
	s, hasty := cgi(t, &Config{}, all), cgi(t, &Config{CGITimeout: 150 * time.Millisecond}, all)
	for _, c := range []struct {
		name string
		code int
		log  string
	}{
		{"nothing", 502, "ends before the empty line"},
		{"dies", 502, "ends before the empty line"},
		{"killed", 502, "ends before the empty line"},
		{"early", 502, "ends before the empty line"},
		{"garbage", 502, "not NAME: VALUE"},
		{"html", 502, "not NAME: VALUE"},
		{"long", 502, "its header is longer"},
		{"line", 502, "its header is longer"},
		{"hangs", 504, "silent for too long"},
		{"ignores", 504, "silent for too long"},
		{"half", 504, "silent for too long"},
		{"elsewhere", 502, "its Location is not one URI"},
	} {
		at := s
		if c.code == 504 {
			at = hasty
		}
		at.want(c.name, "/cgi-bin/"+c.name, c.code, "")
		at.log.await(t, "program="+c.name+" error=\"")
		if !strings.Contains(at.log.String(), c.log) {
			t.Errorf("%s: %q is not in\n%s", c.name, c.log, at.log)
		}
	}
	if st := s.Stats(); st.CGITimedOut != 0 || st.CGIFailed != 9 {
		t.Errorf("%+v", st)
	}
	if st := hasty.Stats(); st.CGITimedOut != 3 || st.CGIFailed != 3 {
		t.Errorf("%+v", st)
	}
	eventually(t, "all have ended", func() bool { return s.Stats().CGIRunning+hasty.Stats().CGIRunning == 0 })
}

// What breaks in the middle can't be taken for the whole.
func TestCGIBreaksOff(t *testing.T) {
	t.Parallel()
	s := cgi(t, &Config{CGIOutputMax: 100_000}, map[string]string{
		"endless": "echo Content-Type: text/plain; echo; while :; do echo 0123456789; done",
		"less":    "echo Content-Length: 100; echo Content-Type: text/plain; echo; echo less",
		"more":    "echo Content-Length: 5; echo Content-Type: text/plain; echo; echo more than that",
	})
	for _, name := range []string{"endless", "less"} {
		w := s.dial()
		w.send("GET /cgi-bin/" + name + " HTTP/1.1\r\nHost: x\r\n\r\n")
		resp, err := http.ReadResponse(w.in, nil)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if n, err := io.Copy(io.Discard, resp.Body); err == nil {
			t.Errorf("%s: %d bytes, and no error", name, n)
		}
	}
	s.want("more than it said", "/cgi-bin/more", 200, "more ")
	s.log.await(t, "sends more than its Content-Length says")
	s.log.await(t, "it sends more than it may")
	hasty := cgi(t, &Config{CGITimeout: time.Second}, map[string]string{
		"silent": "echo Content-Type: text/plain; echo; echo begun; sleep 1000",
	})
	w := hasty.dial()
	w.send("GET /cgi-bin/silent HTTP/1.1\r\nHost: x\r\n\r\n")
	if text, _ := io.ReadAll(w.in); !bytes.HasSuffix(text, []byte("begun\n\r\n")) { // a chunk, and not the last one
		t.Errorf("silent: %q", text)
	}
}

// What a program says is sent when it makes a pause, and with a length if it makes none.
func TestCGIStreams(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	os.Chmod(filepath.Dir(dir), 0o755)
	os.Chmod(dir, 0o755)
	pipe := filepath.Join(dir, "go")
	if err := errors.Join(syscall.Mkfifo(pipe, 0o666), os.Chmod(pipe, 0o666)); err != nil {
		t.Fatal(err)
	}
	s := cgi(t, &Config{}, map[string]string{"tick": "echo Content-Type: text/plain; echo; echo tick; read x <" + pipe + "; echo tock"})
	w := s.dial()
	w.send("GET /cgi-bin/tick HTTP/1.1\r\nHost: x\r\n\r\n")
	resp, err := http.ReadResponse(w.in, nil)
	if err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 5)
	if _, err := io.ReadFull(resp.Body, got); string(got) != "tick\n" {
		t.Errorf("%q, %v", got, err)
	}
	if err := os.WriteFile(pipe, []byte("go\n"), 0); err != nil {
		t.Fatal(err)
	}
	if rest, err := io.ReadAll(resp.Body); string(rest) != "tock\n" {
		t.Errorf("%q, %v", rest, err)
	}
	if r := s.get("/cgi-bin/hello"); r.ContentLength != 6 {
		t.Errorf("no length: %v", r.Header)
	}
}

// A program may name another path of this server: RFC 3875 §6.2.2.
func TestCGILocalRedirect(t *testing.T) {
	t.Parallel()
	s := cgi(t, &Config{Root: folder(t, map[string]string{"a.txt": "a file\n"})}, map[string]string{
		"file":   "cat >/dev/null; echo Location: /a.txt; echo",
		"query":  "echo Location: '/cgi-bin/show?x=1'; echo",
		"show":   "echo Content-Type: text/plain; echo; echo $REQUEST_METHOD $QUERY_STRING $CONTENT_LENGTH $CONTENT_TYPE",
		"circle": "echo Location: /cgi-bin/circle; echo",
		"none":   "echo Location: /none; echo",
		"up":     "echo Location: /../etc/passwd; echo",
	})
	s.want("a file", "/cgi-bin/file", 200, "a file\n")
	s.want("a part of it", "/cgi-bin/file", 206, "a f", "Range: bytes=0-2")
	s.want("a program", "/cgi-bin/query", 200, "GET x=1\n")
	s.want("in a circle", "/cgi-bin/circle", 502, "")
	s.want("nowhere", "/cgi-bin/none", 404, "")
	s.want("upwards", "/cgi-bin/up", 404, "")
	if r := s.do("POST", "/cgi-bin/query", "body", "Content-Type: a/b"); r.body != "GET x=1\n" {
		t.Errorf("%q", r.body)
	}
	if r := s.do("HEAD", "/cgi-bin/file", ""); r.ContentLength != 7 || r.body != "" {
		t.Errorf("%v", r.Header)
	}
	s.access.await(t, `"POST /cgi-bin/query HTTP/1.1" 200`)
}

// An nph- program answers by itself, to the byte. RFC 3875 §5.
func TestNPH(t *testing.T) {
	t.Parallel()
	const raw = "HTTP/1.1 299 Mine\r\nX-Raw:  odd\r\nContent-Length: 4\r\n\r\nraw\n"
	s := cgi(t, &Config{CGITimeout: time.Second}, map[string]string{
		"nph-raw":   "cat <<'E'\n" + strings.ReplaceAll(strings.TrimSuffix(raw, "raw\n"), "\n", "\n") + "raw\nE",
		"nph-none":  "echo Content-Type: text/plain; echo",
		"nph-hangs": "sleep 1000",
		"nph-stops": "printf 'HTTP/1.1 200 OK\\r\\n\\r\\nbegun'; sleep 1000",
		"nph-post":  "printf 'HTTP/1.1 200 OK\\r\\n\\r\\n'; cat",
	})
	w := s.dial()
	w.send("GET /cgi-bin/nph-raw HTTP/1.1\r\nHost: x\r\n\r\n")
	if got, err := io.ReadAll(w.in); string(got) != raw || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	s.access.await(t, `"GET /cgi-bin/nph-raw HTTP/1.1" 299 `)
	s.want("no answer of HTTP", "/cgi-bin/nph-none", 502, "")
	s.want("it hangs", "/cgi-bin/nph-hangs", 504, "")
	w = s.dial()
	w.send("GET /cgi-bin/nph-stops HTTP/1.1\r\nHost: x\r\n\r\n")
	if got, err := io.ReadAll(w.in); !strings.HasSuffix(string(got), "\r\n\r\nbegun") {
		t.Errorf("%q, %v", got, err)
	}
	w = s.dial()
	w.send("POST /cgi-bin/nph-post HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello")
	io.ReadAll(w.in)
	eventually(t, "all have ended", func() bool { return s.Stats().CGIRunning == 0 })
}

// Over HTTP/2 programs do the same, nph- ones too.
func TestCGIOverHTTP2(t *testing.T) {
	t.Parallel()
	dir := programs(t, map[string]string{
		"nph-raw":   "printf 'HTTP/1.1 299 Mine\\r\\nContent-Type: text/x\\r\\nConnection: close\\r\\n\\r\\nraw'",
		"nph-coded": "printf 'HTTP/1.1 200 OK\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n0\\r\\n\\r\\n'",
		"stops":     "echo Content-Type: text/plain; echo; echo begun; sleep 1000",
		"https":     "echo Content-Type: text/plain; echo; echo $HTTPS $SERVER_PROTOCOL $HTTP_HOST",
	})
	s := newTLSSite(t, &Config{CGI: dir, CGIUser: nobody(), CGITimeout: time.Second})
	s.want("a program", "/cgi-bin/https", 200, "on HTTP/2.0 "+s.addr+"\n")
	if r := s.do("POST", "/cgi-bin/cat", "a body"); r.body != "a body" || r.ProtoMajor != 2 {
		t.Errorf("%s %q", r.Proto, r.body)
	}
	if r := s.want("nph-", "/cgi-bin/nph-raw", 299, "raw"); r.Header.Get("Content-Type") != "text/x" {
		t.Errorf("%v", r.Header)
	}
	s.want("nph-, coded", "/cgi-bin/nph-coded", 502, "")
	resp, err := s.browser.Get(s.url("/cgi-bin/stops"))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if rest, err := io.ReadAll(resp.Body); err == nil || string(rest) != "begun\n" {
		t.Errorf("%q, %v", rest, err)
	}
}

// Only so many run at once. E7.
func TestCGIMax(t *testing.T) {
	t.Parallel()
	s := cgi(t, &Config{CGIMax: 2}, map[string]string{"wait": "echo Content-Type: text/plain; echo; cat"})
	var busy []*wire
	for range 2 {
		w := s.dial()
		w.send("POST /cgi-bin/wait HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n")
		busy = append(busy, w)
	}
	eventually(t, "two run", func() bool { return s.Stats().CGIRunning == 2 })
	if r := s.want("a third", "/cgi-bin/hello", 503, ""); r.Header.Get("Retry-After") == "" {
		t.Errorf("%v", r.Header)
	}
	for _, w := range busy {
		w.send("hello")
		w.want("the first two", 200)
	}
	eventually(t, "both have ended", func() bool { return s.Stats().CGIRunning == 0 })
	s.want("there is room again", "/cgi-bin/hello", 200, "hello\n")
	if n := s.Stats().CGIBusy; n != 1 {
		t.Errorf("%d", n)
	}
}

// Bodies that are held in memory are bounded in number.
func TestGatheredBodiesAreBounded(t *testing.T) {
	t.Parallel()
	s := cgi(t, &Config{}, nil)
	const head = "POST /cgi-bin/cat HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n"
	for range gathersMax {
		s.dial().send(head)
	}
	eventually(t, "all are read", func() bool { return len(s.Server.cgi.gathers) == gathersMax })
	w := s.dial()
	w.send(head)
	w.want("one more", 503)
}

// held is a pipe's end that programs hold while they live; gone waits for their end.
func held(t *testing.T) (path string, gone func()) {
	t.Helper()
	dir := t.TempDir()
	os.Chmod(filepath.Dir(dir), 0o755)
	os.Chmod(dir, 0o755)
	path = filepath.Join(dir, "held")
	if err := errors.Join(syscall.Mkfifo(path, 0o666), os.Chmod(path, 0o666)); err != nil {
		t.Fatal(err)
	}
	r, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return path, func() {
		t.Helper()
		r.SetReadDeadline(time.Now().Add(patience))
		for begun := false; ; {
			n, err := r.Read(make([]byte, 100))
			begun = begun || n > 0
			switch {
			case err == io.EOF && begun:
				return
			case err != nil && err != io.EOF:
				t.Fatalf("a program is left: %v", err)
			case err == io.EOF:
				<-time.After(time.Millisecond) // it has not been opened yet
			}
		}
	}
}

// When the client has gone, the program and all that it has started are ended. So they
// are when the server is closed, and when it is shut down and they do not answer.
func TestCGIEndsWithItsClient(t *testing.T) {
	t.Parallel()
	for name, leave := range map[string]func(s *site, w *wire){
		"the client resets": func(_ *site, w *wire) {
			w.Conn.(interface{ SetLinger(int) error }).SetLinger(0)
			w.Close()
		},
		"the client closes": func(_ *site, w *wire) { w.Close() },
		"the server closes": func(s *site, _ *wire) { s.engine.Close() },
		"the server stops": func(s *site, _ *wire) {
			ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
			defer cancel()
			if err := s.engine.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
				s.t.Errorf("Shutdown: %v", err)
			}
			s.engine.Close()
		},
	} {
		for _, program := range []string{"hang", "nph-hang"} {
			t.Run(name+" "+program, func(t *testing.T) {
				t.Parallel()
				path, gone := held(t)
				s := cgi(t, &Config{}, map[string]string{
					"hang":     "exec 7>" + path + "; echo x >&7; echo Content-Type: text/plain; echo; echo begun; sleep 1000 & sleep 1000",
					"nph-hang": "exec 7>" + path + "; echo x >&7; printf 'HTTP/1.1 200 OK\\r\\n\\r\\nbegun\\n'; sleep 1000 & sleep 1000",
				})
				w := s.dial()
				w.send("GET /cgi-bin/" + program + " HTTP/1.1\r\nHost: x\r\n\r\n")
				for line := ""; !strings.HasPrefix(line, "begun"); {
					var err error
					if line, err = w.in.ReadString('\n'); err != nil {
						t.Fatal(err)
					}
				}
				leave(s, w)
				gone()
			})
		}
	}
}

// A client that has only ended its own direction, as netcat does, has its answer.
func TestCGIHalfClose(t *testing.T) {
	t.Parallel()
	s := cgi(t, &Config{}, map[string]string{"slow": "sleep 0.1; echo Content-Type: text/plain; echo; echo slow"})
	w := s.dial()
	w.send("GET /cgi-bin/slow HTTP/1.0\r\n\r\n")
	w.Conn.(interface{ CloseWrite() error }).CloseWrite()
	if r := w.want("half-close", 200); r.body != "slow\n" {
		t.Errorf("%q", r.body)
	}
}

// A program that works on when it has answered does not hold its client up, and has its
// time; Shutdown lets requests be answered and waits for no more.
func TestCGIWorksOn(t *testing.T) {
	t.Parallel()
	path, gone := held(t)
	s := cgi(t, &Config{CGITimeout: 300 * time.Millisecond}, map[string]string{
		"on": "exec 7>" + path + "; echo x >&7; echo Content-Type: text/plain; echo; echo answered; exec >&-; sleep 1000",
	})
	s.want("answered", "/cgi-bin/on", 200, "answered\n")
	if n := s.Stats().CGIRunning; n != 1 {
		t.Errorf("%d run", n)
	}
	gone()
	s.get("/cgi-bin/on")
	begun := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := s.engine.Shutdown(ctx); err != nil || time.Since(begun) > 5*time.Second {
		t.Errorf("Shutdown: %v, after %v", err, time.Since(begun))
	}
}

func TestCGIShutdownWaitsForAnswers(t *testing.T) {
	t.Parallel()
	s := cgi(t, &Config{}, map[string]string{
		"nph-slow": "printf 'HTTP/1.1 200 OK\\r\\n\\r\\nbegun\\n'; cat; sleep 0.2; echo ended",
		"slow":     "sleep 0.2; echo Content-Type: text/plain; echo; echo slow",
	})
	w, v := s.dial(), s.dial()
	w.send("GET /cgi-bin/nph-slow HTTP/1.1\r\nHost: x\r\n\r\n")
	v.send("GET /cgi-bin/slow HTTP/1.1\r\nHost: x\r\n\r\n")
	w.in.Peek(1)
	eventually(t, "both run", func() bool { return s.Stats().CGIRunning == 2 })
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	done := make(chan error)
	go func() { done <- s.engine.Shutdown(ctx) }()
	if all, err := io.ReadAll(w.in); !bytes.HasSuffix(all, []byte("begun\nended\n")) {
		t.Errorf("%q, %v", all, err)
	}
	if r := v.want("slow", 200); r.body != "slow\n" {
		t.Errorf("%q", r.body)
	}
	if err := <-done; err != nil {
		t.Errorf("Shutdown: %v", err)
	}
}

// A client that does not read what a program says is found out by the door, and the
// program ends.
func TestCGISlowReader(t *testing.T) {
	t.Parallel()
	path, gone := held(t)
	cfg := &Config{CGIUser: nobody(), CGI: programs(t, map[string]string{
		"flood": "exec 7>" + path + "; echo x >&7; echo Content-Type: text/plain; echo; exec cat /dev/zero",
	})}
	s := newSiteOn(t, cfg, &engine.Config{MinRate: 1 << 20, MinRateAfter: 100 * time.Millisecond}, false)
	w := s.dial()
	w.send("GET /cgi-bin/flood HTTP/1.1\r\nHost: x\r\n\r\n")
	gone()
	eventually(t, "it is cut", func() bool { return s.engine.Stats().Ended[engine.SlowReader] == 1 })
}

// A program in Perl with CGI.pm, as they were written, and one in Go.
func TestCGIPerl(t *testing.T) {
	t.Parallel()
	perl := yodeltest.NeedProgram(t, "perl")
	if err := exec.CommandContext(t.Context(), perl, "-MCGI", "-e", "1").Run(); err != nil {
		yodeltest.Skip(t, "CGI.pm is not installed", "make peers installs it")
	}
	dir := programs(t, nil)
	put(t, filepath.Join(dir, "form.pl"), `#!/usr/bin/perl -T
use strict; use CGI;
my $q = CGI->new;
my $cookie = $q->cookie(-name => 'seen', -value => 'yes');
print $q->header(-type => 'text/plain', -charset => 'utf-8', -cookie => $cookie, -status => '201 Created');
print $q->request_method, " ", $q->param('name'), " ", $q->url(-path_info => 1), "\n";
my $file = $q->upload('file');
if ($file) { local $/; my $text = <$file>; print length($text), " bytes\n"; }
`, 0o755)
	s := newSite(t, &Config{CGI: dir, CGIUser: nobody()})
	if r := s.get("/cgi-bin/form.pl/info?name=W%C3%BCrst"); r.StatusCode != 201 || r.body != "GET Würst "+s.url("/cgi-bin/form.pl/info")+"\n" ||
		!strings.HasPrefix(r.Header.Get("Set-Cookie"), "seen=yes") {
		t.Errorf("%s %v %q\n%s", r.Status, r.Header, r.body, s.log)
	}
	r := s.do("POST", "/cgi-bin/form.pl", "name=x%20y", "Content-Type: application/x-www-form-urlencoded")
	if r.body != "POST x y "+s.url("/cgi-bin/form.pl")+"\n" {
		t.Errorf("%s %q", r.Status, r.body)
	}
	const part = "--B\r\nContent-Disposition: form-data; name=\"%s\"%s\r\n\r\n%s\r\n"
	body := fmt.Sprintf(part, "name", "", "n") + fmt.Sprintf(part, "file", "; filename=\"f\"", strings.Repeat("x", 100_000)) + "--B--\r\n"
	r = s.do("POST", "/cgi-bin/form.pl", body, "Content-Type: multipart/form-data; boundary=B")
	if !strings.HasSuffix(r.body, "\n100000 bytes\n") {
		t.Errorf("%s %q\n%s", r.Status, r.body, s.log)
	}
}

func TestCGIGo(t *testing.T) {
	t.Parallel()
	dir := programs(t, nil)
	source := filepath.Join(t.TempDir(), "main.go")
	put(t, source, `package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/cgi"
)

func main() {
	cgi.Serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("X-From", r.RemoteAddr)
		w.WriteHeader(http.StatusAccepted)
		fmt.Fprintf(w, "%s %s %s %q", r.Method, r.Host, r.URL, body)
	}))
}
`, 0o644)
	build := exec.CommandContext(t.Context(), "go", "build", "-o", filepath.Join(dir, "program"), source)
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-buildvcs=false")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	s := newSite(t, &Config{CGI: dir, CGIUser: nobody()})
	r := s.do("POST", "/cgi-bin/program/info?a=b", "body")
	if want := "POST " + s.addr + " " + s.url("/cgi-bin/program/info?a=b") + ` "body"`; r.StatusCode != 202 || r.body != want {
		t.Errorf("%s %q, want %q", r.Status, r.body, want)
	}
}

// hellos is a folder with the programs that every folder of these tests has.
func hellos(t testing.TB) string { return programs(t, nil) }
