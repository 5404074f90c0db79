package packet_test

import (
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"yodel/watch/packet"
)

// cut returns the fragments of a datagram: each but the last has so many bytes.
func cut(version int, size int, whole []byte) [][]byte {
	var all [][]byte
	for at := 0; at < len(whole); at += size {
		piece := whole[at:min(at+size, len(whole))]
		more := uint16(0)
		if at+size < len(whole) {
			more = 1
		}
		if version == 4 {
			all = append(all, ipv4With(17, uint16(at/8)|more<<13, nil, piece))
		} else {
			all = append(all, ipv6(44, fragment6(17, uint16(at)|more, 9, piece)))
		}
	}
	return all
}

var began = time.Unix(1_700_000_000, 0)

// give gives fragments to d, each a millisecond after the one before, and returns the
// datagrams that became whole.
func give(t *testing.T, d *packet.Defragmenter, pieces ...[]byte) (whole []packet.Packet) {
	t.Helper()
	for i, data := range pieces {
		p := decode(t, packet.Raw, data)
		done, err := d.Add(began.Add(time.Duration(i)*time.Millisecond), p)
		if err != nil {
			t.Fatal(err)
		}
		if done {
			whole = append(whole, *p)
		}
	}
	return whole
}

func numbers(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i * 7)
	}
	return b
}

// The pieces of a datagram give it back, in any order and with some of them twice.
func TestFragmentsInAnyOrder(t *testing.T) {
	t.Parallel()
	payload := numbers(1000)
	random := rand.New(rand.NewPCG(1, 1))
	for _, version := range []int{4, 6} {
		for range 50 {
			pieces := cut(version, 8*(1+random.IntN(30)), udp(payload))
			if len(pieces) == 1 {
				continue
			}
			first := pieces[random.IntN(len(pieces))]
			random.Shuffle(len(pieces), func(i, j int) { pieces[i], pieces[j] = pieces[j], pieces[i] })
			pieces = slices.Insert(pieces, len(pieces)/2, first) // one comes twice
			var d packet.Defragmenter
			whole := give(t, &d, pieces...)
			if len(whole) != 1 || whole[0].Kind != packet.UDP || string(whole[0].Payload) != string(payload) ||
				whole[0].Src.Port() != 5353 || whole[0].Length != len(payload) || d.Joined != 1 || d.Dropped != 0 {
				t.Fatalf("IPv%d, %d pieces: %d whole, %+v", version, len(pieces), len(whole), d)
			}
			// The one that came twice may be the beginning of another datagram.
			if d.Waiting() > 1 {
				t.Errorf("%d are waiting", d.Waiting())
			}
		}
	}
}

// What can't be joined is thrown away and counted, and nothing is invented for it.
func TestFragmentsThatCannotBeJoined(t *testing.T) {
	t.Parallel()
	whole := udp(numbers(64))
	pieces := cut(4, 24, whole)
	overlap := ipv4With(17, 0x2000|2, nil, whole[16:40])
	other := ipv4With(17, 0x2000, nil, make([]byte, 24))
	longer := ipv4With(17, 3, nil, make([]byte, 100))
	shorter := ipv4With(17, 3, nil, make([]byte, 8))
	beyond := ipv4With(17, 0x2000|200, nil, make([]byte, 8))
	for _, c := range []struct {
		name   string
		pieces [][]byte
	}{
		{"one overlaps another", [][]byte{pieces[0], overlap, pieces[1], pieces[2]}},
		{"the same place, other bytes", [][]byte{pieces[0], other, pieces[1], pieces[2]}},
		{"two ends: the second is longer", [][]byte{pieces[0], pieces[2], longer, pieces[1]}},
		{"the end is before what came", [][]byte{pieces[0], pieces[1], ipv4With(17, 2, nil, make([]byte, 8)), pieces[2]}},
		{"one goes beyond the end", [][]byte{pieces[2], beyond, pieces[0], pieces[1]}},
		{"two ends: the second is shorter", [][]byte{pieces[0], pieces[2], shorter, pieces[1]}},
		{"an empty one", [][]byte{pieces[0], ipv4With(17, 0x2000|3, nil, nil), pieces[1], pieces[2]}},
		{"one never comes", [][]byte{pieces[0], pieces[2]}},
	} {
		var d packet.Defragmenter
		if got := give(t, &d, c.pieces...); len(got) > 0 {
			t.Errorf("%s: a datagram of %d bytes", c.name, got[0].Length)
		}
		p := decode(t, packet.Raw, ipv4With(6, 0x2000, nil, make([]byte, 8))) // half a minute later, another one
		d.Add(began.Add(31*time.Second), p)
		if d.Joined != 0 || d.Dropped != 1 || d.Waiting() != 1 {
			t.Errorf("%s: %d joined, %d dropped, %d waiting; want 0, 1, 1", c.name, d.Joined, d.Dropped, d.Waiting())
		}
	}
}

// A piece of which the capture has only the beginning spoils its datagram.
func TestFragmentCutByTheCapture(t *testing.T) {
	t.Parallel()
	var d packet.Defragmenter
	for _, data := range cut(4, 24, udp(numbers(64))) {
		var p packet.Packet
		if err := p.Decode(packet.Raw, data[:len(data)-4], len(data)); err != nil {
			t.Fatal(err)
		}
		if whole, _ := d.Add(began, &p); whole {
			t.Error("a datagram was made of halves")
		}
	}
}

func TestFragmentsAreBounded(t *testing.T) {
	t.Parallel()
	var d packet.Defragmenter
	for id := range 1000 { // many datagrams
		p := decode(t, packet.Raw, ipv6(44, fragment6(17, 1, uint32(id), make([]byte, 8))))
		d.Add(began, p)
	}
	if d.Waiting() != 64 || d.Dropped != 1000-64 {
		t.Errorf("%d wait, %d dropped", d.Waiting(), d.Dropped)
	}
	d = packet.Defragmenter{}
	for i := range 2000 { // one datagram in very many pieces, none of which touch
		p := decode(t, packet.Raw, ipv4With(17, 0x2000|uint16(2*i), nil, make([]byte, 8)))
		d.Add(began, p)
	}
	if d.Waiting() != 1 {
		t.Errorf("%d wait", d.Waiting())
	}
}

// The transport of a whole datagram may be wrong in itself, and be behind a header more.
func TestJoinedTransport(t *testing.T) {
	t.Parallel()
	var d packet.Defragmenter
	var err error
	for _, data := range cut(4, 8, append([]byte{0, 1, 0, 2, 0, 99, 0, 0}, numbers(20)...)) { // a UDP length of 99
		p := decode(t, packet.Raw, data)
		if _, err = d.Add(began, p); err != nil {
			break
		}
	}
	if !errors.Is(err, packet.ErrMalformed) {
		t.Errorf("a wrong UDP length: %v", err)
	}
	whole := extension(17, nil, udp([]byte("behind destination options")))
	got := give(t, new(packet.Defragmenter),
		ipv6(44, fragment6(60, 1, 9, whole[:16])), ipv6(44, fragment6(60, 16, 9, whole[16:])))
	if len(got) != 1 || string(got[0].Payload) != "behind destination options" {
		t.Errorf("%+v", got)
	}
	inside := fragment6(17, 1, 3, udp(numbers(8))) // fragments of fragments
	got = give(t, new(packet.Defragmenter),
		ipv6(44, fragment6(44, 1, 9, inside[:16])), ipv6(44, fragment6(44, 16, 9, inside[16:])))
	if len(got) != 1 || got[0].Kind != packet.Fragment {
		t.Errorf("%+v", got)
	}
}

func TestWhatIsNoFragmentStays(t *testing.T) {
	t.Parallel()
	p := decode(t, packet.Raw, ipv4(17, udp([]byte("x"))))
	before := *p
	if whole, err := new(packet.Defragmenter).Add(began, p); whole || err != nil || p.Src != before.Src || p.Kind != packet.UDP {
		t.Errorf("%v %v %+v", whole, err, p)
	}
}
