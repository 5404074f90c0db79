package privilege

import (
	"os"
	"testing"
)

// childRole is the environment variable that makes this test's program play a role
// and not run tests: what is given up for good must not be the tests' own.
const childRole = "YODEL_PRIVILEGE_TEST_ROLE"

// scratch is a folder that every user may enter.
var scratch string

func TestMain(m *testing.M) {
	if role := os.Getenv(childRole); role != "" {
		status := play(role)
		writeCoverage(m)
		os.Exit(status)
	}
	var err error
	if scratch, err = os.MkdirTemp("", "yodel-privilege"); err != nil {
		panic(err)
	}
	if err := os.Chmod(scratch, 0o755); err != nil {
		panic(err)
	}
	gatherCoverage()
	status := m.Run()
	os.RemoveAll(scratch)
	os.Exit(status)
}
