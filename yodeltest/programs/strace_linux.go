package programs

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"yodel/yodeltest"
)

// Calls are the system calls of other processes that a test has in its hands, by strace(1).
type Calls struct {
	// Fail are the calls that fail, and how, as strace's inject= takes them, for example
	// "write:error=EIO:when=2".
	Fail []string

	// Watch names calls that are written down and do not fail for that.
	Watch []string

	// Paths are the only files about which calls count, as the process names them or as
	// /proc/PID/fd shows them. None: calls about any file, and those about none.
	Paths []string
}

func (c Calls) args() []string {
	names := slices.Clone(c.Watch)
	var args []string
	for _, inject := range c.Fail {
		name, _, _ := strings.Cut(inject, ":")
		names = append(names, name)
		args = append(args, "-e", "inject="+inject)
	}
	args = append(args, "-e", "trace="+strings.Join(names, ","))
	for _, path := range c.Paths {
		args = append(args, "-P", path)
	}
	return args
}

// A Tracer is a strace that is attached to processes.
type Tracer struct {
	cmd  *exec.Cmd
	said *bytes.Buffer // what strace itself has said; to be read when it has ended

	mu    sync.Mutex
	lines []string
	grown chan struct{} // closed when lines have grown
	ended chan struct{} // closed when all lines are there
	gone  sync.Once
}

// Trace is [Attach] for a test, which ends here if strace does not attach. What is still
// traced when the test ends is let go then.
func Trace(t testing.TB, calls Calls, pids ...int) *Tracer {
	t.Helper()
	tr, err := Attach(t.Context(), calls, pids...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(tr.Detach)
	return tr
}

// Attach makes calls happen to the processes from now on, and to their children. It waits
// for strace until ctx is done.
func Attach(ctx context.Context, calls Calls, pids ...int) (*Tracer, error) {
	args := append([]string{"-f", "-e", "signal=none", "-o", "/dev/fd/3"}, calls.args()...)
	for _, pid := range pids {
		args = append(args, "-p", strconv.Itoa(pid))
	}
	lines, sink, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer sink.Close()
	tr := &Tracer{cmd: exec.Command("strace", args...), said: new(bytes.Buffer), ended: make(chan struct{})}
	tr.cmd.ExtraFiles = []*os.File{sink}
	words, err := tr.cmd.StderrPipe()
	if err == nil {
		err = tr.cmd.Start()
	}
	if err != nil {
		lines.Close()
		return nil, err
	}
	go tr.read(lines)
	return tr, tr.awaitAttached(ctx, words, len(pids))
}

// awaitAttached returns when strace has said of all processes that it traces them.
func (tr *Tracer) awaitAttached(ctx context.Context, words io.Reader, processes int) error {
	all := make(chan bool, 1)
	go func() {
		sc := bufio.NewScanner(words)
		for sc.Scan() {
			fmt.Fprintln(tr.said, sc.Text())
			if strings.Contains(sc.Text(), " attached") {
				if processes--; processes == 0 {
					all <- true
				}
			}
		}
		close(all)
	}()
	select {
	case ok := <-all:
		if ok {
			return nil
		}
		tr.cmd.Wait()
		return fmt.Errorf("strace has not attached: %s", bytes.TrimSpace(tr.said.Bytes()))
	case <-ctx.Done():
		tr.Detach()
		return fmt.Errorf("strace has not attached: %w", ctx.Err())
	}
}

func (tr *Tracer) read(lines io.ReadCloser) {
	defer close(tr.ended)
	defer lines.Close()
	sc := bufio.NewScanner(lines)
	for sc.Scan() {
		tr.mu.Lock()
		tr.lines = append(tr.lines, sc.Text())
		if tr.grown != nil {
			close(tr.grown)
			tr.grown = nil
		}
		tr.mu.Unlock()
	}
}

// count returns how many lines are as is wants them, and a channel that is closed when
// there are more lines.
func (tr *Tracer) count(is func(line string) bool) (n int, grown <-chan struct{}) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	for _, line := range tr.lines {
		if is(line) {
			n++
		}
	}
	if tr.grown == nil {
		tr.grown = make(chan struct{})
	}
	return n, tr.grown
}

// Injected reports whether a line of strace's is of a call that it has failed.
func Injected(line string) bool { return strings.HasSuffix(line, "(INJECTED)") }

// Failed returns how many calls have failed so far; after [Tracer.Detach], of all.
func (tr *Tracer) Failed() int {
	n, _ := tr.count(Injected)
	return n
}

// Await waits until n lines are as is wants them, at the longest until ctx is done or
// strace has ended.
func (tr *Tracer) Await(ctx context.Context, n int, is func(line string) bool) error {
	for {
		got, grown := tr.count(is)
		if got >= n {
			return nil
		}
		select {
		case <-grown:
		case <-tr.ended:
			if got, _ = tr.count(is); got < n {
				return fmt.Errorf("strace has ended with %d of %d calls", got, n)
			}
		case <-ctx.Done():
			return fmt.Errorf("%d of %d calls came: %w", got, n, ctx.Err())
		}
	}
}

// Detach lets the processes go on untraced and returns when that is so. A strace that has
// a process in its hands which is just being made may wait for ever; what traces no more
// because it was killed lets go as well. A second Detach does nothing.
func (tr *Tracer) Detach() {
	tr.gone.Do(func() {
		tr.cmd.Process.Signal(syscall.SIGTERM) // strace detaches, then dies of it
		late := time.AfterFunc(5*time.Second, func() { tr.cmd.Process.Kill() })
		defer late.Stop()
		<-tr.ended
		tr.cmd.Wait()
	})
}

// Last returns the last lines, for a report.
func (tr *Tracer) Last() string {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return strings.Join(tr.lines[max(0, len(tr.lines)-40):], "\n")
}

// NeedTracing skips the test where strace is missing or may not trace.
func NeedTracing(t testing.TB) {
	t.Helper()
	yodeltest.NeedProgram(t, "strace")
	sleeper := exec.Command("sleep", "100")
	if err := sleeper.Start(); err != nil {
		t.Fatal(err)
	}
	defer sleeper.Wait()
	defer sleeper.Process.Kill()
	tr, err := Attach(t.Context(), Calls{Watch: []string{"read"}}, sleeper.Process.Pid)
	if err != nil {
		yodeltest.Skip(t, "this user may not trace: "+err.Error(), "run it as root; in a container allow ptrace (CAP_SYS_PTRACE)")
	}
	tr.Detach()
}
