package capture

import (
	"fmt"
	"os"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// classicMax is how many ports fit into a filter of 4,096 instructions.
const classicMax = 512

// fromNetwork makes an offset one from the network header: SKF_NET_OFF of
// linux/filter.h, so that the filter is the same for all kinds of link.
const fromNetwork = 0xfff00000

// classicFilter sets a filter of classic BPF for good: packets of these ports, or, where
// all users are watched and no port is given, all that are for this host or from it.
func classicFilter(r *ring, ports []uint16, cfg *Config) error {
	ins := classic(ports, cfg.AllUsers && len(ports) == 0, cfg.Interface == "", r.arriving, uint32(cfg.snap()))
	code, err := bpf.Assemble(ins)
	if err != nil {
		return fmt.Errorf("assemble the packet filter: %w", err)
	}
	filters := make([]unix.SockFilter, len(code))
	for i, c := range code {
		filters[i] = unix.SockFilter{Code: c.Op, Jt: c.Jt, Jf: c.Jf, K: c.K}
	}
	err = unix.SetsockoptSockFprog(r.fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
		&unix.SockFprog{Len: uint16(len(filters)), Filter: &filters[0]})
	if err != nil {
		return os.NewSyscallError("setsockopt SO_ATTACH_FILTER", err)
	}
	return r.lock()
}

// classic writes that filter. Fragments but the first, and IPv6 packets with extension
// headers, have no ports where it looks, and are left out if ports matter.
func classic(ports []uint16, all, everywhere, arriving bool, snap uint32) []bpf.Instruction {
	drop := bpf.RetConstant{Val: 0}
	ins := []bpf.Instruction{
		bpf.LoadExtension{Num: bpf.ExtType},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: toAnother, SkipTrue: 1},
		drop, // to another host
	}
	if !arriving {
		ins = append(ins,
			bpf.TAX{},
			bpf.LoadExtension{Num: bpf.ExtLinkLayerType},
			bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.ARPHRD_LOOPBACK, SkipTrue: 3},
			bpf.TXA{},
			bpf.JumpIf{Cond: bpf.JumpEqual, Val: outgoing, SkipTrue: 1},
			drop) // seen twice
	}
	if everywhere {
		ins = append(ins,
			bpf.LoadExtension{Num: bpf.ExtVLANTagPresent},
			bpf.JumpIf{Cond: bpf.JumpEqual, Val: 0, SkipTrue: 1}, drop)
	}
	if all {
		return append(ins, bpf.RetConstant{Val: snap})
	}
	ins = append(ins, classicTransport()...)
	for _, p := range ports {
		ins = append(ins, bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: uint32(p), SkipTrue: 1}, bpf.RetConstant{Val: snap})
	}
	ins = append(ins, bpf.LoadIndirect{Off: fromNetwork + 2, Size: 2})
	for _, p := range ports {
		ins = append(ins, bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: uint32(p), SkipTrue: 1}, bpf.RetConstant{Val: snap})
	}
	return append(ins, drop)
}

// classicTransport leaves the length of the network header in X and the source port in
// A, or drops the packet.
func classicTransport() []bpf.Instruction {
	drop := bpf.RetConstant{Val: 0}
	return []bpf.Instruction{
		bpf.LoadExtension{Num: bpf.ExtProto},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.ETH_P_IPV6, SkipTrue: 7},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.ETH_P_IP, SkipTrue: 1},
		drop,
		bpf.LoadAbsolute{Off: fromNetwork + 6, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: 0x1fff, SkipTrue: 7}, // → drop
		bpf.LoadMemShift{Off: fromNetwork},
		bpf.LoadAbsolute{Off: fromNetwork + 9, Size: 1},
		bpf.Jump{Skip: 2},
		bpf.LoadConstant{Dst: bpf.RegX, Val: 40}, // IPv6
		bpf.LoadAbsolute{Off: fromNetwork + 6, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.IPPROTO_TCP, SkipTrue: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.IPPROTO_UDP, SkipTrue: 1},
		drop,
		bpf.LoadIndirect{Off: fromNetwork, Size: 2},
	}
}
