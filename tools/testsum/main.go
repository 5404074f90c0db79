// Testsum reads what `go test -json` prints and tells it to people: a line for
// each package, the whole output of what failed, each skipped test with its
// reason, and at the end which packages took longest, and how many tests passed,
// failed and were skipped.
//
// Usage:
//
//	go test -json ./... | testsum [-no-skip]
//
// It exits with status 1 if a test failed, if no test ran, or, with -no-skip, if
// one was skipped.
package main

import (
	"flag"
	"fmt"
	"os"
)

func main() {
	noSkip := flag.Bool("no-skip", false, "a skipped test is a failure")
	flag.Parse()
	var s summary
	if err := s.read(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "testsum:", err)
		os.Exit(1)
	}
	s.close(os.Stdout)
	if err := s.verdict(*noSkip); err != nil {
		fmt.Fprintln(os.Stderr, "testsum:", err)
		os.Exit(1)
	}
}
