package rio_test

import (
	"fmt"
	"io"
	"testing"
	"unsafe"

	"yodel/rio"
)

// feed runs a Lines over in as a session does, in pieces that end where cuts say,
// and returns its lines. It checks that each byte is used once.
func feed(t *testing.T, l rio.Lines, in string, cuts []byte) (lines []string) {
	t.Helper()
	data := []byte(in)
	at, come := 0, 0 // data[at:come] is offered
	for i := 0; ; {
		eof := come == len(in)
		line, used, err := l.Next(data[at:come], eof)
		if used < len(line) || used > come-at || len(line) > l.Max {
			t.Fatalf("Next(%q) with bound %d = %q, %d, %v", in[at:come], l.Max, line, used, err)
		}
		if line != nil && (err != nil || string(line) != in[at+used-len(line):at+used]) {
			t.Fatalf("Next(%q) = %q, %d, %v", in[at:come], line, used, err)
		}
		at += used
		switch {
		case line != nil:
			lines = append(lines, string(line))
		case err == rio.ErrTooLong:
			lines = append(lines, tooLong)
		case err == io.EOF && eof && at == len(in):
			return lines
		case err != nil || eof:
			t.Fatalf("Next(%q, eof %t) = nil, %d, %v", in[at-used:come], eof, used, err)
		default:
			come, i = comeMore(come, len(in), cuts, i)
		}
	}
}

func TestLines(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		in   string
		mode rio.Mode
		want []string
	}{
		{"lines as they are", "a\nbc\r\n\nd", rio.RefuseLong, []string{"a\n", "bc\r\n", "\n", "d"}},
		{"an overlong line in pieces", "12345678ab\nc\n", rio.SplitLong, []string{"12345678", "ab\n", "c\n"}},
		{"a newline alone can be a piece", "12345678\n", rio.SplitLong, []string{"12345678", "\n"}},
		{"an overlong line refused, once", "1234567890123456789012345\nc\n", rio.RefuseLong, []string{tooLong, "c\n"}},
		{"the lines around it are there", "a\nb\n123456789\nc\n", rio.RefuseLong, []string{"a\n", "b\n", tooLong, "c\n"}},
		{"two overlong lines are two errors", "123456789\n123456789\nc\n", rio.RefuseLong, []string{tooLong, tooLong, "c\n"}},
		{"an empty line behind it", "123456789\n\n", rio.RefuseLong, []string{tooLong, "\n"}},
		{"the input ends in it", "a\n123456789012", rio.RefuseLong, []string{"a\n", tooLong}},
		{"the input ends at the bound", "12345678", rio.RefuseLong, []string{tooLong}},
		{"the longest last line", "1234567", rio.RefuseLong, []string{"1234567"}},
		{"the longest line", "1234567\nc\n", rio.RefuseLong, []string{"1234567\n", "c\n"}},
	} {
		for cut := range len(c.in) + 1 {
			got := feed(t, rio.Lines{Max: 8, Mode: c.mode}, c.in, []byte{byte(cut)})
			compare(t, fmt.Sprintf("%s, cut after %d", c.name, cut), got, c.want)
		}
	}
}

func TestLinesRefusesAtTheBound(t *testing.T) {
	t.Parallel()
	l := rio.Lines{Max: 8, Mode: rio.RefuseLong}
	line, used, err := l.Next([]byte("12345678"), false)
	if line != nil || used != 8 || err != rio.ErrTooLong {
		t.Errorf("at the bound: %q, %d, %v; want the refusal without waiting for the newline", line, used, err)
	}
	for range 3 {
		line, used, err = l.Next([]byte("and on and on"), false)
		if line != nil || used != 13 || err != nil {
			t.Errorf("behind the bound: %q, %d, %v; want all of it thrown away in silence", line, used, err)
		}
	}
	line, used, err = l.Next([]byte("end\nQUIT\n"), false)
	if string(line) != "QUIT\n" || used != 9 || err != nil {
		t.Errorf("the line behind: %q, %d, %v", line, used, err)
	}
}

func TestLinesIsSmall(t *testing.T) {
	t.Parallel()
	if n := unsafe.Sizeof(rio.Lines{}); n > 16 {
		t.Errorf("a Lines takes %d bytes of each session, want at most 16", n)
	}
}

func TestLineOfLinesCannotGrowIntoTheNext(t *testing.T) {
	t.Parallel()
	data := []byte("a\nb\n")
	l := rio.Lines{Max: 8}
	line, _, _ := l.Next(data, false)
	_ = append(line, "XX"...)
	if string(data) != "a\nb\n" {
		t.Errorf("appending to a line changed the next: %q", data)
	}
}

func FuzzLines(f *testing.F) {
	for i, in := range seeds {
		for _, refuse := range []bool{false, true} {
			f.Add(in, uint16(8), refuse, seedCuts[i%len(seedCuts)])
			f.Add(in, uint16(1), refuse, []byte{1})
		}
	}
	f.Fuzz(func(t *testing.T, in string, bound uint16, refuse bool, cuts []byte) {
		l := rio.Lines{Max: max(int(bound), 1)}
		if refuse {
			l.Mode = rio.RefuseLong
		}
		compare(t, "lines", feed(t, l, in, cuts), naiveLines(in, l.Max, l.Mode))
	})
}
