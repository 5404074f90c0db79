package watch

import (
	"fmt"
	"strings"
	"time"

	"yodel/trace"
	"yodel/watch/flow"
	"yodel/watch/packet"
)

// Meaning says in words what a packet means to a person: "" if it is just data, or an
// ACK. What is not proved says "or". The text has nothing of the peer's in it.
func Meaning(e *flow.Event) string {
	switch e.Kind {
	case flow.Datagram:
		return ""
	case flow.ICMPError:
		return ICMPMeaning(e.Packet.IP.Version, &e.Packet.ICMP) + reporter(e)
	}
	var parts []string
	for _, say := range []func(*flow.Event) string{opening, remark, windows, missing, closing} {
		if s := say(e); s != "" {
			parts = append(parts, s)
		}
	}
	return strings.Join(parts, "; ")
}

func reporter(e *flow.Event) string {
	if e.From != "" {
		return ", says the " + string(e.From) + "'s host"
	}
	return ", says " + e.Packet.Src.Addr().String()
}

// opening is what a segment is to the handshake.
func opening(e *flow.Event) string {
	flags := e.Packet.TCP.Flags
	switch {
	case isSimultaneous(e):
		return "both sides have called connect(): a simultaneous open"
	case e.Marks&(flow.Retransmission|flow.Duplicate) != 0: // remark says it
		return ""
	case flags.Has(packet.SYN | packet.ACK):
		return "the server's kernel accepts"
	case flags.Has(packet.SYN) && e.Marks&flow.PortsReused != 0:
		return "SYN: connect(), between the ports of an earlier connection"
	case flags.Has(packet.SYN):
		return "SYN: connect()"
	case e.Was == flow.SYNReceived && e.State == flow.Established:
		return "connected: connect() returns, accept() can return"
	}
	return ""
}

// isSimultaneous reports whether a segment is the SYN, ACK of the side that has sent the
// first SYN: it answers one of the other side's (RFC 9293 §3.5), and is nothing sent again.
func isSimultaneous(e *flow.Event) bool {
	return e.Packet.TCP.Flags.Has(packet.SYN|packet.ACK) && e.From == trace.Client && e.Seq == 0 &&
		e.Marks&flow.Duplicate == 0
}

// again names what is sent once more.
func again(e *flow.Event) string {
	flags := e.Packet.TCP.Flags
	switch {
	case flags.Has(packet.SYN | packet.ACK):
		return "SYN, ACK again"
	case flags.Has(packet.SYN):
		return "SYN again"
	case flags.Has(packet.FIN) && e.Length == 0:
		return "FIN again"
	}
	return "sent again"
}

// remark says what the marks are about that concern the order of segments.
func remark(e *flow.Event) string {
	m := e.Marks
	switch {
	case isSimultaneous(e):
		return ""
	case m&flow.Duplicate != 0:
		return "the same packet twice: doubled on its way, or by the capture"
	case m&flow.Retransmission != 0 && e.Evidence == 0:
		return again(e) + ", or late" + since(e)
	case m&flow.Retransmission != 0:
		return again(e) + why(e) + since(e)
	case m&flow.OutOfOrder != 0 && e.Evidence == 0:
		return "late, or sent again"
	case m&flow.OutOfOrder != 0:
		return "late: overtaken by what was sent after it"
	case m&flow.DuplicateACK != 0:
		return fmt.Sprintf("duplicate ACK %d: %s", e.DupACK, whyDuplicate(e))
	case m&flow.DuplicateSACK != 0:
		return "bytes came twice, says the receiver"
	}
	return ""
}

// whyDuplicate is what a receiver answers with a duplicate ACK. With SACK it says so itself
// (RFC 2018, RFC 2883); without, the same is said for both (RFC 5681 §4.2).
func whyDuplicate(e *flow.Event) string {
	tcp := &e.Packet.TCP
	switch {
	case e.Marks&flow.DuplicateSACK != 0 && !missesMore(e):
		return "bytes came twice, says the receiver"
	case tcp.Options&packet.HasSACK != 0:
		return "something is missing before what came"
	}
	return "something is missing before what came, or it came twice"
}

// missesMore reports whether the SACK of bytes that came twice tells of others that came
// behind a gap, too: in another block than the first one.
func missesMore(e *flow.Event) bool { return e.Packet.TCP.SACKs > 1 }

// why is the reason for a retransmission, as far as it can be told.
func why(e *flow.Event) string {
	switch {
	case e.Marks&flow.Spurious != 0:
		return " for nothing: it was acknowledged before"
	case e.Cause == flow.CauseACKs:
		return " (fast): the ACKs had asked for it"
	case e.Cause == flow.CauseTimer:
		return " by the timer: no ACK came"
	case e.Evidence&flow.SentLater != 0:
		return ": the first was lost before it came here"
	}
	return ""
}

func since(e *flow.Event) string {
	if e.Waited <= 0 {
		return ""
	}
	return ", after " + Duration(e.Waited)
}

// windows says what the marks are about that concern windows and probes.
func windows(e *flow.Event) string {
	var parts []string
	for _, s := range []struct {
		mark flow.Marks
		text string
	}{
		{flow.ZeroWindowProbe, "zero-window probe: is there room again?"},
		{flow.ZeroWindowProbeACK, "no room yet"},
		{flow.WindowFull, "window full: the sender must wait"},
		{flow.WindowUpdate, "window update: there is room"},
		{flow.KeepAlive, "keep-alive: are you still there?"},
		{flow.KeepAliveACK, "still there"},
	} {
		if e.Marks&s.mark != 0 {
			parts = append(parts, s.text)
		}
	}
	if e.Marks&(flow.ZeroWindow|flow.ZeroWindowProbeACK) == flow.ZeroWindow {
		parts = append(parts, "zero window: the "+string(e.From)+" does not read")
	}
	return strings.Join(parts, "; ")
}

// missing says what the capture lacks.
func missing(e *flow.Event) string {
	var parts []string
	if e.Marks&flow.LostSegment != 0 {
		parts = append(parts, "something before it has not come here")
	}
	if e.Marks&flow.AckedUnseen != 0 {
		parts = append(parts, "it acknowledges what was not captured")
	}
	return strings.Join(parts, "; ")
}

// closing is what a segment is to the end of a connection.
func closing(e *flow.Event) string {
	switch {
	case e.Packet.TCP.Flags.Has(packet.RST):
		return resetMeaning(e)
	case e.Was != flow.Closed && e.State == flow.Closed:
		return "both directions are closed"
	case !e.Packet.TCP.Flags.Has(packet.FIN) || e.Marks&flow.Retransmission != 0:
		return ""
	case e.Flow.Half(other(e.From)).FIN:
		return "FIN: close() or shutdown(), the " + string(e.From) + " will send no more either"
	}
	return "FIN: close() or shutdown(), the " + string(e.From) + " will send no more"
}

func other(side trace.Side) trace.Side {
	if side == trace.Client {
		return trace.Server
	}
	return trace.Client
}

func resetMeaning(e *flow.Event) string {
	r := e.Flow.Reset
	if r == nil || r.Number != e.Number {
		return "RST once more, from the " + string(e.From)
	}
	return "RST from the " + string(e.From) + ": " + ResetMeaning(r)
}

// ResetMeaning says why a connection was reset, as far as the RST tells. Kernels keep to
// its forms; whoever sends one in another's name need not.
func ResetMeaning(r *flow.ResetInfo) string {
	text := map[flow.ResetWhy]string{
		flow.ResetUnknown:      "it is not known why",
		flow.ResetRefused:      "connection refused: nothing listens there, or a filter says so",
		flow.ResetAbandoned:    "the client knows of no such connection, or has given up",
		flow.ResetAfterClose:   "bytes came after it had closed, which nobody can read",
		flow.ResetNoConnection: "its kernel has no such connection, or no more",
		flow.ResetAborted:      "aborted: closed with bytes unread or with SO_LINGER 0, or given up by its kernel",
	}[r.Why]
	if r.OtherTTL {
		text += "; it came with another TTL than that side's packets before: a host between may have sent it"
	}
	if !r.Exact {
		text += "; it has not the number that is expected, so its receiver may ignore it"
	}
	return text
}

// icmpTexts is what the codes of destination unreachable mean (RFC 792, RFC 1812
// §5.2.7.1).
var icmpTexts = map[uint8]string{
	0: "network unreachable", 1: "host unreachable", 2: "protocol unreachable",
	3: "port unreachable: nothing listens there", 4: "packet too big",
	5: "source route failed", 6: "network unknown", 7: "host unknown",
	9: "network prohibited", 10: "host prohibited", 11: "network unreachable for this service",
	12: "host unreachable for this service", 13: "prohibited by a filter",
}

// icmpv6Texts is the same for ICMPv6 (RFC 4443 §3.1).
var icmpv6Texts = map[uint8]string{
	0: "no route", 1: "prohibited by a filter", 2: "beyond the scope of the source", 3: "address unreachable",
	4: "port unreachable: nothing listens there", 5: "source prohibited", 6: "route rejected",
}

// ICMPMeaning says what an error of ICMP (version 4) or ICMPv6 (6) means.
func ICMPMeaning(version uint8, h *packet.ICMPHeader) string {
	texts, unreachable := icmpTexts, uint8(3)
	if version == 6 {
		texts, unreachable = icmpv6Texts, 1
	}
	text, known := texts[h.Code]
	switch {
	case h.MTU != 0:
		text = fmt.Sprintf("packet too big: at most %d bytes", h.MTU)
	case h.Type == unreachable && known:
	case version == 4 && h.Type == 11, version == 6 && h.Type == 3:
		text = "time exceeded: too many hops, or fragments missing"
	case version == 4 && h.Type == 5:
		text = "redirect: there is a better route"
	default:
		text = fmt.Sprintf("type %d, code %d", h.Type, h.Code)
	}
	return "ICMP: " + text
}

// Duration prints a time with three digits, or as many as it has: 41.3 ms, 1.02 s.
func Duration(d time.Duration) string {
	for _, u := range []struct {
		unit time.Duration
		name string
	}{{time.Second, "s"}, {time.Millisecond, "ms"}, {time.Microsecond, "µs"}} {
		if d >= u.unit || -d >= u.unit {
			return threeDigits(float64(d)/float64(u.unit)) + " " + u.name
		}
	}
	return fmt.Sprintf("%d ns", d.Nanoseconds())
}

func threeDigits(f float64) string {
	switch {
	case f >= 99.95 || f <= -99.95:
		return fmt.Sprintf("%.0f", f)
	case f >= 9.995 || f <= -9.995:
		return fmt.Sprintf("%.1f", f)
	}
	return fmt.Sprintf("%.2f", f)
}
