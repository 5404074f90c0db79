package echotest

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// A result is what a program leaves that has ended.
type result struct {
	out, err string
	status   int
}

// run runs a program to its end, with in to read.
func run(t *testing.T, cmd *exec.Cmd, in string) result {
	t.Helper()
	d := talk(t, cmd)
	go func() {
		io.WriteString(d.in, in)
		d.in.Close()
	}()
	return d.end()
}

// A dialogue is with a program that runs, through its standard input and output.
type dialogue struct {
	t      *testing.T
	cmd    *exec.Cmd
	in     io.WriteCloser
	out    *os.File
	heard  strings.Builder // all of it
	at     int             // heard[:at] was waited for
	stderr strings.Builder
}

// talk starts a program and a dialogue with it.
func talk(t *testing.T, cmd *exec.Cmd) *dialogue {
	t.Helper()
	d := &dialogue{t: t, cmd: cmd}
	out, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { out.Close() })
	defer w.Close()
	d.out = out
	cmd.Stdout, cmd.Stderr = w, &d.stderr
	if d.in, err = cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	out.SetReadDeadline(time.Now().Add(patience))
	return d
}

// say types text.
func (d *dialogue) say(text string) {
	d.t.Helper()
	if _, err := io.WriteString(d.in, text); err != nil {
		d.t.Fatalf("%s reads no more: %v", d.cmd.Path, err)
	}
}

// hear reads until the program has said text, behind what was heard before.
func (d *dialogue) hear(text string) {
	d.t.Helper()
	buf := make([]byte, 4096)
	for {
		if at := strings.Index(d.heard.String()[d.at:], text); at >= 0 {
			d.at += at + len(text)
			return
		}
		n, err := d.out.Read(buf)
		d.heard.Write(buf[:n])
		if err != nil && n == 0 {
			d.t.Fatalf("%s was to say %q and has said %q: %v", d.cmd.Path, text, d.heard.String()[d.at:], err)
		}
	}
}

// end waits for the program to end by itself.
func (d *dialogue) end() result {
	d.t.Helper()
	if _, err := io.Copy(&d.heard, d.out); err != nil {
		d.t.Fatalf("%s does not end: %v; it has said %q", d.cmd.Path, err, d.heard.String())
	}
	err := d.cmd.Wait()
	if _, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
		d.t.Fatal(err)
	}
	return result{d.heard.String(), d.stderr.String(), d.cmd.ProcessState.ExitCode()}
}
