// Package watch is the logic of yodel watch, free of terminals: packets come from a
// [Source], a file or the wire, and [Watch] makes events of them: a segment and what it
// means, a connection and its sum. A [View] shows them: [Diagram] as text, [JSONView] as
// lines of JSON, [Recorder] as a capture file.
//
// The parts are packages of their own: packet decodes, pcap reads and writes files, flow
// follows connections.
package watch

import (
	"context"
	"errors"
	"io"
	"slices"
	"time"

	"yodel/watch/flow"
	"yodel/watch/packet"
	"yodel/watch/pcap"
)

// A Packet is one packet, from a file or from the wire.
type Packet struct {
	pcap.Packet

	// Owner is whose socket has sent it, or will get it, as a live capture knows: a
	// user's or a process's name. It may be any text: escape it.
	Owner string
}

// A Source yields packets in the order in which they were captured.
type Source interface {
	// Next returns the next packet. It is valid until the next call. The error is
	// io.EOF at the end. A live Source returns a nil Packet, and nil, if none has come
	// for a while, so that time goes on: Now says what time it is then.
	Next() (*Packet, error)

	// Now is the time of the packets: that of the last one in a file.
	Now() time.Time
}

// Losses is what a capture did not yield.
type Losses struct {
	Dropped  uint64 // for want of room
	Unproved uint64 // not shown to be the watcher's own, and so wiped
}

// A Loser is a Source that knows what it did not yield; it is asked at the end. (What a
// file says, it says with the packets.)
type Loser interface {
	Losses() Losses
}

// File returns the packets of a file as a Source.
func File(r *pcap.Reader) Source { return &file{r: r} }

type file struct {
	r      *pcap.Reader
	packet Packet
}

func (f *file) Next() (*Packet, error) {
	p, err := f.r.Next()
	if err != nil {
		return nil, err
	}
	f.packet.Packet = *p
	return &f.packet, nil
}

func (f *file) Now() time.Time { return f.packet.Time }

// EventType says what an Event is.
type EventType string

// The types. Each event has Time.
const (
	Segment   EventType = "segment"  // of TCP: Flow, Packet and What are set
	Datagram  EventType = "datagram" // of UDP: likewise
	ICMP      EventType = "icmp"     // an error about a flow: likewise
	FlowEnded EventType = "flow"     // the sum of a flow, at its end: Flow is set
	Ended     EventType = "capture"  // the end: Sum is set
)

// An Event is something that a View shows. It is valid until Show returns; a Flow stays.
type Event struct {
	Type   EventType
	Time   time.Time
	Flow   *flow.Flow
	Packet *Packet
	What   *flow.Event
	Sum    *Sum
}

// A View shows events. An error ends what is being watched.
type View interface {
	Show(*Event) error
}

// Views returns a View that shows each event on all of views; nils are left out. It is
// nil if none is left.
func Views(all ...View) View {
	var some views
	for _, v := range all {
		if v != nil {
			some = append(some, v)
		}
	}
	if len(some) == 0 {
		return nil
	}
	return some
}

type views []View

func (all views) Show(e *Event) error {
	for _, v := range all {
		if err := v.Show(e); err != nil {
			return err
		}
	}
	return nil
}

// Sum is what became of all packets. Nothing is left out: Packets is the sum of Shown,
// Hidden, Fragments, Other, Stray and Broken.
type Sum struct {
	Packets int64 // that the Source had
	Shown   int64 // of flows
	Hidden  int64 // not asked for by the Filter
	Other   int64 // neither TCP nor UDP nor an ICMP error
	Stray   int64 // ICMP errors about packets that were not captured
	Broken  int64 // that could not be read, or not to the end of their headers

	// LinkTypes are those of packets that could not be read because of it, the first
	// few; those packets are counted as Broken.
	LinkTypes []packet.LinkType

	Fragments int64 // of IP datagrams, but for those with which one was whole
	Joined    int64 // datagrams that became whole, each counted among the packets too
	Unjoined  int64 // datagrams of which pieces are missing

	Losses // of the capture itself, as far as it says

	Flows   int64
	Evicted int64 // flows that were forgotten before their end, for want of room

	First, Last time.Time
}

// Config is what to watch, and how. Nil is all.
type Config struct {
	Filter Filter
	View   View // nil: none

	// Flow is how flows are followed. Its Ended is called before the View is shown the
	// sum.
	Flow flow.Config
}

// Watch reads the Source to its end, or until ctx is done, and shows what it has. It
// returns the sum, and the error of the Source or of the View. A file that ends inside a
// packet is shown up to there, and its error returned.
func Watch(ctx context.Context, src Source, cfg *Config) (*Sum, error) {
	if cfg == nil {
		cfg = new(Config)
	}
	w := &watcher{src: src, filter: cfg.Filter, view: cfg.View}
	if w.view == nil {
		w.view = views(nil)
	}
	settings := cfg.Flow
	ended := settings.Ended
	settings.Ended = func(f *flow.Flow) {
		if ended != nil {
			ended(f)
		}
		w.show(&Event{Type: FlowEnded, Time: f.Last, Flow: f})
	}
	w.tracker = flow.New(&settings)
	err := w.run(ctx)
	w.finish()
	return &w.sum, errors.Join(err, w.err)
}

// watcher is one Watch under way.
type watcher struct {
	src     Source
	filter  Filter
	view    View
	tracker *flow.Tracker
	pieces  packet.Defragmenter
	decoded packet.Packet
	event   Event
	sum     Sum
	err     error // of the view
}

func (w *watcher) run(ctx context.Context) error {
	for w.err == nil && ctx.Err() == nil {
		p, err := w.src.Next()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case p == nil:
			w.tracker.Advance(w.src.Now())
		default:
			w.take(p)
		}
	}
	return nil
}

// finish ends all flows, and shows the sum.
func (w *watcher) finish() {
	w.tracker.Close()
	stats := w.tracker.Stats()
	w.sum.Flows, w.sum.Evicted = stats.Flows, stats.Evicted
	w.sum.Joined = w.pieces.Joined
	if l, ok := w.src.(Loser); ok {
		more := l.Losses()
		w.sum.Dropped += more.Dropped
		w.sum.Unproved += more.Unproved
	}
	w.sum.Unjoined = w.pieces.Dropped + int64(w.pieces.Waiting())
	w.show(&Event{Type: Ended, Time: w.sum.Last, Sum: &w.sum})
}

func (w *watcher) show(e *Event) {
	if w.err == nil {
		w.err = w.view.Show(e)
	}
}

// take takes one packet.
func (w *watcher) take(p *Packet) {
	w.count(p)
	d := &w.decoded
	err := d.Decode(p.Interface.LinkType, p.Data, p.Length)
	if err == nil && d.Kind == packet.Fragment {
		var whole bool
		if whole, err = w.pieces.Add(p.Time, d); !whole {
			w.sum.Fragments++
			return
		}
	}
	switch {
	case err != nil:
		w.sum.Broken++
		if errors.Is(err, packet.ErrLinkType) {
			w.sum.unknown(p.Interface.LinkType)
		}
	case !w.filter.Match(d):
		w.sum.Hidden++
	default:
		w.track(p, d)
	}
}

// unknown notes a link type that can't be read.
func (s *Sum) unknown(link packet.LinkType) {
	const most = 4
	if len(s.LinkTypes) < most && !slices.Contains(s.LinkTypes, link) {
		s.LinkTypes = append(s.LinkTypes, link)
	}
}

func (w *watcher) count(p *Packet) {
	w.sum.Packets++
	w.sum.Dropped += p.Lost
	if w.sum.First.IsZero() {
		w.sum.First = p.Time
	}
	if p.Time.After(w.sum.Last) {
		w.sum.Last = p.Time
	}
}

// track finds out what the packet is to a flow.
func (w *watcher) track(p *Packet, d *packet.Packet) {
	what := w.tracker.Add(p.Number, p.Time, d)
	switch {
	case what != nil:
		w.sum.Shown++
		w.event = Event{Type: typeOf(what.Kind), Time: p.Time, Flow: what.Flow, Packet: p, What: what}
		w.show(&w.event)
	case d.Kind == packet.ICMP && d.ICMP.Error:
		w.sum.Stray++
	default:
		w.sum.Other++
	}
}

func typeOf(k flow.Kind) EventType {
	switch k {
	case flow.Datagram:
		return Datagram
	case flow.ICMPError:
		return ICMP
	}
	return Segment
}
