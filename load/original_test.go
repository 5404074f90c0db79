package load

import (
	"bytes"
	"io"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
)

// What comes is compared with what came first, in whatever pieces and order.
func TestPage(t *testing.T) {
	t.Parallel()
	const text = "the first page"
	for name, test := range map[string]struct {
		body string
		want Fault // Class is empty for none
	}{
		"the same":     {text, Fault{}},
		"another byte": {"the worst page", Fault{Class: Corrupt, Offset: 4, Got: 'w', Want: 'f'}},
		"shorter":      {"the first", Fault{Class: Truncated, Offset: 9, Bytes: 5}},
		"nothing":      {"", Fault{Class: Truncated, Bytes: 14}},
		"longer":       {text + "!", Fault{Class: Unasked, Offset: 14, Got: '!'}},
	} {
		for _, pieces := range []func(io.Reader) io.Reader{iotest.OneByteReader, func(r io.Reader) io.Reader { return r }} {
			p := &original{}
			for i, body := range []string{text, test.body, text} {
				r := reading{page: p}
				if err := r.read(pieces(strings.NewReader(body))); err != nil || r.at != len(body) {
					t.Fatalf("%s: %d bytes, %v", name, r.at, err)
				}
				fault, want := r.end(), test.want
				if i != 1 {
					want = Fault{}
				}
				if (fault == nil) != (want.Class == "") || fault != nil && *fault != want {
					t.Errorf("%s: answer %d: %v, want %v", name, i, fault, &want)
				}
			}
		}
	}
}

// Several come at once: each is compared with whose bytes came first, and the first whole one says
// how long all are.
func TestPageAtOnce(t *testing.T) {
	t.Parallel()
	p := &original{}
	ahead, behind, other := reading{page: p}, reading{page: p}, reading{page: p}
	for _, w := range []struct {
		r    *reading
		text string
	}{{&ahead, "abcd"}, {&behind, "abc"}, {&other, "abx"}, {&behind, "def"}, {&ahead, "efg"}} {
		if _, err := io.WriteString(w.r, w.text); err != nil {
			t.Fatal(err)
		}
	}
	if f := behind.end(); f != nil {
		t.Errorf("the first whole one: %v", f)
	}
	if f := ahead.end(); f == nil || f.Class != Unasked || f.Offset != 6 || f.Got != 'g' {
		t.Errorf("a longer one: %v", f)
	}
	if f := other.end(); f == nil || f.Class != Corrupt || f.Offset != 2 || f.Got != 'x' || f.Want != 'c' {
		t.Errorf("another one: %v", f)
	}
}

// A page is held once, however many get it, and one that is too long is given up.
func TestPageIsHeldOnce(t *testing.T) {
	p, big := &original{}, make([]byte, maxSize)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range 20 {
		r := reading{page: p}
		if err := r.read(bytes.NewReader(big)); err != nil || r.end() != nil {
			t.Fatalf("%v, %v", err, r.fault)
		}
	}
	if runtime.ReadMemStats(&after); after.TotalAlloc-before.TotalAlloc > 8*maxSize {
		t.Errorf("%d bytes were allocated for 20 times %d", after.TotalAlloc-before.TotalAlloc, maxSize)
	}
	r := reading{page: p}
	if err := r.read(io.MultiReader(bytes.NewReader(big), strings.NewReader("!"))); err == nil || !strings.Contains(err.Error(), "longer than 16777216 bytes") {
		t.Errorf("%v for a page that is too long", err)
	}
}
