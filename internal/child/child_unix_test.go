//go:build unix

package child

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"yodel/yodeltest"
)

const patience = 20 * time.Second

// script is a program of the shell's, whose output is read.
func script(text string) *Config {
	return &Config{Path: "/bin/sh", Args: []string{"-c", text}, Env: Environ(), PipeOut: true, AllowRoot: true}
}

// started is a program under test.
type started struct {
	*Process
	t *testing.T
}

func start(t *testing.T, cfg *Config) *started {
	t.Helper()
	p, err := Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.Stop()
		if p.Out != nil {
			p.Out.Close()
		}
		<-p.Done()
	})
	if p.Out != nil {
		p.Out.SetReadDeadline(time.Now().Add(patience))
	}
	return &started{p, t}
}

// all returns the whole output, once the program has ended.
func (s *started) all() string {
	s.t.Helper()
	text, err := io.ReadAll(s.Out)
	if err != nil {
		s.t.Errorf("reading its output: %v", err)
	}
	s.over()
	return string(text)
}

// want waits for a piece of output.
func (s *started) want(text string) {
	s.t.Helper()
	got := make([]byte, len(text))
	if n, err := io.ReadFull(s.Out, got); string(got[:n]) != text {
		s.t.Fatalf("it says %q, %v; want %q", got[:n], err, text)
	}
}

// over waits for the end and returns how it came.
func (s *started) over() *os.ProcessState {
	s.t.Helper()
	select {
	case <-s.Done():
	case <-time.After(patience):
		s.t.Fatal("it does not end")
	}
	state, err := s.Wait()
	if err != nil {
		s.t.Errorf("Wait: %v", err)
	}
	return state
}

// alive returns a file for a program's descriptor 2, and a function that waits until all
// who have it are gone.
func alive(t *testing.T) (theirs *os.File, gone func()) {
	t.Helper()
	ours, theirs, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ours.Close(); theirs.Close() })
	return theirs, func() {
		t.Helper()
		theirs.Close()
		ours.SetReadDeadline(time.Now().Add(patience))
		if _, err := io.ReadAll(ours); err != nil {
			t.Errorf("somebody is left: %v", err)
		}
	}
}

func TestRun(t *testing.T) {
	t.Parallel()
	cfg := script(`cat; echo "in $(pwd)"; exit 7`)
	cfg.PipeIn = true
	p := start(t, cfg)
	if _, err := io.WriteString(p.In, "what goes in comes out\n"); err != nil {
		t.Error(err)
	}
	p.In.Close()
	if got := p.all(); got != "what goes in comes out\nin /\n" {
		t.Errorf("it says %q", got)
	}
	if got := p.over().ExitCode(); got != 7 {
		t.Errorf("it ends with %d", got)
	}
	if err := p.Signal(os.Interrupt); !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("a signal to what has ended: %v", err)
	}
}

// A program has what it is given, and nothing else: this process has more variables, and
// a descriptor that is not marked.
func TestWhatItHas(t *testing.T) {
	yodeltest.NeedLinux(t)
	t.Setenv("SECRET", "not for children")
	t.Setenv("TZ", "Europe/Vienna")
	f, err := os.Open("/")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	loose, err := syscall.Dup(int(f.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(loose)
	cfg := script(`env | grep -v '^[_P]' | sort -r; ls -m /proc/$$/fd; readlink /proc/$$/fd/0 /proc/$$/fd/2; cut -d' ' -f 5,6 /proc/$$/stat`)
	cfg.Env = Environ("GIVEN=x y")
	for _, name := range []string{"LANG", "LC_ALL", "LC_CTYPE"} {
		t.Setenv(name, "")
		os.Unsetenv(name)
	}
	cfg.Env = Environ("GIVEN=x y")
	p := start(t, cfg)
	pid := p.PID()
	want := fmt.Sprintf("TZ=Europe/Vienna\nGIVEN=x y\n0, 1, 2\n/dev/null\n/dev/null\n%d %d\n", pid, pid)
	if got := p.all(); got != want {
		t.Errorf("it has\n%s\nwant\n%s", got, want)
	}
}

func TestAnEmptyEnvironment(t *testing.T) {
	yodeltest.NeedLinux(t)
	cfg := script("tr '\\0' '\\n' </proc/$$/environ")
	cfg.Env = nil
	if got := start(t, cfg).all(); got != "" {
		t.Errorf("it has %q", got)
	}
}

// The caller's own files are the program's descriptors, and stay the caller's.
func TestGivenFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	in := filepath.Join(dir, "in")
	if err := os.WriteFile(in, []byte("from a file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := script("cat; echo to descriptor 2 >&2")
	cfg.PipeOut = false
	var err1, err2 error
	cfg.In, err1 = os.Open(in)
	cfg.Out, err2 = os.Create(filepath.Join(dir, "out"))
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	cfg.Err = cfg.Out
	p := start(t, cfg)
	if p.In != nil || p.Out != nil {
		t.Error("it has pipes")
	}
	p.over()
	if _, err := cfg.Out.Seek(0, io.SeekStart); err != nil {
		t.Error(err)
	}
	cfg.In.Close()
	cfg.Out.Close()
	if got, _ := os.ReadFile(filepath.Join(dir, "out")); string(got) != "from a file\nto descriptor 2\n" {
		t.Errorf("%q", got)
	}
}

// Stop asks first: a program may put its things in order.
func TestStopAsks(t *testing.T) {
	t.Parallel()
	p := start(t, script(`trap 'echo bye; exit 3' TERM; echo ready; while :; do sleep 0.01; done`))
	p.want("ready\n")
	p.Stop()
	p.Stop()
	if got := p.all(); got != "bye\n" {
		t.Errorf("it says %q", got)
	}
	if state := p.over(); state.ExitCode() != 3 || p.Killed() {
		t.Errorf("%v, killed: %v", state, p.Killed())
	}
}

// Who does not listen is killed, and whom he has started too.
func TestStopKills(t *testing.T) {
	t.Parallel()
	for name, grace := range map[string]time.Duration{"after a while": 30 * time.Millisecond, "at once": -1} {
		cfg := script(`trap '' TERM; sleep 1000 & echo ready; wait; sleep 1000`)
		cfg.Grace = grace
		theirs, gone := alive(t)
		cfg.Err = theirs
		ctx, cancel := context.WithCancel(t.Context())
		p, err := Start(ctx, cfg)
		if err != nil {
			t.Fatal(err)
		}
		s := &started{p, t}
		s.want("ready\n")
		cancel()
		state := s.over()
		if ws := state.Sys().(syscall.WaitStatus); ws.Signal() != syscall.SIGKILL || !p.Killed() {
			t.Errorf("%s: %v, killed: %v", name, state, p.Killed())
		}
		gone()
		p.Out.Close()
	}
}

// What a program leaves behind is killed when it has ended, whether it holds the output
// or not.
func TestNothingIsLeftOfTheGroup(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"holds the output":  "sleep 1000 & echo done",
		"has no descriptor": "sleep 1000 <&- >&- & echo done",
	} {
		cfg := script(text)
		cfg.Linger = 20 * time.Millisecond
		theirs, gone := alive(t)
		cfg.Err = theirs
		p := start(t, cfg)
		p.over()
		gone()
		if got := p.all(); got != "done\n" {
			t.Errorf("%s: %q", name, got)
		}
	}
}

// A daemon that has a session of its own can't be found, and can't hold up anything.
func TestADaemonHoldsNothingUp(t *testing.T) {
	t.Parallel()
	setsid := yodeltest.NeedProgram(t, "setsid")
	for name, linger := range map[string]time.Duration{"a while": 20 * time.Millisecond, "not at all": -1} {
		cfg := script(setsid + ` sh -c 'echo $$; exec sleep 1000' & exit 0`)
		cfg.Linger = linger
		lines := make(chan string, 10)
		cfg.Errors = func(line string) { lines <- line }
		p := start(t, cfg)
		p.over()
		var pid int
		if _, err := fmt.Fscan(p.Out, &pid); err != nil {
			if linger > 0 {
				t.Errorf("%s: %v", name, err)
			}
			continue // it was killed before it had a session
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Errorf("%s: the daemon is gone: %v", name, err)
		}
	}
}

// A shell script may have its last command write when the shell itself has ended.
func TestLateOutput(t *testing.T) {
	t.Parallel()
	cfg := script("(sleep 0.05; echo late) & echo early")
	cfg.Linger = patience
	if got := start(t, cfg).all(); got != "early\nlate\n" {
		t.Errorf("%q", got)
	}
}

func TestErrors(t *testing.T) {
	t.Parallel()
	cfg := script(`printf 'plain\n\033[2J\r\nlast' >&2; echo out`)
	var lines []string
	cfg.Errors = func(line string) { lines = append(lines, line) }
	p := start(t, cfg)
	if got := p.all(); got != "out\n" {
		t.Errorf("output %q", got)
	}
	if want := []string{"plain", `\x1b[2J`, "last"}; !slices.Equal(lines, want) {
		t.Errorf("errors %q, want %q", lines, want)
	}
}

// What is said before a program is stopped is not lost.
func TestErrorsBeforeAStop(t *testing.T) {
	t.Parallel()
	cfg := script(`trap 'echo stopped >&2; exit' TERM; echo ready; while :; do sleep 0.01; done`)
	var lines []string
	cfg.Errors = func(line string) { lines = append(lines, line) }
	p := start(t, cfg)
	p.want("ready\n")
	p.Stop()
	p.over()
	if !slices.Contains(lines, "stopped") { // dash says of its sleep that it was terminated
		t.Errorf("errors %q", lines)
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	cfg := script(`umask; ulimit -t; ulimit -n; ulimit -f; ulimit -v; ulimit -c; echo "$1"`)
	cfg.Args = append(cfg.Args, "sh", `a "b" $c; d`)
	cfg.Umask = 0o077
	cfg.Limits = Limits{CPU: 90*time.Second - 1, Files: 99, File: 1 << 20, Memory: 1 << 30}
	want := "0077\n90\n99\n2048\n1048576\n0\na \"b\" $c; d\n"
	p := start(t, cfg)
	if got := p.all(); got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestWhatCannotRun(t *testing.T) {
	t.Parallel()
	plain := filepath.Join(t.TempDir(), "plain")
	if err := os.WriteFile(plain, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	tty := &Config{Path: "/no/such", AllowRoot: true}
	if x, err := OpenTerminal(); err == nil {
		defer x.Close()
		tty.Terminal = x
	}
	for name, c := range map[string]struct {
		cfg  *Config
		want error
	}{
		"not absolute":   {&Config{Path: "sh", AllowRoot: true}, nil},
		"not there":      {&Config{Path: "/no/such", PipeIn: true, PipeOut: true, Errors: func(string) {}, AllowRoot: true}, fs.ErrNotExist},
		"not executable": {&Config{Path: plain, AllowRoot: true}, fs.ErrPermission},
		"no name":        {&Config{Path: "/bin/sh", Env: []string{"=x"}, AllowRoot: true}, nil},
		"no entry":       {&Config{Path: "/bin/sh", Env: []string{"x"}, AllowRoot: true}, nil},
		"NUL":            {&Config{Path: "/bin/sh", Env: []string{"x=\x00"}, AllowRoot: true}, nil},
		"root":           {&Config{Path: "/bin/sh", User: &User{}}, ErrRoot},
		"on a terminal":  {tty, fs.ErrNotExist},
	} {
		p, err := Start(t.Context(), c.cfg)
		if err == nil {
			t.Errorf("%s: it runs", name)
			p.Stop()
			continue
		}
		if c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRootIsRefused(t *testing.T) {
	t.Parallel()
	cfg := script("echo ran")
	cfg.AllowRoot = false
	_, err := Start(t.Context(), cfg)
	if asRoot := os.Geteuid() == 0; errors.Is(err, ErrRoot) != asRoot {
		t.Errorf("%v", err)
	}
}

func TestAnotherUser(t *testing.T) {
	t.Parallel()
	yodeltest.NeedRoot(t)
	cfg := script("id -u; id -g; id -G")
	cfg.AllowRoot = false
	cfg.User = &User{UID: 65534, GID: 65533, Groups: []uint32{65533, 65532}}
	if got := start(t, cfg).all(); got != "65534\n65533\n65533 65532\n" {
		t.Errorf("%q", got)
	}
}

// Many programs leave nothing behind in this process.
func TestNothingIsLeft(t *testing.T) {
	yodeltest.NeedLinux(t)
	run := func() {
		cfg := script("echo $$; sleep 1000 &")
		cfg.PipeIn, cfg.Errors, cfg.Linger = true, func(string) {}, time.Millisecond
		p := start(t, cfg)
		p.In.Close()
		p.Out.Close()
		p.over()
	}
	run()
	before := descriptors(t)
	for range 100 {
		run()
	}
	if after := descriptors(t); after > before {
		t.Errorf("%d descriptors, %d before", after, before)
	}
	if pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil); err != syscall.ECHILD {
		t.Errorf("there are children: %d, %v", pid, err)
	}
}

func descriptors(t *testing.T) int {
	t.Helper()
	names, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(names)
}

func TestPassLines(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", ErrorLineMax)
	for _, c := range []struct {
		name, in string
		want     int
		last     string
	}{
		{"nothing", "", 0, ""},
		{"no newline", "a", 1, "a"},
		{"an overlong line", long + "yz\n", 2, "yz"},
		{"as many as there may be", strings.Repeat("a\n", ErrorLines), ErrorLines, "a"},
		{"too many", strings.Repeat("a\n", ErrorLines+7), ErrorLines + 1, "(14 more bytes left out)"},
	} {
		var lines []string
		passLines(strings.NewReader(c.in), func(line string) { lines = append(lines, line) })
		if len(lines) != c.want || c.want > 0 && lines[len(lines)-1] != c.last {
			t.Errorf("%s: %d lines, the last %q", c.name, len(lines), lines[max(len(lines)-1, 0):])
		}
	}
}
