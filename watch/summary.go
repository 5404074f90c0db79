package watch

import (
	"fmt"
	"strings"

	"yodel/trace"
	"yodel/watch/flow"
)

// FlowSummary returns the sum of a flow, for a person: some lines.
func FlowSummary(f *flow.Flow) string {
	var b strings.Builder
	fmt.Fprintf(&b, "#%d %s %v: %s\n", f.Number, f.Network, f.Pair, ending(f))
	for _, side := range []trace.Side{trace.Client, trace.Server} {
		fmt.Fprintf(&b, "   %s\n", halfSummary(f, side))
	}
	if !f.Handshake.IsZero() && f.InitialRTT > 0 {
		fmt.Fprintf(&b, "   handshake %s\n", Duration(f.InitialRTT))
	}
	if r := f.Reset; r != nil {
		fmt.Fprintf(&b, "   RST from the %s: %s\n", r.From, ResetMeaning(r))
	}
	if f.ICMP > 0 {
		fmt.Fprintf(&b, "   %s, the last from %v\n", plural(f.ICMP, "ICMP error"), f.LastICMP.From)
	}
	if f.Guessed {
		b.WriteString("   its beginning was not captured: who is the client is a guess\n")
	}
	if f.Evicted {
		b.WriteString("   forgotten before its end: too many flows at the same time\n")
	}
	return b.String()
}

// ending says how a flow ended, and how long it lived.
func ending(f *flow.Flow) string {
	lived := Duration(f.Last.Sub(f.First))
	switch end := f.Ending(); end {
	case flow.Datagrams:
		return lived
	case flow.Open:
		return "open, for " + lived
	case flow.Unanswered:
		return "nobody answered, for " + lived
	case flow.Refused:
		return "refused, after " + lived
	default:
		return string(end) + ", after " + lived
	}
}

// halfSummary says what a side has sent.
func halfSummary(f *flow.Flow, side trace.Side) string {
	h := f.Half(side)
	if f.Network == "udp" {
		return fmt.Sprintf("%s sent %s of %s", side, plural(h.Packets, "datagram"), plural(h.Bytes, "byte"))
	}
	parts := []string{fmt.Sprintf("%s sent %s in %s", side, plural(h.Stream, "byte"), plural(h.Packets, "segment"))}
	for m, n := range h.Marks.All() {
		if text := markText(m, n); text != "" {
			parts = append(parts, text)
		}
	}
	if h.Missing > 0 {
		parts = append(parts, plural(h.Missing, "byte")+" not captured")
	}
	if h.ZeroWindow > 0 {
		parts = append(parts, "window zero for "+Duration(h.ZeroWindow))
	}
	if h.RTT.Count > 0 {
		parts = append(parts, fmt.Sprintf("RTT %s (%s to %s)", Duration(h.RTT.Mean()), Duration(h.RTT.Min), Duration(h.RTT.Max)))
	}
	return strings.Join(parts, ", ")
}

// markText counts a mark in words; "" for those that a sum need not tell.
func markText(m flow.Marks, n int64) string {
	switch m {
	case flow.Retransmission:
		return plural(n, "retransmission")
	case flow.Fast:
		return fmt.Sprintf("%d of them fast", n)
	case flow.Spurious:
		return fmt.Sprintf("%d of them spurious", n)
	case flow.OutOfOrder:
		return fmt.Sprintf("%d out of order", n)
	case flow.DuplicateACK:
		return plural(n, "duplicate ACK")
	case flow.ZeroWindow:
		return plural(n, "zero window")
	case flow.ZeroWindowProbe:
		return plural(n, "zero-window probe")
	case flow.WindowFull:
		return fmt.Sprintf("%d filled the window", n)
	case flow.KeepAlive:
		return plural(n, "keep-alive")
	case flow.Duplicate:
		return fmt.Sprintf("%d doubled", n)
	case flow.Reset:
		return plural(n, "RST")
	}
	return ""
}

// CaptureSummary returns what became of all packets, for a person: some lines.
func CaptureSummary(s *Sum) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s in %s: %s", plural(s.Packets, "packet"), Duration(s.Last.Sub(s.First)), plural(s.Flows, "flow"))
	for _, part := range []struct {
		n    int64
		text string
	}{
		{s.Hidden, "hidden: not asked for"},
		{s.Other, "neither TCP nor UDP"},
		{s.Stray, "ICMP errors about packets that were not captured"},
		{s.Broken, "broken"},
		{s.Fragments, "fragments"},
		{s.Unjoined, "datagrams of which fragments are missing"},
		{int64(min(s.Dropped, 1<<62)), "dropped by the capture"},
		{int64(min(s.Unproved, 1<<62)), "unproved: not shown to be yours"},
		{s.Evicted, "flows forgotten: too many at the same time"},
	} {
		if part.n > 0 {
			fmt.Fprintf(&b, ", %d %s", part.n, part.text)
		}
	}
	for _, link := range s.LinkTypes {
		fmt.Fprintf(&b, "; packets of the link type %d can't be read: capture on a device with Ethernet or IP", uint16(link))
	}
	b.WriteByte('\n')
	return b.String()
}

func plural(n int64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
