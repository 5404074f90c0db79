package programs

import (
	"context"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"yodel/yodeltest"
)

// The calls of a process that runs already fail as long as they are traced, and only about
// the files that are meant.
func TestTrace(t *testing.T) {
	t.Parallel()
	NeedTracing(t)
	for _, tt := range []struct {
		name  string
		calls Calls
		want  string // of cat, the second time it is written to
	}{
		{"watched", Calls{Watch: []string{"write"}}, "2"},
		{"failing", Calls{Fail: []string{"write:error=EIO:when=1"}}, ""},
		{"failing elsewhere", Calls{Fail: []string{"write:error=EIO"}, Watch: []string{"read"}, Paths: []string{"/no/such"}}, "2"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := startCat(t)
			c.say("1")
			tr := Trace(t, tt.calls, c.cmd.Process.Pid)
			io.WriteString(c.in, "2")
			if tt.want == "" { // cat gives up
				if err := tr.Await(t.Context(), 1, Injected); err != nil {
					t.Error(err)
				}
				if err := c.cmd.Wait(); err == nil {
					t.Error("cat has not noticed")
				}
			} else if got := c.read(); got != tt.want {
				t.Errorf("read %q, want %q", got, tt.want)
			}
			tr.Detach()
			tr.Detach()
			if got, want := tr.Failed(), 1-len(tt.want); got != want {
				t.Errorf("%d calls have failed, want %d:\n%s", got, want, tr.Last())
			}
			if watched := strings.Contains(tr.Last(), "write("); watched == (tt.name == "failing elsewhere") {
				t.Errorf("what was written down:\n%s", tr.Last())
			}
			if err := tr.Await(t.Context(), 9, Injected); err == nil || !strings.Contains(err.Error(), "ended") {
				t.Errorf("waiting for more: %v", err)
			}
			if tt.want != "" {
				c.say("3")
			}
		})
	}
}

func TestTraceNobody(t *testing.T) {
	t.Parallel()
	NeedTracing(t)
	if _, err := Attach(t.Context(), Calls{Watch: []string{"nosuchcall"}}, os.Getpid()); err == nil || !strings.Contains(err.Error(), "nosuchcall") {
		t.Errorf("a call that does not exist: %v", err)
	}
	c := startCat(t)
	ended, cancel := context.WithCancel(t.Context())
	tr, err := Attach(ended, Calls{Watch: []string{"write"}}, c.cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	defer tr.Detach()
	if cancel(); tr.Await(ended, 1, Injected) == nil {
		t.Error("waited for a call that did not come, and it came")
	}
}

func TestInjected(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]bool{
		`7 write(8, "(INJECTED)"..., 65536) = 65536`:                                          false,
		`7 write(8, "= 3"..., 65536) = -1 EAGAIN (Resource temporarily unavailable)`:          false,
		`7 write(8, "abc"..., 65536) = -1 EINTR (Interrupted system call) (INJECTED)`:         true,
		`7 accept4(7, 0x1, [112], SOCK_CLOEXEC) = -1 EMFILE (Too many open files) (INJECTED)`: true,
	} {
		if Injected(line) != want {
			t.Errorf("%v, want %v: %s", !want, want, line)
		}
	}
}

func TestCallsAreTheirOwners(t *testing.T) {
	t.Parallel()
	watch := append(make([]string, 0, 9), "read")
	c := Calls{Watch: watch, Fail: []string{"fsync:error=EIO"}, Paths: []string{"a", "b"}}
	want := []string{"-e", "inject=fsync:error=EIO", "-e", "trace=read,fsync", "-P", "a", "-P", "b"}
	if got := c.args(); !slices.Equal(got, want) || watch[:2][1] != "" {
		t.Errorf("%q, want %q", got, want)
	}
}

// cat is a process that says again what it is told.
type cat struct {
	t   *testing.T
	cmd *exec.Cmd
	in  io.WriteCloser
	out io.Reader
}

func startCat(t *testing.T) *cat {
	t.Helper()
	c := &cat{t: t, cmd: exec.Command("cat")}
	c.in, c.out = yodeltest.Start(t, c.cmd)
	t.Cleanup(func() {
		c.in.Close()
		c.cmd.Wait()
	})
	return c
}

func (c *cat) read() string {
	p := make([]byte, 10)
	n, _ := c.out.Read(p)
	return string(p[:n])
}

func (c *cat) say(s string) {
	c.t.Helper()
	io.WriteString(c.in, s)
	if got := c.read(); got != s {
		c.t.Errorf("cat says %q, want %q", got, s)
	}
}
