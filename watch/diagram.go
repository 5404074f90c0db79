package watch

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"yodel/internal/escape"
	"yodel/trace"
	"yodel/watch/flow"
	"yodel/watch/packet"
)

// Widths of a Diagram.
const (
	DefaultText = 48 // bytes of escaped payload in a row
	arrowWidth  = 22
)

// A Diagram is a View that draws each flow as a sequence diagram, one row for each
// packet, the client on the left and the server on the right:
//
//	#1 tcp (127.0.0.1:51213, 127.0.0.1:15213)
//	#1   0.000000 client ──SYN───────────────▶ server  seq 0 win 65495  SYN: connect()
//	#1   0.000011 client ◀──────────SYN, ACK── server  seq 0 ack 1 win 65483  the server's kernel accepts
//	#1   0.000019 client ──ACK───────────────▶ server  seq 1 ack 1 win 65536  connected: …
//	#1   0.000102 client ──PSH, ACK──────────▶ server  seq 1:7 ack 1 win 65536  "hello\n"
//
// The time is in seconds since the first packet. Payload is escaped. At its end each
// flow has a sum, and so has the capture.
type Diagram struct {
	W io.Writer

	// Hex shows the payload of each packet as a hexadecimal dump below its row.
	Hex bool

	// Text is how many bytes of escaped payload a row has at most; 0: 48, negative: none.
	Text int

	// Brief leaves the rows out: only sums are shown.
	Brief bool

	began time.Time
	met   int64 // flows whose heading was shown: they are numbered in order
	buf   bytes.Buffer
}

// Show writes the rows of an event. It returns the error of W.
func (d *Diagram) Show(e *Event) error {
	if d.began.IsZero() {
		d.began = e.Time
	}
	d.buf.Reset()
	switch e.Type {
	case Segment, Datagram, ICMP:
		if !d.Brief {
			d.packet(e)
		}
	case FlowEnded:
		d.buf.WriteString(FlowSummary(e.Flow))
	case Ended:
		d.buf.WriteString(CaptureSummary(e.Sum))
	}
	if d.buf.Len() == 0 {
		return nil
	}
	_, err := d.W.Write(d.buf.Bytes())
	return err
}

func (d *Diagram) packet(e *Event) {
	if f := e.Flow; f.Number > d.met {
		d.met = f.Number
		fmt.Fprintf(&d.buf, "#%d %s %v%s\n", f.Number, f.Network, f.Pair, owner(e.Packet))
	}
	fmt.Fprintf(&d.buf, "#%d %10.6f %s  %s\n", e.Flow.Number, e.Time.Sub(d.began).Seconds(), Arrow(e.What), d.facts(e))
	if d.Hex {
		d.dump(e.What.Packet.Payload)
	}
}

func owner(p *Packet) string {
	if p.Owner == "" {
		return ""
	}
	return " of " + escape.StringN(p.Owner, 64)
}

// facts is what stands behind the arrow: numbers, meaning, payload.
func (d *Diagram) facts(e *Event) string {
	parts := []string{Numbers(e.What)}
	meaning := Meaning(e.What)
	if meaning != "" {
		parts = append(parts, meaning)
	}
	if payload := d.payload(e.What); payload != "" {
		parts = append(parts, payload)
	}
	for _, c := range e.Packet.Comments {
		if c != meaning { // as in a file that a Recorder has written
			parts = append(parts, "# "+escape.StringN(c, 200))
		}
	}
	return strings.Join(parts, "  ")
}

func (d *Diagram) payload(e *flow.Event) string {
	limit := d.Text
	if limit == 0 {
		limit = DefaultText
	}
	if limit < 0 || d.Hex || len(e.Packet.Payload) == 0 || e.Kind == flow.ICMPError {
		return ""
	}
	return Payload(e.Packet.Payload, limit)
}

// dump shows a payload as hexdump -C does.
func (d *Diagram) dump(payload []byte) {
	for line := range strings.Lines(hex.Dump(payload)) {
		d.buf.WriteString("      ")
		d.buf.WriteString(line)
	}
}

// Payload returns the beginning of a payload in quotes, escaped: at most limit bytes.
func Payload(payload []byte, limit int) string {
	// No escape is shorter than what it stands for, so this is more than limit.
	some := payload[:min(len(payload), limit+utf8.UTFMax)]
	return `"` + escape.StringN(string(some), limit) + `"`
}

// Arrow draws who speaks to whom, and what flags a segment has: always of the same
// width.
func Arrow(e *flow.Event) string {
	label := label(e)
	line := strings.Repeat("─", max(arrowWidth-utf8.RuneCountInString(label)-2, 1))
	switch e.From {
	case trace.Client:
		return "client ──" + label + line + "▶ server"
	case trace.Server:
		return "client ◀" + line + label + "── server"
	}
	return "client ××" + label + strings.Repeat("×", max(arrowWidth-utf8.RuneCountInString(label)-1, 1)) + " server"
}

func label(e *flow.Event) string {
	switch e.Kind {
	case flow.Datagram:
		return "datagram"
	case flow.ICMPError:
		return "ICMP"
	}
	return e.Packet.TCP.Flags.String()
}

// Numbers returns the numbers of a segment as tcpdump writes them, relative to the
// beginning of the connection; of a datagram its length.
func Numbers(e *flow.Event) string {
	if e.Kind == flow.ICMPError {
		return ""
	}
	if e.Kind == flow.Datagram {
		return fmt.Sprintf("length %d", e.Length)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "seq %d", e.Seq)
	if e.Length > 0 {
		fmt.Fprintf(&b, ":%d", e.Seq+int64(e.Length))
	}
	if e.Ack >= 0 {
		fmt.Fprintf(&b, " ack %d", e.Ack)
	}
	if !e.Packet.TCP.Flags.Has(packet.RST) {
		b.WriteString(" win ")
		b.WriteString(window(e))
	}
	return b.String()
}

// window is the window in bytes; as sent, with a star, if the scale is not known.
func window(e *flow.Event) string {
	if e.Window < 0 {
		return fmt.Sprintf("%d*", e.Packet.TCP.Window)
	}
	return fmt.Sprint(e.Window)
}
