package kernel

import (
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"
)

// A segment may begin with bytes that have come before: TCP takes the new ones from it
// and, where a program reads, the kernel gives it all of them. That happens where a segment
// that was sent twice is joined to the next one on its way (in the backlog of a
// socket, or by the network card), so it is rare, and every byte of it would be echoed
// twice. The program therefore compares the sequence number of a segment with the one that
// it expects, and strips what it has had. The number is in the kernel's own structures,
// whose layout the kernel tells (BTF).

// layout is what has to be known of the kernel that runs.
type layout struct {
	castToKernel btf.TypeID // bpf_cast_to_kern_ctx: from __sk_buff to sk_buff
	sequence     int16      // offset of a segment's number in sk_buff
}

var kernelLayout = sync.OnceValues(readLayout)

func readLayout() (layout, error) {
	spec, err := btf.LoadKernelSpec()
	if err != nil {
		return layout{}, fmt.Errorf("read the types of the kernel: %w", err)
	}
	var cast *btf.Func
	var buffer, control *btf.Struct
	err = errors.Join(
		spec.TypeByName("bpf_cast_to_kern_ctx", &cast),
		spec.TypeByName("sk_buff", &buffer), spec.TypeByName("tcp_skb_cb", &control))
	if err != nil {
		return layout{}, fmt.Errorf("read the types of the kernel: %w", err)
	}
	id, err := spec.TypeID(cast)
	cb, ok := offsetOf(buffer, "cb")
	seq, ok2 := offsetOf(control, "seq")
	if err != nil || !ok || !ok2 {
		return layout{}, errors.Join(errors.New("the kernel's types lack sk_buff.cb or tcp_skb_cb.seq"), err)
	}
	return layout{castToKernel: id, sequence: int16(cb + seq)}, nil
}

// offsetOf returns where a member is in s, in bytes.
func offsetOf(s *btf.Struct, member string) (bytes uint32, ok bool) {
	for _, m := range s.Members {
		if m.Name == member {
			return m.Offset.Bytes(), true
		}
	}
	return 0, false
}

// A program may strip this much at a time, and does so no more often: the kernel wants to
// know that a program ends.
const (
	mostStrip  = 4095
	mostStrips = 64
)

// strip takes from the segment what has come before, and sets R7 to what is left.
func strip(at layout) asm.Instructions {
	is := asm.Instructions{
		asm.Mov.Reg(asm.R1, asm.R6),
		{OpCode: asm.OpCode(asm.JumpClass).SetJumpOp(asm.Call), Src: asm.PseudoKfuncCall, Constant: int64(at.castToKernel)},
		asm.LoadMem(asm.R1, asm.R0, at.sequence, asm.Word),
		asm.LoadMem(asm.R8, asm.R9, slotNext, asm.DWord),
		asm.Mov.Reg(asm.R2, asm.R1),
		asm.Add.Reg32(asm.R2, asm.R7),
		asm.LoadImm(asm.R3, nextKnown, asm.DWord),
		asm.Or.Reg(asm.R2, asm.R3),
		asm.StoreMem(asm.R9, slotNext, asm.R2, asm.DWord),
		asm.JEq.Imm(asm.R8, 0, "whole"), // the first
		asm.Sub.Reg32(asm.R8, asm.R1),   // how much of it has come before
		asm.JEq.Imm(asm.R8, 0, "whole"),
		asm.JGT.Imm(asm.R8, mostStrip*mostStrips, "broken"),
		asm.JGE.Reg(asm.R8, asm.R7, "broken"),

		asm.JLE.Imm(asm.R8, mostStrip, "last").WithSymbol("strip"),
		asm.Mov.Imm(asm.R2, -mostStrip),
	}
	is = append(is, shrink()...)
	is = append(is,
		asm.Sub.Imm(asm.R8, mostStrip),
		asm.Ja.Label("strip"),
		asm.Mov.Reg(asm.R2, asm.R8).WithSymbol("last"),
		asm.Neg.Imm(asm.R2, 0),
	)
	is = append(is, shrink()...)
	return append(is,
		asm.LoadMem(asm.R7, asm.R6, 0, asm.Word),
		asm.Mov.Imm(asm.R1, 1),
		asm.AddAtomic.Mem(asm.R9, asm.R1, asm.DWord, slotStripped),
		asm.LoadMem(asm.R8, asm.RFP, stackPlace, asm.Word).WithSymbol("whole"),
	)
}

// shrink adds R2, which is negative, to the length of the segment, at its beginning.
func shrink() asm.Instructions {
	return asm.Instructions{
		asm.Mov.Reg(asm.R1, asm.R6),
		asm.Mov.Imm(asm.R3, 0),
		asm.Mov.Imm(asm.R4, 0),
		asm.FnSkbAdjustRoom.Call(),
		asm.JNE.Imm(asm.R0, 0, "broken"),
	}
}

// What slot.next is beside the number that is expected.
const (
	nextKnown  = 1 << 32
	nextBroken = 1 << 33 // and bytes were lost
)

// giveUp notes that bytes were lost here, and drops the segment. The server ends the connection.
func giveUp() asm.Instructions {
	return asm.Instructions{
		asm.LoadMem(asm.R1, asm.R9, slotNext, asm.DWord).WithSymbol("broken"),
		asm.LoadImm(asm.R2, nextBroken, asm.DWord),
		asm.Or.Reg(asm.R1, asm.R2),
		asm.StoreMem(asm.R9, slotNext, asm.R1, asm.DWord),
		asm.StoreImm(asm.RFP, stackVerdict, skDrop, asm.Word),
		asm.Ja.Label("tell"),
	}
}

// errBroken is why the server ends such a connection.
var errBroken = os.NewSyscallError("bpf_skb_adjust_room", unix.ENOMEM)
