package load

import "time"

// patience is for how long after a wrong byte more of them are waited for, which tell
// what has happened.
const patience = 100 * time.Millisecond

// A lane is one connection's messages, without any I/O: which bytes are to be sent, and
// what is thought of those that come back. Times are nanoseconds since the run's base.
type lane struct {
	stream
	size   int64
	verify bool

	due  int64 // position in the stream up to which messages have begun
	sent int64 // up to which it was sent
	seen int64 // up to which it has come back

	slots []slot // of the messages under way, by their number; a power of two of them
	first int64  // number of the oldest message under way
	next  int64  // number of the next message
	most  int64  // messages that may be under way

	suspect []byte // what came from the first wrong byte on; nil: all is right
}

// A slot is one message under way.
type slot struct {
	intended int64 // when it was due
	sent     int64 // when its first byte was given to the kernel; until then, when it was begun
}

func newLane(s stream, size, pipeline int, verify bool) *lane {
	n := 1
	for n < pipeline {
		n *= 2
	}
	s.back = s.line > 0
	return &lane{stream: s, size: int64(size), verify: verify, slots: make([]slot, n), most: int64(pipeline)}
}

// flying is how many messages are under way.
func (l *lane) flying() int64 { return l.next - l.first }

func (l *lane) slot(n int64) *slot { return &l.slots[n&int64(len(l.slots)-1)] }

// begin begins a message that was due at a time. There must be room for it.
func (l *lane) begin(intended, now int64) {
	*l.slot(l.next) = slot{intended, now}
	l.next++
	l.due += l.size
}

// unsent is how many bytes are to be sent.
func (l *lane) unsent() int64 { return l.due - l.sent }

// output fills buf with what is to be sent next.
func (l *lane) output(buf []byte) []byte {
	buf = buf[:min(l.unsent(), int64(len(buf)))]
	s := l.stream
	s.back = false
	s.fill(buf, l.sent)
	return buf
}

// wrote says that n bytes of the output were sent, in a call that began at a time.
func (l *lane) wrote(n int, began int64) {
	number := (l.sent + l.size - 1) / l.size // the first message that begins in these bytes
	for l.sent += int64(n); number*l.size < l.sent; number++ {
		l.slot(number).sent = began
	}
}

// oldest returns when the oldest message under way was sent, or at least begun.
func (l *lane) oldest() int64 { return l.slot(l.first).sent }

// restart makes l another connection's.
func (l *lane) restart(conn int) {
	l.conn = conn % maxConns
	l.due, l.sent, l.seen, l.first, l.next, l.suspect = 0, 0, 0, 0, 0, nil
}

// received takes what has come. It calls done for each message that is whole, and says
// whether all was right. After a byte that was wrong it only collects what follows, until
// there is enough to tell what has happened.
func (l *lane) received(p []byte, done func(slot)) (right bool) {
	if l.suspect != nil {
		l.collect(p)
		return false
	}
	n := min(int64(len(p)), l.sent-l.seen)
	good := n
	if l.verify {
		good = int64(l.differ(p[:n], l.seen))
	}
	l.seen += good
	for (l.first+1)*l.size <= l.seen {
		l.first++
		done(*l.slot(l.first - 1))
	}
	if good == int64(len(p)) {
		return true
	}
	l.collect(p[good:])
	return false
}

func (l *lane) collect(p []byte) {
	l.suspect = append(l.suspect, p[:min(len(p), enough-len(l.suspect))]...)
}

// suspicious says whether a byte was wrong and more of them would tell more.
func (l *lane) suspicious() bool { return l.suspect != nil && len(l.suspect) < enough }

// fault says what was wrong; conns is how many connections there are.
func (l *lane) fault(conns int) *Fault {
	if l.seen < l.sent {
		return diagnose(l.stream, l.seen, l.suspect, conns)
	}
	f := &Fault{Class: Unasked, Conn: l.conn, Offset: l.seen, Got: l.suspect[0]}
	if d := diagnose(l.stream, l.seen, l.suspect, conns); d.Class == Duplicated || d.Class == Spliced {
		return d
	}
	return f
}

// truncated returns the fault of a peer that ends now, if it is within an answer.
func (l *lane) truncated() *Fault {
	into := l.seen % l.size
	if into == 0 || l.first == l.next {
		return nil
	}
	return &Fault{Class: Truncated, Conn: l.conn, Offset: l.seen, Bytes: l.size - into}
}
