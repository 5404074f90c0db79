package call

import (
	"bytes"
	"fmt"
	"io"
	"time"

	"yodel/internal/escape"
)

// A TextView shows what goes by in both directions, byte for byte, in printable text.
// Each line begins with ">" for what was sent or "<" for what was received. With both
// fields off, or Time alone, a line is a line of the payload, or the piece of one that a
// read or write moved, escaped, its newline too:
//
//	0.000213 > hello\n
//	0.000290 < HELLO\n
//
// With Hex it is 16 bytes or fewer, with their offset in that direction:
//
//	> 00000000  68 65 6c 6c 6f 0a                                 |hello.|
//
// With Time it begins with the seconds since the first event, and how the connection
// comes and goes is shown as well, after "*". A line is for when the write began, or when
// the read returned.
type TextView struct {
	W    io.Writer
	Hex  bool // a hexadecimal dump
	Time bool // the time that has passed, in seconds

	began time.Time
	buf   bytes.Buffer
}

// Payload returns true.
func (*TextView) Payload() bool { return true }

// Show writes the lines of an event. It returns the error of W.
func (v *TextView) Show(e *Event) error {
	if v.began.IsZero() {
		v.began = timeOf(e)
	}
	v.buf.Reset()
	switch {
	case e.Type == Sent:
		v.payload(e, ">")
	case e.Type == Received:
		v.payload(e, "<")
	case v.Time:
		v.start(e, "*")
		v.buf.WriteString(describe(e))
		v.buf.WriteByte('\n')
	}
	if v.buf.Len() == 0 {
		return nil
	}
	_, err := v.W.Write(v.buf.Bytes())
	return err
}

// describe says in words what an event without payload is.
func describe(e *Event) string {
	s := string(e.Type)
	switch e.Type {
	case Connecting:
		s += " " + tried(e)
	case Connected:
		s += " " + hostOf(e)
	case Closed:
		s = e.End
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return escape.String(s)
}

// start writes what each line begins with.
func (v *TextView) start(e *Event, mark string) {
	if v.Time {
		fmt.Fprintf(&v.buf, "%10.6f ", timeOf(e).Sub(v.began).Seconds())
	}
	v.buf.WriteString(mark)
	v.buf.WriteByte(' ')
}

func (v *TextView) payload(e *Event, mark string) {
	if v.Hex {
		v.hex(e, mark)
		return
	}
	for line := range bytes.Lines(e.Data) {
		v.start(e, mark)
		v.buf.Write(escape.Append(v.buf.AvailableBuffer(), line))
		v.buf.WriteByte('\n')
	}
}

// hex writes 16 bytes a line, as hexdump -C does.
func (v *TextView) hex(e *Event, mark string) {
	const perLine = 16
	for at := 0; at < len(e.Data); at += perLine {
		row := e.Data[at:min(at+perLine, len(e.Data))]
		v.start(e, mark)
		fmt.Fprintf(&v.buf, "%08x ", e.Offset+int64(at))
		for i := range perLine {
			if i%8 == 0 {
				v.buf.WriteByte(' ')
			}
			if i < len(row) {
				fmt.Fprintf(&v.buf, "%02x ", row[i])
			} else {
				v.buf.WriteString("   ")
			}
		}
		v.buf.WriteString(" |")
		for _, b := range row {
			v.buf.WriteByte(printable(b))
		}
		v.buf.WriteString("|\n")
	}
}

// printable returns b, or a dot for what is not printable ASCII.
func printable(b byte) byte {
	if b < ' ' || b >= 0x7f {
		return '.'
	}
	return b
}
