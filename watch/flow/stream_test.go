package flow_test

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"yodel/watch/flow"
)

// collector puts together what a Stream hands out, and checks that it is in order.
type collector struct {
	t      rapid.TB
	next   int64
	data   []byte // zeros in gaps
	gaps   []string
	missed int64
}

func (c *collector) out(p flow.Piece) {
	c.t.Helper()
	if p.Offset != c.next {
		c.t.Fatalf("a piece at %d, after %d", p.Offset, c.next)
	}
	if (len(p.Data) > 0) == (p.Missing > 0) {
		c.t.Fatalf("a piece with %d bytes, and %d missing", len(p.Data), p.Missing)
	}
	if p.Missing > 0 {
		c.gaps = append(c.gaps, fmt.Sprintf("%d+%d", p.Offset, p.Missing))
		c.missed += p.Missing
	}
	c.next += int64(len(p.Data)) + p.Missing
	c.data = append(append(c.data, p.Data...), make([]byte, p.Missing)...)
}

// content is a stream that has no period.
func content(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(1 + (i*i+i/7)%255) // never zero, which is a gap here
	}
	return b
}

// Any segmentation, duplication and reordering of a stream gives the stream back, as
// long as no more waits than the window holds.
func TestStreamGivesTheStreamBack(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		whole := content(rapid.IntRange(1, 1000).Draw(t, "length"))
		var s flow.Stream
		c := &collector{t: t}
		for _, seg := range segments(t, len(whole)) {
			s.Add(int64(seg[0]), whole[seg[0]:seg[1]], c.out)
		}
		if !bytes.Equal(c.data, whole) || s.Held() != 0 || s.Next() != int64(len(whole)) || s.Conflicts != 0 || s.Late != 0 {
			t.Fatalf("%d of %d bytes, %d held, gaps %v, %d conflicts", len(c.data), len(whole), s.Held(), c.gaps, s.Conflicts)
		}
	})
}

// segments draws pieces of n bytes that together are all of them: cut anywhere, some sent
// twice or with other borders, in any order.
func segments(t *rapid.T, n int) [][2]int {
	var all [][2]int
	for at := 0; at < n; {
		end := min(n, at+rapid.IntRange(1, 200).Draw(t, "size"))
		all = append(all, [2]int{at, end})
		at = end
	}
	for range rapid.IntRange(0, 5).Draw(t, "more") {
		from := rapid.IntRange(0, n-1).Draw(t, "from")
		all = append(all, [2]int{from, rapid.IntRange(from, n).Draw(t, "to")})
	}
	return rapid.Permutation(all).Draw(t, "order")
}

// Whatever is missing is named, exactly, and nothing is put in its place.
func TestStreamNamesTheGaps(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		whole := content(rapid.IntRange(1, 1000).Draw(t, "length"))
		lost := rapid.SliceOfN(rapid.IntRange(0, 9), 1, 50).Draw(t, "lost")
		s := flow.Stream{Window: rapid.SampledFrom([]int{0, 1, 500, 4000}).Draw(t, "window")}
		c := &collector{t: t}
		want := make([]byte, len(whole))
		for i, seg := range segments(t, len(whole)) {
			if lost[i%len(lost)] == 0 {
				continue
			}
			copy(want[seg[0]:seg[1]], whole[seg[0]:seg[1]])
			s.Add(int64(seg[0]), whole[seg[0]:seg[1]], c.out)
			if s.Held() > max(s.Window, 1<<20) || s.Window > 0 && s.Held() > s.Window {
				t.Fatalf("%d bytes are held", s.Held())
			}
		}
		s.Flush(c.out)
		missing := bytes.Count(c.data, []byte{0})
		if int64(missing) != c.missed {
			t.Fatalf("%d bytes are missing, and gaps of %d are named", missing, c.missed)
		}
		for i, b := range c.data {
			if b != 0 && b != whole[i] {
				t.Fatalf("byte %d is %d, and was %d", i, b, whole[i])
			}
		}
		// What was not handed out came late, after its gap was.
		came := len(want) - bytes.Count(want, []byte{0})
		if got := len(c.data) - missing; got > came || int64(came-got) > s.Late {
			t.Fatalf("%d bytes came, %d were handed out, %d late", came, got, s.Late)
		}
	})
}

func TestStreamSkip(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		add  []int64 // places of two bytes
		skip int64
		data string
		gaps string
		next int64
	}{
		{"nothing waits", nil, 5, "\x00\x00\x00\x00\x00", "[0+5]", 5},
		{"a gap before what waits", []int64{4}, 4, "\x00\x00\x00\x00ab", "[0+4]", 6},
		{"to the middle of what waits", []int64{4}, 5, "\x00\x00\x00\x00ab", "[0+4]", 6},
		{"over two gaps, into a third", []int64{2, 6}, 9, "\x00\x00ab\x00\x00ab\x00", "[0+2 4+2 8+1]", 9},
		{"to before what waits", []int64{4}, 2, "\x00\x00", "[0+2]", 2},
		{"to what was handed out", []int64{0}, 1, "ab", "[]", 2},
	} {
		var s flow.Stream
		col := &collector{t: t}
		for _, at := range c.add {
			s.Add(at, []byte("ab"), col.out)
		}
		s.Skip(c.skip, col.out)
		if string(col.data) != c.data || fmt.Sprint(col.gaps) != c.gaps || s.Next() != c.next {
			t.Errorf("%s: %q, gaps %v, next %d; want %q, %s, %d", c.name, col.data, col.gaps, s.Next(), c.data, c.gaps, c.next)
		}
	}
}

// What comes first counts. A copy that says otherwise is counted while it can be seen.
func TestStreamConflicts(t *testing.T) {
	t.Parallel()
	var s flow.Stream
	c := &collector{t: t}
	s.Add(2, []byte("CD"), c.out)
	s.Add(1, []byte("bxde"), c.out) // overlaps at both sides, and in the middle differs
	s.Add(3, []byte("D"), c.out)    // the same
	s.Add(0, []byte("ab"), c.out)
	if string(c.data) != "abCDe" || s.Conflicts != 1 {
		t.Errorf("%q, %d conflicts", c.data, s.Conflicts)
	}
	s.Add(7, []byte("h"), c.out)
	s.Flush(c.out)
	s.Add(5, []byte("fgh"), c.out) // after its gap was handed out
	if s.Late != 2 || string(c.data) != "abCDe\x00\x00h" {
		t.Errorf("%d late, %q", s.Late, c.data)
	}
	for i := range int64(40) { // more gaps than are remembered
		s.Add(100+2*i, []byte("x"), c.out)
	}
	s.Flush(c.out)
	s.Add(8, make([]byte, 200), c.out)
	if s.Late < 16 {
		t.Errorf("%d late", s.Late)
	}
}

// A great many small pieces are few.
func TestStreamIsBoundedInPieces(t *testing.T) {
	t.Parallel()
	var s flow.Stream
	c := &collector{t: t}
	for i := range int64(6_000) {
		s.Add(2+2*i, []byte("x"), c.out)
		if s.Held() > flow.DefaultWindow {
			t.Fatalf("%d bytes are held", s.Held())
		}
	}
	if len(c.gaps) < 1_500 || slices.Contains(c.data, 'y') {
		t.Errorf("%d gaps", len(c.gaps))
	}
}
