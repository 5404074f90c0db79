package flow_test

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"testing"

	"yodel/watch/flow"
	"yodel/watch/packet"
	"yodel/watch/pcap"
)

// rewrite copies a capture of raw IP, packet by packet: change may alter a packet, whose
// segment it gets too, or leave it out by returning false.
func rewrite(t *testing.T, file, path string, change func(p *packet.Packet, segment []byte) bool) {
	t.Helper()
	out, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	w := pcap.NewWriter(out, nil)
	device, _ := w.AddInterface(&pcap.Interface{LinkType: packet.Raw})
	var p packet.Packet
	eachPacket(t, file, func(k *pcap.Packet) {
		if p.Decode(k.Interface.LinkType, k.Data, k.Length) != nil || p.Kind != packet.TCP {
			return
		}
		at := 20
		if p.IP.Version == 6 {
			at = 40
		}
		if change(&p, k.Data[at:]) {
			w.WritePacket(device, k)
		}
	})
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
}

// A variant is a capture that was made of another one.
type variant struct{ name, file string }

// variants makes of a capture what else it could be: both must agree on them too.
func variants(t *testing.T, file string) []variant {
	t.Helper()
	n := 0
	var all []variant
	for name, change := range map[string]func(p *packet.Packet, segment []byte) bool{
		"numbers that wrap around":   wrapAround(),
		"the beginning is not there": func(*packet.Packet, []byte) bool { n++; return n > 9 },
		"one direction is not there": func(p *packet.Packet, _ []byte) bool { return p.Src.Port() < 10_000 },
	} {
		v := variant{name, fmt.Sprintf("%s-%d.pcapng", file, len(all))}
		rewrite(t, file, v.file, change)
		all = append(all, v)
	}
	return all
}

// wrapAround moves all numbers of a capture, so that they reach their end soon.
func wrapAround() func(p *packet.Packet, segment []byte) bool {
	shift := make(map[netip.AddrPort]uint32) // by the sender
	add := func(field []byte, of netip.AddrPort) {
		binary.BigEndian.PutUint32(field, binary.BigEndian.Uint32(field)+shift[of])
	}
	return func(p *packet.Packet, segment []byte) bool {
		if _, ok := shift[p.Src]; !ok && p.TCP.Flags.Has(packet.SYN) {
			shift[p.Src] = -p.TCP.Seq - 20_000 // it begins 20,000 before the end of the numbers
		}
		add(segment[4:], p.Src)
		if p.TCP.Flags.Has(packet.ACK) {
			add(segment[8:], p.Dst)
		}
		for at := 20; at < int(segment[12]>>4)*4; { // SACK has the other side's numbers
			switch segment[at] {
			case 1:
				at++
				continue
			case 5:
				for i := 2; i < int(segment[at+1]); i += 4 {
					add(segment[at+i:], p.Dst)
				}
			}
			at += max(int(segment[at+1]), 1)
		}
		return true
	}
}

// sending is what names one packet, wherever it is captured.
type sending struct {
	src, dst   netip.AddrPort
	seq, stamp uint32
	id         uint32
	length     int
}

func sendingOf(p *packet.Packet) sending {
	return sending{p.Src, p.Dst, p.TCP.Seq, p.TCP.TSVal, p.IP.ID, p.Length}
}

// truth holds what is said of a capture at one end against what the other end has sent.
// Of each packet of IPv4 from the sender's host it is known there whether its bytes had
// been sent before; what the evidence at the receiver says of it must be true.
func truth(t *testing.T, sender, receiver string, host netip.Addr) {
	t.Helper()
	again := make(map[sending]bool)
	sent := make(map[int64]map[int64]bool) // the bytes of each flow
	newAgreement().each(t, sender, func(e *flow.Event) {
		if e.Packet.Src.Addr() != host || e.Length == 0 {
			return
		}
		bytes := sent[e.Flow.Number]
		if bytes == nil {
			bytes = make(map[int64]bool)
			sent[e.Flow.Number] = bytes
		}
		before := bytes[e.Seq]
		for n := e.Seq; n < e.End; n++ {
			bytes[n] = true
		}
		again[sendingOf(e.Packet)] = before
	})
	judged, wrong := 0, 0
	newAgreement().each(t, receiver, func(e *flow.Event) {
		resent, known := again[sendingOf(e.Packet)]
		if !known || e.Packet.Src.Addr() != host {
			return
		}
		var said bool
		switch {
		case e.Evidence.Has(flow.SentLater):
			said = true
		case e.Evidence.Has(flow.SentEarlier):
			said = false
		default:
			return
		}
		judged++
		if said != resent {
			wrong++
			t.Errorf("packet %d: %v, evidence %v; and that it was sent again is %v", e.Number, e.Marks, e.Evidence.Names(), resent)
		}
	})
	t.Logf("%d of %d verdicts by evidence are wrong", wrong, judged)
}
