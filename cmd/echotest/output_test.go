package echotest

import (
	"bufio"
	"os"
	"testing"
	"time"
)

// output is what a program writes, line by line as it comes.
type output struct {
	t     *testing.T
	of    string
	from  *os.File
	lines chan string // without their newline; closed at the end
}

// capture returns a file for a program to write to, and what it writes there. The file
// is to be closed once the program has it.
func capture(t *testing.T, of string) (*os.File, *output) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	o := &output{t: t, of: of, from: r, lines: make(chan string, 10_000)}
	t.Cleanup(func() { r.Close() })
	go func() {
		defer close(o.lines)
		for s := bufio.NewScanner(r); s.Scan(); {
			o.lines <- s.Text()
		}
	}()
	return w, o
}

// next returns the next line, or false at the end.
func (o *output) next() (line string, ok bool) {
	o.t.Helper()
	select {
	case line, ok = <-o.lines:
	case <-time.After(patience):
		o.t.Fatalf("no line from %s in %v", o.of, patience)
	}
	return line, ok
}

// want fails the test unless these are the next lines.
func (o *output) want(why string, lines ...string) {
	o.t.Helper()
	for _, want := range lines {
		if got, ok := o.next(); got != want || !ok {
			o.t.Fatalf("%s in %s:\ngot  %q\nwant %q", why, o.of, got, want)
		}
	}
}

// wantNone fails the test if a line has come.
func (o *output) wantNone(why string) {
	o.t.Helper()
	select {
	case line, ok := <-o.lines:
		if ok {
			o.t.Fatalf("%s in %s, but %q", why, o.of, line)
		}
	default:
	}
}

// rest returns what comes until the end.
func (o *output) rest() (lines []string) {
	o.t.Helper()
	for line, ok := o.next(); ok; line, ok = o.next() {
		lines = append(lines, line)
	}
	return lines
}
