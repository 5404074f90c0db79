package capture

import (
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"
)

// Fields of struct bpf_sock, and states of a socket (linux/bpf.h).
const (
	sockBound    = 0
	sockType     = 8
	sockProtocol = 12
	sockSrcPort  = 44 // host byte order
	sockDstIPv4  = 52
	sockDstIPv6  = 56
	sockState    = 72

	stateSynSent  = 2
	stateTimeWait = 6
	stateListen   = 10
	stateNewSyn   = 12
)

// TCP flags, RFC 9293 §3.1.
const (
	tcpSYN = 0x02
	tcpRST = 0x04
	tcpACK = 0x10
)

// window is how far behind the newest byte sent a segment may be and still be of the
// same connection: more than any send buffer holds.
const window = 1 << 26

// mark returns the program that runs for each packet which is about to leave by an
// interface. Here, and only here, the kernel still knows the socket that a packet comes
// from. It writes down which flows are the owner's:
//
//   - a packet of the owner's own socket: its flow is the owner's, with the socket's
//     cookie, which no other socket ever has;
//   - a packet of anyone else's: that flow is not the owner's, or not any more.
//
// It changes nothing about the packet. It is a little faster for interfaces where each
// begins with a header of Ethernet's.
func (t *tables) mark(uid uint32, s *selection, ethernet bool) asm.Instructions {
	c := &code{}
	c.add(
		asm.Mov.Reg(asm.R6, asm.R1),
		asm.Mov.Imm(asm.R7, 0),
		asm.StoreImm(asm.RFP, atTrimmed, 0, asm.Word),
	)
	c.transport(s, ethernet)
	c.known(t, uid)
	c.owner(uid)
	c.remember(t)
	c.foreign(t)
	c.label("done")
	c.add(asm.Mov.Imm(asm.R0, -1), asm.Return()) // TCX_NEXT: as if this program were not there
	return c.ins
}

// transport reads the headers into the key. For TCP it leaves R8 and the value's Start and
// Next saying which bytes the packet carries. Flows whose packets are not asked for need no
// notes.
func (c *code) transport(s *selection, ethernet bool) {
	c.quick(ethernet, "not_plain")
	c.jump("ports")
	c.label("not_plain")
	c.headers("done")
	c.get(asm.R1, atFragment, asm.Word)
	c.add(asm.JEq.Imm(asm.R1, laterFragment, "done")) // has no ports; the first one has told
	c.get(asm.R1, atKey+keyProto, asm.Byte)
	c.add(asm.JEq.Imm(asm.R1, unix.IPPROTO_TCP, "load_tcp"), asm.JNE.Imm(asm.R1, unix.IPPROTO_UDP, "done"))
	c.zero(atTransport, 20) // the verifier does not know that these bytes are not looked at
	c.load(atTransport, 4, "done")
	c.jump("loaded")
	c.label("load_tcp")
	c.load(atTransport, 20, "done")
	c.label("loaded")
	c.copy(atKey+keyPorts, atTransport, 4)
	c.label("ports")
	c.selectPorts(s.ports, "done")
	c.zero(atVal, 40)
	c.get(asm.R1, atKey+keyProto, asm.Byte)
	c.add(
		asm.JEq.Imm(asm.R1, unix.IPPROTO_TCP, "tcp"),
		asm.Mov.Imm(asm.R8, 0), asm.LoadMem(asm.R1, asm.R6, skbHash, asm.Word),
	)
	c.set(atVal+valHash, asm.R1, asm.Word)
	c.jump("socket")
	c.label("tcp")
	c.segment()
	c.label("socket")
}

// segment reads the TCP header in the buffer: sequence numbers into the value, flags
// into R8, and the length of the payload into R9.
func (c *code) segment() {
	c.get(asm.R2, atTransport+12, asm.Byte)
	c.add(asm.RSh.Imm(asm.R2, 4), asm.LSh.Imm(asm.R2, 2)) // the header's length
	c.get(asm.R9, atLength, asm.Word)
	c.add(
		asm.JEq.Imm(asm.R9, 0, "jumbo"),
		asm.Sub.Reg(asm.R9, asm.R7), asm.Sub.Reg(asm.R9, asm.R2),
		asm.JSGE.Imm(asm.R9, 0, "length"),
		asm.Mov.Imm(asm.R9, 0),
		asm.Ja.Label("length"),
	)
	c.label("jumbo")
	c.add(asm.LoadMem(asm.R9, asm.R6, skbLen, asm.Word)) // a little too much does no harm
	c.label("length")
	c.net(asm.R1, atTransport+4, asm.Word)
	c.set(atVal+valStart, asm.R1, asm.Word)
	c.add(asm.Add.Reg(asm.R1, asm.R9))
	c.get(asm.R8, atTransport+13, asm.Byte)
	c.add(
		asm.Mov.Reg(asm.R2, asm.R8), asm.And.Imm(asm.R2, 0x03), // SYN and FIN count as a byte each
		asm.JEq.Imm(asm.R2, 0, "counted"), asm.Add.Imm(asm.R1, 1),
		asm.JNE.Imm(asm.R2, 3, "counted"), asm.Add.Imm(asm.R1, 1),
	)
	c.label("counted")
	c.set(atVal+valNext, asm.R1, asm.Word)
	c.set(atTrimmed, asm.R9, asm.Word)
}

// owner goes on if the packet comes from the owner's own socket for just this flow.
// Then R9 is the socket's cookie.
func (c *code) owner(uid uint32) {
	c.add(
		asm.LoadMem(asm.R9, asm.R6, skbSock, asm.DWord),
		asm.JEq.Imm(asm.R9, 0, "kernel"),
		asm.LoadMem(asm.R1, asm.R9, sockState, asm.Word),
		asm.JEq.Imm(asm.R1, stateTimeWait, "done"), // has no owner any more; its flow has
		asm.JEq.Imm(asm.R1, stateNewSyn, "request"),
		asm.Mov.Reg(asm.R1, asm.R9),
		asm.FnSkFullsock.Call(),
		asm.JEq.Imm(asm.R0, 0, "foreign"),
		asm.LoadMem(asm.R1, asm.R0, sockType, asm.Word),
		asm.JEq.Imm(asm.R1, unix.SOCK_RAW, "kernel"), // the kernel's own, for resets; or someone's forgery
	)
	c.get(asm.R2, atKey+keyProto, asm.Byte)
	c.add(
		asm.LoadMem(asm.R1, asm.R0, sockProtocol, asm.Word),
		asm.JNE.Reg(asm.R1, asm.R2, "foreign"), // in a tunnel: the socket is that of the packet inside
		asm.LoadMem(asm.R1, asm.R0, sockBound, asm.Word),
	)
	c.set(atVal+valBound, asm.R1, asm.Word)
	c.jump("uid")
	c.label("request") // answers a SYN: it belongs to who listens
	c.get(asm.R1, atKey+keyProto, asm.Byte)
	c.add(asm.JNE.Imm(asm.R1, unix.IPPROTO_TCP, "foreign"))
	c.label("uid")
	c.net(asm.R1, atKey+keyPorts, asm.Half)
	c.add(
		asm.LoadMem(asm.R2, asm.R9, sockSrcPort, asm.Word),
		asm.JNE.Reg(asm.R1, asm.R2, "foreign"), // a tunnel's, or translated; or closed since
	)
	c.destination()
	c.add(
		asm.Mov.Reg(asm.R1, asm.R6),
		asm.FnGetSocketUid.Call(),
		asm.LoadImm(asm.R1, int64(uid), asm.DWord),
		asm.JNE.Reg(asm.R0, asm.R1, "foreign"),
		asm.Mov.Reg(asm.R1, asm.R6),
		asm.FnGetSocketCookie.Call(),
		asm.JEq.Imm(asm.R0, 0, "foreign"),
		asm.Mov.Reg(asm.R9, asm.R0),
	)
	c.set(atVal+valCookie, asm.R9, asm.DWord)
}

// Ports of tunnels, whose packets carry those of many sockets but look as if they came
// from that of the packet inside: VXLAN (RFC 7348 §5), Linux's own number for it, and
// Geneve (RFC 8926 §3.3).
var tunnelPorts = []int32{4789, 8472, 6081}

// destination goes on if the socket in R9 is connected to where the packet goes, or to
// nobody. In the latter case only its own port tells it from a tunnel.
func (c *code) destination() {
	c.get(asm.R1, atKey+keyFamily, asm.Byte)
	c.add(
		asm.JEq.Imm(asm.R1, 6, "destination6"),
		asm.LoadMem(asm.R2, asm.R9, sockDstIPv4, asm.Word),
		asm.JEq.Imm(asm.R2, 0, "unconnected"),
	)
	c.get(asm.R1, atKey+keyDst, asm.Word)
	c.add(asm.JNE.Reg(asm.R1, asm.R2, "foreign"), asm.Ja.Label("connected"))
	c.label("destination6")
	c.add(asm.Mov.Imm(asm.R3, 0), asm.Mov.Imm(asm.R4, 0))
	for i := int16(0); i < 16; i += 4 {
		c.get(asm.R1, atKey+keyDst+i, asm.Word)
		c.add(
			asm.LoadMem(asm.R2, asm.R9, sockDstIPv6+i, asm.Word),
			asm.Or.Reg(asm.R3, asm.R2),                              // none: stays 0
			asm.Xor.Reg(asm.R2, asm.R1), asm.Or.Reg(asm.R4, asm.R2), // the same: stays 0
		)
	}
	c.add(asm.JEq.Imm(asm.R3, 0, "unconnected"), asm.JNE.Imm(asm.R4, 0, "foreign"), asm.Ja.Label("connected"))
	c.label("unconnected")
	c.net(asm.R1, atKey+keyPorts+2, asm.Half)
	for _, port := range tunnelPorts {
		c.add(asm.JEq.Imm(asm.R1, port, "foreign"))
	}
	c.add(asm.StoreImm(asm.RFP, atVal+valHash, 0, asm.Word)) // what it is then, other sockets may have
	c.label("connected")
}

// known is all that has to be done for a flow that is written down already, if it is its
// own socket that sends: the cookie says so. A SYN begins anew, perhaps on an old socket.
// And a socket changes hands when somebody else accepts the connection, or by fchown(2).
func (c *code) known(t *tables, uid uint32) {
	c.add(
		asm.JSet.Imm(asm.R8, tcpSYN, "unknown"),
		asm.Mov.Reg(asm.R1, asm.R6),
		asm.FnGetSocketUid.Call(),
		asm.LoadImm(asm.R1, int64(uid), asm.DWord),
		asm.JNE.Reg(asm.R0, asm.R1, "unknown"),
		asm.Mov.Reg(asm.R1, asm.R6),
		asm.FnGetSocketCookie.Call(),
		asm.JEq.Imm(asm.R0, 0, "unknown"),
		asm.Mov.Reg(asm.R9, asm.R0),
	)
	c.lookup(t.flows, atKey)
	c.add(
		asm.JEq.Imm(asm.R0, 0, "unknown"),
		asm.LoadMem(asm.R1, asm.R0, valCookie, asm.DWord),
		asm.JNE.Reg(asm.R1, asm.R9, "unknown"),
	)
	c.get(asm.R1, atKey+keyProto, asm.Byte)
	c.add(asm.JEq.Imm(asm.R1, unix.IPPROTO_TCP, "known_tcp"))
	c.add(asm.LoadMem(asm.R1, asm.R0, valKnown, asm.Word), asm.JEq.Imm(asm.R1, 0, "unknown"))
	c.get(asm.R1, atVal+valHash, asm.Word)
	c.add(
		asm.LoadMem(asm.R2, asm.R0, valHash, asm.Word),
		asm.JEq.Imm(asm.R2, 0, "done"),                               // it was not connected: what is shown depends on the time
		asm.JEq.Reg(asm.R1, asm.R2, "done"), asm.Ja.Label("unknown"), // connected anew
	)
	c.label("known_tcp")
	c.advance()
	c.jump("done")
	c.label("unknown")
}

// remember writes the flow down.
func (c *code) remember(t *tables) {
	c.add(asm.StoreImm(asm.RFP, atVal+valKnown, 1, asm.Word))
	c.get(asm.R1, atKey+keyProto, asm.Byte)
	c.add(asm.JNE.Imm(asm.R1, unix.IPPROTO_TCP, "datagram"), asm.JSet.Imm(asm.R8, tcpSYN, "write"))
	c.get(asm.R1, atVal+valStart, asm.Word) // in the middle of a connection
	c.add(asm.Sub.Imm(asm.R1, window))
	c.set(atVal+valStart, asm.R1, asm.Word)
	c.jump("write")
	c.label("datagram")
	c.contested(t)
	c.label("write")
	c.call(asm.FnMapUpdateElem, t.flows, atKey, atVal)
	c.get(asm.R1, atKey+keyProto, asm.Byte)
	c.add(asm.JNE.Imm(asm.R1, unix.IPPROTO_UDP, "done"))
	c.call(asm.FnMapUpdateElem, t.live, atVal+valCookie, atVal)
	c.jump("done")
}

// advance moves the known flow in R0 on to what this segment carries.
func (c *code) advance() {
	c.add(
		asm.LoadMem(asm.R1, asm.R0, valKnown, asm.Word),
		asm.JEq.Imm(asm.R1, 0, "first_seen"),
	)
	c.get(asm.R1, atVal+valNext, asm.Word)
	c.add(
		asm.LoadMem(asm.R2, asm.R0, valNext, asm.Word),
		asm.Mov.Reg32(asm.R3, asm.R1), asm.Sub.Reg32(asm.R3, asm.R2),
		asm.JEq.Imm32(asm.R3, 0, "done"), asm.JSLT.Imm32(asm.R3, 0, "done"), // sent again
		asm.StoreMem(asm.R0, valNext, asm.R1, asm.Word),
		asm.LoadMem(asm.R2, asm.R0, valStart, asm.Word),
		asm.Mov.Reg32(asm.R3, asm.R1), asm.Sub.Reg32(asm.R3, asm.R2),
		asm.JLT.Imm32(asm.R3, window, "done"),
		asm.Sub.Imm32(asm.R1, window),
		asm.StoreMem(asm.R0, valStart, asm.R1, asm.Word),
		asm.Ja.Label("done"),
	)
	c.label("first_seen") // it is older than the capture
	c.get(asm.R1, atVal+valStart, asm.Word)
	c.add(asm.Sub.Imm32(asm.R1, window), asm.StoreMem(asm.R0, valStart, asm.R1, asm.Word))
	c.get(asm.R1, atVal+valNext, asm.Word)
	c.add(
		asm.StoreMem(asm.R0, valNext, asm.R1, asm.Word),
		asm.StoreImm(asm.R0, valKnown, 1, asm.Word),
	)
}

// contested says from when on the owner's datagrams of a new flow may be shown. Where
// packets queue between this program and the wire, those of the flow's last owner may
// still be waiting there. From them the packets of a connected socket differ by the
// number that connect() has chosen for it by chance (sk_txhash).
func (c *code) contested(t *tables) {
	c.get(asm.R1, atVal+valHash, asm.Word)
	c.add(asm.JNE.Imm(asm.R1, 0, "write"))
	c.queued(t, "write")
	c.lookup(t.others, atKey)
	c.add(
		asm.JEq.Imm(asm.R0, 0, "write"),
		asm.LoadMem(asm.R1, asm.R0, 0, asm.DWord),
		asm.LoadImm(asm.R2, int64(queueTime), asm.DWord),
		asm.Add.Reg(asm.R1, asm.R2),
	)
	c.set(atVal+valAfter, asm.R1, asm.DWord)
}

// queued goes to no if packets do not wait before they leave by this interface.
func (c *code) queued(t *tables, no string) {
	c.add(asm.LoadMem(asm.R1, asm.R6, skbIndex, asm.Word))
	c.set(atIndex, asm.R1, asm.Word)
	c.lookup(t.links, atIndex)
	c.add(
		asm.JEq.Imm(asm.R0, 0, no),
		asm.LoadMem(asm.R1, asm.R0, 0, asm.Word),
		asm.And.Imm(asm.R1, linkQueued), asm.JEq.Imm(asm.R1, 0, no),
	)
}

// foreign crosses out the flow of a packet that is not the owner's.
func (c *code) foreign(t *tables) {
	c.label("kernel")
	c.get(asm.R1, atKey+keyProto, asm.Byte)
	c.add(asm.JNE.Imm(asm.R1, unix.IPPROTO_TCP, "foreign"), asm.JSet.Imm(asm.R8, tcpSYN, "foreign"))
	c.get(asm.R1, atTrimmed, asm.Word)
	c.add(asm.JEq.Imm(asm.R1, 0, "done")) // a reset, or an acknowledgement after the end
	c.label("foreign")
	c.lookup(t.flows, atKey)
	c.add(asm.JEq.Imm(asm.R0, 0, "crossed_out"))
	c.call(asm.FnMapDeleteElem, t.flows, atKey)
	c.label("crossed_out")
	c.get(asm.R1, atKey+keyProto, asm.Byte)
	c.add(asm.JNE.Imm(asm.R1, unix.IPPROTO_UDP, "done"))
	c.queued(t, "done")
	c.add(asm.FnKtimeGetNs.Call())
	c.set(atTime, asm.R0, asm.DWord)
	c.call(asm.FnMapUpdateElem, t.others, atKey, atTime)
}

// release returns the program that runs when a socket is closed for good. It is how a
// flow of datagrams, which has no end on the wire, ends. The note that it has been closed
// counts for more than one that it is open: that may be written by someone who does not
// know yet.
func (t *tables) release() asm.Instructions {
	c := &code{}
	c.here(t)
	c.add(
		asm.LoadMem(asm.R1, asm.R6, sockProtocol, asm.Word),
		asm.JNE.Imm(asm.R1, unix.IPPROTO_UDP, "allow"),
		asm.Mov.Reg(asm.R1, asm.R6),
		asm.FnGetSocketCookie.Call(),
	)
	c.set(atTime, asm.R0, asm.DWord)
	c.call(asm.FnMapUpdateElem, t.dead, atTime, atTime)
	c.call(asm.FnMapDeleteElem, t.live, atTime)
	c.allow()
	return c.ins
}

// Kinds of event, in the first of the two uint32 of an event.
const (
	eventMade  = 1 // a socket; the second number is the process
	eventBound = 2 // a port
)

// create returns the program that runs when a process of the user makes a socket. It
// notes which one, and tells about it at once: a process may be gone soon, and with it
// whose child it was. (A connection that is accepted is not made so; the listening
// socket was.)
func (t *tables) create(uid uint32, ns pidNamespace) asm.Instructions {
	c := &code{}
	c.caller(t, uid)
	c.add(
		asm.LoadImm(asm.R1, int64(ns.device), asm.DWord),
		asm.LoadImm(asm.R2, int64(ns.inode), asm.DWord),
		asm.Mov.Reg(asm.R3, asm.RFP), asm.Add.Imm(asm.R3, atWho),
		asm.Mov.Imm(asm.R4, 8),
		asm.FnGetNsCurrentPidTgid.Call(),
		asm.JNE.Imm(asm.R0, 0, "allow"),
		asm.Mov.Reg(asm.R1, asm.R6),
		asm.FnGetSocketCookie.Call(),
	)
	c.set(atTime, asm.R0, asm.DWord)
	c.call(asm.FnMapUpdateElem, t.makers, atTime, atWho+4)
	c.event(t, eventMade)
	c.allow()
	return c.ins
}

// notePort returns the program that runs when a process of the user binds a socket to a
// port. It tells that it is time to look.
func (t *tables) notePort(uid uint32) asm.Instructions {
	c := &code{}
	c.caller(t, uid)
	c.add(asm.StoreImm(asm.RFP, atWho+4, 0, asm.Word))
	c.event(t, eventBound)
	c.allow()
	return c.ins
}

// here goes on if the socket is one of the network namespace that is watched.
func (c *code) here(t *tables) {
	c.add(
		asm.Mov.Reg(asm.R6, asm.R1),
		asm.FnGetNetnsCookie.Call(),
		asm.LoadImm(asm.R1, int64(t.network), asm.DWord),
		asm.JNE.Reg(asm.R0, asm.R1, "allow"),
	)
}

// caller goes on if it is a process of the user that makes the system call.
func (c *code) caller(t *tables, uid uint32) {
	c.here(t)
	c.add(
		asm.FnGetCurrentUidGid.Call(),
		asm.Mov.Reg32(asm.R0, asm.R0), // the lower half
		asm.LoadImm(asm.R1, int64(uid), asm.DWord),
		asm.JNE.Reg(asm.R0, asm.R1, "allow"),
	)
}

// event tells of a kind of event, with the number that is on the stack.
func (c *code) event(t *tables, kind int64) {
	c.add(
		asm.StoreImm(asm.RFP, atWho, kind, asm.Word),
		asm.LoadMapPtr(asm.R1, t.events.FD()),
		asm.Mov.Reg(asm.R2, asm.RFP), asm.Add.Imm(asm.R2, atWho),
		asm.Mov.Imm(asm.R3, 8), asm.Mov.Imm(asm.R4, 0),
		asm.FnRingbufOutput.Call(), // where the ring is full it is looked a little later
	)
}

// allow ends a program of a control group, which may forbid the call.
func (c *code) allow() {
	c.label("allow")
	c.add(asm.Mov.Imm(asm.R0, 1), asm.Return())
}
