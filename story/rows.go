package story

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"yodel/internal/escape"
	"yodel/trace"
	"yodel/watch"
	"yodel/watch/flow"
	"yodel/watch/packet"
)

// A Row is one thing that happened. Exactly one of the columns is set, but a packet that
// was seen at both ends has Wire with Left and Came.
type Row struct {
	At   time.Duration // since Start; negative is possible for calls before it
	Side trace.Side    // whose call it is, or who has sent the packet

	Call string // of a program, escaped
	Wire string // of a packet: its flags, numbers and payload, escaped

	Seen  Evidence      // of a packet: where it was seen
	Came  time.Duration // of a packet that was seen at both ends: when it came
	Again bool          // of a packet: sent before
	Lost  bool          // of a packet: it was sent and never came
	Alien bool          // of a packet: it came and was never sent
}

// MaxRows is how many rows a Story has; those in the middle are left out.
const MaxRows = 2000

func (t *teller) rows() {
	var rows []Row
	for e := range t.c.calls {
		rows = append(rows, t.callRows(end(e))...)
	}
	rows = append(rows, t.wireRows()...)
	slices.SortStableFunc(rows, func(a, b Row) int { return cmp.Compare(a.At, b.At) })
	if len(rows) > MaxRows {
		left := len(rows) - MaxRows
		t.s.Notes = append(t.s.Notes, fmt.Sprintf("%d rows in the middle are left out", left))
		rows = slices.Delete(rows, MaxRows/2, MaxRows/2+left)
	}
	t.s.Rows = rows
}

// callRows is one program's column.
func (t *teller) callRows(e end) []Row {
	p := t.c.calls[e]
	if p == nil {
		return nil
	}
	var rows []Row
	for i := range p.calls {
		c := &p.calls[i]
		at := c.Time.UnixNano()
		if e == server && t.c.clock != nil && t.c.at[client] != t.c.at[server] {
			at = t.c.clock.toClient(at)
		}
		rows = append(rows, Row{At: time.Duration(at - t.zero), Side: trace.Side(e.String()), Call: callText(c)})
	}
	return rows
}

// callText writes a call as a program would have it.
func callText(e *trace.Event) string {
	text := callName(e)
	if e.Took >= time.Millisecond && e.Op != trace.Close {
		text += " took " + watch.Duration(e.Took)
	}
	if e.Err != nil {
		text += ": " + escape.StringN(e.Err.Error(), 80)
	}
	return text
}

func callName(e *trace.Event) string {
	switch e.Op {
	case trace.Resolve:
		return "name = " + escape.StringN(e.Text, 60)
	case trace.Socket, trace.Accept:
		return withFD(string(e.Op)+"()", e.FD)
	case trace.Read, trace.Write:
		return fmt.Sprintf("%s() = %d", e.Op, e.Bytes)
	case trace.EOF:
		return "read() = 0: the peer's end"
	case trace.Close:
		return "close(): " + escape.StringN(e.Text, 60)
	case trace.Message:
		return fmt.Sprintf("a message of %d bytes", e.Bytes)
	case trace.Handshake:
		return "TLS: " + escape.StringN(e.Text, 60)
	case trace.Note, trace.Refuse:
		return string(e.Op) + ": " + escape.StringN(e.Text, 80)
	}
	return escape.StringN(string(e.Op), 40) + "()"
}

func withFD(call string, fd int) string {
	if fd == 0 {
		return call
	}
	return fmt.Sprintf("%s = %d", call, fd)
}

// wireRows is the column between: each packet once, with when it left and when it came.
func (t *teller) wireRows() []Row {
	c, s := t.w.line[client], t.w.line[server]
	switch {
	case c == nil && s == nil && t.c.middle == nil:
		return nil
	case c == nil && s == nil:
		return oneSided(newLine(t.c.middle, asIs, shifts{}, unscaled), Between, t.zero)
	case s == nil:
		return oneSided(c, ClientOnly, t.zero)
	case c == nil:
		return oneSided(s, ServerOnly, t.zero)
	case c == s:
		return oneSided(c, Both, t.zero)
	}
	return append(t.bothEnds(client), t.bothEnds(server)...)
}

func oneSided(l *line, where Evidence, zero int64) []Row {
	rows := make([]Row, 0, len(l.at))
	for i := range l.wire.seen {
		r := rowOf(l, i, zero)
		r.Seen = where
		rows = append(rows, r)
	}
	return rows
}

func rowOf(l *line, i int, zero int64) Row {
	s := &l.wire.seen[i]
	at := time.Duration(l.at[i] - zero)
	r := Row{At: at, Came: at, Side: trace.Side(s.from.String()), Wire: wireText(s)}
	r.Again = s.marks&flow.Retransmission != 0
	return r
}

// bothEnds is what one end has sent: each packet with the copy of it that came.
func (t *teller) bothEnds(from end) []Row {
	own, far := t.w.line[from], t.w.line[from.other()]
	var rows []Row
	used := make([]bool, len(far.at))
	copies := far.byKey(from)
	for i := range own.wire.seen {
		if own.wire.seen[i].from != from {
			continue
		}
		r := rowOf(own, i, t.zero)
		j := match(own, i, far, copies)
		if j < 0 {
			r.Lost = t.covered(from.other(), own.at[i]) && !t.sameBytes(own, i, far, from)
			r.Seen = Evidence(from.String())
		} else {
			used[j] = true
			r.Came, r.Seen = time.Duration(far.at[j]-t.zero), Both
		}
		rows = append(rows, r)
	}
	for j := range far.wire.seen {
		s := &far.wire.seen[j]
		if s.from != from || used[j] || s.takes() && !s.resets() && own.carried(from, s, far) {
			continue
		}
		r := rowOf(far, j, t.zero)
		r.Seen, r.Alien = Evidence(from.other().String()), (s.resets() || s.takes()) && t.covered(from, far.at[j])
		rows = append(rows, r)
	}
	return rows
}

// packetKey is what the two copies of a packet have in common.
type packetKey struct {
	seq, end, ack int64
	flags         packet.TCPFlags
	icmp          bool
}

func keyAt(l *line, i int) packetKey {
	s := &l.wire.seen[i]
	k := packetKey{s.seq + l.shifts[s.from], s.end + l.shifts[s.from], s.ack, s.flags, s.icmp}
	if s.ack >= 0 {
		k.ack += l.shifts[s.from.other()]
	}
	return k
}

// byKey is where the packets of an end are, by what they are.
func (l *line) byKey(from end) map[packetKey][]int {
	at := make(map[packetKey][]int)
	for i := range l.wire.seen {
		if l.wire.seen[i].from == from {
			k := keyAt(l, i)
			at[k] = append(at[k], i)
		}
	}
	return at
}

// match finds the copy of a packet at the far end, and takes it out of copies. Of several
// equal ones that were sent, each is given the first copy that came after it.
func match(own *line, i int, far *line, copies map[packetKey][]int) int {
	const slack = int64(time.Millisecond) // of clocks
	key := keyAt(own, i)
	list := copies[key]
	for len(list) > 0 && far.at[list[0]] < own.at[i]-slack {
		list = list[1:]
	}
	copies[key] = list
	if len(list) == 0 {
		return -1
	}
	j := list[0]
	if later := own.nextSame(i, key); later >= 0 && own.at[later] <= far.at[j] {
		return -1 // it is the copy of one that was sent later
	}
	copies[key] = list[1:]
	return j
}

// nextSame returns the next packet that equals packet i, -1 if there is none soon.
func (l *line) nextSame(i int, key packetKey) int {
	const far = 512
	for j := i + 1; j < min(len(l.at), i+far); j++ {
		if l.wire.seen[j].from == l.wire.seen[i].from && keyAt(l, j) == key {
			return j
		}
	}
	return -1
}

// sameBytes reports whether the bytes of a packet came in other pieces: network cards
// cut packets up and put them together.
func (t *teller) sameBytes(own *line, i int, far *line, from end) bool {
	s := &own.wire.seen[i]
	if !s.takes() {
		return false
	}
	p, ok := far.whole[from].reach(s.end + own.shifts[from])
	if !ok {
		return false
	}
	later := own.resentBefore(i, s, p.at)
	return !later
}

// resentBefore reports whether the end of a packet was sent again before a time.
func (l *line) resentBefore(i int, s *sighting, at int64) bool {
	for j := i + 1; j < len(l.at) && l.at[j] <= at; j++ {
		o := &l.wire.seen[j]
		if o.from == s.from && o.takes() && o.seq < s.end && s.end <= o.end {
			return true
		}
	}
	return false
}

// carried reports whether the bytes of a far packet were sent, in whatever pieces.
func (l *line) carried(from end, s *sighting, far *line) bool {
	_, ok := l.sent[from].reach(s.end + far.shifts[from])
	return ok
}

// wireText is a packet in few words.
func wireText(s *sighting) string {
	if s.icmp {
		return fmt.Sprintf("ICMP error, type %d code %d", s.icmpType, s.code)
	}
	var b strings.Builder
	b.WriteString(s.flags.String())
	switch {
	case s.length > 0:
		fmt.Fprintf(&b, " %d:%d", s.seq, s.seq+int64(s.length))
	case s.flags&(packet.SYN|packet.FIN) == 0 && s.ack >= 0:
		fmt.Fprintf(&b, " %d", s.ack)
	}
	if s.edge >= 0 && s.edge == s.ack && !s.resets() {
		b.WriteString(", window 0")
	}
	return b.String()
}
