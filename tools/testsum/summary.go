package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// An event is a line of `go test -json`; `go doc test2json` describes it.
type event struct {
	Action     string
	Package    string
	ImportPath string // of build-output, in place of Package
	Test       string // empty: the event is of the package
	Output     string
	Elapsed    float64 // seconds, at the end
}

// A test is named by its package and its own name; one without a name stands for
// what the package prints outside its tests.
type test struct{ pkg, name string }

// slowest is how many packages are named that took longest, if there are more.
const slowest = 10

// A skip is a test that did not run, and why.
type skip struct {
	test
	reason string
}

// A summary is what has been heard so far. The zero value has heard nothing.
type summary struct {
	passed, failed int
	skipped        []skip
	output         map[test]*strings.Builder // of tests that are not over
	bad            map[string]bool           // packages with a failed test
	took           []pkgTime                 // of packages that have ended
}

// A pkgTime is how many seconds the tests of a package took.
type pkgTime struct {
	pkg     string
	seconds float64
}

// read takes in all events of r and writes to w what people want to see at once.
func (s *summary) read(r io.Reader, w io.Writer) error {
	s.output = make(map[test]*strings.Builder)
	s.bad = make(map[string]bool)
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadString('\n')
		if line != "" {
			s.line(line, w)
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read the tests' output: %w", err)
		}
	}
}

func (s *summary) line(line string, w io.Writer) {
	var e event
	if json.Unmarshal([]byte(line), &e) != nil {
		fmt.Fprint(w, line) // the go command's own words
		return
	}
	s.event(e, w)
}

func (s *summary) event(e event, w io.Writer) {
	t := test{e.Package, e.Test}
	if t.name == "" && e.Elapsed > 0 {
		s.took = append(s.took, pkgTime{t.pkg, e.Elapsed})
	}
	switch e.Action {
	case "build-output":
		fmt.Fprint(w, e.Output)
	case "output":
		s.keep(t, e.Output, w)
	case "pass", "skip", "fail":
		s.end(t, e.Action, w)
	}
}

// keep stores a line of output until it is known whether anyone wants it. The
// line that sums up a package is wanted in any case.
func (s *summary) keep(t test, line string, w io.Writer) {
	switch {
	case t.name != "" && strings.HasPrefix(line, "=== "):
		return // "=== RUN" and its like
	case t.name == "" && (line == "PASS\n" || line == "FAIL\n" || strings.HasPrefix(line, "coverage: ")):
		return // the package's line says so too
	case t.name == "" && sumsUp(t.pkg, line):
		fmt.Fprint(w, line)
		return
	}
	if s.output[t] == nil {
		s.output[t] = new(strings.Builder)
	}
	s.output[t].WriteString(line)
}

// sumsUp reports whether line is the go command's verdict on a package that did
// not fail; one without tests has no word in front.
func sumsUp(pkg, line string) bool {
	word, rest, _ := strings.Cut(line, "\t")
	return strings.HasPrefix(rest, pkg) && (word == "ok  " || word == "?   " || word == "")
}

func (s *summary) end(t test, action string, w io.Writer) {
	switch {
	case action == "fail" && t.name == "":
		s.endPackage(t.pkg, w)
	case action == "fail":
		s.fail(t, w)
	case t.name == "": // a package that passed
		s.take(t)
	case action == "pass":
		s.passed++
		s.take(t)
	default:
		s.skip(t, reason(s.take(t)))
	}
}

func (s *summary) fail(t test, w io.Writer) {
	s.failed++
	s.bad[t.pkg] = true
	fmt.Fprint(w, s.take(t))
}

// endPackage prints what is left of a package that failed: the output of tests
// that a panic or the time-out cut off, then the package's own. A package that
// fails without a failing test (it does not build, its TestMain gives up) counts
// as one.
func (s *summary) endPackage(pkg string, w io.Writer) {
	for _, t := range s.unfinished(pkg) {
		s.fail(t, w)
	}
	own := test{pkg: pkg}
	if !s.bad[pkg] {
		s.fail(own, w)
		return
	}
	fmt.Fprint(w, s.take(own))
}

// unfinished returns the tests of pkg that printed something and did not end.
func (s *summary) unfinished(pkg string) []test {
	var left []test
	for t := range s.output {
		if t.pkg == pkg && t.name != "" {
			left = append(left, t)
		}
	}
	slices.SortFunc(left, func(a, b test) int { return strings.Compare(a.name, b.name) })
	return left
}

// take returns the output of a test and forgets it.
func (s *summary) take(t test) string {
	b := s.output[t]
	delete(s.output, t)
	if b == nil {
		return ""
	}
	return b.String()
}

// skip notes a skipped test. An input that a fuzz target has no use for is none.
func (s *summary) skip(t test, reason string) {
	if strings.HasPrefix(t.name, "Fuzz") && strings.Contains(t.name, "/") {
		return
	}
	s.skipped = append(s.skipped, skip{t, reason})
}

// reason returns what a skipped test printed, on one line.
func reason(output string) string {
	var said []string
	for line := range strings.Lines(output) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "--- ") {
			said = append(said, line)
		}
	}
	return strings.Join(said, " ")
}

// close prints the skipped tests, the packages that took longest, and the sums.
func (s *summary) close(w io.Writer) {
	for _, k := range s.skipped {
		fmt.Fprintf(w, "skipped: %s %s: %s\n", k.pkg, k.name, k.reason)
	}
	slices.SortStableFunc(s.took, func(a, b pkgTime) int { return cmp.Compare(b.seconds, a.seconds) })
	if len(s.took) > slowest {
		fmt.Fprintln(w, "longest:")
		for _, p := range s.took[:slowest] {
			fmt.Fprintf(w, "%8.1f s  %s\n", p.seconds, p.pkg)
		}
	}
	fmt.Fprintf(w, "%d passed, %d failed, %d skipped\n", s.passed, s.failed, len(s.skipped))
}

// verdict returns why the run as a whole is not good; nil if it is.
func (s *summary) verdict(noSkip bool) error {
	switch {
	case s.failed > 0:
		return fmt.Errorf("%d failed", s.failed)
	case s.passed == 0:
		return errors.New("no test ran")
	case noSkip && len(s.skipped) > 0:
		return fmt.Errorf("%d skipped where nothing may be", len(s.skipped))
	}
	return nil
}
