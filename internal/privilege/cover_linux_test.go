package privilege

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"testing"
)

// Where statements are counted, those that children run count too. Each child leaves
// its counters in a folder of its own, which is open to all since the child may be any
// user by then; the test moves them to where package testing finds them in the end.

// childCover is the environment variable with the folder.
const childCover = "YODEL_PRIVILEGE_TEST_COVER"

func coverDir() string { return filepath.Join(scratch, "cover") }

func gatherCoverage() {
	flag.Parse()
	if testing.CoverMode() == "" {
		return
	}
	if err := errors.Join(os.Mkdir(coverDir(), 0o700), flag.Set("test.gocoverdir", coverDir())); err != nil {
		panic(err)
	}
}

// writeCoverage runs no test: the counters are written at the end of all tests, and
// there only.
func writeCoverage(m *testing.M) {
	dir := os.Getenv(childCover)
	if dir == "" {
		return
	}
	flag.Parse()
	if err := errors.Join(flag.Set("test.run", "^$"), flag.Set("test.gocoverdir", dir)); err != nil {
		panic(err)
	}
	m.Run()
}

// forCoverage makes the folder of one child, and returns what its environment needs.
func forCoverage(t *testing.T) (env []string, gather func()) {
	t.Helper()
	if testing.CoverMode() == "" {
		return nil, func() {}
	}
	dir, err := os.MkdirTemp(scratch, "child")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	return []string{childCover + "=" + dir}, func() { moveAll(t, dir, coverDir()) }
}

func moveAll(t *testing.T, from, to string) {
	t.Helper()
	files, err := os.ReadDir(from)
	if err != nil || len(files) == 0 {
		t.Errorf("the child has left no counters in %s: %v", from, err)
	}
	for _, f := range files {
		if err := os.Rename(filepath.Join(from, f.Name()), filepath.Join(to, f.Name())); err != nil {
			t.Error(err)
		}
	}
}
