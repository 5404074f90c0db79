package rio_test

import (
	"strings"
	"testing"

	"yodel/rio"
)

func TestSplit(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		data string
		max  int
		eof  bool
		n    int
		end  rio.End
	}{
		{"nothing yet", "", 8, false, 0, rio.More},
		{"nothing at all", "", 8, true, 0, rio.More},
		{"half a line", "hel", 8, false, 0, rio.More},
		{"half a line, then the end", "hel", 8, true, 3, rio.Last},
		{"a line", "hello\n", 8, false, 6, rio.Newline},
		{"the first of two", "a\nb\n", 8, false, 2, rio.Newline},
		{"an empty line", "\n", 8, false, 1, rio.Newline},
		{"a line at the end of input", "a\n", 8, true, 2, rio.Newline},
		{"the bound includes the newline", "1234567\n", 8, false, 8, rio.Newline},
		{"one byte more is long", "12345678\n", 8, false, 8, rio.Long},
		{"no need to wait at the bound", "12345678", 8, false, 8, rio.Long},
		{"nor does the end make it shorter", "12345678", 8, true, 8, rio.Long},
		{"one byte less is a last line", "1234567", 8, true, 7, rio.Last},
		{"a newline behind the bound does not count", "123456789\n", 8, true, 8, rio.Long},
		{"the least bound, a newline", "\n", 1, false, 1, rio.Newline},
		{"the least bound, a letter", "a\n", 1, false, 1, rio.Long},
		{"CR does not end a line", "a\rb", 8, false, 0, rio.More},
		{"NUL does not end a line", "a\x00\n", 8, false, 3, rio.Newline},
	} {
		n, end := rio.Split([]byte(c.data), c.max, c.eof)
		if n != c.n || end != c.end {
			t.Errorf("%s: Split(%q, %d, %t) = %d, %v; want %d, %v",
				c.name, c.data, c.max, c.eof, n, end, c.n, c.end)
		}
	}
}

func TestBoundMustBePositive(t *testing.T) {
	t.Parallel()
	for _, bound := range []int{0, -1} {
		wantPanic(t, "bound of a line", func() { rio.Split([]byte("a"), bound, false) })
		wantPanic(t, "bound of a line", func() { rio.NewReader(play(), bound, rio.SplitLong) })
		wantPanic(t, "bound of a line", func() {
			l := rio.Lines{Max: bound}
			l.Next(nil, false)
		})
	}
}

// wantPanic checks that f panics with a message that holds text.
func wantPanic(t *testing.T, text string, f func()) {
	t.Helper()
	defer func() {
		t.Helper()
		if got, _ := recover().(string); !strings.Contains(got, text) {
			t.Errorf("panic %q, want one about %q", got, text)
		}
	}()
	f()
}

func TestEndString(t *testing.T) {
	t.Parallel()
	for end, want := range map[rio.End]string{
		rio.More: "more", rio.Newline: "newline", rio.Last: "last", rio.Long: "long", 9: "end?",
	} {
		if got := end.String(); got != want {
			t.Errorf("End(%d) is %q, want %q", uint8(end), got, want)
		}
	}
}

func TestTrim(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"":         "",
		"\n":       "",
		"\r\n":     "",
		"a\n":      "a",
		"a\r\n":    "a",
		"a":        "a",
		"a\r":      "a\r",     // no newline, so no line end
		"a\r\r\n":  "a\r",     // one CR belongs to the newline
		"a\n\n":    "a\n",     // one newline
		"a\n\r\n":  "a\n",     // likewise
		" a \t\n":  " a \t",   // blanks are text
		"a\r\nb\n": "a\r\nb",  // inner ones stay
		"\r":       "\r",      // a CR alone is text
		"\x00\n":   "\x00",    // and so is NUL
		"a\u0085":  "a\u0085", // other line ends of Unicode are text
	} {
		if got := string(rio.Trim([]byte(in))); got != want {
			t.Errorf("Trim(%q) = %q, want %q", in, got, want)
		}
	}
}

// FuzzSplit takes a stream to pieces at any cuts.
func FuzzSplit(f *testing.F) {
	for i, in := range seeds {
		f.Add(in, uint16(8), seedCuts[i%len(seedCuts)])
	}
	f.Fuzz(func(t *testing.T, in string, bound uint16, cuts []byte) {
		limit := max(int(bound), 1)
		want := naiveLines(in, limit, rio.SplitLong)
		data := []byte(in)
		var got []string
		at, come := 0, 0 // data[at:come] is offered
		for i := 0; at < len(in) || come < len(in); {
			n, end := rio.Split(data[at:come], limit, come == len(in))
			checkEnd(t, in[at:come], limit, n, end)
			if end == rio.More {
				come, i = comeMore(come, len(in), cuts, i)
				continue
			}
			got = append(got, in[at:at+n])
			at += n
		}
		compare(t, "split", got, want)
	})
}

// comeMore moves come on by cuts[i], or to the end if that is all.
func comeMore(come, end int, cuts []byte, i int) (int, int) {
	if i >= len(cuts) {
		return end, i
	}
	return min(come+int(cuts[i]), end), i + 1
}

// checkEnd checks that n and end say of the same data what they should.
func checkEnd(t *testing.T, data string, limit, n int, end rio.End) {
	t.Helper()
	line := data[:n]
	newline := strings.HasSuffix(line, "\n")
	ok := false
	switch end {
	case rio.More:
		ok = n == 0 && len(data) < limit
	case rio.Newline:
		ok = newline
	case rio.Last:
		ok = n > 0 && !newline && n == len(data)
	case rio.Long:
		ok = n == limit && !newline
	}
	if !ok || n > limit {
		t.Fatalf("Split(%q, %d) = %d, %v", data, limit, n, end)
	}
}

// compare checks got line by line; what tells where in the test.
func compare(t *testing.T, what string, got, want []string) {
	t.Helper()
	for i := range max(len(got), len(want)) {
		switch {
		case i >= len(got):
			t.Fatalf("%s: line %d is missing: %q", what, i, want[i])
		case i >= len(want):
			t.Fatalf("%s: line %d is too many: %q", what, i, got[i])
		case got[i] != want[i]:
			t.Fatalf("%s: line %d is %q, want %q", what, i, got[i], want[i])
		}
	}
}
