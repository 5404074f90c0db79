package call

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func TestParseScript(t *testing.T) {
	t.Parallel()
	s, err := ParseScript("talk", strings.NewReader(`# a comment

timeout 2s # for the first two
  send "one\r\n"
expect/^220 /# close by
timeout 0
`+"next `raw \\n` # and a comment\r\n"+`timeout 1.5h
expect "a # is no comment here" # but here
next /a\/b"/
expect eof
next eof#
close
send "no newline at the end"`))
	if err != nil {
		t.Fatal(err)
	}
	want := []step{
		{line: 4, text: `send "one\r\n"`, timeout: 2 * time.Second},
		{line: 5, text: `expect/^220 /`, timeout: 2 * time.Second},
		{line: 7, text: "next `raw \\n`", timeout: -1},
		{line: 9, text: `expect "a # is no comment here"`, timeout: 90 * time.Minute},
		{line: 10, text: `next /a\/b"/`, timeout: 90 * time.Minute},
		{line: 11, text: `expect eof`, timeout: 90 * time.Minute},
		{line: 12, text: `next eof`, timeout: 90 * time.Minute},
		{line: 13, text: `close`, timeout: 90 * time.Minute},
		{line: 14, text: `send "no newline at the end"`, timeout: 90 * time.Minute},
	}
	if len(s.steps) != len(want) {
		t.Fatalf("%d steps, want %d", len(s.steps), len(want))
	}
	for i, w := range want {
		got := s.steps[i]
		if got.line != w.line || got.text != w.text || got.timeout != w.timeout || got.file != "talk" || got.do == nil {
			t.Errorf("step %d: %d %q %v, want %d %q %v", i, got.line, got.text, got.timeout, w.line, w.text, w.timeout)
		}
	}
}

func TestParseScriptMistakes(t *testing.T) {
	t.Parallel()
	const notString = " is not a string: its closing quote is missing, or a backslash in it begins no escape (write two)"
	const notPattern = " is not a pattern; write a \"string\", a /regexp/ or eof"
	const notDuration = " is not a duration; write for example 500ms or 10s, or 0 for ever"
	const unknown = "; write send, expect, next, close or timeout"
	tests := []struct{ script, want string }{
		{`hello`, "1: unknown step `hello`" + unknown},
		{`"hello"`, "1: unknown step ``" + unknown},
		{`send`, `1: here a "string" in quotes is needed`},
		{`send hello`, `1: here a "string" in quotes is needed`},
		{`send ""`, `1: the string is empty`},
		{`send "a`, "1: `\"a`" + notString},
		{`send "\d"`, "1: `\"\\d\"`" + notString},
		{`send "` + strings.Repeat("y", 99), "1: `\"" + strings.Repeat("y", 63) + "…`" + notString},
		{`send "a" "b"`, "1: `\"b\"` is too much here; one step a line"},
		{`expect`, "1: ``" + notPattern},
		{`expect end`, "1: `end`" + notPattern},
		{`expect /a`, "1: `/a` has no closing slash"},
		{`expect /a\/`, "1: `/a\\/` has no closing slash"},
		{`expect /(/`, "1: `(` is not a regular expression: error parsing regexp: missing closing ): `(`"},
		{`next ""`, `1: the string is empty`},
		{`next /[/`, "1: `[` is not a regular expression: error parsing regexp: missing closing ]: `[`"},
		{`next eof now`, "1: `now` is too much here; one step a line"},
		{`close it`, "1: `it` is too much here; one step a line"},
		{`timeout`, "1: ``" + notDuration},
		{`timeout 5`, "1: `5`" + notDuration},
		{`timeout -1s`, "1: `-1s`" + notDuration},
		{`timeout 1s x`, "1: `x` is too much here; one step a line"},
		{"close\n\n x\x1b[2J", "3: unknown step `x\\x1b[2J`" + unknown},
		{"x\nclose\ny", "1: unknown step `x`" + unknown + "\ntalk:3: unknown step `y`" + unknown},
		{"#" + strings.Repeat("x", maxScriptLine), `1: the line has more than 65536 bytes`},
	}
	for _, test := range tests {
		script, want := test.script, "talk:"+test.want
		s, err := ParseScript("talk", strings.NewReader(script))
		if s != nil || err == nil {
			t.Errorf("%q: no mistake found", script)
			continue
		}
		if got := err.Error(); got != want {
			t.Errorf("%q:\ngot  %s\nwant %s", script, got, want)
		}
		wantStatus[*ScriptError](t, err, StatusUsage)
	}
}

func TestParseScriptBounds(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("#"+strings.Repeat("x", 1022)+"\n", 1025)
	_, err := ParseScript("talk", strings.NewReader(long))
	if err == nil || !strings.Contains(err.Error(), "the script has more than 1048576 bytes") {
		t.Errorf("1 MiB and a bit: %v", err)
	}
	_, err = ParseScript("talk", strings.NewReader(strings.Repeat("x\n", 1000)))
	if n := strings.Count(err.Error(), "\n"); n != maxMistakes-1 {
		t.Errorf("1000 mistakes are told in %d lines", n+1)
	}
	_, err = ParseScript("talk", &failAfter{10})
	if wantStatus[*InputError](t, err, StatusFailed); !errors.Is(err, errBroken) {
		t.Error(err)
	}
}

func FuzzParseScript(f *testing.F) {
	for _, seed := range []string{
		"timeout 5s\nexpect /^220 /\nsend \"HELO x\\r\\n\"\nnext /^250/\nclose\nexpect eof # end",
		"next `raw`\nexpect \"\\x00\\u00e9\"#c\n\n#\r\ntimeout 0\nnext eof",
		"send \"\nexpect /a\\/b\\\\/ /\n", "\x00\n\xff", "expect /(((((a{9}){9}){9}){9}){9}/",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := ParseScript("fuzz", strings.NewReader(text))
		if (s == nil) == (err == nil) {
			t.Fatalf("script %v and error %v", s, err)
		}
		if err != nil {
			if ExitStatus(err) != StatusUsage || !strings.HasPrefix(err.Error(), "fuzz:") {
				t.Fatalf("error %v", err)
			}
			for _, r := range err.Error() {
				if r < ' ' && r != '\n' && r != '\t' || r == 0x7f || r == 0x9b || r == 0x202e {
					t.Fatalf("error %q has raw text", err)
				}
			}
			return
		}
		for _, step := range s.steps { // each step, alone, is the same step
			again, err := ParseScript("fuzz", strings.NewReader(step.text))
			if err != nil || len(again.steps) != 1 || again.steps[0].text != step.text {
				t.Fatalf("step %q: %v", step.text, err)
			}
		}
	})
}

func TestFinder(t *testing.T) {
	t.Parallel()
	// All texts of up to five letters of two, in all streams of ten.
	for n := 1; n <= 5; n++ {
		for m := range 1 << n {
			text := twoLetters(m, n)
			find := newFinder(text)
			for s := range 1 << 10 {
				stream := twoLetters(s, 10)
				if got, want := findAll(find, stream), strings.Index(stream, text); got != want {
					t.Fatalf("%q in %q: at %d, want %d", text, stream, got, want)
				}
			}
		}
	}
}

func twoLetters(bits, n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = 'a' + byte(bits>>i&1)
	}
	return string(b)
}

// findAll returns where f's text begins in s, -1 if it is not there.
func findAll(f *finder, s string) int {
	state := 0
	for i := range len(s) {
		if state = f.next(state, s[i]); state == len(f.text) {
			return i + 1 - state
		}
	}
	return -1
}

func FuzzFinder(f *testing.F) {
	f.Add("abab", "aababab")
	f.Add("\x00\xff", "x\x00\x00\xff")
	f.Fuzz(func(t *testing.T, text, stream string) {
		if text == "" {
			return
		}
		if got, want := findAll(newFinder(text), stream), strings.Index(stream, text); got != want {
			t.Fatalf("%q in %q: at %d, want %d", text, stream, got, want)
		}
	})
}
