package escape_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"yodel/internal/escape"
)

var cases = []struct{ name, in, want string }{
	{"empty", "", ""},
	{"plain ASCII stays", `GET /~droh?a="b" HTTP/1.0`, `GET /~droh?a="b" HTTP/1.0`},
	{"printable UTF-8 stays", "Grüße, ıstanbul, 日本語, 😀, e\u0301", "Grüße, ıstanbul, 日本語, 😀, e\u0301"},
	{"CR and LF cannot forge a log line", "hi\r\nlevel=info", `hi\r\nlevel=info`},
	{"NUL", "a\x00b", `a\x00b`},
	{"ESC cannot drive the terminal", "\x1b]0;owned\a", `\x1b]0;owned\a`},
	{"the one-letter escapes", "\a\b\t\n\v\f\r\\", `\a\b\t\n\v\f\r\\`},
	{"the first and last of C0", "\x01\x1f", `\x01\x1f`},
	{"DEL", "\x7f", `\x7f`},
	{"C1 as UTF-8: CSI, and NEL, which ends a line", "\u009b31m\u0085", `\u009b31m\u0085`},
	{"C1 as a bare byte", "\x9b31m", `\x9b31m`},
	{"backslash, so that it can be undone", `\n`, `\\n`},
	{"bidi override", "exe\u202egpj", `exe\u202egpj`},
	{"bidi isolate and marks", "\u2066\u2069\u200e\u061c", `\u2066\u2069\u200e\u061c`},
	{"zero width, byte order mark, soft hyphen", "a\u200bb\u200d\ufeff\u00ad", `a\u200bb\u200d\ufeff\u00ad`},
	{"line and paragraph separators", "\u2028\u2029", `\u2028\u2029`},
	{"spaces that are no U+0020", "\u00a0\u3000", `\u00a0\u3000`},
	{"variation selectors can carry hidden text", "a\ufe0f\U000e0100", `a\ufe0f\U000e0100`},
	{"tags and fillers", "\U000e0041\u3164\u034f", `\U000e0041\u3164\u034f`},
	{"private use and noncharacters", "\ue000\uffff\U0010ffff", `\ue000\uffff\U0010ffff`},
	{"invalid UTF-8", "\xff\xc3(", `\xff\xc3(`},
	{"a surrogate is three invalid bytes", "\xed\xa0\x80", `\xed\xa0\x80`},
	{"an overlong slash", "\xc0\xaf", `\xc0\xaf`},
	{"a character cut short", "\xe6\x97", `\xe6\x97`},
	{"U+FFFD itself is no invalid byte", "\ufffd", "\ufffd"},
}

func TestString(t *testing.T) {
	t.Parallel()
	for _, c := range cases {
		if got := escape.String(c.in); got != c.want {
			t.Errorf("%s: String(%q) = %s, want %s", c.name, c.in, got, c.want)
		}
	}
}

func TestAppendKeepsWhatIsThere(t *testing.T) {
	t.Parallel()
	for _, c := range cases {
		if got := string(escape.Append([]byte("\x1b"), []byte(c.in))); got != "\x1b"+c.want {
			t.Errorf("%s: Append(ESC, %q) = %q, want %q", c.name, c.in, got, "\x1b"+c.want)
		}
	}
}

func TestStringN(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, in string
		max      int
		want     string
	}{
		{"what fits stays whole", "hello", 5, "hello"},
		{"what fits after escaping stays whole", "a\n", 3, `a\n`},
		{"one byte too many", "hello", 4, "hell…"},
		{"an escape is not cut in two", "a\x1bb", 4, "a…"},
		{"a character is not cut in two", "a日", 3, "a…"},
		{"the last character fits as it is and not escaped", "ab\n", 3, "ab…"},
		{"nothing fits", "hello", 0, "…"},
		{"a negative bound is none", "hello", -1, "…"},
		{"nothing to show", "", 0, ""},
		{"nothing to show, negative bound", "", -1, ""},
	} {
		if got := escape.StringN(c.in, c.max); got != c.want {
			t.Errorf("%s: StringN(%q, %d) = %q, want %q", c.name, c.in, c.max, got, c.want)
		}
	}
}

// TestCodePoints asks the Unicode tables, not the code, what must not pass.
func TestCodePoints(t *testing.T) {
	t.Parallel()
	var all []byte
	for r := range unicode.MaxRune + 1 {
		if !dense(r) && r%61 != 0 {
			continue // ideographs, unassigned and private code points: a sample
		}
		in := string(r) // a surrogate becomes U+FFFD, which is visible
		got := escape.String(in)
		if utf8.ValidRune(r) && unsafeToShow(r) == (got == in) {
			t.Errorf("String(%U) = %s", r, got)
		}
		all = append(all, in...)
	}
	if unescape(t, escape.String(string(all))) != string(all) {
		t.Errorf("all code points, escaped and undone, are not what they were")
	}
}

// dense reports whether r is where kinds of code points change from one to the next.
func dense(r rune) bool {
	return r < 0x3400 || 0xf000 <= r && r < 0x10400 || 0xe0000 <= r && r < 0xe0200
}

func TestCleanTextCostsNothing(t *testing.T) {
	s := strings.Repeat("Grüße, 日本語 ", 100)
	var sink string
	if n := testing.AllocsPerRun(100, func() { sink = escape.String(s) }); n != 0 {
		t.Errorf("String of clean text: %v allocations, want 0", n)
	}
	if n := testing.AllocsPerRun(100, func() { sink = escape.StringN(s, len(s)) }); n != 0 {
		t.Errorf("StringN of clean text: %v allocations, want 0", n)
	}
	if sink != s {
		t.Errorf("clean text changed")
	}
	dst, src := make([]byte, 0, 4096), []byte("hi\x1b[31m\xff\n")
	if n := testing.AllocsPerRun(100, func() { dst = escape.Append(dst[:0], src) }); n != 0 {
		t.Errorf("Append into a buffer with room: %v allocations, want 0", n)
	}
}

func TestStringNLooksNoFurther(t *testing.T) {
	long := strings.Repeat("\x1b", 1<<20)
	var got string
	n := testing.AllocsPerRun(10, func() { got = escape.StringN(long, 64) })
	if want := strings.Repeat(`\x1b`, 16) + "…"; got != want {
		t.Errorf("StringN = %q, want %q", got, want)
	}
	if n > 8 { // growing to 64 bytes, not to 4 MiB
		t.Errorf("StringN of 1 MiB cut at 64: %v allocations", n)
	}
}

func FuzzEscape(f *testing.F) {
	for _, c := range cases {
		f.Add([]byte(c.in), 7)
	}
	f.Fuzz(func(t *testing.T, in []byte, limit int) {
		s := string(in)
		out := escape.String(s)
		checkSafe(t, out)
		if back := unescape(t, out); back != s {
			t.Errorf("undone: %q, want %q", back, s)
		}
		if got := string(escape.Append(nil, in)); got != out {
			t.Errorf("Append gives %q and String %q", got, out)
		}
		if string(in) != s {
			t.Errorf("Append changed its input")
		}
		if n := len(out); n > 4*len(s) {
			t.Errorf("%d bytes became %d", len(s), n)
		}
		checkCut(t, s, out, limit)
	})
}

// checkCut checks StringN against the whole escaped form.
func checkCut(t *testing.T, s, whole string, limit int) {
	t.Helper()
	got := escape.StringN(s, limit)
	if len(whole) <= limit || whole == "" {
		if got != whole {
			t.Errorf("StringN(%q, %d) = %q, but all of %q fits", s, limit, got, whole)
		}
		return
	}
	head, cut := strings.CutSuffix(got, "…")
	if !cut || !strings.HasPrefix(whole, head) || len(head) > max(limit, 0) || len(head)+10 <= limit {
		t.Errorf("StringN(%q, %d) = %q, of %q", s, limit, got, whole)
	}
	checkSafe(t, got)
	if back := unescape(t, head); !strings.HasPrefix(s, back) {
		t.Errorf("StringN(%q, %d) undone is %q", s, limit, back)
	}
}

func checkSafe(t *testing.T, s string) {
	t.Helper()
	if !utf8.ValidString(s) {
		t.Errorf("%q is not valid UTF-8", s)
	}
	for _, r := range s {
		if r != '\\' && unsafeToShow(r) {
			t.Errorf("%q holds %U", s, r)
		}
	}
}

// unsafeToShow says it by category, apart from the code under test.
func unsafeToShow(r rune) bool {
	switch {
	case r == ' ':
		return false
	case r == '\\':
		return true
	case unicode.In(r, unicode.Variation_Selector, unicode.Other_Default_Ignorable_Code_Point):
		return true
	}
	return !unicode.In(r, unicode.L, unicode.M, unicode.N, unicode.P, unicode.S)
}

// unescape undoes the escapes with the Go compiler's own rules. Quotes, which
// escape leaves alone, get their backslash first.
func unescape(t *testing.T, s string) string {
	t.Helper()
	back, err := strconv.Unquote(`"` + strings.ReplaceAll(s, `"`, `\"`) + `"`)
	if err != nil {
		t.Errorf("cannot undo %q: %v", s, err)
	}
	return back
}

func BenchmarkString(b *testing.B) {
	for _, s := range []string{"GET / HTTP/1.0 from 128.2.194.242", "Grüße, 日本語 und mehr", "hi there\r\n"} {
		b.Run(fmt.Sprintf("%q", s), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				escape.String(s)
			}
		})
	}
}

func ExampleString() {
	fmt.Println(escape.String("hi there\r\n\x1b[2J\u202e\xff"))
	// Output: hi there\r\n\x1b[2J\u202e\xff
}
