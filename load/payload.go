package load

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// A stream is what one connection sends: each byte is a function of the seed, the
// connection and its position, so that bytes of another connection, or of another
// place, are seen to be wrong.
type stream struct {
	key  uint64
	line bool // only bytes that may stand in a line of text
}

func newStream(seed uint64, conn int, line bool) stream {
	return stream{key: mix(seed ^ mix(uint64(conn)+1)), line: line}
}

// mix is the finishing step of SplitMix64: every bit of x reaches every bit of the
// result.
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// fill writes the stream's bytes from position at on, a multiple of 8, into p.
func (s stream) fill(p []byte, at int64) {
	var word [8]byte
	for i := 0; i < len(p); i += 8 {
		binary.LittleEndian.PutUint64(word[:], mix(s.key+uint64(at)+uint64(i)))
		copy(p[i:], word[:])
	}
	if s.line {
		for i, b := range p {
			p[i] = ' ' + b%95 // the printable ones
		}
	}
}

// message writes message number n of the stream into p: for upper, a line.
func (s stream) message(p []byte, n int64) {
	padded := (int64(len(p)) + 7) &^ 7
	s.fill(p, n*padded)
	if s.line {
		p[len(p)-1] = '\n'
	}
}

// raise turns a to z into capitals, as upper does.
func raise(p []byte) {
	for i, b := range p {
		if 'a' <= b && b <= 'z' {
			p[i] = b - 'a' + 'A'
		}
	}
}

// A CorruptError is the first byte of a connection that came back wrong.
type CorruptError struct {
	Conn      int   // which connection, from 0
	Offset    int64 // which byte of what it received, from 0
	Want, Got byte
}

// Error names the byte.
func (e *CorruptError) Error() string {
	return fmt.Sprintf("connection %d, byte %d: 0x%02x came back, must be 0x%02x", e.Conn, e.Offset, e.Got, e.Want)
}

// compare returns the first difference; at is the offset of got in the connection.
func compare(conn int, at int64, got, want []byte) error {
	if bytes.Equal(got, want) {
		return nil
	}
	i := 0
	for got[i] == want[i] {
		i++
	}
	return &CorruptError{Conn: conn, Offset: at + int64(i), Want: want[i], Got: got[i]}
}
