package telnet

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
)

// hear plays input to a machine in pieces, and returns what it took it for: text as it
// is, the rest in braces.
func hear(t testing.TB, m *machine, pieces ...string) (string, error) {
	t.Helper()
	var b strings.Builder
	for _, piece := range pieces {
		events, err := m.receive([]byte(piece))
		for _, e := range events {
			switch e.kind {
			case isText:
				b.Write(e.text)
			case isWindow:
				fmt.Fprintf(&b, "{%dx%d}", e.rows, e.cols)
			case isTerm:
				fmt.Fprintf(&b, "{%s}", e.term)
			case isEcho:
				fmt.Fprintf(&b, "{echo %v}", e.on)
			case isLine:
				fmt.Fprintf(&b, "{line %v}", e.on)
			case isKeys:
				b.WriteString("{keys}")
			default:
				b.WriteString(map[kind]string{
					isInterrupt: "{interrupt}", isBreak: "{break}", isSuspend: "{suspend}", isEOF: "{eof}",
					isErase: "{erase}", isKill: "{kill}", isAYT: "{ayt}",
				}[e.kind])
			}
		}
		if err != nil {
			return b.String(), err
		}
	}
	return b.String(), nil
}

// opened returns a machine that has asked for what we want.
func opened() *machine {
	m := &machine{}
	m.open()
	m.answer = nil
	return m
}

const offers = "\xff\xfb\x01\xff\xfb\x03\xff\xfd\x1f\xff\xfd\x18" // WILL ECHO, WILL SGA, DO NAWS, DO TTYPE

func TestMachine(t *testing.T) {
	t.Parallel()
	m := &machine{}
	m.open()
	if string(m.answer) != offers {
		t.Errorf("it begins with %q, want %q", m.answer, offers)
	}
	for _, tt := range []struct{ name, in, want, answer string }{
		{"text", "hello", "hello", ""},
		{"eight bits", "gr\xc3\xbc\xc3\x9f\x80", "gr\xc3\xbc\xc3\x9f\x80", ""},
		{"a doubled IAC is one byte", "a\xff\xffb", "a\xffb", ""},
		{"Enter, in all ways", "a\r\nb\r\x00c\rd\n", "a\rb\rc\rd\n", ""},
		{"CR in front of a doubled IAC", "\r\xff\xff\n", "\r\xff\n", ""},
		{"keys that are commands", "a\xff\xf4b\xff\xf3\xff\xee\xff\xed\xff\xec\xff\xf7\xff\xf8\xff\xf6", "a{interrupt}b{break}{break}{suspend}{eof}{erase}{kill}{ayt}", ""},
		{"commands without a meaning here", "a\xff\xf1\xff\xf2\xff\xf5\xff\xf9\xff\xf0b", "ab", ""},
		{"agreement changes nothing any more", "\xff\xfd\x01\xff\xfd\x03\xff\xfb\x1f", "", ""},
		{"the type is asked for once it may be", "\xff\xfb\x18", "", "\xff\xfa\x18\x01\xff\xf0"},
		{"and not again", "\xff\xfb\x18\xff\xfb\x18", "", "\xff\xfa\x18\x01\xff\xf0"},
		{"a refusal is not answered", "\xff\xfe\x01\xff\xfc\x1f", "{echo false}", ""},
		{"echo off and on again", "\xff\xfd\x01\xff\xfe\x01\xff\xfd\x01", "{echo false}{echo true}", "\xff\xfc\x01\xff\xfb\x01"},
		{"what is on is turned off", "\xff\xfb\x1f\xff\xfc\x1f", "", "\xff\xfe\x1f"},
		{"what is off stays off", "\xff\xfe\x05\xff\xfc\xc8\xff\xfc\x00", "", ""},
		{"F2: ENVIRON and NEW-ENVIRON", "\xff\xfb\x24\xff\xfb\x27\xff\xfd\x27", "", "\xff\xfe\x24\xff\xfe\x27\xff\xfc\x27"},
		{"LINEMODE, and its SLC, are refused", "\xff\xfb\x22\xff\xfa\x22\x03\x01\x02\x03\xff\xf0x", "x", "\xff\xfe\x22"},
		{"high options", "\xff\xfd\xff\xff\xfb\xfe", "", "\xff\xfc\xff\xff\xfe\xfe"},
		{"the window", "\xff\xfb\x1f\xff\xfa\x1f\x00\x50\x00\x18\xff\xf0", "{24x80}", ""},
		{"a window with a doubled IAC", "\xff\xfb\x1f\xff\xfa\x1f\x00\xff\xff\x00\x18\xff\xf0", "{24x255}", ""},
		{"a window of another length", "\xff\xfb\x1f\xff\xfa\x1f\x00\x50\x18\xff\xf0", "", ""},
		{"a window that was not agreed on", "\xff\xfa\x1f\x00\x50\x00\x18\xff\xf0", "", ""},
		{"the type", "\xff\xfb\x18\xff\xfa\x18\x00XTERM\xff\xf0", "{XTERM}", "\xff\xfa\x18\x01\xff\xf0"},
		{"a type that was not agreed on", "\xff\xfa\x18\x00XTERM\xff\xf0", "", ""},
		{"a sub-negotiation that ends otherwise", "\xff\xfa\x18\x00XTERM\xff\xf1a", "a", ""},
		{"an empty one", "\xff\xfa\xff\xf0a", "a", ""},
		{"BINARY keeps what is behind a CR", "\xff\xfb\x00\r\n\r\x00", "\r\n\r\x00", "\xff\xfd\x00"},
		{"BINARY from us", "\xff\xfd\x00", "", "\xff\xfb\x00"},
	} {
		for cut := range len(tt.in) + 1 { // framing must not show
			m := opened()
			got, err := hear(t, m, tt.in[:cut], tt.in[cut:])
			if got != tt.want || string(m.answer) != tt.answer || err != nil {
				t.Fatalf("%s, cut after %d: %q, %v, answer %q; want %q, answer %q", tt.name, cut, got, err, m.answer, tt.want, tt.answer)
			}
		}
	}
}

// F1: no loops, and an end to all talk about options.
func TestOptionsAreBounded(t *testing.T) {
	t.Parallel()
	m := opened()
	if _, err := hear(t, m, strings.Repeat("\xff\xfd\x01", maxOptions)); err != nil || len(m.answer) != 0 {
		t.Errorf("asking again and again: %v, answer %q", err, m.answer)
	}
	if _, err := hear(t, m, "\xff\xfd\x01"); !errors.Is(err, errOptions) {
		t.Errorf("one more: %v", err)
	}
	a, b := opened(), opened() // two of us, wired to each other
	said := []byte(offers)
	for rounds := 0; len(said) > 0; rounds++ {
		if rounds == 10 {
			t.Fatalf("they still talk: %q", said)
		}
		if _, err := hear(t, b, string(said)); err != nil {
			t.Fatal(err)
		}
		said, b.answer = b.answer, nil
		a, b = b, a
	}
}

// F3: a sub-negotiation has a bound, and one that does not end is known.
func TestSubIsBounded(t *testing.T) {
	t.Parallel()
	m := opened()
	if _, err := hear(t, m, "\xff\xfa\x18"+strings.Repeat("x", maxSub-1)); err != nil || !m.isUnfinished() {
		t.Errorf("up to the bound: %v", err)
	}
	if _, err := hear(t, m, "\xff\xff"); !errors.Is(err, errSub) {
		t.Errorf("beyond: %v", err)
	}
	if m := opened(); m.isUnfinished() {
		t.Error("a new machine is in the middle of something")
	}
}

func TestAppendText(t *testing.T) {
	t.Parallel()
	const in, want = "a\r\nb\rc\xffd\r", "a\r\nb\r\x00c\xff\xffd\r"
	for cut := range len(in) + 1 {
		m := opened()
		got := m.appendText(m.appendText(nil, []byte(in[:cut])), []byte(in[cut:]))
		if string(got) != want {
			t.Fatalf("cut after %d: %q, want %q", cut, got, want)
		}
	}
	m := opened()
	hear(t, m, "\xff\xfd\x00")
	if got := m.appendText(nil, []byte("\rx\xff")); string(got) != "\rx\xff\xff" {
		t.Errorf("with BINARY: %q", got)
	}
}

// Whatever comes, in whatever pieces, is bounded and means the same.
func FuzzMachine(f *testing.F) {
	for _, s := range []string{
		"hello\r\n", offers, "\xff\xfb\x18\xff\xfa\x18\x00XTERM\xff\xf0", "\xff\xfa\x1f\x00\xff\xff\x00\x18\xff\xf0\xff\xf4",
		"\xff\xfb\x27\xff\xfa\x27\x00\x00USER\x01-froot\xff\xf0", "\r\xff\xff\x00\r\x00", strings.Repeat("\xff\xfd\x01", 101),
	} {
		f.Add([]byte(s), 3)
	}
	f.Fuzz(func(t *testing.T, in []byte, cut int) {
		whole, cuts := opened(), opened()
		want, wantErr := hear(t, whole, string(in))
		cut = min(max(cut, 0), len(in))
		got, err := hear(t, cuts, string(in[:cut]), string(in[cut:]))
		if got != want || err != wantErr || !bytes.Equal(whole.answer, cuts.answer) {
			t.Fatalf("%q cut after %d: %q %v %q, want %q %v %q", in, cut, got, err, cuts.answer, want, wantErr, whole.answer)
		}
		if len(whole.answer) > 6*maxOptions+6 || cap(whole.sub) > 2*maxSub {
			t.Fatalf("%d bytes of answer, %d of a sub-negotiation", len(whole.answer), cap(whole.sub))
		}
		said := whole.appendText(nil, in)
		if back, _ := hear(t, opened(), string(said)); strings.ReplaceAll(back, "\r", "") != plain(in) {
			t.Fatalf("%q said as %q is heard as %q", in, said, back)
		}
	})
}

// plain is what must arrive of a text: a LF behind a CR is a part of it, and so is the NUL
// that we put there.
func plain(in []byte) string {
	s := strings.ReplaceAll(string(in), "\r\n", "\r")
	return strings.ReplaceAll(s, "\r", "")
}
