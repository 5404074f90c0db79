// Package pcap reads and writes capture files.
//
// [Reader] reads pcap (of either byte order, in micro- or nanoseconds) and pcapng
// (several sections and interfaces, any resolution of time, comments, names), recognised
// by content, from any io.Reader: a file, a pipe, a file that still grows ([Follow]).
// [Writer] writes pcapng. The formats are described in draft-ietf-opsawg-pcap and
// draft-ietf-opsawg-pcapng.
//
// A file is read in bounded memory, about 3 MiB at worst, whatever it says: a packet may
// have 1 MiB, which is more than any network has, and names, interfaces and texts are
// bounded in number and length. Blocks of a kind that is not known are skipped without
// being kept. A file that ends inside a packet gives all packets before it, and then a
// [*TruncatedError].
package pcap

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"yodel/watch/packet"
)

// Bounds of what is read.
const (
	// MaxPacket is how many bytes of a packet a file may have.
	MaxPacket = 1 << 20

	maxBlock      = MaxPacket + 256<<10 // a block that is read, its options included
	maxInterfaces = 4096                // of a file
	maxText       = 256                 // bytes of a name, a filter, a description
	maxNameBytes  = 256 << 10           // of all names of hosts
)

// A Packet is one packet of a capture.
type Packet struct {
	Number    int64      // in the file, from 1
	Interface *Interface // where it was captured; never nil
	Time      time.Time  // UTC; zero if the file does not say, or says what can't be
	Direction packet.Direction
	Data      []byte // what was captured; valid until the next call of Next
	Length    int    // bytes on the wire: never less than len(Data)

	// Lost is how many packets were lost before this one, where the file says so.
	Lost uint64

	// Comments is what somebody wrote to the packet. It may be any text: escape it.
	Comments []string
}

// An Interface is where packets were captured. Its texts may be anything: escape them.
type Interface struct {
	ID          int // from 0, in the whole file
	LinkType    packet.LinkType
	SnapLen     int // bytes of a packet that were kept at most; 0: all
	Name        string
	Description string
	Filter      string // as typed
	OS          string

	// Statistics is what the file says of it so far; nil if nothing.
	Statistics *Statistics

	clock clock
}

// Statistics is what became of the packets of an interface. A negative number is not
// known.
type Statistics struct {
	Start, End time.Time // zero: not known
	Received   int64     // by the interface
	Dropped    int64     // by the interface, for want of room
	Accepted   int64     // by the filter
	OSDropped  int64     // by the operating system, for want of room
	Delivered  int64     // to the program that captured
	Comment    string    // it may be any text: escape it
}

// NoStatistics returns Statistics in which nothing is known.
func NoStatistics() Statistics {
	return Statistics{Received: -1, Dropped: -1, Accepted: -1, OSDropped: -1, Delivered: -1}
}

// A Section says who made a capture. Its texts may be anything: escape them.
type Section struct {
	Hardware    string
	OS          string
	Application string
	Comment     string
}

// A Name is a host's name, as a capture has it. It may be any text: escape it.
type Name struct {
	Addr netip.Addr
	Name string
}

// Format is a format of capture files.
type Format uint8

// The formats.
const (
	PCAP Format = iota + 1
	PCAPNG
)

// String returns "pcap" or "pcapng".
func (f Format) String() string {
	switch f {
	case PCAP:
		return "pcap"
	case PCAPNG:
		return "pcapng"
	}
	return fmt.Sprintf("format(%d)", uint8(f))
}

// The first four bytes of a file, read as a big-endian number.
const (
	magicMicro  = 0xa1b2c3d4
	magicNano   = 0xa1b23c4d
	magicNG     = 0x0a0d0d0a // also the type of a section header
	magicKuzn   = 0xa1b2cd34
	magicNavtel = 0xa1e2cb12
	magicIxiaHW = 0x1c0001ac
	magicIxiaSW = 0x1c0001ab
)

// ErrNoCapture is what an error is that tells of a file in no format that is read here.
var ErrNoCapture = errors.New("no capture file")

// HeadLen is how many bytes [FormatOf] wants.
const HeadLen = 4

// FormatOf returns the format of a file that begins with head, of which it looks at no
// more than [HeadLen] bytes. The error is an [ErrNoCapture]; it says what the file is
// instead, where that is known, and what to do about it.
func FormatOf(head []byte) (Format, error) {
	if len(head) < HeadLen {
		return 0, fmt.Errorf("%w: it has %d bytes", ErrNoCapture, len(head))
	}
	magic := binary.BigEndian.Uint32(head)
	switch native(magic) {
	case magicNG:
		return PCAPNG, nil
	case magicMicro, magicNano:
		return PCAP, nil
	case magicKuzn, magicNavtel, magicIxiaHW, magicIxiaSW:
		return 0, fmt.Errorf("%w: it is a modified pcap, whose packets have other headers; editcap -F pcapng OLD NEW makes it one", ErrNoCapture)
	}
	if program := packer(magic); program != "" {
		return 0, fmt.Errorf("%w: it is compressed; unpack it with %s, into a pipe for example", ErrNoCapture, program)
	}
	if string(head) == "snoo" {
		return 0, fmt.Errorf("%w: it is of snoop; editcap -F pcapng OLD NEW makes it one", ErrNoCapture)
	}
	return 0, fmt.Errorf("%w: it begins with the bytes % x, and neither pcap nor pcapng does", ErrNoCapture, head[:HeadLen])
}

// packer returns the program that unpacks what begins with magic.
func packer(magic uint32) string {
	switch {
	case magic>>16 == 0x1f8b:
		return "gzip -dc"
	case magic == 0x28b52ffd:
		return "zstd -dc"
	case magic == 0xfd377a58:
		return "xz -dc"
	case magic == 0x04224d18:
		return "lz4 -dc"
	}
	return ""
}

// native returns the magic number as its writer meant it.
func native(magic uint32) uint32 {
	swapped := magic<<24 | magic<<8&0xff0000 | magic>>8&0xff00 | magic>>24
	switch swapped {
	case magicMicro, magicNano, magicKuzn, magicNavtel, magicIxiaHW, magicIxiaSW:
		return swapped
	}
	return magic
}

// A FormatError is a place at which a file is not what a capture can be. Nothing can
// be read after it.
type FormatError struct {
	Offset int64 // of the packet or block, in bytes from the beginning of the file
	What   string
}

// Error says where it is, and what is wrong.
func (e *FormatError) Error() string {
	return fmt.Sprintf("capture file damaged at byte %d: %s", e.Offset, e.What)
}

// A TruncatedError tells that a file ends inside a packet or block: it was cut, or is
// still being written. All packets before that were handed out.
type TruncatedError struct {
	Offset  int64 // of the packet or block that is not whole
	Missing int64 // bytes that are not there, by what it says of itself
	Packets int64 // whole packets before it
}

// Error says where the file ends.
func (e *TruncatedError) Error() string {
	return fmt.Sprintf("capture file cut short: %d bytes are missing of what begins at byte %d, after %d whole packets", e.Missing, e.Offset, e.Packets)
}
