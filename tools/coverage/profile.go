package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// A block is a run of statements that are run all or none.
type block struct {
	file       string // import path of its package, a slash, the file's name
	line, end  int    // the lines where it starts and ends
	statements int
	run        bool
}

// parseProfile reads what `go test -coverprofile` writes. A block that several
// test programs report is run if one of them ran it.
func parseProfile(text string) ([]block, error) {
	merged := make(map[string]block)
	for i, line := range strings.Split(strings.TrimSpace(text), "\n") {
		if strings.HasPrefix(line, "mode: ") {
			continue
		}
		where, b, err := parseBlock(line)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", i+1, err)
		}
		b.run = b.run || merged[where].run
		merged[where] = b
	}
	return slices.SortedFunc(maps.Values(merged), func(a, b block) int {
		return cmp.Or(strings.Compare(a.file, b.file), a.line-b.line, a.end-b.end)
	}), nil
}

// parseBlock reads for example "yodel/rio/split.go:12.30,14.3 2 1": the place, the
// number of statements, and how often they ran.
func parseBlock(line string) (where string, b block, err error) {
	words := strings.Fields(line)
	if len(words) != 3 {
		return "", block{}, fmt.Errorf("%q is not a place and two numbers", line)
	}
	colon := strings.LastIndexByte(words[0], ':')
	var startCol, endCol int
	_, err = fmt.Sscanf(words[0][colon+1:], "%d.%d,%d.%d", &b.line, &startCol, &b.end, &endCol)
	if err != nil || colon < 0 {
		return "", block{}, fmt.Errorf("%q is not a file and two positions", words[0])
	}
	b.file = words[0][:colon]
	b.statements, err = strconv.Atoi(words[1])
	if err != nil {
		return "", block{}, err
	}
	b.run = words[2] != "0"
	return words[0], b, nil
}
