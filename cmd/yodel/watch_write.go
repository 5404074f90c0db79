package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"yodel/watch/capture"
	"yodel/watch/packet"
	"yodel/watch/pcap"
)

// isWriteOnly reports whether packets are only written, which is --write with --quiet:
// then nobody asks what they mean, and they need not be looked at. (The kernel has chosen
// them; of sockets it can't.)
func (w *watching) isWriteOnly() bool {
	return w.quiet && w.write != "" && w.html == "" && w.count == 0 && !w.run && len(w.filter.Sockets) == 0
}

// writeOnly writes packets as they come, until somebody ends it.
func (l *liveWatch) writeOnly(ctx context.Context) error {
	l.complain()
	file, err := l.captureFile(l.head.String())
	if err != nil {
		return err
	}
	file.Hold = 128 << 10 // each call costs the scheduler some, too
	if err := lessen(l.std, l.user, false); err != nil {
		return err
	}
	stop := func() { l.packets.stop() }
	defer onInterrupt(stop)()
	if l.duration > 0 {
		defer time.AfterFunc(l.duration, stop).Stop()
	}
	defer context.AfterFunc(ctx, stop)()
	patient()
	w := &rawWriting{capture: l.capture, file: file, filter: l.head.String(), known: map[int]*rawInterface{}}
	err = w.run()
	fmt.Fprintln(l.err, w)
	return err
}

// rawWriting writes the packets of a capture to a file.
type rawWriting struct {
	capture *capture.Capture
	file    *pcap.Writer
	filter  string

	known map[int]*rawInterface
	last  *rawInterface // of the packet before
	total int64
}

type rawInterface struct {
	index, number int
	packets       int64
	first, last   int64 // when packets were captured
}

func (w *rawWriting) run() error {
	for {
		packets, err := w.capture.Next()
		if errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) {
			return w.finish()
		}
		if err != nil {
			return errors.Join(err, w.finish())
		}
		for i := range packets {
			if err := w.write(&packets[i]); err != nil {
				return err
			}
		}
	}
}

func (w *rawWriting) write(p *capture.Packet) error {
	if w.last == nil || w.last.index != p.Interface {
		if err := w.find(p); err != nil {
			return err
		}
	}
	w.total++
	w.last.packets++
	w.last.last = p.Time
	return w.file.WritePacket(w.last.number, &pcap.Packet{
		Time: time.Unix(0, p.Time), Direction: packet.Direction(p.Direction), Data: p.Data, Length: p.Length,
	})
}

// find makes the interface of a packet the last one.
func (w *rawWriting) find(p *capture.Packet) error {
	if w.last = w.known[p.Interface]; w.last != nil {
		return nil
	}
	number, err := w.file.AddInterface(&pcap.Interface{
		LinkType: packet.LinkType(p.LinkType), SnapLen: w.capture.Info().Snap, Name: p.Name, Filter: w.filter,
	})
	w.last = &rawInterface{index: p.Interface, number: number, first: p.Time}
	w.known[p.Interface] = w.last
	return err
}

// finish writes what became of the packets.
func (w *rawWriting) finish() error {
	all := becameOf(w.capture)
	for _, i := range w.known {
		s := all
		s.Start, s.End, s.Delivered = time.Unix(0, i.first), time.Unix(0, i.last), i.packets
		if err := w.file.WriteStatistics(i.number, s.End, &s); err != nil {
			return err
		}
	}
	return nil
}

// becameOf returns what became of the packets of each interface of a capture. The kernel
// counts what it drops for all of them together: where there are some, it is not known of
// which it was, and a comment says how many there were.
func becameOf(c *capture.Capture) pcap.Statistics {
	stats, s := c.Stats(), pcap.NoStatistics()
	switch n := len(c.Info().Interfaces); {
	case n == 1:
		s.Received, s.OSDropped = int64(stats.Received+stats.Dropped), int64(stats.Dropped)
	case stats.Dropped == 0:
		s.OSDropped = 0
	default:
		s.Comment = fmt.Sprintf("%d of %d packets were dropped for want of room, on all %d interfaces together",
			stats.Dropped, stats.Received+stats.Dropped, n)
	}
	return s
}

// String is the sum.
func (w *rawWriting) String() string {
	s := w.capture.Stats()
	text := fmt.Sprintf("%d packets written, %d dropped by the capture", w.total, s.Dropped)
	if s.Unproved > 0 {
		text += fmt.Sprintf(", %d unproved: not shown to be yours", s.Unproved)
	}
	return text
}
