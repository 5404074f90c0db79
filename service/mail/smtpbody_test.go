package mail

import (
	"strings"
	"testing"

	"yodel/yodeltest"
)

// take gives data to b as it comes, in parts, and returns what is to be stored and what
// follows the end; ended is false if that has not come.
func take(b *body, parts ...string) (stored, rest string, ended bool) {
	var buf []byte
	for _, part := range parts {
		buf = append(buf, part...)
		for !ended {
			line, used, end := b.next(buf)
			if b.wrong.code == 0 {
				stored += string(line)
			}
			buf, ended = buf[used:], end
			if used == 0 {
				break
			}
		}
	}
	return stored, string(buf), ended
}

func TestBody(t *testing.T) {
	t.Parallel()
	x := func(n int) string { return strings.Repeat("x", n) }
	for _, tt := range []struct {
		in, stored, rest string
		wrong            reply
	}{
		{".\r\n", "", "", reply{}},
		{"\r\n.\r\nQUIT\r\n", "\n", "QUIT\r\n", reply{}},
		{"hi\r\n.\r\n", "hi\n", "", reply{}},
		{"..\r\n...\r\n.x\r\n.\r\n", ".\n..\nx\n", "", reply{}},
		{" .\r\n.\r\n", " .\n", "", reply{}},
		{x(38) + "\r\n.\r\n", x(38) + "\n", "", reply{}},
		{x(39) + "\r\n.\r\n", "", "", replyLongLine},
		{x(200) + "\r\n.\r\n", "", "", replyLongLine},
		{x(200) + "\n.\r\n\r\n.\r\n", "", "", replyLongLine},
		{x(39) + "\r" + x(39) + "\r\n.\r\n", "", "", replyLongLine},
		{"a\r\n" + x(200) + "\r\n.\r\n..", "a\n", "..", replyLongLine},
		// Smuggling: none of these ends the message (CVE-2023-51764 and its kin).
		{"a\n.\r\n\r\n.\r\nb", "", "b", replyDisarray},
		{"a\n.\n\r\n.\r\nb", "", "b", replyDisarray},
		{"a\r\n.\nb\r\n.\r\n", "a\n", "", replyDisarray},
		{"a\r\n.\rb\r\n.\r\n", "a\n", "", replyDisarray},
		{"a\r.\r\n.\r\n", "", "", replyDisarray},
		{"a\r.\r\r\n.\r\n", "", "", replyDisarray},
		{"a\r\r\n.\r\n", "", "", replyDisarray},
		{"a\r\n.\r\r\n.\r\n", "a\n", "", replyDisarray},
		{"a\x00b\r\n.\r\n", "", "", replyDisarray},
		{"a\r\n\x00.\r\n.\r\n", "a\n", "", replyDisarray},
		{"\n\r\n.\r\n", "", "", replyDisarray},
		{"\r.\r\n.\r\n", "", "", replyDisarray},
		{"a\x1a\xff\x85\u2028\r\n.\r\n", "a\x1a\xff\x85\u2028\n", "", reply{}},
	} {
		for cut, parts := range yodeltest.Cuts(tt.in) {
			b := &body{lineMax: 40}
			stored, rest, ended := take(b, parts...)
			if stored != tt.stored || rest != tt.rest || !ended || b.wrong != tt.wrong {
				t.Errorf("%.60q, %s:\ngot  %q and %q, ended %v, %v\nwant %q and %q, %v", tt.in, cut, stored, rest, ended, b.wrong, tt.stored, tt.rest, tt.wrong)
				break
			}
		}
	}
}

func TestBodySize(t *testing.T) {
	t.Parallel()
	const in = "..\r\nxx\r\n.\r\n" // 3 + 4 bytes: the dot that was doubled does not count
	for max, wrong := range map[int64]reply{0: {}, 7: {}, 6: replyTooLarge, 1: replyTooLarge} {
		b := &body{lineMax: 40, maxSize: max}
		if _, _, ended := take(b, in); !ended || b.wrong != wrong {
			t.Errorf("of at most %d bytes: %v", max, b.wrong)
		}
	}
}

func TestBodyInCircles(t *testing.T) {
	t.Parallel()
	head := func(n int) string {
		return strings.Repeat("RECEIVED: from a\r\n\tReceived: folded\r\n", n) + "X-Received: x\r\n"
	}
	for in, wrong := range map[string]reply{
		head(receivedMax) + "\r\n" + head(3) + ".\r\n": {},
		head(receivedMax+1) + "\r\n.\r\n":              replyLoop,
		head(receivedMax+1) + ".\r\n":                  replyLoop,
	} {
		b := &body{lineMax: 40}
		if _, _, ended := take(b, in); !ended || b.wrong != wrong {
			t.Errorf("%d bytes: %v", len(in), b.wrong)
		}
	}
}

// plainBody is what a body does, for a message that is there as a whole. ended is false
// if it has no end.
func plainBody(in string, lineMax int) (stored, rest string, ok, ended bool) {
	text := "\r\n" + in
	i := strings.Index(text, "\r\n.\r\n")
	if i < 0 {
		return "", "", false, false
	}
	rest, text = text[i+5:], strings.TrimPrefix(text[:i+2], "\r\n")
	if strings.ContainsAny(strings.ReplaceAll(text, "\r\n", ""), "\r\n\x00") {
		return "", rest, false, true
	}
	for line := range strings.SplitAfterSeq(text, "\r\n") {
		if len(line) > lineMax {
			return "", rest, false, true
		}
		stored += strings.TrimPrefix(line, ".")
	}
	return strings.ReplaceAll(stored, "\r\n", "\n"), rest, true, true
}

// However it is cut, the message is what a look at all of it says.
func FuzzBody(f *testing.F) {
	for _, in := range []string{"hi\r\n.\r\nQUIT\r\n", "a\n.\r\n\r\n.\r\n", "..\r\n.\r.\r\n", "\r\r\n\x00\r\n.\r\n", strings.Repeat("x", 50) + "\n.\r\n"} {
		f.Add(in, uint8(1), uint8(20))
	}
	f.Fuzz(func(t *testing.T, in string, one, two uint8) {
		first := int(one) % (len(in) + 1)
		second := first + int(two)%(len(in)-first+1)
		b := &body{lineMax: 16}
		stored, rest, ended := take(b, in[:first], in[first:second], in[second:])
		want, wantRest, ok, wantEnded := plainBody(in, 16)
		if ended != wantEnded || ended && (rest != wantRest || ok != (b.wrong.code == 0) || ok && stored != want) {
			t.Errorf("%q:\ngot  %q and %q, ended %v, %v\nwant %q and %q, ended %v, %v", in, stored, rest, ended, b.wrong, want, wantRest, wantEnded, ok)
		}
	})
}

func BenchmarkBody(b *testing.B) {
	text := []byte(strings.Repeat(strings.Repeat("x", 76)+"\r\n", 800))
	buf := make([]byte, len(text))
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		copy(buf, text)
		m := &body{lineMax: 8192}
		for rest := buf; len(rest) > 0; {
			_, used, _ := m.next(rest)
			rest = rest[used:]
		}
	}
}
