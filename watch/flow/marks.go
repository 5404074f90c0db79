package flow

import (
	"iter"
	"math/bits"
	"strings"
)

// Marks is what is remarkable about a segment: a set.
type Marks uint32

// The marks. They are named as the flags of Wireshark's TCP analysis (User's Guide, "TCP
// Analysis"; the fields tcp.analysis.*), and mean the same, so that the two can be
// compared; AckedUnseen and the last three are ours. docs/watch.md has the definitions,
// and says where ours differ and why.
const (
	Retransmission     Marks = 1 << iota // bytes that were sent before, however it came to that
	Fast                                 // with Retransmission: duplicate ACKs asked for it
	Spurious                             // with Retransmission: all of it was acknowledged before
	OutOfOrder                           // it was sent before what came before it
	LostSegment                          // bytes before it were not captured, so far
	AckedUnseen                          // it acknowledges bytes that were not captured
	DuplicateACK                         // nothing new in it: something is missing at the receiver
	ZeroWindow                           // the receiver can take nothing
	ZeroWindowProbe                      // a question whether it still can't
	ZeroWindowProbeACK                   // the answer: no
	WindowUpdate                         // nothing new in it but the window
	WindowFull                           // no more can be sent until the receiver says so
	KeepAlive                            // a question whether the other side is still there
	KeepAliveACK                         // the answer: yes
	PortsReused                          // SYN: the same addresses and ports had a connection before
	Duplicate                            // the same packet once more: the network, or the capture, has doubled it
	DuplicateSACK                        // it tells that bytes came twice (RFC 2883)
	Reset                                // it has RST

	markCount = iota
)

var markNames = [markCount]string{
	"retransmission", "fast_retransmission", "spurious_retransmission", "out_of_order",
	"lost_segment", "ack_lost_segment", "duplicate_ack", "zero_window", "zero_window_probe",
	"zero_window_probe_ack", "window_update", "window_full", "keep_alive", "keep_alive_ack",
	"reused_ports", "duplicate", "duplicate_sack", "reset",
}

// Has reports whether all of want are in m.
func (m Marks) Has(want Marks) bool { return m&want == want }

// All yields the marks in m one by one.
func (m Marks) All() iter.Seq[Marks] {
	return func(yield func(Marks) bool) {
		for ; m != 0; m &= m - 1 {
			if !yield(m & -m) {
				return
			}
		}
	}
}

// Names returns the names of the marks in m: those of the fields tcp.analysis.*.
func (m Marks) Names() []string {
	names := make([]string, 0, bits.OnesCount32(uint32(m)))
	for one := range m.All() {
		names = append(names, one.name())
	}
	return names
}

func (m Marks) name() string {
	if at := bits.TrailingZeros32(uint32(m)); at < markCount {
		return markNames[at]
	}
	return "unknown"
}

// String returns the names, separated by commas.
func (m Marks) String() string { return strings.Join(m.Names(), ", ") }

// Counts is how often each mark was set.
type Counts [markCount]int64

// Of returns the count of one mark; 0 for none, and for several.
func (c *Counts) Of(one Marks) int64 {
	if bits.OnesCount32(uint32(one)) != 1 || one >= 1<<markCount {
		return 0
	}
	return c[bits.TrailingZeros32(uint32(one))]
}

// All yields each mark that was set, and how often.
func (c *Counts) All() iter.Seq2[Marks, int64] {
	return func(yield func(Marks, int64) bool) {
		for at, n := range c {
			if n > 0 && !yield(1<<at, n) {
				return
			}
		}
	}
}

// Add counts each of the marks in m once more.
func (c *Counts) Add(m Marks) {
	for ; m != 0; m &= m - 1 {
		c[bits.TrailingZeros32(uint32(m))]++
	}
}

// Evidence is what a capture has to say on a segment beyond rules of thumb: a set.
type Evidence uint8

// The kinds of evidence.
const (
	// BytesSeen: each of its bytes was captured before. It is no first sending, however
	// soon it came.
	BytesSeen Evidence = 1 << iota

	// SentEarlier: it is older than what follows it in the stream, and was captured
	// before, by timestamps (RFC 7323 §3) or by IP identifications where those count up.
	// So it was sent first, and overtaken.
	SentEarlier

	// SentLater: it is newer than what follows it in the stream, and its bytes were not
	// captured before. So it was sent again; the first one was lost before the place of
	// capture.
	SentLater

	// SamePacket: a packet with the same IP identification, timestamp and numbers was
	// captured shortly before.
	SamePacket

	// WindowWasZero: what looks like a keep-alive was sent to a receiver that could take
	// nothing. Linux probes a zero window in this way.
	WindowWasZero
)

var evidenceNames = [...]string{"bytes_seen", "sent_earlier", "sent_later", "same_packet", "window_was_zero"}

// Names returns the names of what is in e.
func (e Evidence) Names() []string {
	var names []string
	for at, name := range evidenceNames {
		if e&(1<<at) != 0 {
			names = append(names, name)
		}
	}
	return names
}

// Has reports whether all of want are in e.
func (e Evidence) Has(want Evidence) bool { return e&want == want }
