package small_test

import (
	"encoding/binary"
	"testing"
	"time"

	"yodel/service/small"
	"yodel/yodeltest"
)

func TestTimeVectors(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		now  string
		want uint32
	}{
		// RFC 868's own.
		{"1900-01-01T00:00:01Z", 1},
		{"1970-01-01T00:00:00Z", 2_208_988_800},
		{"1976-01-01T00:00:00Z", 2_398_291_200},
		{"1980-01-01T00:00:00Z", 2_524_521_600},
		{"1983-05-01T00:00:00Z", 2_629_584_000},
		// RFC 5905 §6, figure 4, and the second in which era 0 ends.
		{"1972-01-01T00:00:00Z", 2_272_060_800},
		{"1999-12-31T00:00:00Z", 3_155_587_200},
		{"2036-02-07T06:28:15Z", 4_294_967_295},
		{"2036-02-07T06:28:16Z", 0},
		{"2036-02-07T06:28:17Z", 1},
		{"2036-02-08T00:00:00Z", 63_104},
		// The zone of the clock does not matter, nor a part of a second.
		{"1970-01-01T02:00:00+02:00", 2_208_988_800},
		{"1970-01-01T00:00:00.999Z", 2_208_988_800},
	} {
		var want [4]byte
		binary.BigEndian.PutUint32(want[:], tt.want)
		now := at(t, tt.now)

		talk := yodeltest.NewTalk(t, small.Time{}, peer)
		talk.SetTime(now)
		talk.Want(tt.now+" over TCP", string(want[:]))
		talk.WantEnd("then it ends")

		if got := (small.Time{}).Reply(peer, now, nil, nil); string(got) != string(want[:]) {
			t.Errorf("%s over UDP: got %x, want %x", tt.now, got, want)
		}
	}
}

// A client that knows the time to within 68 years finds the era, in any era.
func TestTimeIsUsableInEveryEra(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"1900-01-01T00:00:00Z", "2026-06-01T12:00:00Z", "2036-02-07T06:28:16Z",
		"2038-01-19T03:14:08Z", "2172-03-15T12:56:32Z", "2500-01-01T00:00:00Z", "9999-12-31T23:59:59Z",
	} {
		now := at(t, text)
		wire := binary.BigEndian.Uint32(small.Time{}.Reply(peer, now, nil, nil))
		for _, off := range []time.Duration{0, 60 * 365 * 24 * time.Hour, -60 * 365 * 24 * time.Hour} {
			if got := nearest(wire, now.Add(off)); !got.Equal(now) {
				t.Errorf("%s, read by a clock that is %v off: %v", text, off, got)
			}
		}
	}
}

// nearest returns the time closest to near that has these seconds in its era: the
// difference of two 32-bit timestamps is right where the times are within 2³¹ s.
func nearest(wire uint32, near time.Time) time.Time {
	behind := int32(wire - uint32(near.Unix()+2_208_988_800))
	return time.Unix(near.Unix()+int64(behind), 0)
}
