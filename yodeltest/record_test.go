package yodeltest

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
)

// record is a testing.TB that notes how a test ended instead of ending this one:
// the subject of these tests is what a helper does to the test that calls it.
type record struct {
	testing.TB
	skipped, failed string
}

func (r *record) Helper() {}

func (r *record) Skipf(format string, args ...any) {
	r.skipped = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

func (r *record) Fatal(args ...any) {
	r.failed = fmt.Sprint(args...)
	runtime.Goexit()
}

func (r *record) Fatalf(format string, args ...any) {
	r.failed = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

// during runs f as a test of its own and returns how it ended.
func during(t *testing.T, f func(t testing.TB)) *record {
	t.Helper()
	r := &record{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		f(r)
	}()
	<-done
	return r
}

// wantFailure checks that f fails its test with a message that contains want.
func wantFailure(t *testing.T, want string, f func(t testing.TB)) {
	t.Helper()
	if r := during(t, f); !strings.Contains(r.failed, want) {
		t.Errorf("the test failed with %q; wanted a message that contains %q", r.failed, want)
	}
}
