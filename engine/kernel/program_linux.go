package kernel

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// program is the echo program of one loop and what it works on. All of it belongs to the
// process's descriptors: nothing is pinned.
type program struct {
	sockets *ebpf.Map // the sockets that it is run for, by place
	places  *ebpf.Map // by the socket's cookie: its place
	slots   *ebpf.Map // by place: what is known of a connection
	bell    *ebpf.Map // places that the server should look at
	layout  layout
	prog    *ebpf.Program
	brake   *ebpf.Program // run for each packet of those sockets, before TCP sees it
}

// license is that of the programs. Only one that is compatible with the GPL may read the
// kernel's structures, see strip; so these instructions may be had under either.
const license = "Dual MIT/GPL"

// name is what the program and its maps are called in lists of them.
const name = "yodel_echo"

// loadProgram loads the program for so many sockets.
func loadProgram(sockets int) (*program, error) {
	p := new(program)
	if err := p.load(sockets); err != nil {
		p.close()
		return nil, explain(err)
	}
	return p, nil
}

func (p *program) load(sockets int) (err error) {
	if p.layout, err = kernelLayout(); err != nil {
		return err
	}
	n := uint32(sockets)
	for _, m := range []struct {
		to   **ebpf.Map
		spec ebpf.MapSpec
	}{
		{&p.sockets, ebpf.MapSpec{Type: ebpf.SockMap, KeySize: 4, ValueSize: 4, MaxEntries: n}},
		{&p.places, ebpf.MapSpec{Type: ebpf.Hash, KeySize: 8, ValueSize: 4, MaxEntries: n}},
		{&p.slots, ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: slotSize, MaxEntries: n, Flags: unix.BPF_F_MMAPABLE}},
		{&p.bell, ebpf.MapSpec{Type: ebpf.RingBuf, MaxEntries: bellSize(sockets)}},
	} {
		m.spec.Name = name
		if *m.to, err = ebpf.NewMap(&m.spec); err != nil {
			return fmt.Errorf("create a BPF map (%v): %w", m.spec.Type, err)
		}
	}
	p.prog, err = ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: name, Type: ebpf.SkSKB, License: license, Instructions: p.instructions(),
	})
	if err != nil {
		return fmt.Errorf("load the echo program: %w", err)
	}
	p.brake, err = ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "yodel_brake", Type: ebpf.SocketFilter, License: license, Instructions: p.brakes(),
	})
	if err != nil {
		return fmt.Errorf("load the brake: %w", err)
	}
	err = link.RawAttachProgram(link.RawAttachProgramOptions{
		Target: p.sockets.FD(), Program: p.prog, Attach: ebpf.AttachSkSKBVerdict,
	})
	if err != nil {
		return fmt.Errorf("attach the echo program: %w", err)
	}
	return nil
}

// close gives up what there is of p.
func (p *program) close() {
	for _, m := range []*ebpf.Map{p.sockets, p.places, p.slots, p.bell} {
		if m != nil {
			m.Close()
		}
	}
	for _, prog := range []*ebpf.Program{p.prog, p.brake} {
		if prog != nil {
			prog.Close()
		}
	}
}

// explain says what to do about err.
func explain(err error) error {
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES), errors.Is(err, ebpf.ErrNotSupported) && os.Geteuid() != 0:
		return fmt.Errorf("the engine kernel: %w; it needs CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON: run it as root, or give them to the program by sudo setcap cap_bpf,cap_net_admin,cap_perfmon+ep %s", err, ownPath())
	case errors.Is(err, ebpf.ErrNotSupported), errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EINVAL):
		return fmt.Errorf("the engine kernel: %w; it needs Linux 6.4 or newer with CONFIG_BPF_SYSCALL, CONFIG_BPF_STREAM_PARSER and CONFIG_DEBUG_INFO_BTF", err)
	}
	return fmt.Errorf("the engine kernel: %w", err)
}

func ownPath() string {
	path, err := os.Executable()
	if err != nil || strings.ContainsAny(path, " \t\n'\"\\$`") {
		return "PROGRAM"
	}
	return path
}

// What the program returns. A segment without bytes, which a FIN by itself is, is dropped: the
// socket has noted the peer's end already, and where segments have to wait in a queue the
// kernel takes a length of 0 for a broken pipe.
const (
	skDrop = 0
	skPass = 1

	redirect = 2 // not returned: the helper that redirects says what is
)

// Where the program keeps things on its stack.
const (
	stackCookie  = -8
	stackPlace   = -16
	stackVerdict = -24
)

// instructions is the program, an SK_SKB stream verdict: bpf(2) runs it, with the socket
// locked, for each segment that has come in order. The registers are
//
//	R6  the segment (struct __sk_buff)    R8  the place of its socket
//	R7  its length                        R9  the slot of its socket
func (p *program) instructions() asm.Instructions {
	is := asm.Instructions{
		asm.Mov.Reg(asm.R6, asm.R1),
		asm.LoadMem(asm.R7, asm.R6, 0, asm.Word), // len
		asm.JEq.Imm(asm.R7, 0, "drop"),           // the peer's end: see skDrop
	}
	is = append(is, p.findSlot()...)
	is = append(is, strip(p.layout)...)
	is = append(is, stamp()...)
	is = append(is, decide()...)
	is = append(is, giveUp()...)
	is = append(is, p.tell()...)
	return append(is, p.verdict()...)
}

// findSlot sets R8 and R9. A socket without a place is the server's.
func (p *program) findSlot() asm.Instructions {
	return asm.Instructions{
		asm.Mov.Reg(asm.R1, asm.R6),
		asm.FnGetSocketCookie.Call(),
		asm.StoreMem(asm.RFP, stackCookie, asm.R0, asm.DWord),
		asm.LoadMapPtr(asm.R1, p.places.FD()),
		asm.Mov.Reg(asm.R2, asm.RFP), asm.Add.Imm(asm.R2, stackCookie),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, "pass"),
		asm.LoadMem(asm.R8, asm.R0, 0, asm.Word),
		asm.StoreMem(asm.RFP, stackPlace, asm.R8, asm.Word),
		asm.LoadMapPtr(asm.R1, p.slots.FD()),
		asm.Mov.Reg(asm.R2, asm.RFP), asm.Add.Imm(asm.R2, stackPlace),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, "pass"),
		asm.Mov.Reg(asm.R9, asm.R0),
	}
}

// stamp notes the time.
func stamp() asm.Instructions {
	return asm.Instructions{
		asm.FnKtimeGetNs.Call(),
		asm.StoreMem(asm.R9, slotLast, asm.R0, asm.DWord),
		asm.LoadMem(asm.R1, asm.R9, slotFirst, asm.DWord),
		asm.JNE.Imm(asm.R1, 0, "decide"),
		asm.StoreMem(asm.R9, slotFirst, asm.R0, asm.DWord),
	}
}

// decide counts the segment as relayed or as passed, and goes on to tell if the server
// should know.
func decide() asm.Instructions {
	return asm.Instructions{
		asm.LoadMem(asm.R1, asm.R9, slotPassed, asm.DWord).WithSymbol("decide"),
		asm.LoadMem(asm.R2, asm.R9, slotEchoed, asm.DWord),
		asm.JNE.Reg(asm.R1, asm.R2, "keep"), // the server has it
		asm.LoadMem(asm.R1, asm.R9, slotRelayed, asm.DWord),
		asm.Add.Reg(asm.R1, asm.R7),
		asm.LoadMem(asm.R2, asm.R9, slotMostBytes, asm.DWord),
		asm.JGT.Reg(asm.R1, asm.R2, "keep"),
		asm.LoadMem(asm.R3, asm.R9, slotSegments, asm.DWord),
		asm.Add.Imm(asm.R3, 1),
		asm.LoadMem(asm.R2, asm.R9, slotMostSegments, asm.DWord),
		asm.JGT.Reg(asm.R3, asm.R2, "keep"),

		asm.Mov.Imm(asm.R2, 1),
		asm.AddAtomic.Mem(asm.R9, asm.R2, asm.DWord, slotSegments),
		asm.AddAtomic.Mem(asm.R9, asm.R7, asm.DWord, slotRelayed),
		asm.StoreImm(asm.RFP, stackVerdict, redirect, asm.Word),
		asm.LoadMem(asm.R2, asm.R9, slotTellBytes, asm.DWord),
		asm.JGT.Reg(asm.R1, asm.R2, "tell"),
		asm.LoadMem(asm.R2, asm.R9, slotTellSegments, asm.DWord),
		asm.JGT.Reg(asm.R3, asm.R2, "tell"),
		asm.Ja.Label("redirect"),

		asm.AddAtomic.Mem(asm.R9, asm.R7, asm.DWord, slotPassed).WithSymbol("keep"),
		asm.StoreImm(asm.RFP, stackVerdict, skPass, asm.Word),
		asm.Ja.Label("tell"),
	}
}

// tell rings the bell, unless it was rung for this socket and not yet heard: so there is
// never more than one ring for a place, and the bell has room for all.
func (p *program) tell() asm.Instructions {
	return asm.Instructions{
		asm.Mov.Imm(asm.R1, 1).WithSymbol("tell"),
		exchange(asm.R9, asm.R1, slotTold),
		asm.JNE.Imm(asm.R1, 0, "told"),
		asm.LoadMapPtr(asm.R1, p.bell.FD()),
		asm.Mov.Reg(asm.R2, asm.RFP), asm.Add.Imm(asm.R2, stackPlace),
		asm.Mov.Imm(asm.R3, 4),
		asm.Mov.Imm(asm.R4, 0),
		asm.FnRingbufOutput.Call(),
		asm.LoadMem(asm.R1, asm.RFP, stackVerdict, asm.Word).WithSymbol("told"),
		asm.JEq.Imm(asm.R1, skPass, "pass"),
		asm.JEq.Imm(asm.R1, skDrop, "drop"),
	}
}

// exchange swaps a register with what is at dst and offset. What the operation is goes into
// the instruction's constant too, because cilium/ebpf 0.22 writes that, and not the one of
// the opcode: the exchange would be an addition.
func exchange(dst, src asm.Register, offset int16) asm.Instruction {
	i := asm.Xchg.Mem(dst, src, asm.DWord, offset)
	i.Constant = int64(asm.Xchg >> 8)
	return i
}

func (p *program) verdict() asm.Instructions {
	return asm.Instructions{
		asm.Mov.Reg(asm.R1, asm.R6).WithSymbol("redirect"),
		asm.LoadMapPtr(asm.R2, p.sockets.FD()),
		asm.Mov.Reg(asm.R3, asm.R8),
		asm.Mov.Imm(asm.R4, 0), // by its send queue
		asm.FnSkRedirectMap.Call(),
		asm.Return(),

		asm.Mov.Imm(asm.R0, skPass).WithSymbol("pass"),
		asm.Return(),
		asm.Mov.Imm(asm.R0, skDrop).WithSymbol("drop"),
		asm.Return(),
	}
}

// mostHeld is how many bytes that were left to the server it may not have read yet, before
// the brake takes hold.
const mostHeld = 4 << 20

// brakes is a socket filter. Where a segment that passes has to wait behind what was
// redirected, the kernel charges it to nobody, and the receive window stays open: a peer that
// sends faster than the kernel's worker gets its turn could fill the memory. So data beyond
// mostHeld is dropped like a packet lost on the way, before TCP has acknowledged it: the peer
// sends it again, later and more slowly.
func (p *program) brakes() asm.Instructions {
	is := asm.Instructions{
		asm.Mov.Reg(asm.R6, asm.R1),
		asm.LoadMem(asm.R7, asm.R6, 0, asm.Word), // len, with TCP's header
	}
	is = append(is, p.findSlot()...)
	return append(is, asm.Instructions{
		asm.LoadMem(asm.R1, asm.R9, slotPassed, asm.DWord),
		asm.LoadMem(asm.R2, asm.R9, slotTaken, asm.DWord),
		asm.Sub.Reg(asm.R1, asm.R2),
		asm.JLE.Imm(asm.R1, mostHeld, "pass"),
		asm.Mov.Reg(asm.R1, asm.R6),
		asm.Mov.Imm(asm.R2, tcpDataOffset),
		asm.Mov.Reg(asm.R3, asm.RFP), asm.Add.Imm(asm.R3, stackCookie),
		asm.Mov.Imm(asm.R4, 1),
		asm.FnSkbLoadBytes.Call(),
		asm.JNE.Imm(asm.R0, 0, "pass"),
		asm.LoadMem(asm.R1, asm.RFP, stackCookie, asm.Byte),
		asm.RSh.Imm(asm.R1, 4),
		asm.LSh.Imm(asm.R1, 2),              // the header's length
		asm.JLE.Reg(asm.R7, asm.R1, "pass"), // it has no data
		asm.Mov.Imm(asm.R0, 0),
		asm.Return(),
		asm.Mov.Reg(asm.R0, asm.R7).WithSymbol("pass"),
		asm.Return(),
	}...)
}

// tcpDataOffset is where the header's length is in it, in the high four bits: RFC 9293, section 3.1.
const tcpDataOffset = 12
