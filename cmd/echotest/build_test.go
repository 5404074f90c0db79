package echotest

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	// The programs import these. So does this test, for the go command to see that its
	// result is stale when they change.
	_ "yodel/engine/goroutine"
	_ "yodel/engine/iterative"
	_ "yodel/service/small"
)

// patience is how long anything may take that must come. It is never waited out where
// all is well.
const patience = 60 * time.Second

// The lecture's programs.
const (
	iterative  = "echoserveri"
	concurrent = "echoserver"
	client     = "echoclient"
)

var servers = []string{iterative, concurrent}

// folder is where the programs are built, by the first test that runs one.
var folder string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "echotest")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	folder = dir
	status := m.Run()
	os.RemoveAll(dir)
	os.Exit(status)
}

var build = sync.OnceValue(func() error {
	// Without what debuggers need they are linked in half the time.
	args := []string{"build", "-buildvcs=false", "-ldflags=-s -w", raceFlag, "-o", folder + string(filepath.Separator)}
	for _, name := range append([]string{client}, servers...) {
		args = append(args, "yodel/cmd/"+name)
	}
	if out, err := exec.Command("go", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return nil
})

// program returns the path of one of the lecture's programs.
func program(t *testing.T, name string) string {
	t.Helper()
	if err := build(); err != nil {
		t.Fatal(err)
	}
	if runtime.GOOS == "windows" {
		name += ".exe"
	}
	return filepath.Join(folder, name)
}

// command returns a program of this host that is killed when the test ends.
func command(t *testing.T, path string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), path, args...)
	cmd.Env = environment()
	cmd.WaitDelay = time.Second
	return cmd
}

// environment is this process's own. The race detector keeps a program for a second
// after its end, unless it is told.
func environment() []string { return append(os.Environ(), "GORACE=atexit_sleep_ms=0") }

// The lecture's programs are to be read in a minute. (That this test reads them has
// another use: the go command knows then that a result is stale when they change.)
func TestProgramsAreShort(t *testing.T) {
	t.Parallel()
	for _, name := range append([]string{client}, servers...) {
		source, err := os.ReadFile(filepath.Join("..", name, "main.go"))
		if err != nil {
			t.Fatal(err)
		}
		if lines := bytes.Count(source, []byte("\n")); lines >= 60 {
			t.Errorf("%s has %d lines, want fewer than 60", name, lines)
		}
	}
}
