package story_test

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"slices"
	"testing"
	"time"

	"yodel/story"
)

// A scene is a connection that never was: what each end sent when, what came and what
// did not. It makes the captures that both hosts would have taken.
type scene struct {
	delay time.Duration // each way
	skew  time.Duration // how far the server's clock is ahead
	drift float64       // how much faster it runs

	port    uint16
	mss     uint16    // that both tell; 0: they do not
	next    [2]uint32 // what each end sends next
	came    [2][]arrival
	packets []shot
}

const (
	c = 0 // the client
	s = 1 // the server
)

type arrival struct {
	at   time.Duration
	next uint32
}

type shot struct {
	sent, came time.Duration // negative: not
	from       int
	raw        []byte
}

func newScene() *scene {
	return &scene{delay: time.Millisecond, skew: 3723 * time.Second, port: 40000, next: [2]uint32{1000, 1 << 31}}
}

func ms(n float64) time.Duration { return time.Duration(n * 1e6) }

// flags of segments.
const (
	fin = 1
	syn = 2
	rst = 4
	psh = 8
	ack = 16
)

const window = 60000

// send has an end send n bytes at a time.
func (x *scene) send(from int, at float64, flags byte, n int) *scene {
	return x.put(from, at, flags, n, window, true)
}

// lose is send, but it does not come.
func (x *scene) lose(from int, at float64, flags byte, n int) *scene {
	return x.put(from, at, flags, n, window, false)
}

// again sends the last n numbers once more.
func (x *scene) again(from int, at float64, flags byte, n int, comes bool) *scene {
	size := uint32(n)
	if flags&(syn|fin) != 0 {
		size++
	}
	x.next[from] -= size
	return x.put(from, at, flags, n, window, comes)
}

func (x *scene) put(from int, at float64, flags byte, n, win int, comes bool) *scene {
	t := ms(at)
	seq := x.next[from]
	x.next[from] += uint32(n)
	if flags&(syn|fin) != 0 {
		x.next[from]++
	}
	p := shot{sent: t, came: -1, from: from, raw: x.segment(from, seq, x.known(from, t), flags, n, win)}
	if comes {
		p.came = t + x.delay
		x.came[1-from] = append(x.came[1-from], arrival{p.came, x.next[from]})
	}
	x.packets = append(x.packets, p)
	return x
}

// known is the number that an end expects by then.
func (x *scene) known(e int, at time.Duration) uint32 {
	var next uint32
	for _, a := range x.came[e] {
		if a.at <= at {
			next = a.next
		}
	}
	return next
}

// forge has a host between send a RST to one end, in the name of the other.
func (x *scene) forge(to int, at float64) *scene {
	x.packets = append(x.packets, shot{sent: -1, came: ms(at), from: 1 - to, raw: x.segment(1-to, x.next[1-to], 0, rst, 0, 0)})
	return x
}

func (x *scene) segment(from int, seq, ackNumber uint32, flags byte, n, win int) []byte {
	options := 0
	if x.mss > 0 && flags&syn != 0 {
		options = 4
	}
	b := make([]byte, 40+options+n)
	b[0], b[8], b[9] = 0x45, 64, 6
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	copy(b[12:], [][]byte{{192, 0, 2, 1}, {192, 0, 2, 2}}[from])
	copy(b[16:], [][]byte{{192, 0, 2, 2}, {192, 0, 2, 1}}[from])
	ports := [2]uint16{x.port, 80}
	binary.BigEndian.PutUint16(b[20:], ports[from])
	binary.BigEndian.PutUint16(b[22:], ports[1-from])
	binary.BigEndian.PutUint32(b[24:], seq)
	if flags&ack != 0 {
		binary.BigEndian.PutUint32(b[28:], ackNumber)
	}
	b[32], b[33] = byte(5+options/4)<<4, flags
	if options > 0 {
		b[40], b[41] = 2, 4
		binary.BigEndian.PutUint16(b[42:], x.mss)
	}
	binary.BigEndian.PutUint16(b[34:], uint16(win))
	return b
}

// open makes the connection: it stands at 2 ms.
func (x *scene) open() *scene {
	return x.send(c, 0, syn, 0).send(s, 1.01, syn|ack, 0).send(c, 2.02, ack, 0)
}

// close is an orderly end that the client begins.
func (x *scene) close(at float64) *scene {
	return x.send(c, at, fin|ack, 0).send(s, at+1.1, fin|ack, 0).send(c, at+2.2, ack, 0)
}

// epoch is the client's clock at the beginning.
const epoch = 1_800_000_000 * time.Second

// captures returns the files of both hosts.
func (x *scene) captures() (client, server []byte) {
	type record struct {
		at  time.Duration
		raw []byte
	}
	var records [2][]record
	for _, p := range x.packets {
		if p.sent >= 0 {
			records[p.from] = append(records[p.from], record{p.sent, p.raw})
		}
		if p.came >= 0 {
			records[1-p.from] = append(records[1-p.from], record{p.came, p.raw})
		}
	}
	var files [2][]byte
	for e := range records {
		slices.SortStableFunc(records[e], func(a, b record) int { return cmp.Compare(a.at, b.at) })
		b := binary.LittleEndian.AppendUint32(nil, 0xa1b23c4d)
		b = binary.LittleEndian.AppendUint16(b, 2)
		b = binary.LittleEndian.AppendUint16(b, 4)
		b = append(b, make([]byte, 8)...)
		b = binary.LittleEndian.AppendUint32(b, 1<<18)
		b = binary.LittleEndian.AppendUint32(b, 228)
		for _, r := range records[e] {
			at := epoch + r.at
			if e == s {
				at += x.skew + time.Duration(x.drift*float64(r.at))
			}
			b = binary.LittleEndian.AppendUint32(b, uint32(at/time.Second))
			b = binary.LittleEndian.AppendUint32(b, uint32(at%time.Second))
			b = binary.LittleEndian.AppendUint32(b, uint32(len(r.raw)))
			b = binary.LittleEndian.AppendUint32(b, uint32(len(r.raw)))
			b = append(b, r.raw...)
		}
		files[e] = b
	}
	return files[c], files[s]
}

// tell tells the stories of captures, or of traces.
func tell(t testing.TB, files ...[]byte) []*story.Story {
	t.Helper()
	var sources []story.Source
	for _, f := range files {
		sources = append(sources, story.Source{Name: "file", R: bytes.NewReader(f)})
	}
	told, err := story.Tell(t.Context(), sources, nil)
	if err != nil {
		t.Fatal(err)
	}
	return told.Stories
}
