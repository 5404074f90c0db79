package capture

import (
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"
)

// code is a BPF program being written. The programs are short and depend on the
// settings, so they are made here, instruction by instruction, and no compiler is
// needed.
//
// All of them keep to the same places. Register R6 holds the packet's context, R7 an
// offset from the start of the network header, R8 and R9 are the program's own. On the
// stack, below the frame pointer:
type code struct {
	ins     asm.Instructions
	pending string // the label of the next instruction
	unique  int
}

const (
	atKey  = -48  // a flowKey in the packet's direction
	atRev  = -96  // a flowKey in the other direction
	atVal  = -136 // a flowValue, 40 bytes
	atPart = -184 // a flowKey with a fragment's number instead of ports
	atPort = -208 // a portKey

	atFragment = -212 // uint32: one of the kinds of fragment below
	atNumber   = -216 // uint32: the fragment's number
	atLength   = -220 // uint32: length of IP header and payload; 0 where the header does not tell
	atLink     = -224 // uint32: what linkValue.Flags says
	atMAC      = -228 // uint32: what linkValue.MAC says
	atIndex    = -232 // uint32: the interface
	atTime     = -240 // uint64
	atTrimmed  = -244 // uint32: how many bytes may be kept
	atWho      = -256 // two uint32: a thread and its process

	atBuf       = -320       // headers, 60 bytes
	atTransport = atBuf + 40 // of these, that of TCP or UDP
)

// Kinds of packet, as to fragments.
const (
	whole = iota
	firstFragment
	laterFragment
)

// Offsets in a flowKey and in a flowValue.
const (
	keySrc, keyDst, keyPorts, keyProto, keyFamily, keyScope = 0, 16, 32, 36, 37, 40
	valCookie, valStart, valNext, valBound, valKnown        = 0, 8, 12, 16, 20
	valAfter, valHash                                       = 24, 32
)

// ETH_P_IP and ETH_P_IPV6 as they stand in a packet, read by a little-endian or a
// big-endian host.
var (
	etherIPv4 = int32(htons(unix.ETH_P_IP))
	etherIPv6 = int32(htons(unix.ETH_P_IPV6))
)

// Fields of struct __sk_buff, and the values of its pkt_type (linux/if_packet.h).
const (
	skbLen      = 0
	skbPktType  = 4
	skbProtocol = 16
	skbVLAN     = 20 // vlan_present
	skbIndex    = 40
	skbHash     = 68
	skbData     = 76
	skbDataEnd  = 80
	skbSock     = 168

	toHost, toAll, toSome, toAnother, outgoing = 0, 1, 2, 3, 4
)

func (c *code) add(ins ...asm.Instruction) {
	for _, i := range ins {
		if c.pending != "" {
			i, c.pending = i.WithSymbol(c.pending), ""
		}
		c.ins = append(c.ins, i)
	}
}

// label names the next instruction.
func (c *code) label(name string) {
	if c.pending != "" {
		c.jump(name) // to the next: two names for one place
	}
	c.pending = name
}

// fresh returns a label that is used nowhere else.
func (c *code) fresh(name string) string {
	c.unique++
	return fmt.Sprintf("%s_%d", name, c.unique)
}

func (c *code) jump(to string) { c.add(asm.Ja.Label(to)) }

// call calls a helper with map m and what is on the stack at these places.
func (c *code) call(helper asm.BuiltinFunc, m *ebpf.Map, at ...int32) {
	c.add(asm.LoadMapPtr(asm.R1, m.FD()))
	for i, r := range []asm.Register{asm.R2, asm.R3}[:len(at)] {
		c.add(asm.Mov.Reg(r, asm.RFP), asm.Add.Imm(r, at[i]))
	}
	if helper == asm.FnMapUpdateElem {
		c.add(asm.Mov.Imm(asm.R4, 0)) // BPF_ANY
	}
	c.add(helper.Call())
}

// lookup leaves a pointer to the map's value in R0, or 0.
func (c *code) lookup(m *ebpf.Map, key int32) { c.call(asm.FnMapLookupElem, m, key) }

// load copies n bytes from R7 on to the stack, or goes to fail.
func (c *code) load(to, n int32, fail string) {
	const fromNetworkHeader = 1 // BPF_HDR_START_NET
	c.add(
		asm.Mov.Reg(asm.R1, asm.R6),
		asm.Mov.Reg(asm.R2, asm.R7),
		asm.Mov.Reg(asm.R3, asm.RFP), asm.Add.Imm(asm.R3, to),
		asm.Mov.Imm(asm.R4, n),
		asm.Mov.Imm(asm.R5, fromNetworkHeader),
		asm.FnSkbLoadBytesRelative.Call(),
		asm.JNE.Imm(asm.R0, 0, fail),
	)
}

// get and set move between a register and the stack.
func (c *code) get(r asm.Register, at int16, size asm.Size) { c.add(asm.LoadMem(r, asm.RFP, at, size)) }

func (c *code) set(at int16, r asm.Register, size asm.Size) {
	c.add(asm.StoreMem(asm.RFP, at, r, size))
}

// net gets a number in network byte order.
func (c *code) net(r asm.Register, at int16, size asm.Size) {
	c.get(r, at, size)
	c.add(asm.HostTo(asm.BE, r, size))
}

// zero clears n bytes of the stack, a multiple of four, and R1.
func (c *code) zero(at, n int16) {
	c.add(asm.Mov.Imm(asm.R1, 0))
	for ; n >= 8; at, n = at+8, n-8 {
		c.set(at, asm.R1, asm.DWord)
	}
	if n > 0 {
		c.set(at, asm.R1, asm.Word)
	}
}

// copy copies n bytes of the stack, a multiple of four, through R1.
func (c *code) copy(to, from, n int16) {
	size, step := asm.Word, int16(4)
	if (to|from|n)%8 == 0 {
		size, step = asm.DWord, 8
	}
	for i := int16(0); i < n; i += step {
		c.get(asm.R1, from+i, size)
		c.set(to+i, asm.R1, size)
	}
}

// peek is load without a call: it copies n bytes, a multiple of four, which begin after
// skip bytes of the packet, if what is before them says that the protocol in R1 follows.
// Filters of sockets can't do that.
func (c *code) peek(to, skip, n int32, fail string) {
	c.add(
		asm.LoadMem(asm.R2, asm.R6, skbData, asm.Word),
		asm.LoadMem(asm.R3, asm.R6, skbDataEnd, asm.Word),
		asm.Mov.Reg(asm.R4, asm.R2), asm.Add.Imm(asm.R4, skip+n),
		asm.JGT.Reg(asm.R4, asm.R3, fail), // also where it lies in pieces
		asm.LoadMem(asm.R4, asm.R2, int16(skip)-2, asm.Half),
		asm.JNE.Reg(asm.R4, asm.R1, fail),
	)
	for i := int32(0); i < n; i += 4 {
		c.add(asm.LoadMem(asm.R1, asm.R2, int16(skip+i), asm.Word))
		c.set(int16(to+i), asm.R1, asm.Word)
	}
}

// quick reads what nearly all packets are: whole ones of TCP or UDP, behind IP without
// options. It does what headers does, and puts the transport header at its place. Both are
// fetched together; without a call where the packet begins with a header of Ethernet's and
// the program may look at it. Whatever is not so plain goes to other.
func (c *code) quick(ethernet bool, other string) {
	load := c.load
	if ethernet {
		load = func(to, n int32, fail string) { c.peek(to, 14, n, fail) }
	}
	v6, done := c.fresh("quick6"), c.fresh("quick")
	c.add(
		asm.LoadMem(asm.R1, asm.R6, skbProtocol, asm.Word),
		asm.JEq.Imm(asm.R1, etherIPv6, v6),
		asm.JNE.Imm(asm.R1, etherIPv4, other),
	)
	const at4 = atTransport - 20
	load(at4, 40, other)
	c.get(asm.R1, at4, asm.Byte)
	c.add(asm.JNE.Imm(asm.R1, 0x45, other))
	c.net(asm.R1, at4+6, asm.Half)
	c.add(asm.JSet.Imm(asm.R1, 0x3fff, other)) // a fragment
	c.plain(4, at4+9, at4+2, other)
	c.copy(atKey+keySrc, at4+12, 4)
	c.copy(atKey+keyDst, at4+16, 4)
	c.add(asm.Mov.Imm(asm.R7, 20), asm.Ja.Label(done))

	c.label(v6)
	load(atBuf, 60, other)
	c.get(asm.R1, atBuf, asm.Byte)
	c.add(asm.RSh.Imm(asm.R1, 4), asm.JNE.Imm(asm.R1, 6, other))
	c.plain(6, atBuf+6, atBuf+4, other)
	c.add(asm.Add.Imm(asm.R2, 40))
	c.set(atLength, asm.R2, asm.Word)
	c.copy(atKey+keySrc, atBuf+8, 32)
	c.scope()
	c.add(asm.Mov.Imm(asm.R7, 40))
	c.label(done)
	c.copy(atKey+keyPorts, atTransport, 4)
}

// plain begins the key, if the protocol, which is at a place of the buffer, is TCP or UDP.
// R2 is the length that the header tells, which is not 0.
func (c *code) plain(family int64, proto, length int16, other string) {
	ok := c.fresh("plain")
	c.net(asm.R2, length, asm.Half)
	c.get(asm.R1, proto, asm.Byte)
	c.add(
		asm.JEq.Imm(asm.R2, 0, other), // RFC 2675, or filled in by the network card
		asm.JEq.Imm(asm.R1, unix.IPPROTO_TCP, ok), asm.JNE.Imm(asm.R1, unix.IPPROTO_UDP, other),
	)
	c.label(ok)
	c.zero(atKey, 44)
	c.get(asm.R1, proto, asm.Byte)
	c.set(atKey+keyProto, asm.R1, asm.Byte)
	c.set(atLength, asm.R2, asm.Word)
	c.add(
		asm.StoreImm(asm.RFP, atKey+keyFamily, family, asm.Byte),
		asm.StoreImm(asm.RFP, atFragment, whole, asm.Word),
		asm.StoreImm(asm.RFP, atNumber, 0, asm.Word),
	)
}

// headers reads the network header at R7 into the key, and moves R7 to the transport
// header. It goes on at done with the protocol in the key, or goes to fail.
func (c *code) headers(fail string) {
	v6, done := c.fresh("v6"), c.fresh("parsed")
	c.add(
		asm.LoadMem(asm.R1, asm.R6, skbProtocol, asm.Word),
		asm.JEq.Imm(asm.R1, etherIPv6, v6),
		asm.JNE.Imm(asm.R1, etherIPv4, fail),
	)
	c.ipv4(fail)
	c.jump(done)
	c.label(v6)
	c.ipv6(fail)
	c.label(done)
}

// ipv4 reads an IPv4 header: RFC 791 §3.1.
func (c *code) ipv4(fail string) {
	later, notFirst := c.fresh("later"), c.fresh("not_first")
	c.zero(atKey, 44)
	c.load(atBuf, 20, fail)
	c.get(asm.R1, atBuf, asm.Byte)
	c.add(
		asm.Mov.Reg(asm.R2, asm.R1), asm.RSh.Imm(asm.R2, 4), asm.JNE.Imm(asm.R2, 4, fail),
		asm.And.Imm(asm.R1, 0xf), asm.LSh.Imm(asm.R1, 2), asm.JLT.Imm(asm.R1, 20, fail),
		asm.Add.Reg(asm.R7, asm.R1),
		asm.StoreImm(asm.RFP, atKey+keyFamily, 4, asm.Byte),
		asm.StoreImm(asm.RFP, atFragment, whole, asm.Word),
	)
	c.copy(atKey+keySrc, atBuf+12, 4)
	c.copy(atKey+keyDst, atBuf+16, 4)
	c.get(asm.R1, atBuf+9, asm.Byte)
	c.set(atKey+keyProto, asm.R1, asm.Byte)
	c.net(asm.R1, atBuf+2, asm.Half)
	c.set(atLength, asm.R1, asm.Word)
	c.get(asm.R1, atBuf+4, asm.Half)
	c.set(atNumber, asm.R1, asm.Word)
	c.net(asm.R1, atBuf+6, asm.Half)
	c.add(
		asm.JSet.Imm(asm.R1, 0x1fff, later),
		asm.And.Imm(asm.R1, 0x2000), asm.JEq.Imm(asm.R1, 0, notFirst),
		asm.StoreImm(asm.RFP, atFragment, firstFragment, asm.Word),
		asm.Ja.Label(notFirst),
	)
	c.label(later)
	c.add(asm.StoreImm(asm.RFP, atFragment, laterFragment, asm.Word))
	c.label(notFirst)
}

// extensionHeaders is how many IPv6 extension headers are looked through. A packet
// with more belongs to nobody.
const extensionHeaders = 4

// ipv6 reads an IPv6 header and its extension headers: RFC 8200 §3 and §4. R9 holds
// the next header.
func (c *code) ipv6(fail string) {
	done := c.fresh("transport")
	c.zero(atKey, 44)
	c.load(atBuf, 40, fail)
	c.get(asm.R1, atBuf, asm.Byte)
	c.add(
		asm.RSh.Imm(asm.R1, 4), asm.JNE.Imm(asm.R1, 6, fail),
		asm.Add.Imm(asm.R7, 40),
		asm.StoreImm(asm.RFP, atKey+keyFamily, 6, asm.Byte),
		asm.StoreImm(asm.RFP, atFragment, whole, asm.Word),
		asm.StoreImm(asm.RFP, atNumber, 0, asm.Word),
	)
	c.copy(atKey+keySrc, atBuf+8, 32) // source and destination
	c.net(asm.R1, atBuf+4, asm.Half)
	c.add(asm.JEq.Imm(asm.R1, 0, done+"_jumbo"), asm.Add.Imm(asm.R1, 40))
	c.label(done + "_jumbo")
	c.set(atLength, asm.R1, asm.Word)
	c.scope()
	c.get(asm.R9, atBuf+6, asm.Byte)
	for range extensionHeaders {
		c.extension(fail, done)
	}
	c.label(done)
	c.set(atKey+keyProto, asm.R9, asm.Byte)
}

// extension passes by one extension header, or goes to done where there is none.
func (c *code) extension(fail, done string) {
	options, part, next := c.fresh("options"), c.fresh("part"), c.fresh("next")
	c.add(
		asm.JEq.Imm(asm.R9, unix.IPPROTO_FRAGMENT, part),
		asm.JEq.Imm(asm.R9, unix.IPPROTO_HOPOPTS, options),
		asm.JEq.Imm(asm.R9, unix.IPPROTO_ROUTING, options),
		asm.JNE.Imm(asm.R9, unix.IPPROTO_DSTOPTS, done),
	)
	c.label(options)
	c.load(atBuf, 2, fail)
	c.get(asm.R9, atBuf, asm.Byte)
	c.get(asm.R1, atBuf+1, asm.Byte)
	c.add(
		asm.Add.Imm(asm.R1, 1), asm.LSh.Imm(asm.R1, 3), asm.Add.Reg(asm.R7, asm.R1),
		asm.Ja.Label(next),
	)
	c.label(part)
	c.load(atBuf, 8, fail)
	c.get(asm.R9, atBuf, asm.Byte)
	c.copy(atNumber, atBuf+4, 4)
	c.net(asm.R1, atBuf+2, asm.Half)
	c.add(
		asm.Add.Imm(asm.R7, 8),
		asm.StoreImm(asm.RFP, atFragment, laterFragment, asm.Word),
		asm.JSet.Imm(asm.R1, 0xfff8, done),
		asm.StoreImm(asm.RFP, atFragment, whole, asm.Word),
		asm.And.Imm(asm.R1, 1), asm.JEq.Imm(asm.R1, 0, next),
		asm.StoreImm(asm.RFP, atFragment, firstFragment, asm.Word),
	)
	c.label(next)
}

// scope puts the interface into the key of a link-local flow, whose addresses say
// nothing without it: RFC 4007 §6.
func (c *code) scope() {
	local, global := c.fresh("local"), c.fresh("global")
	for _, at := range []int16{atKey + keySrc, atKey + keyDst} {
		c.net(asm.R1, at, asm.Half)
		c.add(asm.And.Imm(asm.R1, 0xffc0), asm.JEq.Imm(asm.R1, 0xfe80, local))
	}
	c.jump(global)
	c.label(local)
	c.add(asm.LoadMem(asm.R1, asm.R6, skbIndex, asm.Word))
	c.set(atKey+keyScope, asm.R1, asm.Word)
	c.label(global)
}

// reverse writes the key of the other direction.
func (c *code) reverse() {
	c.copy(atRev+keySrc, atKey+keyDst, 16)
	c.copy(atRev+keyDst, atKey+keySrc, 16)
	c.get(asm.R1, atKey+keyPorts, asm.Half)
	c.set(atRev+keyPorts+2, asm.R1, asm.Half)
	c.get(asm.R1, atKey+keyPorts+2, asm.Half)
	c.set(atRev+keyPorts, asm.R1, asm.Half)
	c.copy(atRev+keyProto, atKey+keyProto, 8) // and the scope
}
