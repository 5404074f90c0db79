package faults

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"yodel/yodeltest"
)

// A tracer is a strace that is attached to a server.
type tracer struct {
	cmd  *exec.Cmd
	said *bytes.Buffer // what strace itself has said; to be read when it has ended

	mu    sync.Mutex
	lines []string
	grown chan struct{} // closed when lines have grown
	ended chan struct{} // closed when all lines are there
	gone  sync.Once
}

// attach makes f happen to the processes of pids from now on, and to their children. If
// only is not empty, it is the file, as /proc/PID/fd shows it, whose calls can fail.
// Without a call in f nothing fails and the calls named in watch are written down.
func attach(ctx context.Context, pids []int, f fault, only string, watch ...string) (*tracer, error) {
	args := []string{"-f", "-e", "signal=none", "-o", "/dev/fd/3"}
	if f.call != "" {
		args = append(args, "-e", "inject="+f.String())
		watch = append(watch, f.call)
	}
	args = append(args, "-e", "trace="+strings.Join(watch, ","))
	if only != "" {
		args = append(args, "-P", only)
	}
	for _, pid := range pids {
		args = append(args, "-p", strconv.Itoa(pid))
	}
	return startTracer(ctx, args, len(pids))
}

func startTracer(ctx context.Context, args []string, processes int) (*tracer, error) {
	calls, sink, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer sink.Close()
	tr := &tracer{cmd: exec.Command("strace", args...), said: new(bytes.Buffer), ended: make(chan struct{})}
	tr.cmd.ExtraFiles = []*os.File{sink}
	words, err := tr.cmd.StderrPipe()
	if err == nil {
		err = tr.cmd.Start()
	}
	if err != nil {
		calls.Close()
		return nil, err
	}
	go tr.read(calls)
	return tr, tr.awaitAttached(ctx, words, processes)
}

// awaitAttached returns when strace has said of all processes that it traces them.
func (tr *tracer) awaitAttached(ctx context.Context, words io.Reader, processes int) error {
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
		tr.detach()
		return fmt.Errorf("strace has not attached: %w", ctx.Err())
	}
}

func (tr *tracer) read(calls io.ReadCloser) {
	defer close(tr.ended)
	defer calls.Close()
	sc := bufio.NewScanner(calls)
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
func (tr *tracer) count(is func(line string) bool) (n int, grown <-chan struct{}) {
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

// injected reports whether a line of strace's is of a call that it has failed.
func injected(line string) bool { return strings.HasSuffix(line, "(INJECTED)") }

// hits returns how many calls have failed so far.
func (tr *tracer) hits() int {
	n, _ := tr.count(injected)
	return n
}

// await waits until n lines are as is wants them.
func (tr *tracer) await(ctx context.Context, n int, is func(line string) bool) error {
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

// detach lets the server go on untraced and returns when that is so. A strace that has a
// process in its hands which is just being made may wait for ever; what traces no more
// because it was killed lets go as well.
func (tr *tracer) detach() {
	tr.gone.Do(func() {
		tr.cmd.Process.Signal(unix.SIGTERM) // strace detaches, then dies of it
		late := time.AfterFunc(5*time.Second, func() { tr.cmd.Process.Kill() })
		defer late.Stop()
		<-tr.ended
		tr.cmd.Wait()
	})
}

// last returns the last lines, for a report.
func (tr *tracer) last() string {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return strings.Join(tr.lines[max(0, len(tr.lines)-40):], "\n")
}

// needTracing skips the test where strace is missing or may not trace.
func needTracing(t *testing.T) {
	t.Helper()
	yodeltest.NeedLinux(t)
	yodeltest.NeedProgram(t, "strace")
	sleeper := exec.Command("sleep", "100")
	if err := sleeper.Start(); err != nil {
		t.Fatal(err)
	}
	defer sleeper.Wait()
	defer sleeper.Process.Kill()
	tr, err := attach(t.Context(), []int{sleeper.Process.Pid}, fault{}, "", "read")
	if err != nil {
		yodeltest.Skip(t, "this user may not trace: "+err.Error(), "run it as root; in a container allow ptrace (CAP_SYS_PTRACE)")
	}
	tr.detach()
}
