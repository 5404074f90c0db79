package rio_test

import (
	"io"
	"strings"
	"testing"

	"yodel/rio"
)

func FuzzReader(f *testing.F) {
	for i, in := range seeds {
		for _, refuse := range []bool{false, true} {
			f.Add(in, uint16(8), refuse, seedCuts[i%len(seedCuts)], []byte{})
			f.Add(in, uint16(8192), refuse, seedCuts[i%len(seedCuts)], []byte{0, 3, 0, 200})
		}
	}
	f.Fuzz(func(t *testing.T, in string, bound uint16, refuse bool, cuts, reads []byte) {
		limit, mode := max(int(bound), 1), rio.SplitLong
		if refuse {
			mode = rio.RefuseLong
		}
		compare(t, "lines only", readLines(t, rio.NewReader(cutUp(in, cuts), limit, mode)), naiveLines(in, limit, mode))

		m := mixed{r: rio.NewReader(cutUp(in, cuts), limit, mode), in: in, max: limit, mode: mode}
		for _, size := range reads {
			if size == 0 {
				m.readLine(t)
			} else {
				m.read(t, int(size)*64) // also more than the buffer holds
			}
		}
		compare(t, "lines behind mixed reads", readLines(t, m.r), naiveLines(m.in, limit, mode))
		if m.skipped > m.r.Skipped() {
			t.Errorf("Skipped = %d, want at least %d", m.r.Skipped(), m.skipped)
		}
	})
}

// mixed follows what a Reader of text and binary data should do; in is what is left.
type mixed struct {
	r       *rio.Reader
	in      string
	max     int
	mode    rio.Mode
	skipped int64
}

func (m *mixed) readLine(t *testing.T) {
	n, long := firstLine(m.in, m.max)
	line, err := patiently(m.r.ReadLine)
	switch {
	case long && m.mode == rio.RefuseLong:
		n += restOfLine(m.in[n:])
		m.skipped += int64(n)
		if line != nil || err != rio.ErrTooLong {
			t.Fatalf("ReadLine = %q, %v; want it refused", line, err)
		}
	case n == 0:
		if line != nil || err != io.EOF {
			t.Fatalf("ReadLine at the end = %q, %v", line, err)
		}
	case string(line) != m.in[:n] || err != nil:
		t.Fatalf("ReadLine = %q, %v; want %q", line, err, m.in[:n])
	}
	m.in = m.in[n:]
}

func (m *mixed) read(t *testing.T, size int) {
	p := make([]byte, size)
	got, err := patiently(func() ([]byte, error) {
		n, err := m.r.Read(p)
		return p[:n], err
	})
	switch {
	case m.in == "":
		if len(got) > 0 || err != io.EOF {
			t.Fatalf("Read at the end = %q, %v", got, err)
		}
	case len(got) == 0 || err != nil || !strings.HasPrefix(m.in, string(got)):
		t.Fatalf("Read = %q, %v; want a beginning of %q", got, err, m.in)
	}
	m.in = m.in[len(got):]
}

// patiently calls read until it brings something, or fails for good.
func patiently(read func() ([]byte, error)) ([]byte, error) {
	for {
		if b, err := read(); !passes(err) {
			return b, err
		}
	}
}
