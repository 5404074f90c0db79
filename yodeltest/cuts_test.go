package yodeltest

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestCutsOfThreeBytes(t *testing.T) {
	t.Parallel()
	want := []string{
		`in one piece: ["aéb"]`,
		`byte by byte: ["a" "\xc3" "\xa9" "b"]`, // bytes, not runes
		`cut after 1 bytes: ["a" "éb"]`,
		`cut after 2 bytes: ["a\xc3" "\xa9b"]`,
		`cut after 3 bytes: ["aé" "b"]`,
		`cut after 1 and 2 bytes: ["a" "\xc3" "\xa9b"]`,
		`cut after 1 and 3 bytes: ["a" "é" "b"]`,
		`cut after 2 and 3 bytes: ["a\xc3" "\xa9" "b"]`,
	}
	var got []string
	for name, parts := range Cuts("aéb") {
		got = append(got, fmt.Sprintf("%s: %q", name, parts))
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestCutsAreAllThere(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ size, want int }{
		{0, 2},
		{1, 2},
		{2, 3},
		{PairBytes, 2 + 63 + 63*62/2},
		{PairBytes + 1, 2 + 64}, // no pairs: the number stays bounded
		{2000, 2 + 1999},
	} {
		in := strings.Repeat("x", tt.size)
		got := 0
		for name, parts := range Cuts(in) {
			got++
			if strings.Join(parts, "") != in {
				t.Fatalf("%d bytes, %s: the pieces are not the input", tt.size, name)
			}
			if tt.size > 0 && slices.Contains(parts, "") {
				t.Fatalf("%d bytes, %s: a piece is empty", tt.size, name)
			}
		}
		if got != tt.want {
			t.Errorf("%d bytes were cut in %d ways, want %d", tt.size, got, tt.want)
		}
	}
}

func TestCutsStopWhenTheLoopDoes(t *testing.T) {
	t.Parallel()
	const ways = 2 + 4 + 6 // of five bytes
	for stop := 1; stop <= ways; stop++ {
		n := 0
		for range Cuts("abcde") {
			if n++; n == stop {
				break
			}
		}
		if n != stop {
			t.Errorf("the loop went on to %d after a break at %d", n, stop)
		}
	}
}
