package pcap

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"yodel/watch/packet"
)

const bufferSize = 64 << 10

// A Reader reads a capture file. It is not safe for concurrent use.
type Reader struct {
	in     *bufio.Reader
	format Format
	order  binary.ByteOrder
	next   func() error // reads on to the next packet, into packet
	err    error        // what Next returns from now on

	offset  int64 // of the packet or block under way
	done    int64 // where it ends
	pending int   // bytes of it that are still in in, and used by packet
	large   []byte

	packet     Packet
	section    Section
	interfaces []*Interface
	local      int // where the interfaces of this section begin
	names      []Name
	nameBytes  int
}

// NewReader returns a Reader of the capture in r. It reads what tells the format, and
// waits for that; r is read in pieces of 64 KiB, and past the last packet. The error is
// an [ErrNoCapture], a [*FormatError], a [*TruncatedError], or one of r's.
func NewReader(r io.Reader) (*Reader, error) {
	c := &Reader{in: bufio.NewReaderSize(r, bufferSize)}
	head, err := c.in.Peek(HeadLen)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if c.format, err = FormatOf(head); err != nil {
		return nil, err
	}
	if c.format == PCAPNG {
		c.next = c.nextNG
		err = c.firstSection()
	} else {
		c.next = c.nextPCAP
		err = c.fileHeader(binary.BigEndian.Uint32(head))
	}
	if err != nil {
		return nil, err
	}
	return c, nil
}

// Format returns the file's format.
func (r *Reader) Format() Format { return r.format }

// Section returns who made the part of the capture that is being read.
func (r *Reader) Section() Section { return r.section }

// Interfaces returns those that were met so far, by ID.
func (r *Reader) Interfaces() []*Interface { return r.interfaces }

// Names returns the names of hosts that were met so far, 256 KiB at most.
func (r *Reader) Names() []Name { return r.names }

// Next returns the next packet, which is valid until the next call. The error is io.EOF
// at the end of the file, a [*TruncatedError] or a [*FormatError] where it can't be read
// on, or one of the underlying reader; it is the same from then on.
func (r *Reader) Next() (*Packet, error) {
	if r.err == nil {
		r.err = r.next()
	}
	if r.err != nil {
		return nil, r.err
	}
	r.packet.Number++
	return &r.packet, nil
}

// begin goes on to the next packet or block, and returns its first n bytes. At the end
// of the file the error is io.EOF.
func (r *Reader) begin(n int) ([]byte, error) {
	r.in.Discard(r.pending) // it is there
	r.pending, r.offset = 0, r.done
	head, err := r.in.Peek(n)
	switch {
	case err == nil:
		return head, nil
	case errors.Is(err, io.EOF) && len(head) == 0:
		return nil, io.EOF
	}
	return nil, r.short(err, int64(n-len(head)))
}

// body returns all n bytes of the packet or block under way, which must not be more
// than maxBlock. They are valid until begin.
func (r *Reader) body(n int) ([]byte, error) {
	if n > r.in.Size() {
		return r.largeBody(n)
	}
	b, err := r.in.Peek(n)
	if err != nil {
		return nil, r.short(err, int64(n-len(b)))
	}
	r.pending, r.done = n, r.offset+int64(n)
	return b, nil
}

// largeBody reads what does not fit in the buffer. What it says of its length is
// believed as far as bytes come.
func (r *Reader) largeBody(n int) ([]byte, error) {
	r.large = r.large[:0]
	for len(r.large) < n {
		piece := min(n-len(r.large), bufferSize)
		at := len(r.large)
		r.large = append(r.large, make([]byte, piece)...)
		if got, err := io.ReadFull(r.in, r.large[at:]); err != nil {
			return nil, r.short(err, int64(n-at-got))
		}
	}
	r.done = r.offset + int64(n)
	return r.large, nil
}

// skip goes on behind a block of n bytes, whatever it holds.
func (r *Reader) skip(n int64) error {
	got, err := io.CopyN(io.Discard, r.in, n)
	r.done = r.offset + n
	if err != nil {
		return r.short(err, n-got)
	}
	return nil
}

// short is the error for a packet or block whose end is not there.
func (r *Reader) short(err error, missing int64) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return &TruncatedError{Offset: r.offset, Missing: missing, Packets: r.packet.Number}
	}
	return fmt.Errorf("read capture: %w", err)
}

func (r *Reader) damaged(format string, args ...any) error {
	return &FormatError{Offset: r.offset, What: fmt.Sprintf(format, args...)}
}

// fileHeader reads the header of a pcap file (draft-ietf-opsawg-pcap §4).
func (r *Reader) fileHeader(magic uint32) error {
	r.order = binary.ByteOrder(binary.BigEndian)
	if native(magic) != magic {
		r.order = binary.LittleEndian
	}
	b, err := r.begin(24)
	if err != nil {
		return err
	}
	r.pending, r.done = len(b), int64(len(b))
	if major, minor := r.order.Uint16(b[4:]), r.order.Uint16(b[6:]); major != 2 || minor != 4 {
		return r.damaged("pcap version %d.%d is not 2.4; editcap -F pcapng OLD NEW may read it", major, minor)
	}
	device := &Interface{
		SnapLen:  int(min(r.order.Uint32(b[16:]), MaxPacket)),
		LinkType: packet.LinkType(r.order.Uint32(b[20:])), // the bits above 16 tell of check sums at the end
		clock:    micros,
	}
	if native(magic) == magicNano {
		device.clock = nanos
	}
	r.interfaces = append(r.interfaces, device)
	r.packet.Interface = device
	return nil
}

// nextPCAP reads a packet of a pcap file (draft-ietf-opsawg-pcap §5).
func (r *Reader) nextPCAP() error {
	const header = 16
	h, err := r.begin(header)
	if err != nil {
		return err
	}
	captured, length := r.order.Uint32(h[8:]), r.order.Uint32(h[12:])
	if captured > MaxPacket {
		return r.damaged("a packet of %d bytes", captured)
	}
	sec, fraction := r.order.Uint32(h), r.order.Uint32(h[4:])
	b, err := r.body(header + int(captured))
	if err != nil {
		return err
	}
	p := &r.packet
	c := p.Interface.clock
	p.Time = c.time(uint64(sec)*pow10(c.exp) + uint64(fraction))
	p.Data = b[header:]
	p.Length = wireLength(length, len(p.Data))
	return nil
}

// wireLength returns the length that a file gives, but no less than what is there, and
// no more than can be.
func wireLength(length uint32, captured int) int {
	return max(int(min(length, 1<<30)), captured)
}
