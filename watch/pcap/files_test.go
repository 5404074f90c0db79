package pcap_test

import (
	"encoding/binary"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"yodel/watch/pcap"
)

// What follows writes files byte by byte, in either order.

type order interface {
	binary.ByteOrder
	binary.AppendByteOrder
}

var orders = []order{binary.LittleEndian, binary.BigEndian}

// classic returns a pcap file of Ethernet.
func classic(o order, magic uint32, packets ...[]byte) []byte {
	b := o.AppendUint32(nil, magic)
	b = o.AppendUint16(o.AppendUint16(b, 2), 4)
	for _, v := range []uint32{0, 0, 262144, 1} {
		b = o.AppendUint32(b, v)
	}
	return append(b, slices.Concat(packets...)...)
}

// record is a packet of a pcap file.
func record(o order, sec, fraction, captured, length uint32, data []byte) []byte {
	var b []byte
	for _, v := range []uint32{sec, fraction, captured, length} {
		b = o.AppendUint32(b, v)
	}
	return append(b, data...)
}

// block is a block of a pcapng file.
func block(o order, typ uint32, body ...[]byte) []byte {
	inside := slices.Concat(body...)
	for len(inside)%4 != 0 {
		inside = append(inside, 0)
	}
	total := uint32(len(inside) + 12)
	b := o.AppendUint32(o.AppendUint32(nil, typ), total)
	return o.AppendUint32(append(b, inside...), total)
}

func u16(o order, v ...uint16) []byte {
	var b []byte
	for _, n := range v {
		b = o.AppendUint16(b, n)
	}
	return b
}

func u32(o order, v ...uint32) []byte {
	var b []byte
	for _, n := range v {
		b = o.AppendUint32(b, n)
	}
	return b
}

func option(o order, code uint16, value string) []byte {
	return append(u16(o, code, uint16(len(value))), pad(value)...)
}

func pad(s string) string { return s + strings.Repeat("\x00", (4-len(s)%4)%4) }

func section(o order, options ...[]byte) []byte {
	return block(o, 0x0a0d0d0a, u32(o, 0x1a2b3c4d), u16(o, 1, 0), u32(o, 0xffffffff, 0xffffffff), slices.Concat(options...))
}

func device(o order, link uint16, options ...[]byte) []byte {
	return block(o, 1, u16(o, link, 0), u32(o, 0), slices.Concat(options...))
}

// enhanced is a block with a packet, units after 1970.
func enhanced(o order, number uint32, units uint64, data string, options ...[]byte) []byte {
	return block(o, 6, u32(o, number, uint32(units>>32), uint32(units), uint32(len(data)), uint32(len(data))),
		[]byte(pad(data)), slices.Concat(options...))
}

// readAll reads a file to its end. What it returns is the reader's last error, nil if
// that is io.EOF.
func readAll(t *testing.T, in io.Reader) (all []pcap.Packet, r *pcap.Reader, err error) {
	t.Helper()
	r, err = pcap.NewReader(in)
	if err != nil {
		return nil, nil, err
	}
	for {
		p, err := r.Next()
		if errors.Is(err, io.EOF) {
			return all, r, nil
		}
		if err != nil {
			if _, again := r.Next(); again != err {
				t.Errorf("the error %v became %v", err, again)
			}
			return all, r, err
		}
		copied := *p
		copied.Data = slices.Clone(p.Data)
		all = append(all, copied)
	}
}

func mustRead(t *testing.T, file []byte) ([]pcap.Packet, *pcap.Reader) {
	t.Helper()
	all, r, err := readAll(t, strings.NewReader(string(file)))
	if err != nil {
		t.Fatal(err)
	}
	return all, r
}

var at = time.Date(2026, 5, 6, 7, 8, 9, 123_456_789, time.UTC)
