package watch

import (
	"slices"
	"time"

	"yodel/watch/flow"
	"yodel/watch/pcap"
)

// A Recorder is a View that writes the packets which it is shown to a capture file, with
// the name, filter and link type of their interfaces, the way they went, their comments,
// and, for those that are remarkable, what they mean as a comment more.
type Recorder struct {
	w     *pcap.Writer
	known map[int]*recorded // by the interface's ID
	all   []*recorded       // by their numbers in the file
}

// recorded is an interface of the file that is written.
type recorded struct {
	*pcap.Interface
	number      int
	packets     int64
	first, last time.Time
}

// NewRecorder returns a Recorder that writes to w, which stays the caller's: flush it at
// the end.
func NewRecorder(w *pcap.Writer) *Recorder {
	return &Recorder{w: w, known: make(map[int]*recorded)}
}

// Show writes an event's packet. At the end it writes what is known of the interfaces:
// how many packets they had, and how many were lost.
func (r *Recorder) Show(e *Event) error {
	switch e.Type {
	case Segment, Datagram, ICMP:
		return r.write(e)
	case Ended:
		return r.finish(e)
	}
	return nil
}

func (r *Recorder) write(e *Event) error {
	i, err := r.interfaceOf(e.Packet)
	if err != nil {
		return err
	}
	p := e.Packet.Packet
	if isRemarkable(e.What) {
		if m := Meaning(e.What); m != "" && !slices.Contains(p.Comments, m) {
			p.Comments = append(p.Comments[:len(p.Comments):len(p.Comments)], m)
		}
	}
	i.packets++
	if i.first.IsZero() {
		i.first = p.Time
	}
	i.last = p.Time
	return r.w.WritePacket(i.number, &p)
}

// isRemarkable reports whether the packet is more than one of many.
func isRemarkable(e *flow.Event) bool {
	return e.Marks&^flow.WindowUpdate != 0 || e.Was != e.State || e.Kind == flow.ICMPError
}

func (r *Recorder) interfaceOf(p *Packet) (*recorded, error) {
	if i := r.known[p.Interface.ID]; i != nil {
		return i, nil
	}
	number, err := r.w.AddInterface(p.Interface)
	if err != nil {
		return nil, err
	}
	i := &recorded{Interface: p.Interface, number: number}
	r.known[p.Interface.ID] = i
	r.all = append(r.all, i)
	return i, nil
}

// finish writes statistics for each interface: those that the source has, and what was
// written.
func (r *Recorder) finish(e *Event) error {
	for number, i := range r.all {
		if err := r.w.WriteStatistics(number, e.Time, i.statistics()); err != nil {
			return err
		}
	}
	return r.w.Flush()
}

func (i *recorded) statistics() *pcap.Statistics {
	s := pcap.NoStatistics()
	if i.Statistics != nil {
		s = *i.Statistics
	}
	if s.Start.IsZero() {
		s.Start, s.End = i.first, i.last
	}
	s.Delivered = i.packets
	return &s
}
