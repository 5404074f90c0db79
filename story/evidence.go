package story

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"time"

	"yodel/internal/escape"
	"yodel/sock"
	"yodel/trace"
	"yodel/watch"
	"yodel/watch/flow"
	"yodel/watch/packet"
	"yodel/watch/pcap"
)

// A Source is a trace or a capture.
type Source struct {
	Name string // of the file; it may be any text
	R    io.Reader
}

// end is one of the two ends of a connection.
type end uint8

const (
	client end = iota
	server
)

func (e end) other() end { return 1 - e }

func (e end) String() string { return [...]string{"client", "server"}[e] }

func endOf(s trace.Side) end {
	if s == trace.Server {
		return server
	}
	return client
}

// evidence is all that was read.
type evidence struct {
	opt      *Options
	captures []*capture
	traced   []*traced
	byID     map[tracedKey]*traced
	notes    []string
	room     int // for packets
}

// capture is what one capture has.
type capture struct {
	name        string
	first, last int64 // of all its packets, in its own clock
	lost        uint64
	own         bool    // of yodel, which shows its user's connections: not all SYNs that came, nor RSTs of nobody's
	times       []int64 // of the packets of all wires, in order
	holes       []hole
	missed      int // how many of the holes are proven to be losses
	wires       []*wire
	names       []lookup
	asked       map[question]int64
}

// wire is one connection as one capture has it.
type wire struct {
	capture *capture
	flow    *flow.Flow
	seen    []sighting
	unseen  int // packets that were not kept
}

// sighting is one packet of a connection at one place. Numbers are relative to the
// initial sequence numbers that this capture knows.
type sighting struct {
	at             int64 // nanoseconds since 1970, by the clock of the capture
	seq, end       int64
	ack, edge      int64 // -1: none; edge is the end of the window
	number         int64
	marks          flow.Marks
	length         int32
	window         uint16 // as sent
	twice          int64  // a number up to which its sender has got something twice; -1: no
	flags          packet.TCPFlags
	from           end
	ttl            uint8
	direction      packet.Direction
	icmp           bool // an ICMP error, from somebody between if alien is set
	alien          bool
	icmpType, code uint8
}

// takes reports whether the packet takes part of its side's stream.
func (s *sighting) takes() bool { return s.end > s.seq && s.flags&packet.RST == 0 && !s.icmp }

func (s *sighting) resets() bool { return s.flags&packet.RST != 0 }

// readAll reads the sources one after the other. What can't be read to its end is noted,
// what can't be read at all is an error.
func readAll(ctx context.Context, sources []Source, opt *Options) (*evidence, error) {
	ev := &evidence{opt: opt, byID: make(map[tracedKey]*traced), room: opt.packets()}
	for _, s := range sources {
		if err := ev.read(ctx, s); err != nil {
			return nil, fmt.Errorf("read %s: %w", escape.StringN(s.Name, 200), err)
		}
	}
	return ev, nil
}

func (ev *evidence) read(ctx context.Context, s Source) error {
	in := bufio.NewReaderSize(s.R, 4096)
	isTrace, err := startsLikeTrace(in)
	switch {
	case err != nil:
		return err
	case isTrace:
		return ev.readTrace(ctx, s.Name, in)
	}
	return ev.readCapture(ctx, s.Name, in)
}

// startsLikeTrace reports whether the first byte that is no white space begins an object
// of JSON.
func startsLikeTrace(in *bufio.Reader) (bool, error) {
	head, err := in.Peek(256)
	if len(head) == 0 && err != nil {
		if errors.Is(err, io.EOF) {
			return false, errors.New("the file is empty")
		}
		return false, err
	}
	return bytes.HasPrefix(bytes.TrimLeft(head, " \t\r\n"), []byte("{")), nil
}

func (ev *evidence) note(format string, args ...any) {
	const most = 100
	if len(ev.notes) < most {
		ev.notes = append(ev.notes, fmt.Sprintf(format, args...))
	}
}

func (ev *evidence) readCapture(ctx context.Context, name string, in io.Reader) error {
	r, err := pcap.NewReader(in)
	if err != nil {
		return err
	}
	c := &collector{
		ev: ev, capture: &capture{name: name, asked: make(map[question]int64)},
		wires: make(map[*flow.Flow]*wire),
	}
	ev.captures = append(ev.captures, c.capture)
	sum, err := watch.Watch(ctx, watch.File(r), &watch.Config{View: c})
	if sum.Packets > 0 {
		c.capture.first, c.capture.last = sum.First.UnixNano(), sum.Last.UnixNano()
	}
	c.capture.lost = max(sum.Dropped, dropped(r))
	c.capture.own = strings.HasPrefix(r.Section().Application, "yodel")
	for _, w := range c.capture.wires {
		w.sort()
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var cut *pcap.TruncatedError
	var damaged *pcap.FormatError
	if errors.As(err, &cut) || errors.As(err, &damaged) {
		ev.note("%s: %v; what comes before that was used", escape.StringN(name, 200), err)
		return nil
	}
	return err
}

// dropped is how many packets a file says that it lacks.
func dropped(r *pcap.Reader) (sum uint64) {
	for _, i := range r.Interfaces() {
		if s := i.Statistics; s != nil {
			sum += uint64(max(s.Dropped, 0)) + uint64(max(s.OSDropped, 0))
		}
	}
	return sum
}

// collector is a watch.View that keeps what a story needs.
type collector struct {
	ev      *evidence
	capture *capture
	wires   map[*flow.Flow]*wire
}

// Show implements watch.View.
func (c *collector) Show(e *watch.Event) error {
	switch e.Type {
	case watch.Segment, watch.ICMP:
		if e.Flow.Network == "tcp" && c.ev.opt.Filter.Match(e.What.Packet) {
			c.keep(e)
		}
	case watch.Datagram:
		c.capture.lookup(e)
	}
	return nil
}

func (c *collector) keep(e *watch.Event) {
	w := c.wires[e.Flow]
	if w == nil {
		if e.Type == watch.ICMP {
			return
		}
		w = &wire{capture: c.capture, flow: e.Flow}
		c.wires[e.Flow] = w
		c.capture.wires = append(c.capture.wires, w)
	}
	if c.ev.room == 0 || !believable(e.Time) {
		w.unseen++
		return
	}
	c.ev.room--
	w.seen = append(w.seen, sightingOf(e))
}

// sort puts packets in the order of their times: captures write them down in the order
// in which they meet them, which is not quite the same where a network card has several
// queues. A clock that was set back is another matter.
func (w *wire) sort() {
	const most = 10_000_000 // ns
	sorted := true
	last := int64(never)
	for i := range w.seen {
		at := w.seen[i].at
		if at < last-most {
			return
		}
		sorted = sorted && at >= last
		last = max(last, at)
	}
	if !sorted {
		slices.SortStableFunc(w.seen, func(a, b sighting) int { return cmp.Compare(a.at, b.at) })
	}
}

func sightingOf(e *watch.Event) sighting {
	what := e.What
	p := what.Packet
	s := sighting{
		at: e.Time.UnixNano(), number: what.Number, from: endOf(what.From), ttl: p.IP.TTL,
		direction: e.Packet.Direction, ack: -1, edge: -1, twice: -1,
	}
	if s.direction == packet.Unknown {
		s.direction = p.Direction
	}
	if e.Type == watch.ICMP {
		s.icmp, s.alien, s.icmpType, s.code = true, what.From == "", p.ICMP.Type, p.ICMP.Code
		return s
	}
	s.seq, s.end, s.ack = what.Seq, what.End, what.Ack
	s.marks, s.length, s.flags = what.Marks, int32(what.Length), p.TCP.Flags
	s.window = p.TCP.Window
	if h := &p.TCP; h.SACKs > 0 && what.Ack >= 0 && int32(h.SACK[0].Right-h.Ack) <= 0 { // RFC 2883
		s.twice = what.Ack - int64(h.Ack-h.SACK[0].Right)
	}
	if what.Window >= 0 && what.Ack >= 0 {
		s.edge = what.Ack + what.Window
	}
	return s
}

// traced is one connection as one program has it.
type traced struct {
	id      trace.ConnID
	source  string
	clock   string // see trace.FileHeader
	program string
	end     end
	network string
	local   netip.AddrPort
	remote  netip.AddrPort
	path    string
	calls   []trace.Event
	left    int // calls that were not kept
	joined  bool
}

type tracedKey struct {
	source int
	id     trace.ConnID
}

// believable reports whether a time can be reckoned with, in nanoseconds since 1970.
func believable(t time.Time) bool { return t.Year() >= 1970 && t.Year() < 2200 }

// Bounds of what is kept of traces.
const (
	maxTook   = 24 * time.Hour // a call that took longer has not been measured
	maxTraced = 20_000         // connections
	maxCalls  = 256            // of a connection; the last one is kept in any case
)

func (ev *evidence) readTrace(ctx context.Context, name string, in io.Reader) error {
	r := trace.NewReader(in)
	number := len(ev.traced) // distinguishes the sources: there are no more than connections before it
	bad := 0
	for ctx.Err() == nil {
		e, err := r.Next()
		var line *trace.LineError
		switch {
		case errors.Is(err, io.EOF) && !errors.As(err, &line):
			if bad > 0 {
				ev.note("%s: %d lines could not be understood", escape.StringN(name, 200), bad)
			}
			return nil
		case errors.As(err, &line):
			bad++
		case err != nil:
			return err
		default:
			ev.call(number, name, r.Header(), e)
		}
	}
	return ctx.Err()
}

func (ev *evidence) call(source int, name string, h trace.FileHeader, e trace.Event) {
	if e.Conn.IsZero() || e.Side == "" || !believable(e.Time) {
		return
	}
	if e.Took < 0 || e.Took > maxTook {
		e.Took = 0
	}
	key := tracedKey{source, e.Conn}
	t := ev.byID[key]
	if t == nil {
		if len(ev.traced) >= maxTraced {
			return
		}
		t = &traced{id: e.Conn, source: name, clock: h.Clock, program: h.Program, end: endOf(e.Side)}
		ev.byID[key] = t
		ev.traced = append(ev.traced, t)
	}
	t.add(e)
}

func (t *traced) add(e trace.Event) {
	if e.Local.IsValid() && e.Local.Port() != 0 {
		t.local = plainPort(e.Local)
	}
	if e.Remote.IsValid() && e.Op != trace.Listen {
		t.remote = plainPort(e.Remote)
	}
	if e.Network != "" {
		t.network = e.Network
	}
	if e.Path != "" {
		t.path = e.Path
	}
	if len(t.calls) == maxCalls {
		t.left++
		t.calls[maxCalls-1] = e
		return
	}
	t.calls = append(t.calls, e)
}

func plainPort(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap().WithZone(""), a.Port())
}

// pair returns the socket pair, client first.
func (t *traced) pair() sock.Pair {
	if t.end == server {
		return sock.Pair{Client: t.remote, Server: t.local}
	}
	return sock.Pair{Client: t.local, Server: t.remote}
}

// isListener reports whether it is a listening socket: no connection of its own.
func (t *traced) isListener() bool {
	for i := range t.calls {
		switch t.calls[i].Op {
		case trace.Listen:
			return true
		case trace.Accept, trace.Connect, trace.Read, trace.Write, trace.Close:
			return false
		}
	}
	return false
}

// find returns the first call of the given kind that succeeded.
func (t *traced) find(op trace.Op) *trace.Event {
	if t == nil {
		return nil
	}
	for i := range t.calls {
		if t.calls[i].Op == op && t.calls[i].Err == nil {
			return &t.calls[i]
		}
	}
	return nil
}

// via returns how a server's program has got a connection that came through a proxy,
// which told it whose it is; "" if it did not.
func (t *traced) via() string {
	if a := t.find(trace.Accept); a != nil && strings.HasPrefix(a.Text, "by way of ") {
		return a.Text
	}
	return ""
}

func (t *traced) first() time.Time { return t.calls[0].Time.Add(-t.calls[0].Took) }

func (t *traced) last() time.Time { return t.calls[len(t.calls)-1].Time }
