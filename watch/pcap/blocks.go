package pcap

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"time"

	"yodel/watch/packet"
)

// Types of blocks (draft-ietf-opsawg-pcapng §4).
const (
	blockInterface  = 1
	blockPacketOld  = 2
	blockSimple     = 3
	blockNames      = 4
	blockStatistics = 5
	blockPacket     = 6
	blockSection    = magicNG
)

const byteOrderMagic = 0x1a2b3c4d

// firstSection reads the section header with which a file begins.
func (r *Reader) firstSection() error {
	typ, total, err := r.block()
	if err != nil {
		return err
	}
	return r.known(typ, total)
}

// nextNG reads blocks up to the next packet.
func (r *Reader) nextNG() error {
	for {
		typ, total, err := r.block()
		if err != nil {
			return err
		}
		switch typ {
		case blockPacket, blockPacketOld, blockSimple:
			return r.packetBlock(typ, total)
		case blockSection, blockInterface, blockNames, blockStatistics:
			err = r.known(typ, total)
		default:
			err = r.skip(int64(total))
		}
		if err != nil {
			return err
		}
	}
}

// block reads what each block begins with: its type, and its length in bytes.
func (r *Reader) block() (typ, total uint32, err error) {
	head, err := r.begin(8)
	if err != nil {
		return 0, 0, err
	}
	least := uint32(12)
	if binary.BigEndian.Uint32(head) == blockSection { // the same in both orders
		if err := r.byteOrder(); err != nil {
			return 0, 0, err
		}
		least = 28
	}
	typ, total = r.order.Uint32(head), r.order.Uint32(head[4:])
	if total < least || total%4 != 0 {
		return 0, 0, r.damaged("a block of type %d with a length of %d bytes", typ, total)
	}
	return typ, total, nil
}

// byteOrder sets the byte order of the section that begins here.
func (r *Reader) byteOrder() error {
	head, err := r.in.Peek(12)
	if err != nil {
		return r.short(err, int64(12-len(head)))
	}
	switch {
	case binary.BigEndian.Uint32(head[8:]) == byteOrderMagic:
		r.order = binary.BigEndian
	case binary.LittleEndian.Uint32(head[8:]) == byteOrderMagic:
		r.order = binary.LittleEndian
	default:
		return r.damaged("a section without a byte order")
	}
	return nil
}

// inside returns what a block holds, without its type and lengths.
func (r *Reader) inside(typ, total uint32) ([]byte, error) {
	if total > maxBlock {
		return nil, r.damaged("a block of type %d with a length of %d bytes", typ, total)
	}
	b, err := r.body(int(total))
	if err != nil {
		return nil, err
	}
	if again := r.order.Uint32(b[total-4:]); again != total {
		return nil, r.damaged("a block that has a length of %d bytes at its beginning and %d at its end", total, again)
	}
	return b[8 : total-4], nil
}

// known reads a block that is no packet.
func (r *Reader) known(typ, total uint32) error {
	b, err := r.inside(typ, total)
	if err != nil {
		return err
	}
	switch typ {
	case blockSection:
		return r.readSection(b)
	case blockInterface:
		return r.readInterface(b)
	case blockStatistics:
		return r.readStatistics(b)
	}
	r.readNames(b)
	return nil
}

// readSection reads a section header (§4.1). Its length is not needed, and not believed.
func (r *Reader) readSection(b []byte) error {
	if major := r.order.Uint16(b[4:]); major != 1 {
		return r.damaged("pcapng version %d.%d is not 1", major, r.order.Uint16(b[6:]))
	}
	r.local = len(r.interfaces)
	r.section = Section{}
	for code, v := range r.options(b[16:]) {
		switch code {
		case optComment:
			r.section.Comment = text(v)
		case 2:
			r.section.Hardware = text(v)
		case 3:
			r.section.OS = text(v)
		case 4:
			r.section.Application = text(v)
		}
	}
	return nil
}

// readInterface reads an interface description (§4.2).
func (r *Reader) readInterface(b []byte) error {
	if len(b) < 8 {
		return r.damaged("an interface of %d bytes", len(b))
	}
	if len(r.interfaces) == maxInterfaces {
		return r.damaged("more than %d interfaces", maxInterfaces)
	}
	device := &Interface{
		ID:       len(r.interfaces),
		LinkType: packet.LinkType(r.order.Uint16(b)),
		SnapLen:  int(min(r.order.Uint32(b[4:]), MaxPacket)),
		clock:    micros,
	}
	for code, v := range r.options(b[8:]) {
		r.interfaceOption(device, code, v)
	}
	r.interfaces = append(r.interfaces, device)
	return nil
}

func (r *Reader) interfaceOption(device *Interface, code uint16, v []byte) {
	switch {
	case code == 2:
		device.Name = text(v)
	case code == 3:
		device.Description = text(v)
	case code == 9 && len(v) > 0:
		offset := device.clock.offset
		device.clock = clockOf(v[0])
		device.clock.offset = offset
	case code == 11 && len(v) > 0 && v[0] == 0: // as text, not as code
		device.Filter = text(v[1:])
	case code == 12:
		device.OS = text(v)
	case code == 14 && len(v) >= 8:
		device.clock.offset = int64(r.order.Uint64(v))
	}
}

// interfaceAt returns an interface by its number in this section.
func (r *Reader) interfaceAt(number uint32) (*Interface, error) {
	here := r.interfaces[r.local:]
	if uint64(number) >= uint64(len(here)) {
		return nil, r.damaged("interface %d, of which nothing was told before", number)
	}
	return here[number], nil
}

// packetBlock reads a block with a packet: enhanced (§4.3), simple (§4.4), or of the kind
// that came before them (appendix A).
func (r *Reader) packetBlock(typ, total uint32) error {
	b, err := r.inside(typ, total)
	if err != nil {
		return err
	}
	p := &r.packet
	*p = Packet{Number: p.Number}
	if typ == blockSimple {
		return r.simplePacket(b)
	}
	if len(b) < 20 {
		return r.damaged("a packet's block of %d bytes", total)
	}
	number := r.order.Uint32(b)
	if typ == blockPacketOld {
		number = uint32(r.order.Uint16(b))
		if lost := r.order.Uint16(b[2:]); lost != 0xffff { // not known
			p.Lost = uint64(lost)
		}
	}
	if p.Interface, err = r.interfaceAt(number); err != nil {
		return err
	}
	captured := uint64(r.order.Uint32(b[12:]))
	if captured > uint64(len(b)-20) {
		return r.damaged("a packet of %d bytes in a block of %d", captured, total)
	}
	p.Time = p.Interface.clock.time(uint64(r.order.Uint32(b[4:]))<<32 | uint64(r.order.Uint32(b[8:])))
	p.Data = b[20 : 20+captured]
	p.Length = wireLength(r.order.Uint32(b[16:]), len(p.Data))
	r.packetOptions(b[20+min(padded(int(captured)), len(b)-20):])
	return nil
}

// simplePacket reads a packet without time, of the section's first interface.
func (r *Reader) simplePacket(b []byte) (err error) {
	p := &r.packet
	if p.Interface, err = r.interfaceAt(0); err != nil {
		return err
	}
	if len(b) < 4 {
		return r.damaged("a simple packet's block of %d bytes", len(b)+12)
	}
	captured := min(uint64(len(b)-4), uint64(r.order.Uint32(b)))
	if snap := p.Interface.SnapLen; snap > 0 {
		captured = min(captured, uint64(snap))
	}
	p.Data = b[4 : 4+captured]
	p.Length = wireLength(r.order.Uint32(b), len(p.Data))
	return nil
}

func (r *Reader) packetOptions(b []byte) {
	if len(b) == 0 {
		return
	}
	p := &r.packet
	for code, v := range r.options(b) {
		switch {
		case code == optComment:
			p.Comments = append(p.Comments, string(v))
		case code == 2 && len(v) >= 4:
			p.Direction = direction(r.order.Uint32(v))
		case code == 4 && len(v) >= 8:
			p.Lost = r.order.Uint64(v)
		}
	}
}

// direction reads the way of a packet from its flags (§4.3.1).
func direction(flags uint32) packet.Direction {
	switch flags & 3 {
	case 1:
		return packet.Inbound
	case 2:
		return packet.Outbound
	}
	return packet.Unknown
}

// readStatistics reads what became of the packets of an interface (§4.6).
func (r *Reader) readStatistics(b []byte) error {
	if len(b) < 12 {
		return r.damaged("statistics of %d bytes", len(b))
	}
	device, err := r.interfaceAt(r.order.Uint32(b))
	if err != nil {
		return err
	}
	s := NoStatistics()
	device.Statistics = &s
	numbers := [...]*int64{4: &s.Received, 5: &s.Dropped, 6: &s.Accepted, 7: &s.OSDropped, 8: &s.Delivered}
	for code, v := range r.options(b[12:]) {
		switch {
		case code == 1:
			s.Comment = text(v)
		case len(v) < 8:
		case code == 2:
			s.Start = r.timeOption(device, v)
		case code == 3:
			s.End = r.timeOption(device, v)
		case code >= 4 && int(code) < len(numbers):
			*numbers[code] = int64(min(r.order.Uint64(v), 1<<62))
		}
	}
	return nil
}

func (r *Reader) timeOption(device *Interface, v []byte) time.Time {
	return device.clock.time(uint64(r.order.Uint32(v))<<32 | uint64(r.order.Uint32(v[4:])))
}

// readNames reads names of hosts (§4.5).
func (r *Reader) readNames(b []byte) {
	for code, v := range r.options(b) { // records have the form of options
		size := map[uint16]int{1: 4, 2: 16}[code]
		if size == 0 || len(v) < size {
			continue
		}
		addr, _ := netip.AddrFromSlice(v[:size])
		for name := range bytes.SplitSeq(v[size:], []byte{0}) {
			if len(name) > 0 {
				r.addName(addr, text(name))
			}
		}
	}
}

func (r *Reader) addName(addr netip.Addr, name string) {
	const overhead = 64 // of a Name, about
	if r.nameBytes += len(name) + overhead; r.nameBytes <= maxNameBytes {
		r.names = append(r.names, Name{addr, name})
	}
}

const optComment = 1

// options yields the options in b, until they end or an option's length can't be
// (§3.5).
func (r *Reader) options(b []byte) func(yield func(uint16, []byte) bool) {
	return func(yield func(uint16, []byte) bool) {
		for len(b) >= 4 {
			code, length := r.order.Uint16(b), int(r.order.Uint16(b[2:]))
			if b = b[4:]; code == 0 || length > len(b) || !yield(code, b[:length]) {
				return
			}
			b = b[min(padded(length), len(b)):]
		}
	}
}

// padded returns n, made a multiple of four.
func padded(n int) int { return (n + 3) &^ 3 }

// text returns a text of bounded length.
func text(v []byte) string { return string(v[:min(len(v), maxText)]) }
