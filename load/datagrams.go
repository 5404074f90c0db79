package load

// datagrams is what one datagram socket has under way, without any I/O. A datagram is
// named by its first word, so that it is known whenever it comes.
//
// What is known of a datagram is kept for the last window of them: whoever comes later
// than that counts as unknown.
type datagrams struct {
	stream
	size    int64
	padded  int64 // distance of two datagrams in the stream
	verify  bool
	timeout int64 // ns, after which one is lost

	window  []dgram // by number; a power of two of them
	first   int64   // the oldest that may be under way
	next    int64
	highest int64 // the highest number that has come
	flying  int64
	most    int64

	want []byte // room for what must come
}

type dgram struct {
	slot
	state dgramState
}

type dgramState uint8

const (
	dgramFree dgramState = iota
	dgramFlying
	dgramAnswered
	dgramLost
)

// window is how many datagrams of a socket are remembered, at least.
const window = 1024

func newDatagrams(s stream, size, pipeline int, verify bool, timeout int64) *datagrams {
	n := window
	for n < 2*pipeline {
		n *= 2
	}
	padded := (int64(size) + 15) &^ 15
	if s.line > 0 { // no datagram has the newline in it, nor has any datagram's first word
		padded += 16
		s.line, s.back = padded, true
	}
	return &datagrams{
		stream: s, size: int64(size), padded: padded, verify: verify, timeout: timeout,
		window: make([]dgram, n), highest: -1, most: int64(pipeline), want: make([]byte, size),
	}
}

func (d *datagrams) at(n int64) *dgram { return &d.window[n&int64(len(d.window)-1)] }

// begin begins a datagram and returns it. p has room for it.
func (d *datagrams) begin(p []byte, intended, now int64) []byte {
	if old := d.at(d.next); old.state == dgramFlying {
		panic("load: a datagram under way was forgotten") // expire keeps first within the window
	}
	*d.at(d.next) = dgram{slot{intended, now}, dgramFlying}
	p = p[:d.size]
	s := d.stream
	s.back = false
	s.fill(p, d.next*d.padded)
	d.next++
	d.flying++
	return p
}

// expire makes lost what has waited for an answer for too long, and returns how many
// that are.
func (d *datagrams) expire(now int64) (lost int64) {
	for ; d.first < d.next; d.first++ {
		g := d.at(d.first)
		if g.state == dgramFlying {
			if now-g.sent < d.timeout {
				return lost
			}
			g.state = dgramLost
			d.flying--
			lost++
		}
	}
	return lost
}

// full says that the window has no place for another.
func (d *datagrams) full() bool {
	return d.flying >= d.most || d.next-d.first >= int64(len(d.window))
}

// answer is what came of a datagram.
type answer struct {
	slot
	known      bool // it is one that is remembered
	right      bool
	late       bool // it had been given up for lost
	duplicated bool // it had come before
	reordered  bool // one that was sent later has come before
	fault      *Fault
}

// received takes a datagram that came.
func (d *datagrams) received(p []byte, conns int) answer {
	n, fault := d.number(p, conns)
	if fault != nil {
		return answer{fault: fault}
	}
	if n >= d.next || d.next-n > int64(len(d.window)) {
		return answer{}
	}
	g := d.at(n)
	a := answer{slot: g.slot, known: true, reordered: n < d.highest}
	d.highest = max(d.highest, n)
	switch g.state {
	case dgramAnswered:
		a.duplicated = true
	case dgramLost:
		a.late = true
		g.state = dgramAnswered
	case dgramFlying:
		g.state = dgramAnswered
		d.flying--
		for d.first < d.next && d.at(d.first).state != dgramFlying { // so that the window has room for others
			d.first++
		}
	}
	a.fault = d.check(p, n)
	a.right = a.fault == nil
	return a
}

// number says which datagram p is. Without verifying, the first word is believed.
func (d *datagrams) number(p []byte, conns int) (int64, *Fault) {
	s := d.stream
	unknown := &Fault{Class: Corrupt, Conn: d.conn, Offset: d.first * d.size, Want: s.byteAt(d.first * d.padded)}
	if len(p) > 0 {
		unknown.Got = p[0]
	}
	if len(p) < s.wordLength() {
		unknown.Class = Truncated
		unknown.Bytes = d.size - int64(len(p))
		return 0, unknown
	}
	conn, at, ok := s.locate(p, conns)
	switch {
	case !ok || at%d.padded != 0:
		return 0, unknown
	case conn != d.conn:
		unknown.Class, unknown.FromConn, unknown.FromOffset = Spliced, conn, at/d.padded*d.size
		return 0, unknown
	}
	return at / d.padded, nil
}

// check compares datagram number n.
func (d *datagrams) check(p []byte, n int64) *Fault {
	s := d.stream
	f := &Fault{Conn: d.conn, Offset: n * d.size}
	switch {
	case !d.verify:
		return nil
	case int64(len(p)) < d.size:
		f.Class, f.Bytes = Truncated, d.size-int64(len(p))
		f.Offset += int64(len(p))
		return f
	case int64(len(p)) > d.size:
		f.Class, f.Got = Unasked, p[d.size]
		f.Offset += d.size
		return f
	}
	i := s.differ(p, n*d.padded)
	if i == len(p) {
		return nil
	}
	f.Class, f.Offset, f.Got, f.Want = Corrupt, f.Offset+int64(i), p[i], s.byteAt(n*d.padded+int64(i))
	f.Bytes = changed(s, p[i:], n*d.padded+int64(i))
	return f
}
