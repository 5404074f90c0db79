// Package libtest proves that the public packages can be taken as a library: it
// builds and runs a program that is in a module of its own, outside the repository.
package libtest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	// The program imports these. So does this test, for the go command to see that
	// its result is stale when they change.
	_ "yodel/rio"
	_ "yodel/sock"
	_ "yodel/trace"
)

func TestProgramOutside(t *testing.T) {
	t.Parallel()
	dir := outsideModule(t)
	out := goCommand(t, dir, "run", "-mod=mod", ".")
	line, calls, _ := strings.Cut(out, "\n")
	if line != "hello there" {
		t.Errorf("the line came back as %q", line)
	}
	for _, op := range []string{"socket", "bind", "listen", "accept", "connect"} {
		if !strings.Contains(calls, " "+op) {
			t.Errorf("no %s among the %q", op, calls)
		}
	}
}

// What a program gets with these packages is in its go.mod then: only modules that
// they import, and none that serves the commands or the tests of this one.
func TestModulesThatComeAlong(t *testing.T) {
	t.Parallel()
	dir := outsideModule(t)
	deps := goCommand(t, dir, "list", "-mod=mod", "-deps", "-f", "{{with .Module}}{{.Path}}{{end}}", ".")
	for module := range strings.FieldsSeq(deps) {
		switch {
		case module == "yodel", module == "example.org/outside", strings.HasPrefix(module, "golang.org/x/"):
		case module == "github.com/pires/go-proxyproto", module == "github.com/coreos/go-systemd/v22": // sock: the PROXY protocol, socket activation
		default:
			t.Errorf("%s comes along with rio, sock and trace", module)
		}
	}
}

// outsideModule returns the folder of a module that reaches this one by a replace
// directive, which is the way until this one has a home to be fetched from.
func outsideModule(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("testdata/outside")); err != nil {
		t.Fatal(err)
	}
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	sums, err := os.ReadFile(filepath.Join(root, "go.sum"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "go.sum"), sums, 0o644); err != nil {
		t.Fatal(err)
	}
	goCommand(t, dir, "mod", "init", "example.org/outside")
	goCommand(t, dir, "mod", "edit", "-go=1.26.0", "-require=yodel@v0.0.0", "-replace=yodel="+root)
	return dir
}

// goCommand runs the go command in dir and returns its standard output. It fetches
// nothing: the modules that this one needs are there, since this test was built.
func goCommand(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := exec.Command("go", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOPROXY=off", "GOFLAGS=-buildvcs=false", "GOWORK=off")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, &stderr)
	}
	return string(out)
}
