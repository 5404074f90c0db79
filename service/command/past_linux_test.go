package command

import (
	"strings"
	"testing"

	"yodel/yodeltest/programs"
)

// What goes between a program and its peer is in the sums, though nobody but the kernel saw
// it go.
func TestBytesAreCounted(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, script, send string
		in, out            int64
	}{
		{"both ways", "cat", strings.Repeat("x", 300_000), 300_000, 300_000},
		{"nothing", "true", "", 0, 0},
		{"out only", "echo hello", "", 0, 6},
		{"a little of both", "head -c 4 >/dev/null; echo", "1234", 4, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := serve(t, c.script, Config{})
			r.talk(c.send)
			programs.Await(t, "no connection is served", func() bool { return r.eng.Stats().Active == 0 })
			if s := r.eng.Stats(); s.BytesIn != c.in || s.BytesOut != c.out {
				t.Errorf("%d bytes in, %d out; want %d, %d", s.BytesIn, s.BytesOut, c.in, c.out)
			}
		})
	}
}
