// Coverage holds a coverage profile against a list of minimums, and says which
// statements no test runs where there are too many of them.
//
// Usage:
//
//	coverage [-all] MINIMUMS PROFILE
//
// MINIMUMS is a file of lines: a pattern and the least share of statements, in
// percent, that tests must run. A pattern is a package; a package and "/...", for
// all that is below it; or a file of a package, which is then held against its
// minimum by itself as well. The last line that fits a package counts. "#" starts
// a comment.
//
// With -all each package is shown, not only those below their minimum. The exit
// status is 1 if there is one below.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
)

func main() {
	all := flag.Bool("all", false, "show each package")
	flag.Parse()
	if flag.NArg() != 2 {
		fmt.Fprintln(os.Stderr, "usage: coverage [-all] MINIMUMS PROFILE")
		os.Exit(2)
	}
	if err := run(os.Stdout, flag.Arg(0), flag.Arg(1), *all); err != nil {
		fmt.Fprintln(os.Stderr, "coverage:", err)
		os.Exit(1)
	}
}

// run prints the result to w. Its error says that something is below its minimum,
// or that a file could not be used.
func run(w io.Writer, minimumsFile, profileFile string, all bool) error {
	text, err := os.ReadFile(minimumsFile)
	if err != nil {
		return err
	}
	minimums, err := parseMinimums(string(text))
	if err != nil {
		return fmt.Errorf("%s: %w", minimumsFile, err)
	}
	text, err = os.ReadFile(profileFile)
	if err != nil {
		return err
	}
	blocks, err := parseProfile(string(text))
	if err != nil {
		return fmt.Errorf("%s: %w", profileFile, err)
	}
	return report(w, judge(minimums, blocks), all)
}
