package jury

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"yodel/watch/packet"
	"yodel/watch/pcap"
)

// The jury reads and writes captures with code of its own: what it takes for true, and
// what it does to the evidence, must not depend on what is being judged.

// shot is one packet of a capture.
type shot struct {
	at   time.Time
	long int // on the wire
	data []byte
	way  byte // 1: in, 2: out, 0: not known
}

// tape is a capture, of Ethernet.
type tape []shot

const (
	magicMicro = 0xa1b2c3d4
	magicNano  = 0xa1b23c4d
	ethernet   = 1
)

// readTape reads a pcap file that was written on this machine. A last packet that is
// not whole is left out.
func readTape(file []byte) (tape, error) {
	if len(file) < 24 {
		return nil, errors.New("no capture")
	}
	order := binary.LittleEndian
	unit := time.Microsecond
	switch order.Uint32(file) {
	case magicMicro:
	case magicNano:
		unit = time.Nanosecond
	default:
		return nil, errors.New("no pcap file")
	}
	var t tape
	for b := file[24:]; len(b) >= 16; {
		n := int(order.Uint32(b[8:]))
		if len(b) < 16+n {
			break
		}
		at := time.Unix(int64(order.Uint32(b)), int64(order.Uint32(b[4:]))*int64(unit))
		t = append(t, shot{at, int(order.Uint32(b[12:])), b[16 : 16+n], 0})
		b = b[16+n:]
	}
	return t, nil
}

// bytes is the capture as a file.
func (t tape) bytes() []byte {
	order := binary.LittleEndian
	b := order.AppendUint32(nil, magicNano)
	b = order.AppendUint16(b, 2)
	b = order.AppendUint16(b, 4)
	b = append(b, make([]byte, 8)...)
	b = order.AppendUint32(b, 1<<18)
	b = order.AppendUint32(b, ethernet)
	for _, s := range t {
		b = order.AppendUint32(b, uint32(s.at.Unix()))
		b = order.AppendUint32(b, uint32(s.at.Nanosecond()))
		b = order.AppendUint32(b, uint32(len(s.data)))
		b = order.AppendUint32(b, uint32(s.long))
		b = append(b, s.data...)
	}
	return b
}

// ours is the capture as yodel watch writes it, and others that say what they have lost.
func (t tape) ours(lost int) []byte {
	var b bytes.Buffer
	w := pcap.NewWriter(&b, &pcap.Section{Application: "yodel"})
	number, _ := w.AddInterface(&pcap.Interface{Name: "eth0", LinkType: ethernet})
	for _, s := range t {
		w.WritePacket(number, &pcap.Packet{Time: s.at, Direction: packet.Direction(s.way), Data: s.data, Length: s.long})
	}
	if lost > 0 {
		sum := pcap.NoStatistics()
		sum.Dropped = int64(lost)
		w.WriteStatistics(number, t[len(t)-1].at, &sum)
	}
	w.Flush()
	return b.Bytes()
}

// tcp returns the ends of a TCP segment over IPv4, and its flags.
func (s shot) tcp() (from, to netip.AddrPort, flags byte, ok bool) {
	const ip, tcp = 14, 34 // no options
	if len(s.data) < tcp+14 || s.data[12] != 8 || s.data[13] != 0 || s.data[ip] != 0x45 || s.data[ip+9] != 6 {
		return from, to, 0, false
	}
	port := binary.BigEndian.Uint16
	src, dst := netip.AddrFrom4([4]byte(s.data[26:30])), netip.AddrFrom4([4]byte(s.data[30:34]))
	return netip.AddrPortFrom(src, port(s.data[tcp:])), netip.AddrPortFrom(dst, port(s.data[tcp+2:])), s.data[tcp+13], true
}

// caller returns who connected last to a port, and when that connection's first and last
// packets were captured here.
func (t tape) caller(port int) (from netip.AddrPort, first, last time.Time, ok bool) {
	for _, s := range t {
		if a, b, flags, is := s.tcp(); is && flags&0x12 == 0x02 && int(b.Port()) == port && a != from {
			from, first, ok = a, s.at, true
		}
	}
	for _, s := range t {
		if a, b, _, is := s.tcp(); is && (a == from && int(b.Port()) == port || b == from && int(a.Port()) == port) {
			last = s.at
		}
	}
	return from, first, last, ok
}

// names is how many questions and answers of a name server can be read.
func (t tape) names() (n int) {
	for _, s := range t {
		const udp = 34
		if len(s.data) == s.long && len(s.data) > udp+8 && s.data[23] == 17 {
			n++
		}
	}
	return n
}

// span returns which packets are of connections to a port.
func (t tape) span(port int) (first, last int) {
	first, last = len(t), 0
	for i, s := range t {
		if a, b, _, is := s.tcp(); is && (int(a.Port()) == port || int(b.Port()) == port) {
			first, last = min(first, i), i
		}
	}
	return min(first, last), last
}

// shifted is the same by a clock that is ahead, and runs faster by some parts in a million.
func (t tape) shifted(by time.Duration, ppm float64) tape {
	out := slices.Clone(t)
	for i := range out {
		since := t[i].at.Sub(t[0].at)
		out[i].at = t[i].at.Add(by + time.Duration(float64(since)*ppm/1e6))
	}
	return out
}

// cut keeps so many bytes of each packet.
func (t tape) cut(snap int) tape {
	out := slices.Clone(t)
	for i := range out {
		out[i].data = out[i].data[:min(snap, len(out[i].data))]
	}
	return out
}

// without loses packets with a probability.
func (t tape) without(rng *rand.Rand, p float64) tape {
	return slices.DeleteFunc(slices.Clone(t), func(shot) bool { return rng.Float64() < p })
}

// lacking loses those from i to j.
func (t tape) lacking(i, j int) tape { return slices.Concat(t[:i], t[j:]) }

// doubled has each packet twice, as captures of all interfaces of a router have.
func (t tape) doubled() tape {
	var out tape
	for _, s := range t {
		out = append(out, s, shot{s.at.Add(3 * time.Microsecond), s.long, s.data, s.way})
	}
	return out
}

// shuffled swaps neighbours that are near each other in time, as captures of network cards
// with several queues have them.
func (t tape) shuffled(rng *rand.Rand) tape {
	out := slices.Clone(t)
	for i := 1; i < len(out); i++ {
		if out[i].at.Sub(out[i-1].at) < 50*time.Microsecond && rng.IntN(3) == 0 {
			out[i], out[i-1] = out[i-1], out[i]
		}
	}
	return out
}
