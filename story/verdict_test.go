package story

import (
	"testing"

	"yodel/watch/packet"
)

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

// What the server's capture has from before the client's began is of the connection, too, and not
// seen at both ends.
func TestClientsCaptureBeginsLate(t *testing.T) {
	t.Parallel()
	const second = int64(1e9)
	for _, syn := range []packet.TCPFlags{0, packet.SYN} {
		w := walk{
			line: [2]*line{
				client: {wire: &wire{seen: []sighting{{flags: syn}}}, at: []int64{2 * second}},
				server: {wire: &wire{seen: []sighting{{flags: packet.SYN}}}, at: []int64{second}},
			},
			held: []held{{from: 2 * second, to: 3 * second, by: HeldByClient}},
		}
		w.complete()
		first := w.held[len(w.held)-1]
		if syn == 0 && (first.by != HeldUnseen || first.from != second || first.to != 2*second || first.why != notCaptured) {
			t.Errorf("%+v, want what only the server's capture has", w.held)
		}
		if syn != 0 && len(w.held) != 1 {
			t.Errorf("%+v: the client's capture has the SYN, and nothing was before it", w.held)
		}
	}
}
