package capture

import (
	"encoding/binary"
	"net/netip"

	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"
)

// In the filter R8 says from which side a packet is seen.
const (
	seenLeaving  = 1 << iota // by its sender: the flow must be the owner's
	seenArriving             // by its receiver: the other direction must be the owner's
	seenByMany               // arriving, and sent to a group or to all
)

// filter returns the program that decides, for each packet at the packet socket, how
// many of its bytes are kept: as a rule none. It is locked before the socket is bound.
// Nothing but what it lets pass ever leaves the kernel. It lets pass:
//
//   - what leaves from a socket of the owner's, or arrives at one, and belongs to the
//     same connection: a segment's number must lie in what that socket has sent, and the
//     socket of a datagram must still be open;
//   - of a SYN to a port on which the owner listens, the headers;
//   - datagrams to a port that the owner has bound;
//   - of an ICMP error about the owner's flow, the headers, its own and those that it
//     quotes.
func (t *tables) filter(s *selection, snap uint32) asm.Instructions {
	c := &code{}
	c.add(
		asm.Mov.Reg(asm.R6, asm.R1),
		asm.Mov.Imm(asm.R7, 0),
	)
	c.side(t, s)
	c.add(asm.StoreImm(asm.RFP, atTrimmed, int64(snap), asm.Word))
	c.quick(false, "not_plain")
	c.selectPorts(s.ports, "drop")
	c.get(asm.R1, atKey+keyProto, asm.Byte)
	c.add(asm.JEq.Imm(asm.R1, unix.IPPROTO_TCP, "plain_tcp"), asm.Ja.Label("plain_udp"))
	c.label("not_plain")
	c.headers("drop")
	c.get(asm.R1, atFragment, asm.Word)
	c.add(asm.JEq.Imm(asm.R1, laterFragment, "later"))
	c.get(asm.R1, atKey+keyProto, asm.Byte)
	c.add(
		asm.JEq.Imm(asm.R1, unix.IPPROTO_TCP, "tcp"),
		asm.JEq.Imm(asm.R1, unix.IPPROTO_UDP, "udp"),
		asm.JEq.Imm(asm.R1, unix.IPPROTO_ICMP, "icmp4"),
		asm.JEq.Imm(asm.R1, unix.IPPROTO_ICMPV6, "icmp6"),
		asm.Ja.Label("none"),
	)
	c.filterTCP(t)
	c.filterUDP(t)
	c.bound(t)
	c.filterICMP(t)
	c.pass(t, s)
	c.later(t)
	c.reject(t)
	return c.ins
}

// side finds out from which side the packet is seen. On loopback each packet would be
// seen twice; it is taken when it leaves, because the program that marks has run for it
// just then; or when it arrives, a moment later, where that is all that is seen.
func (c *code) side(t *tables, s *selection) {
	c.add(asm.LoadMem(asm.R1, asm.R6, skbIndex, asm.Word))
	c.set(atIndex, asm.R1, asm.Word)
	if s.loopback != 0 { // it never goes, so it need not be looked up
		once := asm.JNE
		if s.arriving {
			once = asm.JEq
		}
		c.add(
			asm.LoadMem(asm.R2, asm.R6, skbPktType, asm.Word),
			asm.JNE.Imm(asm.R1, int32(s.loopback), "device"),
			once.Imm(asm.R2, outgoing, "drop"),
			asm.StoreImm(asm.RFP, atLink, linkLoopback, asm.Word),
			asm.StoreImm(asm.RFP, atMAC, 14, asm.Word),
			asm.Mov.Imm(asm.R8, seenLeaving|seenArriving),
			asm.Ja.Label("seen"),
		)
		c.label("device")
	}
	c.lookup(t.links, atIndex)
	c.add(
		asm.JEq.Imm(asm.R0, 0, "drop"), // not marked on this interface: nothing is known
		asm.LoadMem(asm.R1, asm.R0, 0, asm.Word),
		asm.LoadMem(asm.R2, asm.R0, 4, asm.Word),
	)
	c.set(atLink, asm.R1, asm.Word)
	c.set(atMAC, asm.R2, asm.Word)
	if s.everywhere { // what has a tag is seen on the VLAN's own interface
		c.add(asm.LoadMem(asm.R2, asm.R6, skbVLAN, asm.Word), asm.JNE.Imm(asm.R2, 0, "drop"))
	}
	c.add(
		asm.LoadMem(asm.R2, asm.R6, skbPktType, asm.Word),
		asm.And.Imm(asm.R1, linkLoopback), asm.JEq.Imm(asm.R1, 0, "wire"),
		asm.JNE.Imm(asm.R2, outgoing, "drop"),
		asm.Mov.Imm(asm.R8, seenLeaving|seenArriving),
		asm.Ja.Label("seen"),
	)
	c.label("wire")
	c.add(
		asm.Mov.Imm(asm.R8, seenLeaving), asm.JEq.Imm(asm.R2, outgoing, "seen"),
		asm.Mov.Imm(asm.R8, seenArriving), asm.JEq.Imm(asm.R2, toHost, "seen"),
		asm.Mov.Imm(asm.R8, seenArriving|seenByMany),
		asm.JEq.Imm(asm.R2, toAll, "seen"), asm.JNE.Imm(asm.R2, toSome, "drop"), // to another host
	)
	c.label("seen")
}

func (c *code) filterTCP(t *tables) {
	c.label("tcp")
	c.load(atTransport, 20, "none")
	c.copy(atKey+keyPorts, atTransport, 4)
	c.label("plain_tcp")
	c.add(asm.Mov.Reg(asm.R1, asm.R8), asm.And.Imm(asm.R1, seenLeaving), asm.JEq.Imm(asm.R1, 0, "tcp_arriving"))
	c.lookup(t.flows, atKey)
	c.add(asm.JEq.Imm(asm.R0, 0, "tcp_arriving"))
	c.inWindow(atTransport+4, "pass", "tcp_arriving")

	c.label("tcp_arriving")
	c.add(asm.Mov.Reg(asm.R1, asm.R8), asm.And.Imm(asm.R1, seenArriving), asm.JEq.Imm(asm.R1, 0, "none"))
	c.get(asm.R2, atTransport+13, asm.Byte)
	c.add(
		asm.Mov.Reg(asm.R1, asm.R2), asm.And.Imm(asm.R1, tcpSYN|tcpACK),
		asm.JEq.Imm(asm.R1, tcpSYN, "listening"), // a new connection: what is known is about an old one
		asm.Mov.Reg(asm.R9, asm.R2),
	)
	c.reverse()
	c.lookup(t.flows, atRev)
	c.add(asm.JEq.Imm(asm.R0, 0, "none"))
	c.onInterface(valBound, "none")
	c.add(asm.JSet.Imm(asm.R9, tcpACK, "acknowledges"), asm.JSet.Imm(asm.R9, tcpRST, "trim_tcp"), asm.Ja.Label("none"))
	c.label("acknowledges")
	c.inWindow(atTransport+8, "pass", "none")

	c.label("listening")
	c.add(asm.Mov.Imm(asm.R9, 0)) // no cookie to look for
	c.jump("bound")
	c.label("trim_tcp")
	c.get(asm.R1, atTransport+12, asm.Byte)
	c.add(asm.RSh.Imm(asm.R1, 4), asm.LSh.Imm(asm.R1, 2))
	c.trim()
	c.jump("pass")
}

// inWindow goes to yes if the number at a place of the stack is one of those that the
// socket of the flow in R0 has sent, or if those are not known yet.
func (c *code) inWindow(at int16, yes, no string) {
	c.add(
		asm.LoadMem(asm.R1, asm.R0, valKnown, asm.Word), asm.JEq.Imm(asm.R1, 0, yes),
		asm.LoadMem(asm.R3, asm.R0, valStart, asm.Word),
		asm.LoadMem(asm.R2, asm.R0, valNext, asm.Word),
		asm.Sub.Reg32(asm.R2, asm.R3),
	)
	c.net(asm.R1, at, asm.Word)
	c.add(
		asm.Sub.Reg32(asm.R1, asm.R3),
		asm.JLE.Reg32(asm.R1, asm.R2, yes),
		asm.Ja.Label(no),
	)
}

// onInterface goes to no if the socket of the value in R0 is bound to another interface
// (SO_BINDTODEVICE, socket(7)).
func (c *code) onInterface(at int16, no string) {
	ok := c.fresh("any_interface")
	c.add(asm.LoadMem(asm.R1, asm.R0, at, asm.Word), asm.JEq.Imm(asm.R1, 0, ok))
	c.get(asm.R2, atIndex, asm.Word)
	c.add(asm.JNE.Reg(asm.R1, asm.R2, no))
	c.label(ok)
}

// trim keeps no more than the link's header, what is before R7, and R1 bytes.
func (c *code) trim() {
	c.get(asm.R2, atMAC, asm.Word)
	c.add(asm.Add.Reg(asm.R1, asm.R2), asm.Add.Reg(asm.R1, asm.R7))
	c.set(atTrimmed, asm.R1, asm.Word)
}

func (c *code) filterUDP(t *tables) {
	c.label("udp")
	c.load(atKey+keyPorts, 4, "none")
	c.label("plain_udp")
	c.add(asm.Mov.Reg(asm.R1, asm.R8), asm.And.Imm(asm.R1, seenLeaving), asm.JEq.Imm(asm.R1, 0, "udp_arriving"))
	c.lookup(t.flows, atKey)
	c.add(
		asm.JEq.Imm(asm.R0, 0, "udp_arriving"),
		asm.LoadMem(asm.R1, asm.R0, valKnown, asm.Word),
		asm.JEq.Imm(asm.R1, 0, "udp_arriving"), // what leaves has waited since before the owner had the port
		asm.LoadMem(asm.R1, asm.R0, valHash, asm.Word),
		asm.JEq.Imm(asm.R1, 0, "unconnected"),
		asm.LoadMem(asm.R2, asm.R6, skbHash, asm.Word),
		asm.JEq.Reg(asm.R1, asm.R2, "pass"), asm.Ja.Label("none"),
	)
	c.label("unconnected")
	c.add(
		asm.LoadMem(asm.R9, asm.R0, valAfter, asm.DWord),
		asm.JEq.Imm(asm.R9, 0, "pass"),
		asm.FnKtimeGetNs.Call(),
		asm.JGE.Reg(asm.R0, asm.R9, "pass"),
		asm.Ja.Label("none"),
	)
	c.label("udp_arriving")
	c.add(asm.Mov.Reg(asm.R1, asm.R8), asm.And.Imm(asm.R1, seenArriving), asm.JEq.Imm(asm.R1, 0, "none"))
	c.reverse()
	c.lookup(t.flows, atRev)
	c.add(asm.JEq.Imm(asm.R0, 0, "udp_bound"))
	c.onInterface(valBound, "udp_bound")
	c.alive(t, valCookie, "pass", "udp_bound")
	c.label("udp_bound")
	c.add(asm.Mov.Imm(asm.R9, 1)) // the socket must be open
}

// alive goes to yes if the socket of the value in R0 is open, or if this kernel does
// not tell: then the packet must be proved later.
func (c *code) alive(t *tables, at int16, yes, no string) {
	if !t.exact {
		c.jump(yes)
		return
	}
	c.add(asm.LoadMem(asm.R1, asm.R0, at, asm.DWord))
	c.set(atTime, asm.R1, asm.DWord)
	c.lookup(t.live, atTime)
	c.add(asm.JEq.Imm(asm.R0, 0, no))
	c.lookup(t.dead, atTime)
	c.add(asm.JEq.Imm(asm.R0, 0, yes), asm.Ja.Label(no))
}

// bound lets pass what arrives at a port that the owner has bound: a datagram as it is,
// of a SYN the headers. R9 is not 0 if the socket must be alive.
func (c *code) bound(t *tables) {
	c.label("bound")
	c.zero(atPort, 24)
	c.get(asm.R1, atKey+keyPorts+2, asm.Half)
	c.set(atPort+16, asm.R1, asm.Half)
	c.get(asm.R1, atKey+keyProto, asm.Half) // and the family
	c.set(atPort+18, asm.R1, asm.Half)
	c.copy(atPort, atKey+keyDst, 16)
	c.atPort(t, "any_address")
	c.label("any_address")
	c.get(asm.R1, atLink, asm.Word)
	c.add(
		asm.JSet.Imm(asm.R1, linkLoopback, "our_address"),
		asm.JSet.Imm(asm.R8, seenByMany, "our_address"),
	)
	c.zero(atRev, 20) // the reverse key is not needed any more
	c.copy(atRev, atKey+keyDst, 16)
	c.get(asm.R1, atKey+keyFamily, asm.Byte)
	c.set(atRev+16, asm.R1, asm.Word)
	c.lookup(t.local, atRev)
	c.add(asm.JEq.Imm(asm.R0, 0, "none")) // passes through this host
	c.label("our_address")
	c.zero(atPort, 16)
	c.atPort(t, "none")
}

func (c *code) atPort(t *tables, no string) {
	c.lookup(t.ports, atPort)
	open := c.fresh("open")
	c.add(asm.JEq.Imm(asm.R0, 0, no))
	c.onInterface(8, no)
	c.add(asm.JEq.Imm(asm.R9, 0, open))
	c.alive(t, 0, open, no)
	c.label(open)
	c.call(asm.FnMapUpdateElem, t.claims, atKey, atIndex)
	c.add(asm.JEq.Imm(asm.R9, 0, "trim_tcp"), asm.Ja.Label("pass"))
}

// ICMP errors: RFC 792, RFC 4443 §3. They quote the packet that they are about.
func (c *code) filterICMP(t *tables) {
	const quote = 8 // where it begins
	c.label("icmp4")
	c.unfragmented()
	c.load(atBuf, 4, "none")
	c.get(asm.R1, atBuf, asm.Byte)
	c.add(
		asm.JEq.Imm(asm.R1, 3, "icmp4_error"), asm.JEq.Imm(asm.R1, 4, "icmp4_error"),
		asm.JEq.Imm(asm.R1, 5, "icmp4_error"), asm.JEq.Imm(asm.R1, 11, "icmp4_error"),
		asm.JNE.Imm(asm.R1, 12, "none"),
	)
	c.label("icmp4_error")
	c.add(asm.Add.Imm(asm.R7, quote))
	c.ipv4("none")
	c.jump("icmp_quote")
	c.label("icmp6")
	c.unfragmented()
	c.load(atBuf, 4, "none")
	c.get(asm.R1, atBuf, asm.Byte)
	c.add(asm.JEq.Imm(asm.R1, 0, "none"), asm.JGT.Imm(asm.R1, 4, "none"), asm.Add.Imm(asm.R7, quote))
	c.ipv6("none")
	c.label("icmp_quote")
	c.unfragmented()
	c.get(asm.R1, atKey+keyProto, asm.Byte)
	c.add(asm.JEq.Imm(asm.R1, unix.IPPROTO_TCP, "icmp_flow"), asm.JNE.Imm(asm.R1, unix.IPPROTO_UDP, "none"))
	c.label("icmp_flow")
	c.load(atBuf, 8, "none")
	c.copy(atKey+keyPorts, atBuf, 4)
	c.add(asm.Mov.Imm(asm.R1, 8)) // of the quoted transport header: RFC 792 promises no more
	c.trim()
	c.lookup(t.flows, atKey)
	c.add(asm.JNE.Imm(asm.R0, 0, "icmp_ours"))
	c.reverse()
	c.lookup(t.flows, atRev)
	c.add(asm.JEq.Imm(asm.R0, 0, "none"))
	c.label("icmp_ours")
	c.get(asm.R1, atKey+keyProto, asm.Byte)
	c.add(asm.JNE.Imm(asm.R1, unix.IPPROTO_UDP, "icmp_tcp"))
	c.alive(t, valCookie, "pass", "none")
	c.label("icmp_tcp")
	c.inWindow(atBuf+4, "pass", "none")
}

func (c *code) unfragmented() {
	c.get(asm.R1, atFragment, asm.Word)
	c.add(asm.JNE.Imm(asm.R1, whole, "none"))
}

// pass keeps the packet, unless it is not one of those that were asked for.
func (c *code) pass(t *tables, s *selection) {
	c.label("pass")
	c.selectPorts(s.ports, "none")
	c.selectAddresses(s.addresses)
	c.get(asm.R1, atFragment, asm.Word)
	c.add(asm.JNE.Imm(asm.R1, firstFragment, "keep"))
	c.part()
	c.add(asm.FnKtimeGetNs.Call())
	c.set(atTime, asm.R0, asm.DWord)
	c.call(asm.FnMapUpdateElem, t.parts, atPart, atTime)
	c.label("keep")
	c.get(asm.R0, atTrimmed, asm.Word)
	c.add(asm.Return())
}

// part writes the key of the datagram that this fragment is of.
func (c *code) part() {
	c.copy(atPart, atKey, 44)
	c.copy(atPart+keyPorts, atNumber, 4)
}

// later keeps a fragment whose first one has been kept, a moment ago.
func (c *code) later(t *tables) {
	c.label("later")
	c.part()
	c.lookup(t.parts, atPart)
	c.add(
		asm.JEq.Imm(asm.R0, 0, "drop"),
		asm.LoadMem(asm.R9, asm.R0, 0, asm.DWord),
		asm.FnKtimeGetNs.Call(),
		asm.Sub.Reg(asm.R0, asm.R9),
		asm.LoadImm(asm.R1, int64(partTime), asm.DWord),
		asm.JLT.Reg(asm.R0, asm.R1, "keep"),
		asm.Ja.Label("drop"),
	)
}

// reject keeps nothing, nor the fragments that may follow.
func (c *code) reject(t *tables) {
	c.label("none")
	c.get(asm.R1, atFragment, asm.Word)
	c.add(asm.JNE.Imm(asm.R1, firstFragment, "drop"))
	c.part()
	c.call(asm.FnMapDeleteElem, t.parts, atPart)
	c.label("drop")
	c.add(asm.Mov.Imm(asm.R0, 0), asm.Return())
}

// selectPorts goes to no if neither port in the key is one of those that are asked for.
func (c *code) selectPorts(ports []uint16, no string) {
	if len(ports) == 0 {
		return
	}
	yes := c.fresh("port_selected")
	c.net(asm.R1, atKey+keyPorts, asm.Half)
	c.net(asm.R2, atKey+keyPorts+2, asm.Half)
	for _, p := range ports {
		c.add(asm.JEq.Imm(asm.R1, int32(p), yes), asm.JEq.Imm(asm.R2, int32(p), yes))
	}
	c.jump(no)
	c.label(yes)
}

func (c *code) selectAddresses(addresses []netip.Prefix) {
	if len(addresses) == 0 {
		return
	}
	for _, p := range addresses {
		for _, at := range []int16{atKey + keySrc, atKey + keyDst} {
			c.selectAddress(p, at)
		}
	}
	c.jump("none")
	c.label("address_selected")
}

// selectAddress goes to address_selected if the address on the stack is in p.
func (c *code) selectAddress(p netip.Prefix, at int16) {
	next := c.fresh("address")
	family := int32(6)
	if p.Addr().Is4() {
		family = 4
	}
	c.get(asm.R1, atKey+keyFamily, asm.Byte)
	c.add(asm.JNE.Imm(asm.R1, family, next))
	raw := p.Addr().AsSlice()
	for bits, i := p.Bits(), 0; bits > 0; bits, i = bits-32, i+4 {
		mask := uint32(0xffffffff)
		if bits < 32 {
			mask <<= 32 - bits
		}
		c.net(asm.R1, at+int16(i), asm.Word)
		c.add(
			asm.LoadImm(asm.R2, int64(mask), asm.DWord), asm.And.Reg(asm.R1, asm.R2),
			asm.LoadImm(asm.R2, int64(binary.BigEndian.Uint32(raw[i:])&mask), asm.DWord),
			asm.JNE.Reg(asm.R1, asm.R2, next),
		)
	}
	c.jump("address_selected")
	c.label(next)
}
