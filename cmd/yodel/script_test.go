package main

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestScripts plays the scripts of testdata/script with the real program. Beside the
// commands of testscript they have
//
//	serve NAME ARGUMENT...   runs yodel serve to the end of the script, which must end
//	                         well; $NAME is where its first service listens, $NAME_PORT
//	                         its port, and $NAME_PIN its fingerprint
//	refused NAME             makes $NAME_PORT a port at which nothing listens
//	status N PROGRAM ...     is exec, and wants exit status N
func TestScripts(t *testing.T) {
	t.Parallel()
	bin := filepath.Dir(program(t))
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			env.Setenv("PATH", bin+string(filepath.ListSeparator)+os.Getenv("PATH"))
			env.Values[testKey{}] = env.T().(testing.TB)
			env.Setenv("GORACE", os.Getenv("GORACE"))
			env.Setenv("XDG_STATE_HOME", env.WorkDir)
			captures(env)
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"serve":   scriptServe,
			"refused": scriptRefused,
			"status":  scriptStatus,
		},
		RequireUniqueNames: true,
		ContinueOnError:    true,
	})
}

// captures gives a script a capture file, $CAPTURE, and one that was cut short, $CUT.
func captures(env *testscript.Env) {
	t := env.Values[testKey{}].(testing.TB)
	whole := echoCapture(t)
	for name, content := range map[string][]byte{"CAPTURE": whole, "CUT": whole[:len(whole)-40]} {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		env.Setenv(name, path)
	}
}

// testKey is where a script keeps its test.
type testKey struct{}

// scriptServe is the command serve. A path behind unix: is one in the script's folder.
func scriptServe(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: serve NAME ARGUMENT...")
	}
	t := ts.Value(testKey{}).(testing.TB)
	name, args := args[0], args[1:]
	for i, arg := range args {
		if !strings.Contains(arg, "@unix:@") {
			args[i] = strings.Replace(arg, "@unix:", "@unix:"+ts.MkAbs(".")+"/", 1)
		}
	}
	s := serve(t, args...)
	ts.Defer(func() { s.stop(t) })
	ts.Setenv(name, s.address(0))
	ts.Setenv(name+"_PORT", s.port(0))
	ts.Setenv(name+"_PIN", s.at[0].Fingerprint)
}

func scriptRefused(ts *testscript.TestScript, _ bool, args []string) {
	ts.Setenv(args[0]+"_PORT", refusedPort(ts.Value(testKey{}).(testing.TB)))
}

// refusedPort returns a port of 127.0.0.1 at which nothing listens: a client has it,
// and nobody else gets it meanwhile.
func refusedPort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { accepted.Close() })
	_, port, _ := net.SplitHostPort(c.LocalAddr().String())
	return port
}

func scriptStatus(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	err = ts.Exec(args[1], args[2:]...)
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		got = exit.ExitCode()
	case err != nil:
		ts.Fatalf("%v", err)
	}
	if got != want {
		ts.Fatalf("exit status %d, want %d", got, want)
	}
}
