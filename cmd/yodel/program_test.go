package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"yodel/engine/process"
	"yodel/sock"
	"yodel/yodeltest"
)

// patience bounds each wait of a test. It is long: a machine may be busy.
const patience = 60 * time.Second

// folder is where the program under test is built, and where it keeps its state.
var folder string

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

// talkerVar is in the environment of a copy of the test's program that only makes
// connections, as another user.
const talkerVar = "YODEL_TALKER"

func testMain(m *testing.M) int {
	if os.Getenv(talkerVar) != "" {
		return playTalker()
	}
	process.Main(makeInChild)                      // servers inside the test's process have children too
	if len(os.Args) > 1 && os.Args[1] == "serve" { // the demo of these tests has started us as its server
		main()
	}
	dir, err := os.MkdirTemp("", "yodel-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	folder = dir
	os.Setenv("XDG_STATE_HOME", dir)          // what a person has typed is none of ours
	os.Setenv("GORACE", "atexit_sleep_ms=10") // else each program waits a second at its end
	for _, pair := range os.Environ() {
		if name, _, _ := strings.Cut(pair, "="); strings.HasPrefix(name, "YODEL_") && name != yodeltest.NoSkip {
			os.Unsetenv(name)
		}
	}
	return m.Run()
}

// build builds the real program and returns its path. It is as it is released, without cgo
// and the race detector: with that each start takes a tenth of a second of a core.
var build = sync.OnceValues(func() (string, error) { return buildTo("yodel", "CGO_ENABLED=0") })

// buildRacing builds the program with the race detector.
var buildRacing = sync.OnceValues(func() (string, error) {
	return buildTo(filepath.Join("racing", "yodel"), "CGO_ENABLED=1", "-race")
})

// buildTo builds the program in a folder that only has programs, with cgo or without.
func buildTo(name, cgo string, flags ...string) (string, error) {
	path := filepath.Join(folder, "bin", name)
	args := append([]string{"build", "-buildvcs=false", "-o", path, "-ldflags=-s -w -X main.version=v0.0.0-test"}, flags...)
	cmd := exec.Command("go", append(args, ".")...)
	cmd.Env = append(os.Environ(), cgo)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return path, nil
}

func raceDetector() bool {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return false
	}
	for _, s := range info.Settings {
		if s.Key == "-race" {
			return s.Value == "true"
		}
	}
	return false
}

// program returns the path of the program under test.
func program(t testing.TB) string {
	t.Helper()
	path, err := build()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// racing returns the path of the program with the race detector, if the tests have it: for
// what has many goroutines that share something, as servers and load have.
func racing(t testing.TB) string {
	t.Helper()
	if !raceDetector() {
		return program(t)
	}
	path, err := buildRacing()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// within returns a context that ends with the test, its cleanup included, or when
// patience does.
func within(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// result is what a program has done.
type result struct {
	status   int // -1: ended by a signal
	out, err string
}

// runProgram runs a program to its end.
func runProgram(t testing.TB, stdin io.Reader, name string, args ...string) result {
	t.Helper()
	cmd := exec.CommandContext(within(t), name, args...)
	cmd.WaitDelay = time.Second
	var out, errOut bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, &out, &errOut
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("%s %q: %v", name, args, err)
	}
	return result{cmd.ProcessState.ExitCode(), out.String(), errOut.String()}
}

// runYodel runs yodel to its end with stdin as its input.
func runYodel(t testing.TB, stdin string, args ...string) result {
	t.Helper()
	return runProgram(t, strings.NewReader(stdin), program(t), args...)
}

// wantStatus fails the test if r is not what a program with that status has said.
func wantStatus(t testing.TB, r result, status int, stderr ...string) {
	t.Helper()
	if r.status != status {
		t.Errorf("exit status %d, want %d\nstdout %q\nstderr %q", r.status, status, r.out, r.err)
	}
	for _, want := range stderr {
		if !strings.Contains(r.err, want) {
			t.Errorf("stderr has no %q:\n%s", want, r.err)
		}
	}
}

// transcript keeps what a program prints, and lets a test wait for it.
type transcript struct {
	mu    sync.Mutex
	text  []byte
	grown chan struct{} // closed when text has grown
}

// Write implements io.Writer.
func (tr *transcript) Write(p []byte) (int, error) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.text = append(tr.text, p...)
	if tr.grown != nil {
		close(tr.grown)
		tr.grown = nil
	}
	return len(p), nil
}

func (tr *transcript) String() string {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return string(tr.text)
}

// match returns the first match of re and its groups, or a channel that is closed when
// there is more text.
func (tr *transcript) match(re *regexp.Regexp) ([]string, <-chan struct{}) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	if m := re.FindStringSubmatch(string(tr.text)); m != nil {
		return m, nil
	}
	if tr.grown == nil {
		tr.grown = make(chan struct{})
	}
	return nil, tr.grown
}

// started is a program under way.
type started struct {
	cmd      *exec.Cmd
	in       io.WriteCloser
	out, err transcript
	ended    chan struct{} // closed when the program has ended
}

// start starts a program. It is killed at the end of the test, if it has not ended.
func start(t testing.TB, name string, args ...string) *started {
	t.Helper()
	return startWith(t, nil, name, args...)
}

// startWith is start with more environment.
func startWith(t testing.TB, env []string, name string, args ...string) *started {
	t.Helper()
	p := &started{cmd: command(name, args...)}
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.err
	p.begin(t)
	return p
}

// command is exec.Command for begin.
func command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.WaitDelay = time.Second
	return cmd
}

// begin starts p.cmd, and has its standard input.
func (p *started) begin(t testing.TB) {
	t.Helper()
	var err error
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	p.run(t)
}

// run starts p.cmd, whose standard input is set. It is killed at the end of the test, if it
// has not ended.
func (p *started) run(t testing.TB) {
	t.Helper()
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p.ended = make(chan struct{})
	go func() {
		p.cmd.Wait()
		close(p.ended)
	}()
	t.Cleanup(func() {
		p.cmd.Process.Kill()
		<-p.ended
	})
}

// await waits until something in tr, the program's stdout or stderr, matches pattern, and
// returns the match and its groups.
func (p *started) await(t testing.TB, tr *transcript, pattern string) []string {
	t.Helper()
	re := regexp.MustCompile(pattern)
	late := time.NewTimer(patience)
	defer late.Stop()
	for {
		m, grown := tr.match(re)
		if m != nil {
			return m
		}
		select {
		case <-grown:
		case <-p.ended: // and all that it has said is there
			if m, _ := tr.match(re); m != nil {
				return m
			}
			t.Fatalf("%v ended, and never said /%s/\nstdout:\n%s\nstderr:\n%s", p.cmd, pattern, &p.out, &p.err)
		case <-late.C:
			t.Fatalf("%v has not said /%s/ within %v\nstdout:\n%s\nstderr:\n%s", p.cmd, pattern, patience, &p.out, &p.err)
		}
	}
}

// say writes to the program's input.
func (p *started) say(t testing.TB, text string) {
	t.Helper()
	if _, err := io.WriteString(p.in, text); err != nil {
		t.Fatal(err)
	}
}

// signal sends a signal.
func (p *started) signal(t testing.TB, s os.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// wait waits for the program's end and returns its exit status, -1 if a signal has
// ended it.
func (p *started) wait(t testing.TB) int {
	t.Helper()
	select {
	case <-p.ended:
	case <-time.After(patience):
		t.Fatalf("it did not end within %v\nstdout:\n%s\nstderr:\n%s", patience, &p.out, &p.err)
	}
	return p.cmd.ProcessState.ExitCode()
}

// running is a "yodel serve --json" under way.
type running struct {
	*started
	at []listening // a row for each service, in their order
}

// serve starts yodel serve --json with args, flags as --name=value, and waits until it
// listens. At the end of the test it must end as it should.
func serve(t testing.TB, args ...string) *running {
	t.Helper()
	return serveWith(t, nil, args...)
}

func serveWith(t testing.TB, env []string, args ...string) *running {
	t.Helper()
	s := &running{started: startWith(t, env, racing(t), append([]string{"serve", "--json"}, args...)...)}
	t.Cleanup(func() { s.stop(t) })
	for _, arg := range args {
		if !strings.HasPrefix(arg, "-") {
			s.at = append(s.at, s.listens(t, len(s.at)))
		}
	}
	return s
}

// listens waits for line n, from 0, of stdout, which says what is bound.
func (s *running) listens(t testing.TB, n int) listening {
	t.Helper()
	line := s.await(t, &s.out, `^(?:.*\n){`+strconv.Itoa(n)+`}(.*)\n`)[1]
	var l listening
	if err := json.Unmarshal([]byte(line), &l); err != nil || l.Type != "listening" {
		t.Fatalf("yodel serve said %q (%v)\nstderr:\n%s", line, err, &s.err)
	}
	return l
}

// stop stops the server, if it was not stopped, and wants it to end well.
func (s *running) stop(t testing.TB) {
	t.Helper()
	select {
	case <-s.ended:
		return
	default:
	}
	s.signal(t, syscall.SIGTERM)
	if status := s.wait(t); status != 0 {
		t.Errorf("yodel serve ended with status %d\nstderr:\n%s", status, &s.err)
	}
}

// address returns where service n listens, as call takes it.
func (s *running) address(n int) string {
	return sock.Address{
		Network: s.at[n].Network, Host: hostOf(s.at[n]), Port: s.at[n].Port, Path: s.at[n].Path,
	}.String()
}

// hostOf returns the host that is bound, a loopback address if all of them are.
func hostOf(l listening) string {
	host, _, _ := net.SplitHostPort(l.Address)
	return cmp.Or(host, "127.0.0.1")
}

// port returns the port of service n.
func (s *running) port(n int) string { return strconv.Itoa(int(s.at[n].Port)) }
