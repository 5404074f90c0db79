package flow

import (
	"net/netip"
	"time"

	"yodel/sock"
	"yodel/trace"
	"yodel/watch/packet"
)

// Defaults of Config.
const (
	DefaultMaxFlows = 4096
	DefaultMaxBytes = 8 << 20
	DefaultLinger   = time.Second
	DefaultUDPIdle  = time.Minute
)

// Config is how a Tracker works. Nil is all defaults.
type Config struct {
	// MaxFlows is how many flows are known at the same time; 0: 4,096. The one that was
	// silent for longest is forgotten for a new one.
	MaxFlows int

	// MaxBytes is how much memory all flows take together for what is not the same for
	// each: segments that are not acknowledged, bytes that wait behind a gap; 0: 8 MiB.
	// If it is not enough, the flow that was silent for longest is forgotten.
	MaxBytes int

	// Window is how many bytes of a direction wait behind a gap; 0: 1 MiB. It is used
	// with Data only.
	Window int

	// Linger is for how long a connection must be silent after its end before Ended is
	// called; 0: 1 s.
	Linger time.Duration

	// UDPIdle is for how long a flow of datagrams must be silent to have ended; 0: 1 min.
	UDPIdle time.Duration

	// Ended, unless nil, is called when a flow has ended, was forgotten, or the Tracker is
	// closed. It is called once more if packets came after that.
	Ended func(*Flow)

	// Data, unless nil, is called with the streams of TCP connections, piece by piece, in
	// order. It must not keep the bytes.
	Data func(f *Flow, from trace.Side, p Piece)

	// Listens, unless nil, reports whether a socket is known to be a server's. It is asked
	// where the SYN was not captured.
	Listens func(netip.AddrPort) bool

	// NewID returns the name of a flow; nil: trace.NewID.
	NewID func() trace.ConnID
}

// Stats counts what a Tracker has met.
type Stats struct {
	Packets int64 // that belonged to a flow
	Flows   int64
	Evicted int64 // flows that were forgotten for want of room
	Stray   int64 // ICMP errors about packets of no flow that is known
	Other   int64 // packets that are neither TCP nor UDP nor an ICMP error
}

// A Tracker follows flows. It is not safe for concurrent use.
type Tracker struct {
	cfg   Config
	flows map[key]*Flow
	order [2]queue // TCP, UDP: the flow that was silent for longest is the oldest
	ended []*Flow  // connections that have ended, and of which Ended was not told
	held  int      // bytes
	event Event
	stats Stats
}

// key is the two sockets of a flow, the lesser first, so that both directions have the
// same.
type key struct {
	low, high         [16]byte
	lowPort, highPort uint16
	version, protocol uint8
	_                 uint16
}

func keyOf(protocol uint8, src, dst netip.AddrPort) key {
	if dst.Compare(src) < 0 {
		src, dst = dst, src
	}
	k := key{
		low: src.Addr().As16(), high: dst.Addr().As16(), lowPort: src.Port(), highPort: dst.Port(),
		version: 6, protocol: protocol,
	}
	if src.Addr().Is4() {
		k.version = 4
	}
	return k
}

// New returns a Tracker. cfg may be nil.
func New(cfg *Config) *Tracker {
	t := &Tracker{flows: make(map[key]*Flow)}
	if cfg != nil {
		t.cfg = *cfg
	}
	if t.cfg.NewID == nil {
		t.cfg.NewID = trace.NewID
	}
	return t
}

func or[T int | time.Duration](v, otherwise T) T {
	if v > 0 {
		return v
	}
	return otherwise
}

// Stats returns what was met so far.
func (t *Tracker) Stats() Stats { return t.stats }

// Len returns how many flows are known.
func (t *Tracker) Len() int { return len(t.flows) }

// Add takes the next packet, and returns what it was; nil if it belongs to no flow. The
// number is the caller's; p must not change before the next call.
func (t *Tracker) Add(number int64, at time.Time, p *packet.Packet) *Event {
	t.Advance(at)
	t.event = Event{Number: number, Time: at, Packet: p, Length: p.Length}
	switch {
	case p.Kind == packet.TCP:
		t.segment()
	case p.Kind == packet.UDP:
		t.datagram()
	case p.Kind == packet.ICMP && p.ICMP.Error:
		t.icmp()
	default:
		t.stats.Other++
	}
	if t.event.Flow == nil {
		return nil
	}
	t.stats.Packets++
	return &t.event
}

// Advance tells the time, of which nothing else is known while no packets come.
func (t *Tracker) Advance(now time.Time) {
	for len(t.ended) > 0 && now.Sub(t.ended[0].Last) >= or(t.cfg.Linger, DefaultLinger) {
		t.tellOldest()
	}
	for f := t.order[1].oldest; f != nil && now.Sub(f.Last) >= or(t.cfg.UDPIdle, DefaultUDPIdle); f = t.order[1].oldest {
		t.remove(f)
	}
}

// Close ends all flows, those first that were silent for longest.
func (t *Tracker) Close() {
	for i := range t.order {
		for f := t.order[i].oldest; f != nil; f = t.order[i].oldest {
			t.remove(f)
		}
	}
	t.ended = nil
}

// tell calls Ended, unless that was done for all packets that there are.
func (t *Tracker) tell(f *Flow) {
	if f.told == f.Packets() {
		return
	}
	t.flush(f)
	f.told = f.Packets()
	if t.cfg.Ended != nil {
		t.cfg.Ended(f)
	}
}

func (t *Tracker) remove(f *Flow) {
	t.tell(f)
	t.account(f, 0)
	t.queue(f).remove(f)
	delete(t.flows, f.key)
}

func (t *Tracker) queue(f *Flow) *queue { return &t.order[bit(f.key.protocol == packet.ProtocolUDP)] }

// find returns the flow of a packet, a new one if there is none.
func (t *Tracker) find(p *packet.Packet) *Flow {
	k := keyOf(p.IP.Protocol, p.Src, p.Dst)
	f := t.flows[k]
	if f == nil {
		f = t.open(k, p)
	}
	return f
}

func (t *Tracker) open(k key, p *packet.Packet) *Flow {
	if len(t.flows) >= or(t.cfg.MaxFlows, DefaultMaxFlows) {
		t.evict(nil)
	}
	t.stats.Flows++
	f := &Flow{
		ID: t.cfg.NewID(), Number: t.stats.Flows, key: k,
		Network: "tcp", Pair: sock.Pair{Client: p.Src, Server: p.Dst},
	}
	if k.protocol == packet.ProtocolUDP {
		f.Network = "udp"
	}
	if t.isServers(f, p) {
		f.Pair = f.Pair.Mirror()
	}
	for _, side := range []trace.Side{trace.Client, trace.Server} {
		h := f.Half(side)
		h.WindowScale = unset
		h.analysis.init()
		h.stream.Window = t.cfg.Window
		if t.cfg.Data != nil {
			h.out = func(p Piece) { t.cfg.Data(f, side, p) }
		}
	}
	t.flows[k] = f
	t.queue(f).push(f)
	return f
}

// isServers reports whether the first packet of a flow comes from the server. A SYN says
// so; without one the server is the one that listens, or the one whose port is below
// 1024, or the one that was spoken to.
func (t *Tracker) isServers(f *Flow, p *packet.Packet) bool {
	if p.Kind == packet.TCP && p.TCP.Flags.Has(packet.SYN) {
		return p.TCP.Flags.Has(packet.ACK)
	}
	f.Guessed = p.Kind == packet.TCP
	if t.cfg.Listens != nil {
		if src, dst := t.cfg.Listens(p.Src), t.cfg.Listens(p.Dst); src != dst {
			return src
		}
	}
	return p.Kind == packet.TCP && p.Src.Port() < 1024 && p.Dst.Port() >= 1024
}

// evict forgets the flow that was silent for longest, but not the one given.
func (t *Tracker) evict(but *Flow) {
	f := t.order[0].oldest
	if u := t.order[1].oldest; f == nil || f == but || u != nil && u.Last.Before(f.Last) {
		f = u
	}
	if f == nil || f == but {
		return
	}
	t.stats.Evicted++
	f.Evicted = true
	t.remove(f)
}

// touch counts a packet of a side.
func (t *Tracker) touch(f *Flow, from trace.Side) {
	e := &t.event
	e.Flow, e.From = f, from
	if f.First.IsZero() {
		f.First = e.Time
	} else {
		e.Since = e.Time.Sub(f.Last)
	}
	f.Last = e.Time
	q := t.queue(f)
	q.remove(f)
	q.push(f)
}

func (f *Flow) sideOf(src netip.AddrPort) trace.Side {
	if src == f.Pair.Client {
		return trace.Client
	}
	return trace.Server
}

// account keeps the sum of what flows hold, and forgets some if it is too much.
func (t *Tracker) account(f *Flow, held int) {
	t.held += held - f.held
	f.held = held
	for t.held > or(t.cfg.MaxBytes, DefaultMaxBytes) {
		before := len(t.flows)
		t.evict(f)
		if len(t.flows) == before {
			return
		}
	}
}

// queue is a list of flows, in the order of their last packets.
type queue struct{ oldest, newest *Flow }

func (q *queue) push(f *Flow) {
	f.older, f.newer = q.newest, nil
	if q.newest != nil {
		q.newest.newer = f
	} else {
		q.oldest = f
	}
	q.newest = f
}

func (q *queue) remove(f *Flow) {
	if f.older != nil {
		f.older.newer = f.newer
	} else {
		q.oldest = f.newer
	}
	if f.newer != nil {
		f.newer.older = f.older
	} else {
		q.newest = f.older
	}
	f.older, f.newer = nil, nil
}
