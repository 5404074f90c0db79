package yodeltest

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
)

// NoSkip is the environment variable that turns skipped tests into failed ones.
// It is on when it is set to anything but "" and "0".
const NoSkip = "YODEL_TEST_NO_SKIP"

// Skip skips the test and prints why and what cures it: "reason; cure". Where
// [NoSkip] is on it fails the test instead, so that a machine that is meant to run
// every test cannot leave one out unseen.
func Skip(t testing.TB, reason, cure string) {
	t.Helper()
	if v := os.Getenv(NoSkip); v != "" && v != "0" {
		t.Fatalf("%s; %s (%s forbids to skip)", reason, cure, NoSkip)
	}
	t.Skipf("%s; %s", reason, cure)
}

// NeedProgram returns the path of the program, or skips the test where it is not
// installed. The folders for system programs are searched too: they are often
// missing from the PATH of those who are not root.
func NeedProgram(t testing.TB, name string) string {
	t.Helper()
	path, ok := findProgram(name)
	if !ok {
		Skip(t, name+" is not installed", "make peers installs it")
	}
	return path
}

func findProgram(name string) (path string, ok bool) {
	if path, err := exec.LookPath(name); err == nil {
		return path, true
	}
	for _, dir := range []string{"/usr/local/sbin", "/usr/sbin", "/sbin"} {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path, true
		}
	}
	return "", false
}

// NeedNode returns the path of Node.js, and the folder in which the npm package is that
// a test wants to require (for NODE_PATH), or skips the test where one is missing. The
// packages are those of scripts/npm in the module of which the test is.
func NeedNode(t testing.TB, module string) (node, modules string) {
	t.Helper()
	node = NeedProgram(t, "node")
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	modules, ok := findModules(dir, module)
	if !ok {
		Skip(t, "npm's "+module+" is not installed", "make peers installs it")
	}
	return node, modules
}

// findModules looks for scripts/npm in dir and above it, up to the folder of go.mod.
func findModules(dir, module string) (modules string, ok bool) {
	for {
		modules = filepath.Join(dir, "scripts", "npm", "node_modules")
		if _, err := os.Stat(filepath.Join(modules, module, "package.json")); err == nil {
			return modules, true
		}
		_, err := os.Stat(filepath.Join(dir, "go.mod"))
		above := filepath.Dir(dir)
		if err == nil || above == dir {
			return "", false
		}
		dir = above
	}
}

// NeedRoot skips the test where it is not run as root.
func NeedRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 { // -1 on Windows
		Skip(t, "this test needs root", "run it as root")
	}
}

// NeedLinux skips the test where the system is not Linux.
func NeedLinux(t testing.TB) {
	t.Helper()
	if runtime.GOOS != "linux" {
		Skip(t, "this test needs Linux and runs on "+runtime.GOOS, "run it on Linux")
	}
}
