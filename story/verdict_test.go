package story

import "testing"

// What is not captured, for whatever want, counts as one: it may all be of the same part.
func TestWhatIsNotCapturedCountsAsOne(t *testing.T) {
	t.Parallel()
	for name, s := range map[string]sums{
		"holes":          {holed: 60},
		"half of it SYN": {holed: 60, hidden: 30},
		"a SYN":          {holed: 60, hidden: 60},
	} {
		s.by[HeldUnseen], s.by[HeldByClient] = 60, 100
		if j, ok := s.largest(1, 50); !ok || j.verdict != CannotTell || len(j.toTell) == 0 {
			t.Errorf("%s: %q (%s), %v", name, j.verdict, j.why, ok)
		}
		s.by[HeldByClient] = 0
		if j, ok := s.largest(1, 50); !ok || j.verdict != CannotTell || j.why != s.incomplete().why {
			t.Errorf("%s alone: %q (%s), %v", name, j.verdict, j.why, ok)
		}
	}
}
