package pcap

import (
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"time"

	"yodel/watch/packet"
)

// A Writer writes a pcapng file of one section, in little-endian order and nanoseconds.
// What is written is held until there is enough, or until Flush. After an error all its
// methods return that error. It is not safe for concurrent use.
type Writer struct {
	// Hold is how many bytes are gathered before they are written; 0: 32 KiB.
	Hold int

	w          io.Writer
	buf        []byte
	interfaces int
	err        error
}

// ErrNoInterface reports a packet, or statistics, of an interface that was not added.
var ErrNoInterface = errors.New("pcap: interface was not added")

var le = binary.LittleEndian

// NewWriter returns a Writer to w, which has buffered the header of the section. s may
// be nil. w stays the caller's, who must call Flush at the end.
func NewWriter(w io.Writer, s *Section) *Writer {
	p := &Writer{w: w, buf: make([]byte, 0, bufferSize)}
	at := p.begin(blockSection)
	p.buf = le.AppendUint32(p.buf, byteOrderMagic)
	p.buf = append(p.buf, 1, 0, 0, 0)                  // version 1.0
	p.buf = le.AppendUint64(p.buf, 0xffffffffffffffff) // length: not told
	if s != nil {
		p.text(optComment, s.Comment)
		p.text(2, s.Hardware)
		p.text(3, s.OS)
		p.text(4, s.Application)
		p.endOptions()
	}
	p.end(at)
	return p
}

// AddInterface writes down an interface, of which LinkType, SnapLen and the texts are
// used, and returns the number by which WritePacket knows it.
func (p *Writer) AddInterface(i *Interface) (number int, err error) {
	at := p.begin(blockInterface)
	p.buf = le.AppendUint16(p.buf, uint16(i.LinkType))
	p.buf = le.AppendUint16(p.buf, 0)
	p.buf = le.AppendUint32(p.buf, uint32(i.SnapLen))
	p.text(2, i.Name)
	p.text(3, i.Description)
	p.option(9, []byte{9}) // nanoseconds
	if i.Filter != "" {
		p.text(11, "\x00"+i.Filter)
	}
	p.text(12, i.OS)
	p.endOptions()
	p.interfaces++
	return p.interfaces - 1, p.end(at)
}

// WritePacket writes a packet of an interface: Time, Direction, Data, Length, Lost and
// Comments of it. What cannot be said in the file is left out of it: a time before 1970,
// a text's bytes beyond 65,535.
func (p *Writer) WritePacket(number int, k *Packet) error {
	if number < 0 || number >= p.interfaces {
		return ErrNoInterface
	}
	at := p.begin(blockPacket)
	p.buf = le.AppendUint32(p.buf, uint32(number))
	p.time(k.Time)
	p.buf = le.AppendUint32(p.buf, uint32(len(k.Data)))
	p.buf = le.AppendUint32(p.buf, uint32(max(k.Length, len(k.Data))))
	p.buf = append(p.buf, k.Data...)
	p.pad()
	if k.Direction != packet.Unknown || k.Lost != 0 || len(k.Comments) > 0 {
		p.packetOptions(k)
	}
	return p.end(at)
}

func (p *Writer) packetOptions(k *Packet) {
	for _, c := range k.Comments {
		p.text(optComment, c)
	}
	switch k.Direction {
	case packet.Inbound:
		p.option(2, []byte{1, 0, 0, 0})
	case packet.Outbound:
		p.option(2, []byte{2, 0, 0, 0})
	}
	if k.Lost != 0 {
		p.number(4, k.Lost)
	}
	p.endOptions()
}

// WriteNames writes names of hosts. A name with a NUL, and one of no address, is left
// out; so is all that does not fit in one block of 64 KiB.
func (p *Writer) WriteNames(names []Name) error {
	at := p.begin(blockNames)
	for _, n := range names {
		if n.Addr.IsValid() && n.Name != "" && !strings.Contains(n.Name, "\x00") && len(p.buf)-at < 1<<16 {
			p.name(n)
		}
	}
	p.endOptions()
	return p.end(at)
}

func (p *Writer) name(n Name) {
	kind := uint16(2)
	if n.Addr.Unmap().Is4() {
		kind = 1
	}
	record := append(n.Addr.Unmap().AsSlice(), cut(n.Name, 1<<12)...)
	p.option(kind, append(record, 0))
}

// WriteStatistics writes what became of the packets of an interface, now being the time
// of the numbers.
func (p *Writer) WriteStatistics(number int, now time.Time, s *Statistics) error {
	if number < 0 || number >= p.interfaces {
		return ErrNoInterface
	}
	at := p.begin(blockStatistics)
	p.buf = le.AppendUint32(p.buf, uint32(number))
	p.time(now)
	if s.Comment != "" {
		p.option(1, []byte(cut(s.Comment, 1<<12)))
	}
	p.timeOption(2, s.Start)
	p.timeOption(3, s.End)
	for code, n := range [...]int64{4: s.Received, 5: s.Dropped, 6: s.Accepted, 7: s.OSDropped, 8: s.Delivered} {
		if code >= 4 && n >= 0 {
			p.number(uint16(code), uint64(n))
		}
	}
	p.endOptions()
	return p.end(at)
}

// Flush writes out what is held.
func (p *Writer) Flush() error {
	if p.err == nil && len(p.buf) > 0 {
		_, p.err = p.w.Write(p.buf)
	}
	p.buf = p.buf[:0]
	return p.err
}

// begin begins a block, and returns where.
func (p *Writer) begin(typ uint32) (at int) {
	if len(p.buf) > max(p.Hold, bufferSize/2) {
		p.Flush()
	}
	at = len(p.buf)
	p.buf = le.AppendUint32(p.buf, typ)
	p.buf = le.AppendUint32(p.buf, 0) // its length, when it is known
	return at
}

// end ends the block that begins at at.
func (p *Writer) end(at int) error {
	total := uint32(len(p.buf) - at + 4)
	le.PutUint32(p.buf[at+4:], total)
	p.buf = le.AppendUint32(p.buf, total)
	return p.err
}

func (p *Writer) pad() {
	for len(p.buf)%4 != 0 { // blocks begin at multiples of four
		p.buf = append(p.buf, 0)
	}
}

// time appends a time in nanoseconds, in the two halves that blocks have.
func (p *Writer) time(t time.Time) {
	units := units(t)
	p.buf = le.AppendUint32(p.buf, uint32(units>>32))
	p.buf = le.AppendUint32(p.buf, uint32(units))
}

// units returns nanoseconds since 1970, 0 for what is before.
func units(t time.Time) uint64 {
	if t.Unix() < 0 {
		return 0
	}
	return uint64(t.Unix())*1e9 + uint64(t.Nanosecond())
}

// timeOption appends an option that is a time, unless that is not known.
func (p *Writer) timeOption(code uint16, t time.Time) {
	if t.IsZero() {
		return
	}
	var v [8]byte
	le.PutUint32(v[:], uint32(units(t)>>32))
	le.PutUint32(v[4:], uint32(units(t)))
	p.option(code, v[:])
}

func (p *Writer) number(code uint16, n uint64) {
	var v [8]byte
	le.PutUint64(v[:], n)
	p.option(code, v[:])
}

// text appends an option that is a text, unless it is empty. The file wants UTF-8.
func (p *Writer) text(code uint16, s string) {
	if s != "" {
		p.option(code, []byte(cut(strings.ToValidUTF8(s, "?"), 1<<16-1)))
	}
}

// cut returns the first n bytes of s at most, no character cut in two.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "")
}

func (p *Writer) option(code uint16, v []byte) {
	p.buf = le.AppendUint16(p.buf, code)
	p.buf = le.AppendUint16(p.buf, uint16(len(v)))
	p.buf = append(p.buf, v...)
	p.pad()
}

func (p *Writer) endOptions() { p.buf = le.AppendUint32(p.buf, 0) }
