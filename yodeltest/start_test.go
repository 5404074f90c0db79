package yodeltest

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"testing"
)

func TestStart(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "-test.run=^TestChildOfStart$")
	cmd.Env = append(os.Environ(), "YODELTEST_CHILD=1")
	in, out := Start(t, cmd)
	io.WriteString(in, "hello")
	in.Close()
	if got, err := io.ReadAll(out); !bytes.HasPrefix(got, []byte("hello")) || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	wantFailure(t, "already set", func(t testing.TB) {
		Start(t, &exec.Cmd{Path: self, Stdin: os.Stdin})
	})
}

// TestChildOfStart is the program of TestStart.
func TestChildOfStart(*testing.T) {
	if os.Getenv("YODELTEST_CHILD") != "" {
		io.Copy(os.Stdout, os.Stdin)
	}
}
