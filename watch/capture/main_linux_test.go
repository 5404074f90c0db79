package capture

import (
	"os"
	"testing"
)

// playVar names what a copy of the test's program does instead of testing.
const playVar = "YODEL_CAPTURE_TEST_ROLE"

// scratch is a folder for the whole run, which all users may read; "" until it is needed.
var scratch string

func TestMain(m *testing.M) {
	switch os.Getenv(playVar) {
	case "user":
		os.Exit(playUser())
	case "writer":
		os.Exit(playWriter())
	case "capture":
		os.Exit(playCapture())
	}
	code := m.Run()
	if scratch != "" {
		os.RemoveAll(scratch)
	}
	os.Exit(code)
}
