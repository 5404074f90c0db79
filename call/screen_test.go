package call

import (
	"bytes"
	"strings"
	"testing"
	"unicode/utf8"

	"yodel/yodeltest"
)

func onScreen(t *testing.T, parts ...string) string {
	t.Helper()
	var b bytes.Buffer
	s := NewScreen(&b)
	for _, p := range parts {
		if n, err := s.Write([]byte(p)); n != len(p) || err != nil {
			t.Fatalf("Write: %d, %v", n, err)
		}
	}
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestScreen(t *testing.T) {
	t.Parallel()
	tests := map[string]string{
		"":                            "",
		"plain\ttext\n":               "plain\ttext\n",
		"one\r\ntwo\r\n":              "one\ntwo\n",
		`C:\dir and \x1b as text`:     `C:\dir and \x1b as text`,
		"lone\rCR\r":                  `lone\rCR\r`,
		"\r\r\n\n\r":                  "\\r\n\n\\r",
		"\x1b]0;title\x07\x1b[2J":     `\x1b]0;title\a\x1b[2J`,
		"\x00\x7f\u009b":              `\x00\x7f\u009b`,
		"Grüße, 世界 😀":                 "Grüße, 世界 😀",
		"bidi \u202e end":             `bidi \u202e end`,
		"bad \xff\xc3( \xe2\x82 end":  `bad \xff\xc3( \xe2\x82 end`,
		"cut at the end \xf0\x9f\x98": `cut at the end \xf0\x9f\x98`,
	}
	for in, want := range tests {
		for cut, parts := range yodeltest.Cuts(in) {
			if got := onScreen(t, parts...); got != want {
				t.Errorf("%q %s: got %q, want %q", in, cut, got, want)
			}
		}
	}
}

func TestScreenHoldsLittleBack(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	s := NewScreen(&b)
	s.Write([]byte("login: "))
	if b.String() != "login: " {
		t.Errorf("a prompt without newline shows as %q", b.String())
	}
	s.Write([]byte("\xf0\x9f"))
	s.Write([]byte("\x98"))
	if b.String() != "login: " || len(s.tail) != 3 {
		t.Errorf("%q, and %d bytes wait", b.String(), len(s.tail))
	}
}

func TestScreenFails(t *testing.T) {
	t.Parallel()
	s := NewScreen(&failAfter{2})
	if _, err := s.Write([]byte("abc\r")); err != errBroken {
		t.Errorf("Write: %v", err)
	}
	if err := s.Flush(); err != nil { // "\r" needs two bytes, and two there are
		t.Errorf("Flush: %v", err)
	}
	s.Write([]byte("\r"))
	if err := s.Flush(); err != errBroken {
		t.Errorf("Flush: %v", err)
	}
}

func FuzzScreen(f *testing.F) {
	f.Add([]byte("one\r\ntwo\x1b[2J\xff\xe2\x82\xac\\"), uint8(7))
	f.Add([]byte("\r"), uint8(0))
	f.Fuzz(func(t *testing.T, in []byte, cut uint8) {
		whole := onScreen(t, string(in))
		at := int(cut) % (len(in) + 1)
		if got := onScreen(t, string(in[:at]), string(in[at:])); got != whole {
			t.Fatalf("cut after %d bytes: %q, in one piece: %q", at, got, whole)
		}
		if !utf8.ValidString(whole) {
			t.Fatalf("%q is not UTF-8", whole)
		}
		if i := strings.IndexFunc(whole, func(r rune) bool { return r < ' ' && r != '\n' && r != '\t' || r >= 0x7f && r < 0xa0 }); i >= 0 {
			t.Fatalf("%q has a control character", whole)
		}
	})
}
