package telnet

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// lined returns a machine with which a client has agreed on LINEMODE.
func lined(t testing.TB) *machine {
	t.Helper()
	m := &machine{}
	m.open()
	m.allowLines()
	if want := offers + "\xff\xfd\x22"; string(m.answer) != want {
		t.Fatalf("it begins with %q, want %q", m.answer, want)
	}
	if got, err := hear(t, m, "\xff\xfd\x01\xff\xfd\x03\xff\xfb\x22"); got != "{line true}" || err != nil {
		t.Fatalf("%q, %v", got, err)
	}
	m.answer, m.options = nil, 0
	return m
}

// slc is a sub-negotiation of special characters.
func slc(triplets string) string { return "\xff\xfa\x22\x03" + triplets + "\xff\xf0" }

func TestLineMode(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, in, want, answer string }{
		{"a mode that is agreed on", "\xff\xfa\x22\x01\x04\xff\xf0", "", ""},
		{"a mode of its own is not", "\xff\xfa\x22\x01\x03\xff\xf0", "", "\xff\xfa\x22\x01\x00\xff\xf0"},
		{"a mode without a value", "\xff\xfa\x22\x01\xff\xf0a", "a", ""},
		{"WILL and DO FORWARDMASK", "\xff\xfa\x22\xfb\x02\xff\xf0\xff\xfa\x22\xfd\x02\xff\xff\xff\xf0", "", "\xff\xfa\x22\xfe\x02\xff\xf0\xff\xfa\x22\xfc\x02\xff\xf0"},
		{"WONT FORWARDMASK", "\xff\xfa\x22\xfc\x02\xff\xf0\xff\xfa\x22\xff\xf0", "", ""},
		{"a key that is as it was", slc("\x03\x02\x03"), "", ""},
		{"a key of its own", slc("\x0a\x02\x08"), "{keys}", slc("\x0a\x82\x08")},
		{"a key told many times is answered once", slc(strings.Repeat("\x0a\x02\x08\x0a\x02\x09", 100)), "{keys}", slc("\x0a\x82\x09")},
		{"flags are answered too", slc("\x03\x62\x18"), "{keys}", slc("\x03\xe2\x18")},
		{"a key that is IAC", slc("\x03\x02\xff\xff"), "{keys}", slc("\x03\x82\xff\xff")},
		{"a key that it has not", slc("\x0d\x00\x00"), "{keys}", slc("\x0d\x80\x00")},
		{"an answer is not answered", slc("\x0a\x82\x08"), "", ""},
		{"a key that no terminal has", slc("\x01\x02\x00\x05\x00\x00"), "", slc("\x01\x00\x00")},
		{"keys that nobody has", slc("\x13\x02\x00\xfe\x03\x00"), "", ""},
		{"its default is ours", slc("\x03\x03\x00\x12\x03\x00"), "", slc("\x03\x02\x03\x12\x00\x00")},
		{"half a key", slc("\x0a\x02"), "", ""},
		{"all keys are asked for", slc("\x00\x03\x00"), "", slc("\x03\x02\x03\x07\x02\x1c\x08\x02\x04\x09\x02\x1a\x0a\x02\x7f\x0b\x02\x15\x0c\x02\x17\x0d\x02\x12\x0e\x02\x16\x0f\x02\x11\x10\x02\x13\x11\x00\x00\x12\x00\x00")},
		{"it is turned off", "\xff\xfc\x22", "{line false}", "\xff\xfe\x22"},
		{"and on again", "\xff\xfc\x22\xff\xfb\x22\xff\xfb\x22", "{line false}{line true}", "\xff\xfe\x22\xff\xfd\x22"},
		{"once it is off nothing of it counts", "\xff\xfc\x22" + slc("\x0a\x02\x08") + "\xff\xfa\x22\x01\x03\xff\xf0", "{line false}", "\xff\xfe\x22"},
		{"commands of TRAPSIG", "\xff\xf4\xff\xee\xff\xed\xff\xec", "{interrupt}{break}{suspend}{eof}", ""},
	} {
		for cut := range len(tt.in) + 1 {
			m := lined(t)
			got, err := hear(t, m, tt.in[:cut], tt.in[cut:])
			if got != tt.want || string(m.answer) != tt.answer || err != nil {
				t.Fatalf("%s, cut after %d: %q, %v, answer %q; want %q, answer %q", tt.name, cut, got, err, m.answer, tt.want, tt.answer)
			}
		}
	}
	m := opened()
	m.allowLines()
	m.answer = nil
	if got, err := hear(t, m, "\xff\xfc\x22"+slc("\x0a\x02\x08")); got != "" || err != nil || len(m.answer) != 0 {
		t.Errorf("a client that refuses: %q, %v, %q", got, err, m.answer)
	}
}

// What the program makes of its terminal is told once, and our echo goes with it; each
// answer is waited for (RFC 1143) and none of them counts.
func TestLineModeFollows(t *testing.T) {
	t.Parallel()
	m := lined(t)
	for i, step := range []struct {
		do   func()
		want string
	}{
		{func() { m.setLines(modeEdit|modeTrap, true) }, "\xff\xfa\x22\x01\x03\xff\xf0\xff\xfc\x01"},
		{func() { m.setLines(modeEdit|modeTrap, true) }, ""},
		{func() { m.setLines(modeEdit|modeTrap, false) }, ""},                    // before DONT ECHO has come
		{func() { hear(t, m, "\xff\xfe\x01") }, "\xff\xfb\x01"},                  // then WILL ECHO
		{func() { hear(t, m, "\xff\xfd\x01") }, ""},                              //
		{func() { m.setLines(modeTrap, false) }, "\xff\xfa\x22\x01\x02\xff\xf0"}, // single keys
		{func() { m.setLines(modeTrap, true) }, "\xff\xfc\x01"},                  //
		{func() { m.setLines(modeTrap, false); m.setLines(modeTrap, true) }, ""}, //
		{func() { hear(t, m, "\xff\xfe\x01") }, ""},                              //
		{func() { hear(t, m, "\xff\xfd\x01") }, "\xff\xfc\x01"},                  // it would like us to echo: no
		{func() { m.setLines(modeTrap, false) }, "\xff\xfb\x01"},                 //
		{func() { hear(t, m, "\xff\xfe\x01") }, ""},                              // it does not let us: so be it
		{func() { hear(t, m, "\xff\xfc\x22") }, "\xff\xfe\x22\xff\xfb\x01"},      // as it was at first
		{func() { m.setLines(modeEdit, true); m.setKeys(special{}) }, ""},        //
		{func() { hear(t, m, "\xff\xfd\x01\xff\xfb\x22") }, "\xff\xfd\x22"},      //
		{func() { m.setKeys(firstKeys) }, ""},                                    //
		{func() { k := firstKeys; k[keyErase] = 0xff; k[keyEOF] = 0; m.setKeys(k) }, slc("\x08\x00\x00\x0a\x02\xff\xff")},
	} {
		m.answer = nil
		if step.do(); string(m.answer) != step.want {
			t.Fatalf("step %d: %q, want %q", i, m.answer, step.want)
		}
	}
	m = lined(t)
	for i := range 10 * maxOptions {
		m.setLines(0, i%2 == 0)
		if _, err := hear(t, m, "\xff\xfe\x01\xff\xfd\x01"[3*(i%2):3*(i%2)+3]); err != nil {
			t.Fatalf("after %d answers: %v", i, err)
		}
	}
}

// F1, F3: what has to be answered is bounded in number and in length (CVE-2026-32746).
func TestLineModeIsBounded(t *testing.T) {
	t.Parallel()
	for _, in := range []string{"\xff\xfa\x22\x01\x03\xff\xf0", "\xff\xfa\x22\xfb\x02\xff\xf0", slc("\x00\x03\x00"), slc("\x0a\x02\x08") + slc("\x0a\x02\x09")} {
		m := lined(t)
		if _, err := hear(t, m, strings.Repeat(in, maxOptions+1)); !errors.Is(err, errOptions) {
			t.Errorf("%q again and again: %v", in, err)
		}
	}
	m := lined(t)
	var all strings.Builder
	for i := range (maxSub - 2) / 3 {
		fmt.Fprintf(&all, "%c\x02%c", i%32, 1+i%100)
	}
	if _, err := hear(t, m, slc(all.String())); err != nil || len(m.answer) > 200 {
		t.Errorf("%v, %d bytes of answer", err, len(m.answer))
	}
	if _, err := hear(t, lined(t), "\xff\xfa\x22\x03"+strings.Repeat("\x01", maxSub)); !errors.Is(err, errSub) {
		t.Errorf("without an end: %v", err)
	}
}

// Whatever is said about LINEMODE, in whatever pieces, is bounded and means the same.
func FuzzLineMode(f *testing.F) {
	for _, s := range []string{
		slc("\x00\x03\x00"), slc("\x03\x02\x18\x0a\x62\xff\xff"), slc("\x01\x00\x00\x0a\x82\x08"), "\xff\xfa\x22\x01\x07\xff\xf0", "\xff\xfa\x22\x01\x03\xff\xf0",
		"\xff\xfa\x22\xfb\x02\x01\x02\xff\xf0", "\xff\xfc\x22\xff\xfe\x01\xff\xfb\x22\xff\xfd\x01", slc(strings.Repeat("\x0a\x02\x08\x0b\x02\x09", 700)),
	} {
		f.Add([]byte(s), 3)
	}
	f.Fuzz(func(t *testing.T, in []byte, cut int) {
		whole, cuts := lined(t), lined(t)
		cut = min(max(cut, 0), len(in))
		want, wantErr := hear(t, whole, string(in))
		got, err := hear(t, cuts, string(in[:cut]), string(in[cut:]))
		if got != want || err != wantErr || string(whole.answer) != string(cuts.answer) || whole.lines != cuts.lines {
			t.Fatalf("%q cut after %d: %q %v %q, want %q %v %q", in, cut, got, err, cuts.answer, want, wantErr, whole.answer)
		}
		if len(whole.answer) > 200*(maxOptions+1) {
			t.Fatalf("%d bytes of answer", len(whole.answer))
		}
	})
}
