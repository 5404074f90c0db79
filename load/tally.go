package load

import (
	"cmp"
	"slices"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"yodel/trace"
)

// Counts are what happened to messages. Sent is Received, Lost and Unfinished together,
// and Received is Verified and Corrupt, or with Plan.NoVerify Unverified.
type Counts struct {
	Due        int64 // by the schedule of an open loop; in a closed one as Sent
	Sent       int64 // begun to be sent
	Received   int64 // answered in full, right or wrong
	Verified   int64 // answered, and every byte was right
	Unverified int64 // answered, and not compared
	Corrupt    int64 // answered wrongly: the class says how
	Lost       int64 // never answered
	Unsent     int64 // due, and never sent: no connection was free until the end
	Unfinished int64 // under way when the run was stopped early

	// Datagrams that came twice, after one that was sent later, after they had been given
	// up (these are not Lost any more), and such as nobody remembers.
	DuplicatedDatagrams, Reordered, Late, Unknown int64

	BytesOut, BytesIn int64
	Connections       int64 // made
	Reconnects        int64 // of these, instead of one that had broken
}

// Add adds o to c.
func (c *Counts) Add(o *Counts) {
	for _, p := range [][2]*int64{
		{&c.Due, &o.Due},
		{&c.Sent, &o.Sent},
		{&c.Received, &o.Received},
		{&c.Verified, &o.Verified},
		{&c.Unverified, &o.Unverified},
		{&c.Corrupt, &o.Corrupt},
		{&c.Lost, &o.Lost},
		{&c.Unsent, &o.Unsent},
		{&c.Unfinished, &o.Unfinished},
		{&c.DuplicatedDatagrams, &o.DuplicatedDatagrams},
		{&c.Reordered, &o.Reordered},
		{&c.Late, &o.Late},
		{&c.Unknown, &o.Unknown},
		{&c.BytesOut, &o.BytesOut},
		{&c.BytesIn, &o.BytesIn},
		{&c.Connections, &o.Connections},
		{&c.Reconnects, &o.Reconnects},
	} {
		*p[0] += *p[1]
	}
}

// Answered is how many messages were answered rightly, as far as that was looked at.
func (c *Counts) Answered() int64 { return c.Verified + c.Unverified }

// Times are histograms of durations in nanoseconds, with three significant digits.
type Times struct {
	// Latency counts from when a message was due to when its answer was whole.
	Latency *hdrhistogram.Histogram

	// Service counts from when it was sent.
	Service *hdrhistogram.Histogram

	// Lateness is what the tool itself added: from when a message was due and a
	// connection was free for it, to when it was sent. Open loop only.
	Lateness *hdrhistogram.Histogram

	// Name, Connect, TLS and FirstByte are the phases of connections: looking up the
	// name, connecting, the handshake, and from when the first message was sent to the
	// first byte of its answer.
	Name, Connect, TLS, FirstByte *hdrhistogram.Histogram
}

// A Slow is one of the messages that took longest.
type Slow struct {
	Latency, Service time.Duration
	Conn             int          // which connection, from 0
	ID               trace.ConnID // by which yodel story finds it
	Message          int64        // which of its messages, from 0; -1: not known
	At               time.Duration
}

const slowest = 10

// A tally is what a worker has counted for a target since it was last looked at.
type tally struct {
	Counts
	times
	errors map[Class]int64
	first  map[Class]error // one of each
	slow   []Slow
	floor  int64 // latency that a message must exceed to be among them
	last   int64 // when the last answer came
}

func newTally() *tally {
	return &tally{errors: make(map[Class]int64), first: make(map[Class]error)}
}

// reset makes t empty.
func (t *tally) reset() {
	for _, h := range t.all() {
		h.reset()
	}
	clear(t.errors)
	clear(t.first)
	*t = tally{times: t.times, errors: t.errors, first: t.first, slow: t.slow[:0]}
}

// merge adds o.
func (t *tally) merge(o *tally) {
	t.Counts.Add(&o.Counts)
	from := o.all()
	for i, h := range t.all() {
		h.merge(from[i])
	}
	for c, n := range o.errors {
		t.errors[c] += n
		if t.first[c] == nil {
			t.first[c] = o.first[c]
		}
	}
	t.last = max(t.last, o.last)
	t.slow = slowestOf(append(t.slow, o.slow...))
}

func slowestOf(all []Slow) []Slow {
	slices.SortFunc(all, func(a, b Slow) int { return cmp.Compare(b.Latency, a.Latency) })
	return all[:min(len(all), slowest)]
}

// answered counts a message that was answered rightly at a time.
func (t *tally) answered(s slot, now int64, verified bool) (remarkable bool) {
	t.Received++
	if verified {
		t.Verified++
	} else {
		t.Unverified++
	}
	latency := now - s.intended
	t.latency.record(latency)
	t.service.record(now - s.sent)
	t.last = now
	return latency > t.floor
}

// remember keeps a message as one of the slowest.
func (t *tally) remember(s Slow) {
	t.slow = append(t.slow, s)
	if len(t.slow) >= 2*slowest {
		t.slow = slowestOf(t.slow)
		t.floor = int64(t.slow[slowest-1].Latency)
	}
}

// failed counts an error.
func (t *tally) failed(c Class, err error) {
	t.errors[c]++
	if t.first[c] == nil {
		t.first[c] = err
	}
}
