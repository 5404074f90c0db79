package call

import (
	"bytes"
	"strings"
	"testing"

	"yodel/yodeltest"
)

func translate(parts ...string) string {
	var c CRLF
	var out []byte
	for _, p := range parts {
		out = c.Append(out, []byte(p))
	}
	return string(out)
}

func TestCRLF(t *testing.T) {
	t.Parallel()
	tests := map[string]string{
		"":               "",
		"no newline":     "no newline",
		"one\n":          "one\r\n",
		"one\r\n":        "one\r\n",
		"\n":             "\r\n",
		"\r\n":           "\r\n",
		"\n\n\r\n\n":     "\r\n\r\n\r\n\r\n",
		"\r":             "\r",
		"\r\r\n":         "\r\r\n",
		"a\rb\nc":        "a\rb\r\nc",
		"\x00\n\xff\r\n": "\x00\r\n\xff\r\n",
	}
	for in, want := range tests {
		for cut, parts := range yodeltest.Cuts(in) {
			if got := translate(parts...); got != want {
				t.Errorf("%q %s: got %q, want %q", in, cut, got, want)
			}
		}
	}
}

func TestCRLFKeepsWhatIsThere(t *testing.T) {
	t.Parallel()
	var c CRLF
	if got := c.Append([]byte("before "), []byte("x\n")); string(got) != "before x\r\n" {
		t.Errorf("got %q", got)
	}
}

func FuzzCRLF(f *testing.F) {
	f.Add([]byte("a\nb\r\nc\r"), uint16(3))
	f.Add([]byte("\r\n\r\n\n"), uint16(1))
	f.Add([]byte(""), uint16(0))
	f.Fuzz(func(t *testing.T, in []byte, cut uint16) {
		whole := translate(string(in))
		at := int(cut) % (len(in) + 1)
		if got := translate(string(in[:at]), string(in[at:])); got != whole {
			t.Fatalf("cut after %d bytes: %q, in one piece: %q", at, got, whole)
		}
		if got := translate(strings.Split(string(in), "")...); got != whole {
			t.Fatalf("one by one: %q, in one piece: %q", got, whole)
		}
		if again := translate(whole); again != whole {
			t.Fatalf("translated twice: %q, once: %q", again, whole)
		}
		crlf, lf := strings.Count(whole, "\r\n"), strings.Count(whole, "\n")
		if crlf != lf || lf != bytes.Count(in, []byte("\n")) {
			t.Fatalf("%q became %q", in, whole)
		}
	})
}

func TestDefaultCRLF(t *testing.T) {
	t.Parallel()
	for port, want := range map[uint16]bool{21: true, 23: true, 25: true, 80: true, 7: false, 0: false, 443: false, 15213: false} {
		if got := DefaultCRLF(port); got != want {
			t.Errorf("DefaultCRLF(%d) = %v", port, got)
		}
	}
}
