package spool

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"time"
)

// kind is what a record of the journal says.
type kind uint8

const (
	kindMessage kind = iota + 1 // a message came; its text follows
	kindAppend                  // messages are about to be appended to a mailbox
	kindDone                    // they are there, durably
)

// meta is what a record says beside a message's text.
type meta struct {
	// of kindMessage
	ID    string    `json:"id,omitempty"`
	From  string    `json:"from,omitempty"`
	Time  time.Time `json:"time,omitzero"`
	Boxes []string  `json:"boxes,omitempty"`

	// of kindAppend and kindDone
	Box  string   `json:"box,omitempty"`
	IDs  []string `json:"ids,omitempty"`
	Size int64    `json:"size,omitempty"` // that the mailbox had
	Glue string   `json:"glue,omitempty"` // what ends the message before ours
}

// A record is a header, the meta in JSON, and the text:
//
//	 0  4  magic
//	 4  1  kind, then three zeros
//	 8  4  length of the meta
//	12  8  length of the text
//	20  4  CRC-32C of the text
//	24  4  CRC-32C of bytes 0 to 24 and the meta
const (
	headerSize = 28
	metaMax    = 1 << 20 // a thousand recipients with the longest of names are less
	magic      = "yml1"
)

// appendRecord appends header and meta of a record whose text has that size and sum.
func appendRecord(dst []byte, k kind, m *meta, size int64, sum uint32) ([]byte, error) {
	text, err := json.Marshal(m)
	if err == nil && len(text) > metaMax {
		err = fmt.Errorf("spool: the envelope of a message takes %d bytes, at most %d are kept", len(text), metaMax)
	}
	if err != nil {
		return dst, err
	}
	at := len(dst)
	dst = append(dst, magic...)
	dst = append(dst, byte(k), 0, 0, 0)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(text)))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(size))
	dst = binary.LittleEndian.AppendUint32(dst, sum)
	check := crc32.Update(crc32.Checksum(dst[at:], castagnoli), castagnoli, text)
	dst = binary.LittleEndian.AppendUint32(dst, check)
	return append(dst, text...), nil
}

// errTorn reports what is no whole record: the process ended while it was written, or
// the disk has lost it.
var errTorn = errors.New("spool: the journal has something that is no whole record")

// readRecord reads the record at the start of r, its text too, of which it checks
// the sum. text is where that begins. At the end of r, or of what of it was written to, the
// error is io.EOF; errTorn is for what is not a record.
func readRecord(r io.Reader) (k kind, m meta, text, size int64, err error) {
	var head [headerSize]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, m, 0, 0, tornUnless(err, io.EOF)
	}
	if head == [headerSize]byte{} {
		return 0, m, 0, 0, io.EOF
	}
	n := binary.LittleEndian.Uint32(head[8:])
	size = int64(binary.LittleEndian.Uint64(head[12:]))
	if string(head[:4]) != magic || n > metaMax || size < 0 {
		return 0, m, 0, 0, errTorn
	}
	words := make([]byte, n)
	if _, err := io.ReadFull(r, words); err != nil {
		return 0, m, 0, 0, tornUnless(err, nil)
	}
	check := crc32.Update(crc32.Checksum(head[:24], castagnoli), castagnoli, words)
	if check != binary.LittleEndian.Uint32(head[24:]) || json.Unmarshal(words, &m) != nil {
		return 0, m, 0, 0, errTorn
	}
	sum := crc32.New(castagnoli)
	if err := readText(sum, r, size); err != nil {
		return 0, m, 0, 0, err
	}
	if sum.Sum32() != binary.LittleEndian.Uint32(head[20:]) {
		return 0, m, 0, 0, errTorn
	}
	return kind(head[4]), m, headerSize + int64(n), size, nil
}

func readText(sum hash.Hash, r io.Reader, size int64) error {
	_, err := io.CopyN(sum, r, size)
	return tornUnless(err, nil)
}

// tornUnless makes errTorn of an end that comes too early; other failures, and the one
// that is expected, stay.
func tornUnless(err, expected error) error {
	if err != expected && (err == io.EOF || err == io.ErrUnexpectedEOF) {
		return errTorn
	}
	return err
}
