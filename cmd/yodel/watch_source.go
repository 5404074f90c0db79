package main

import (
	"errors"
	"io"
	"net"
	"sync/atomic"
	"time"

	"yodel/watch"
	"yodel/watch/capture"
	"yodel/watch/packet"
	"yodel/watch/pcap"
)

// tickTime is how often a liveSource tells the time while nothing comes.
const tickTime = 250 * time.Millisecond

// A liveSource yields the packets of a capture as they come. Without a capture only time
// goes on. But for stop it is for one goroutine.
type liveSource struct {
	capture *capture.Capture // nil: none
	filter  string           // what was asked for, as a capture file says it

	// tick, unless nil, is called every tickTime by Next. Its error ends the source:
	// io.EOF in order.
	tick func(now time.Time) error

	// idle, unless nil, is called before Next waits.
	idle func() error

	batches chan []capture.Packet // lent until there is something in taken
	taken   chan struct{}
	ended   chan error    // why there are no more
	closed  chan struct{} // nobody waits for packets any more
	over    atomic.Bool   // stop was called
	stopped chan struct{} // likewise

	clock      *time.Ticker
	began      bool
	batch      []capture.Packet
	lent       bool
	interfaces map[int]*pcap.Interface
	packet     watch.Packet
	number     int64
}

// newLiveSource returns a source of the packets of c, which may be nil. close must be
// called.
func newLiveSource(c *capture.Capture) *liveSource {
	return &liveSource{
		capture: c, batches: make(chan []capture.Packet), taken: make(chan struct{}, 1),
		ended: make(chan error, 1), closed: make(chan struct{}), stopped: make(chan struct{}),
		clock: time.NewTicker(tickTime), interfaces: map[int]*pcap.Interface{},
	}
}

// read hands over what comes, one batch after the other has been used.
func (l *liveSource) read() {
	for {
		packets, err := l.capture.Next()
		if err != nil {
			l.ended <- err
			return
		}
		select {
		case l.batches <- packets:
		case <-l.closed:
			return
		}
		select {
		case <-l.taken:
		case <-l.closed:
			return
		}
	}
}

// Next implements watch.Source.
func (l *liveSource) Next() (*watch.Packet, error) {
	if len(l.batch) == 0 {
		if err := l.more(); err != nil {
			return nil, l.end(err)
		}
	}
	if len(l.batch) == 0 {
		return nil, nil
	}
	p := &l.batch[0]
	l.batch = l.batch[1:]
	return l.convert(p), nil
}

// more waits for a batch, or for the clock.
func (l *liveSource) more() error {
	if l.lent {
		l.lent = false
		l.taken <- struct{}{}
	}
	if !l.began { // whoever looks on need not wait
		l.began = true
		if l.capture != nil {
			go l.read()
		}
		return l.ticked(time.Now())
	}
	select { // the clock first: there may be packets all the time
	case now := <-l.clock.C:
		return l.ticked(now)
	default:
	}
	select {
	case l.batch = <-l.batches:
		l.lent = true
		return nil
	default:
	}
	if l.idle != nil {
		if err := l.idle(); err != nil {
			return err
		}
	}
	return l.wait()
}

func (l *liveSource) wait() error {
	stopped := l.stopped
	if l.capture != nil {
		stopped = nil // the capture says when all that came has been read
	}
	select {
	case l.batch = <-l.batches:
		l.lent = true
	case now := <-l.clock.C:
		return l.ticked(now)
	case err := <-l.ended:
		return err
	case <-stopped:
		return io.EOF
	}
	return nil
}

func (l *liveSource) ticked(now time.Time) error {
	if l.tick == nil {
		return nil
	}
	return l.tick(now)
}

// end notes what became of the packets, for whoever writes that down.
func (l *liveSource) end(err error) error {
	if l.capture != nil {
		s := becameOf(l.capture)
		for _, i := range l.interfaces {
			i.Statistics = &s
		}
	}
	if errors.Is(err, net.ErrClosed) {
		return io.EOF
	}
	return err
}

// Now implements watch.Source.
func (l *liveSource) Now() time.Time { return time.Now() }

// Losses implements watch.Loser.
func (l *liveSource) Losses() watch.Losses {
	if l.capture == nil {
		return watch.Losses{}
	}
	s := l.capture.Stats()
	return watch.Losses{Dropped: s.Dropped, Unproved: s.Unproved}
}

// stop ends the capture in order: Next returns what has come, then io.EOF.
func (l *liveSource) stop() error {
	if l.over.Swap(true) {
		return nil
	}
	close(l.stopped)
	if l.capture == nil {
		return nil
	}
	return l.capture.Stop()
}

// close ends it at once, and takes everything out of the kernel.
func (l *liveSource) close() error {
	l.clock.Stop()
	close(l.closed)
	if l.capture == nil {
		return nil
	}
	return l.capture.Close()
}

// convert makes of a packet what package watch takes.
func (l *liveSource) convert(p *capture.Packet) *watch.Packet {
	l.number++
	l.packet = watch.Packet{Packet: pcap.Packet{
		Number: l.number, Interface: l.interfaceOf(p), Time: time.Unix(0, p.Time).UTC(),
		Direction: packet.Direction(p.Direction), Data: p.Data, Length: p.Length,
	}}
	return &l.packet
}

func (l *liveSource) interfaceOf(p *capture.Packet) *pcap.Interface {
	if i := l.interfaces[p.Interface]; i != nil {
		return i
	}
	i := &pcap.Interface{
		ID: len(l.interfaces), LinkType: packet.LinkType(p.LinkType), SnapLen: l.capture.Info().Snap,
		Name: p.Name, Filter: l.filter,
	}
	l.interfaces[p.Interface] = i
	return i
}
