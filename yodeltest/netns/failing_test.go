package netns

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"yodel/yodeltest"
)

// verdict is a test that is let fail or skip.
type verdict struct {
	testing.TB
	failed, skipped string
}

func (v *verdict) Fatalf(format string, args ...any) {
	v.failed = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

func (v *verdict) Skipf(format string, args ...any) {
	v.skipped = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

// during runs f with a test that may fail or skip without t doing so.
func during(t *testing.T, f func(testing.TB)) *verdict {
	t.Helper()
	v := &verdict{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		f(v)
	}()
	<-done
	return v
}

func TestRunFailsWithTheProgram(t *testing.T) {
	t.Parallel()
	Two(t) // skips where the next one would
	v := during(t, func(t testing.TB) {
		a, _ := Two(t)
		a.Run("sh", "-c", "echo out; echo why >&2; exit 3")
	})
	for _, part := range []string{"a.test", "status 3", "out\n", "why\n"} {
		if !strings.Contains(v.failed, part) {
			t.Errorf("Run failed with %q, which lacks %q", v.failed, part)
		}
	}
}

// What stands in for ip here answers as it does where a privilege is missing, or as
// it does where something is wrong.
func TestTwoWithoutItsMeans(t *testing.T) {
	yodeltest.NeedLinux(t)
	yodeltest.NeedRoot(t)
	t.Setenv(yodeltest.NoSkip, "0")
	fakeIP(t, `echo "mount --make-shared /run/netns failed: Operation not permitted"; exit 1`)
	if v := during(t, func(t testing.TB) { Two(t) }); !strings.Contains(v.skipped, "not permitted; run it with CAP_SYS_ADMIN") {
		t.Errorf("without the privilege: skipped %q, failed %q", v.skipped, v.failed)
	}
	fakeIP(t, `echo "No space left on device"; exit 1`)
	if v := during(t, func(t testing.TB) { Two(t) }); !strings.Contains(v.failed, "ip netns add") || !strings.Contains(v.failed, "No space") {
		t.Errorf("without space: skipped %q, failed %q", v.skipped, v.failed)
	}
	fakeIP(t, `case $1 in -n) echo "Unknown device type"; exit 1; esac`)
	if v := during(t, func(t testing.TB) { Two(t) }); !strings.Contains(v.failed, "type veth") || !strings.Contains(v.failed, "Unknown device") {
		t.Errorf("without veth: skipped %q, failed %q", v.skipped, v.failed)
	}
}

// fakeIP makes a script the ip that tests find.
func fakeIP(t *testing.T, script string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "ip"), []byte("#!/bin/sh\n"+script+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
}
