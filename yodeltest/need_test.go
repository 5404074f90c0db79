package yodeltest

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

const missing = "no-such-program-anywhere"

func TestSkipGivesReasonAndCure(t *testing.T) {
	for _, off := range []string{"", "0"} {
		t.Setenv(NoSkip, off)
		r := during(t, func(t testing.TB) { NeedProgram(t, missing) })
		want := missing + " is not installed; make peers installs it"
		if r.skipped != want || r.failed != "" {
			t.Errorf("with %s=%q: skipped %q, failed %q; wanted skipped %q", NoSkip, off, r.skipped, r.failed, want)
		}
	}
}

func TestSkipFailsWhereSkippingIsForbidden(t *testing.T) {
	for _, on := range []string{"1", "true"} {
		t.Setenv(NoSkip, on)
		r := during(t, func(t testing.TB) { NeedProgram(t, missing) })
		if r.skipped != "" || !strings.Contains(r.failed, "make peers installs it") {
			t.Errorf("with %s=%q: skipped %q, failed %q; wanted a failure with the cure", NoSkip, on, r.skipped, r.failed)
		}
	}
}

func TestNeedProgramFindsIt(t *testing.T) {
	if runtime.GOOS == "windows" {
		Skip(t, "this test makes a Unix executable", "run it elsewhere than on Windows")
	}
	dir := t.TempDir()
	program := filepath.Join(dir, "a-program")
	if err := os.WriteFile(program, []byte("#!/bin/sh\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir)
	if got := NeedProgram(t, "a-program"); got != program {
		t.Errorf("NeedProgram = %q, want %q", got, program)
	}
}

func TestNeedProgramLooksIntoSystemFolders(t *testing.T) {
	const name = "ldconfig" // on any Linux with a C library, in /sbin or /usr/sbin
	t.Setenv("PATH", t.TempDir())
	found := false
	for _, dir := range []string{"/usr/local/sbin", "/usr/sbin", "/sbin"} {
		_, err := os.Stat(filepath.Join(dir, name))
		found = found || err == nil
	}
	if _, ok := findProgram(name); ok != found {
		t.Errorf("findProgram(%q) found it: %v, and it is there: %v", name, ok, found)
	}
}

func TestNeedNode(t *testing.T) {
	if runtime.GOOS == "windows" {
		Skip(t, "this test makes a Unix executable", "run it elsewhere than on Windows")
	}
	dir := t.TempDir()
	for name, mode := range map[string]os.FileMode{"node": 0o700, "m/go.mod": 0o600, "m/a/b/x": 0o600, "m/scripts/npm/node_modules/a-client/package.json": 0o600} {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte("#!/bin/sh\n"), mode)); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir)
	t.Setenv(NoSkip, "0")
	t.Chdir(filepath.Join(dir, "m/a/b"))
	node, modules := NeedNode(t, "a-client")
	if rest, err := filepath.Rel(dir, modules); node != filepath.Join(dir, "node") || filepath.ToSlash(rest) != "m/scripts/npm/node_modules" {
		t.Errorf("NeedNode = %q, %q, %v", node, modules, err)
	}
	for _, name := range []string{missing, "../../x"} {
		r := during(t, func(t testing.TB) { NeedNode(t, name) })
		if !strings.HasSuffix(r.skipped, "is not installed; make peers installs it") {
			t.Errorf("%q: skipped %q, failed %q", name, r.skipped, r.failed)
		}
	}
	if modules, ok := findModules("/", "a-client"); ok {
		t.Errorf("above all there is %s", modules)
	}
}

func TestNeedRoot(t *testing.T) {
	t.Setenv(NoSkip, "0")
	r := during(t, func(t testing.TB) { NeedRoot(t) })
	if wasRoot := r.skipped == ""; wasRoot != (os.Geteuid() == 0) {
		t.Errorf("user %d: skipped %q", os.Geteuid(), r.skipped)
	}
}

func TestNeedLinux(t *testing.T) {
	t.Setenv(NoSkip, "0")
	r := during(t, func(t testing.TB) { NeedLinux(t) })
	if ran := r.skipped == ""; ran != (runtime.GOOS == "linux") {
		t.Errorf("on %s: skipped %q", runtime.GOOS, r.skipped)
	}
}
