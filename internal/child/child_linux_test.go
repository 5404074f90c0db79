package child

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"yodel/yodeltest"
)

// asInit is set in the environment of a copy of this program that is process 1.
const asInit = "YODEL_TEST_AS_INIT"

func TestMain(m *testing.M) {
	if os.Getenv(asInit) != "" {
		orphanAsInit()
		return
	}
	os.Exit(m.Run())
}

// orphanAsInit runs a program that leaves a process behind, whose parent we are then.
func orphanAsInit() {
	cfg := script("sh -c 'sleep 1000 >&- 2>&- & exit'; echo $$")
	p, err := Start(waitForever{}, cfg)
	if err != nil {
		fmt.Println(err)
		return
	}
	io.Copy(io.Discard, p.Out)
	<-p.Done()
	_, err = unix.Wait4(-1, nil, unix.WNOHANG, nil)
	fmt.Printf("process %d: %v\n", os.Getpid(), err)
}

// waitForever is a context without an end.
type waitForever struct{}

func (waitForever) Deadline() (time.Time, bool) { return time.Time{}, false }
func (waitForever) Done() <-chan struct{}       { return nil }
func (waitForever) Err() error                  { return nil }
func (waitForever) Value(any) any               { return nil }

// Where the server is process 1, orphans are its own to wait for.
func TestOrphansOfInit(t *testing.T) {
	t.Parallel()
	yodeltest.NeedRoot(t)
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe")
	cmd.Env = append(os.Environ(), asInit+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID}
	out, err := cmd.CombinedOutput()
	if want := fmt.Sprintf("process 1: %v\n", unix.ECHILD); string(out) != want {
		t.Errorf("it says %q, %v; want %q", out, err, want)
	}
}

// Waiting for programs takes no threads.
func TestWaitingTakesNoThreads(t *testing.T) {
	before := threads(t)
	for range 60 {
		start(t, script("exec sleep 1000"))
	}
	if now := threads(t); now > before+30 {
		t.Errorf("%d threads, %d before", now, before)
	}
}

func threads(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// An old kernel has no pidfd: a thread waits there.
func TestWithoutPidfd(t *testing.T) {
	t.Parallel()
	p, e, err := launch("/bin/sh", []string{"sh", "-c", "exit 5"}, &os.ProcAttr{Sys: &syscall.SysProcAttr{}})
	if err != nil {
		t.Fatal(err)
	}
	e.pidfd.Close()
	for _, e := range []exit{e, {}} {
		e.await(p)
	}
	if err := p.Signal(syscall.Signal(0)); err != nil {
		t.Errorf("it was waited for: %v", err)
	}
	if state, err := (exit{}).reap(p); err != nil || state.ExitCode() != 5 {
		t.Errorf("%v, %v", state, err)
	}
}

// onTerminal starts a program of the shell's at a terminal.
func onTerminal(t *testing.T, text string) (*Terminal, *started) {
	t.Helper()
	tty, err := OpenTerminal()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tty.Close() })
	tty.SetDeadline(time.Now().Add(patience))
	cfg := script(text)
	cfg.PipeOut, cfg.Terminal = false, tty
	return tty, start(t, cfg)
}

func TestTerminal(t *testing.T) {
	t.Parallel()
	tty, p := onTerminal(t, `tty >/dev/null && echo a terminal; stty size; stty -echo; echo ready; read x; echo "read $x"; stty size
		trap 'echo interrupted; exit 4' INT; echo again; while :; do sleep 0.01; done`)
	want := func(text string) {
		t.Helper()
		got := make([]byte, len(text))
		if n, err := io.ReadFull(tty, got); string(got[:n]) != text {
			t.Fatalf("it says %q, %v; want %q", got[:n], err, text)
		}
	}
	want("a terminal\r\n24 80\r\nready\r\n")
	if err := tty.Resize(50, 132); err != nil {
		t.Error(err)
	}
	if _, err := io.WriteString(tty, "hello\n"); err != nil {
		t.Error(err)
	}
	want("read hello\r\n50 132\r\nagain\r\n")
	if err := tty.Signal(syscall.SIGINT); err != nil {
		t.Error(err)
	}
	var rest strings.Builder
	if _, err := io.Copy(&rest, tty); rest.String() != "interrupted\r\n" || err != nil {
		t.Errorf("at the end %q, %v", rest.String(), err)
	}
	if got := p.over().ExitCode(); got != 4 {
		t.Errorf("it ends with %d", got)
	}
}

// Each job of an interactive shell has a group of its own; they end with the session.
func TestTerminalEndsItsJobs(t *testing.T) {
	t.Parallel()
	theirs, gone := alive(t)
	tty, p := onTerminal(t, fmt.Sprintf(`set -m; trap '' HUP; sleep 1000 2>/proc/%d/fd/%d & echo ready; wait`, os.Getpid(), theirs.Fd()))
	if _, err := io.ReadFull(tty, make([]byte, len("ready\r\n"))); err != nil {
		t.Fatal(err)
	}
	p.cfg.Grace = time.Millisecond
	p.Stop()
	p.over()
	gone()
}

// A shell at a terminal does not end for SIGTERM, but does when the line is hung up.
func TestTerminalHangUp(t *testing.T) {
	t.Parallel()
	tty, p := onTerminal(t, "trap '' TERM; trap 'exit 6' HUP; echo ready; while :; do sleep 0.01; done")
	if _, err := io.ReadFull(tty, make([]byte, len("ready\r\n"))); err != nil {
		t.Fatal(err)
	}
	p.Stop()
	if got := p.over().ExitCode(); got != 6 {
		t.Errorf("it ends with %d", got)
	}
}

func TestTerminalDeadlineAndClose(t *testing.T) {
	t.Parallel()
	tty, err := OpenTerminal()
	if err != nil {
		t.Fatal(err)
	}
	tty.SetReadDeadline(time.Now().Add(time.Millisecond))
	if _, err := tty.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a deadline: %v", err)
	}
	tty.SetReadDeadline(time.Time{})
	ended := make(chan error)
	go func() {
		_, err := tty.Read(make([]byte, 1))
		ended <- err
	}()
	tty.Close()
	if err := <-ended; err == nil {
		t.Error("Close does not end Read")
	}
	if err := tty.Resize(1, 1); err == nil {
		t.Error("what is closed was resized")
	}
}

func TestParseSession(t *testing.T) {
	t.Parallel()
	for stat, want := range map[string]int{
		"12 (sh) S 1 12 34 0 -1": 34,
		"12 (a) b) R 1 12 34 0":  34,
		"12 (sh) Z 1 12 34 0":    0,
		"12 (sh) X 1 12 34 0":    0,
		"12 (sh) S 1 12":         0,
		"":                       0,
		"no parentheses at all":  0,
	} {
		if got := parseSession(stat); got != want {
			t.Errorf("parseSession(%q) = %d, want %d", stat, got, want)
		}
	}
	// 0 is right for a session whose leader is outside this PID namespace.
	if want, err := unix.Getsid(0); err != nil || sessionOf("self") != want {
		t.Errorf("this process has session %d, want %d (%v)", sessionOf("self"), want, err)
	}
	if got := sessionOf("nobody"); got != 0 {
		t.Errorf("nobody has session %d", got)
	}
}

// A program may call itself what it likes.
func FuzzParseSession(f *testing.F) {
	f.Add("sh", uint16(34))
	f.Add("a) S 1 2 3 (b", uint16(1))
	f.Fuzz(func(t *testing.T, name string, session uint16) {
		stat := fmt.Sprintf("12 (%s) S 1 12 %d 0 -1", name, session)
		if got := parseSession(stat); got != int(session) {
			t.Errorf("parseSession(%q) = %d", stat, got)
		}
		parseSession(name)
	})
}
