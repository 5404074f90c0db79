package main

import (
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strconv"
	"strings"
)

// A minimum is what a package or a file must reach.
type minimum struct {
	pattern string
	percent float64
}

func parseMinimums(text string) ([]minimum, error) {
	var all []minimum
	for i, line := range strings.Split(text, "\n") {
		line, _, _ = strings.Cut(line, "#")
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		if len(words) != 2 {
			return nil, fmt.Errorf("line %d: %q is not a pattern and a percentage", i+1, line)
		}
		percent, err := strconv.ParseFloat(words[1], 64)
		if err != nil || !(percent >= 0 && percent <= 100) {
			return nil, fmt.Errorf("line %d: %q is not a percentage", i+1, words[1])
		}
		all = append(all, minimum{words[0], percent})
	}
	return all, nil
}

// fits reports whether m is for the package or the file of that name.
func (m minimum) fits(name string) bool {
	top, below := strings.CutSuffix(m.pattern, "...")
	if !below {
		return m.pattern == name
	}
	return !isFile(name) && strings.HasPrefix(name+"/", top)
}

func isFile(name string) bool { return path.Ext(name) == ".go" }

// A result is how a package or a file did.
type result struct {
	name       string
	statements int
	run        int
	least      float64 // percent
	missed     []block
}

// percent returns the share of statements that ran; all of none is 100.
func (r result) percent() float64 {
	if r.statements == 0 {
		return 100
	}
	return 100 * float64(r.run) / float64(r.statements)
}

func (r result) below() bool { return r.percent() < r.least }

func (r *result) add(b block) {
	r.statements += b.statements
	if b.run {
		r.run += b.statements
	} else {
		r.missed = append(r.missed, b)
	}
}

// judge returns the result of each package of the profile, and of each file that
// minimums name.
func judge(minimums []minimum, blocks []block) []result {
	var results []result
	for _, name := range names(minimums, blocks) {
		r := result{name: name, least: least(minimums, name)}
		for _, b := range blocks {
			if b.file == name || path.Dir(b.file) == name {
				r.add(b)
			}
		}
		results = append(results, r)
	}
	return results
}

// names returns all packages of the profile and all files named by minimums.
func names(minimums []minimum, blocks []block) []string {
	var all []string
	for _, b := range blocks {
		all = append(all, path.Dir(b.file))
	}
	for _, m := range minimums {
		if isFile(m.pattern) {
			all = append(all, m.pattern)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func least(minimums []minimum, name string) float64 {
	for _, m := range slices.Backward(minimums) {
		if m.fits(name) {
			return m.percent
		}
	}
	return 0
}

// report prints the results and returns an error if one is below its minimum. A
// file that has a minimum and is not there is below it too: a line that holds
// nothing any more must not look kept.
func report(w io.Writer, results []result, all bool) error {
	bad := 0
	for _, r := range results {
		if gone := isFile(r.name) && r.statements == 0; gone {
			bad++
			fmt.Fprintf(w, "%s: has a minimum, and no statements in the profile\n", r.name)
			continue
		}
		if r.below() {
			bad++
		}
		if r.below() || all {
			fmt.Fprintf(w, "%5.1f %% of %4d statements, at least %3g %%  %s\n", r.percent(), r.statements, r.least, r.name)
		}
		if r.below() {
			printMissed(w, r.missed)
		}
	}
	if bad > 0 {
		return errors.New("tests run fewer statements than they must")
	}
	return nil
}

// printMissed lists blocks that no test ran, the first few of them.
func printMissed(w io.Writer, missed []block) {
	const few = 20
	for i, b := range missed {
		if i == few {
			fmt.Fprintf(w, "      and %d places more\n", len(missed)-few)
			return
		}
		fmt.Fprintf(w, "      not run: %s:%d-%d\n", b.file, b.line, b.end)
	}
}
