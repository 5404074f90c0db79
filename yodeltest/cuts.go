package yodeltest

import (
	"fmt"
	"iter"
)

// PairBytes is the length, in bytes, of the longest input for which [Cuts] yields
// every pair of cuts.
const PairBytes = 64

// Cuts yields the ways in which a network may cut in, each with a name for the
// test's message: in one piece, byte by byte, cut at every position, and cut at
// every pair of positions where in has at most [PairBytes] bytes. No piece is
// empty, unless in is.
//
//	for cut, parts := range yodeltest.Cuts(in) {
//		if got := yodeltest.Play(t, svc, parts...); got != want {
//			t.Errorf("%s:\ngot  %q\nwant %q", cut, got, want)
//		}
//	}
//
// The number of ways is the length of in, so the work is its square: an input of a
// few thousand bytes is enough to try a bound.
func Cuts(in string) iter.Seq2[string, []string] {
	return func(yield func(string, []string) bool) {
		_ = yield("in one piece", []string{in}) &&
			yield("byte by byte", singleBytes(in)) &&
			yieldCuts(in, yield) &&
			len(in) <= PairBytes && yieldPairs(in, yield)
	}
}

func singleBytes(in string) []string {
	parts := make([]string, len(in))
	for i := range parts {
		parts[i] = in[i : i+1]
	}
	return parts
}

func yieldCuts(in string, yield func(string, []string) bool) bool {
	for i := 1; i < len(in); i++ {
		if !yield(fmt.Sprintf("cut after %d bytes", i), []string{in[:i], in[i:]}) {
			return false
		}
	}
	return true
}

func yieldPairs(in string, yield func(string, []string) bool) bool {
	for i := 1; i < len(in); i++ {
		for j := i + 1; j < len(in); j++ {
			name := fmt.Sprintf("cut after %d and %d bytes", i, j)
			if !yield(name, []string{in[:i], in[i:j], in[j:]}) {
				return false
			}
		}
	}
	return true
}
