package load

import (
	"bytes"
	"strings"
	"testing"
)

// Whatever the cut, the bytes at a place are the same, and lines are lines.
func TestStreamIsAFunctionOfPosition(t *testing.T) {
	t.Parallel()
	for _, line := range []int64{0, 61} {
		s := newStream(5, 3, line)
		whole := make([]byte, 700)
		s.fill(whole, 0)
		for from := range 40 {
			for _, n := range []int{1, 7, 8, 9, 100, 600} {
				part := make([]byte, n)
				s.fill(part, int64(from))
				if !bytes.Equal(part, whole[from:from+n]) {
					t.Fatalf("line %d: %d bytes at %d are others", line, n, from)
				}
				if got := s.differ(part, int64(from)); got != n {
					t.Fatalf("line %d: %d bytes at %d differ at %d from themselves", line, n, from, got)
				}
				part[n/2] ^= 0x80
				if got := s.differ(part, int64(from)); got != n/2 {
					t.Fatalf("line %d: byte %d of %d at %d is wrong, and %d is found", line, n/2, n, from, got)
				}
			}
		}
	}
	s := newStream(5, 3, 61)
	p := make([]byte, 122)
	s.fill(p, 0)
	if p[60] != '\n' || p[121] != '\n' || strings.Count(string(p), "\n") != 2 {
		t.Errorf("%q", p)
	}
	up := bytes.ToUpper(p)
	if s.back = true; s.differ(up, 0) != len(up) {
		t.Errorf("%q is not what comes back for %q", up, p)
	}
}

func TestStreamsDiffer(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for seed := range uint64(3) {
		for conn := range 3 {
			for at := range int64(3) {
				p := make([]byte, 8)
				newStream(seed, conn, 0).fill(p, at*8)
				seen[string(p)] = true
			}
		}
	}
	if len(seen) != 27 {
		t.Errorf("%d different words of 27", len(seen))
	}
}

// A word says where it belongs.
func TestLocate(t *testing.T) {
	t.Parallel()
	for _, line := range []int64{0, 1000} {
		for _, conn := range []int{0, 1, 77, maxConns - 1} {
			s := newStream(9, conn, line)
			s.back = line > 0
			p := make([]byte, 16)
			at := int64(160)
			s.fill(p, at)
			if c, i, ok := newStreamBack(9, line).locate(p, maxConns); !ok || c != conn || i != at {
				t.Errorf("line %d: connection %d, byte %d is found as %d, %d, %v", line, conn, at, c, i, ok)
			}
		}
	}
	if _, _, ok := newStreamBack(9, 0).locate([]byte("anything"), 1000); ok {
		t.Error("foreign bytes were recognised")
	}
	if _, _, ok := newStreamBack(9, 10).locate([]byte("sixteen letters?"), 1000); ok {
		t.Error("foreign letters were recognised")
	}
	for x := range uint64(1000) {
		if unmix(mix(x*x*x)) != x*x*x {
			t.Fatalf("unmix does not undo mix of %d", x*x*x)
		}
	}
}

func newStreamBack(seed uint64, line int64) stream {
	s := newStream(seed, 0, line)
	s.back = line > 0
	return s
}

// What was done to a stream is named, whatever was done and wherever.
func FuzzDiagnose(f *testing.F) {
	f.Add(uint16(100), uint16(3), byte(0), byte(1), false)
	f.Add(uint16(8), uint16(1), byte(1), byte(0), false)
	f.Add(uint16(7), uint16(64), byte(2), byte(0), true)
	f.Add(uint16(0), uint16(20), byte(3), byte(0), false)
	f.Fuzz(func(t *testing.T, at, n uint16, how, bits byte, lines bool) {
		s := newStream(1, 0, 0)
		if lines {
			s = newStream(1, 0, 1000)
			s.back = true
		}
		where, much := int64(at), int64(n%512)+1
		whole := make([]byte, 1<<17)
		s.fill(whole, 0)
		got := bytes.Clone(whole[where:])
		want := Lost
		switch how % 4 {
		case 0:
			got = got[much:]
		case 1:
			want = Duplicated
			much = min(much, max(where, 1))
			if where == 0 {
				return
			}
			got = append(bytes.Clone(whole[where-much:where]), got...)
		case 2:
			want = Corrupt
			got[0] ^= bits | 1
			much = 1
		case 3:
			want = Spliced
			other := s
			other.conn = 1
			other.fill(got, where)
		}
		i := s.differ(got, where)
		if i == len(got) || i > 40 { // doubled bytes may be alike for some time
			return
		}
		fault := diagnose(s, where+int64(i), got[i:min(i+enough, len(got))], 2)
		switch {
		case fault.Class == Spliced && (fault.FromConn != 1 || fault.FromOffset != where+int64(i)):
			t.Errorf("%v", fault)
		case fault.Class != want:
			t.Errorf("%d bytes at %d: %v is %s, want %s", much, where, fault, fault.Class, want)
		case want != Spliced && fault.Bytes != much:
			t.Errorf("%d bytes at %d: %v has %d", much, where, fault, fault.Bytes)
		}
	})
}

// A few bytes tell what they can.
func TestDiagnoseOfFewBytes(t *testing.T) {
	t.Parallel()
	s := newStream(1, 0, 0)
	p := make([]byte, 100)
	s.fill(p, 0)
	for _, tt := range []struct {
		got   []byte
		want  Class
		bytes int64
	}{
		{[]byte{p[50] ^ 1}, Corrupt, 1},
		{p[51:54], Lost, 1},
		{p[60:66], Lost, 10},
		{p[48:52], Duplicated, 2},
		{[]byte{1, 2, 3, 4}, Corrupt, 0},
		{append([]byte{p[50] ^ 1}, p[51:53]...), Corrupt, 1},
	} {
		if f := diagnose(s, 50, tt.got, 1); f.Class != tt.want || f.Bytes != tt.bytes {
			t.Errorf("%x at 50: %v, %s of %d bytes; want %s of %d", tt.got, f, f.Class, f.Bytes, tt.want, tt.bytes)
		}
	}
}

// A peer may send anything: lanes and datagrams stay in order.
func FuzzReceived(f *testing.F) {
	f.Add([]byte("anything at all, and more of it"), uint8(3), true)
	f.Add([]byte{}, uint8(0), false)
	f.Fuzz(func(t *testing.T, p []byte, cut uint8, verify bool) {
		l := newLane(newStream(1, 0, 0), 16, 4, verify)
		for range 4 {
			l.begin(0, 0)
		}
		buf := make([]byte, 64)
		l.wrote(len(l.output(buf)), 1)
		at := min(int(cut), len(p))
		n := 0
		right := l.received(p[:at], func(slot) { n++ })
		right = l.received(p[at:], func(slot) { n++ }) && right
		if n > 4 || l.flying() < 0 || right != (l.suspect == nil) {
			t.Errorf("%d answered, %d under way, right is %v", n, l.flying(), right)
		}
		if l.suspect != nil && l.fault(5).Error() == "" {
			t.Error("a fault without a text")
		}
		d := newDatagrams(newStream(1, 0, 0), 16, 4, verify, 1)
		d.begin(buf, 0, 0)
		if a := d.received(p, 5); a.fault != nil && a.fault.Error() == "" || d.flying < 0 {
			t.Errorf("%+v", a)
		}
	})
}
