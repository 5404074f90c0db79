package capture

import (
	"encoding/binary"
	"net/netip"
)

// pickedMax is how many sockets a picker remembers, and how many fragmented datagrams.
const pickedMax = 1 << 13

// A picker keeps, of what may be shown, what was asked for and the filter of the kernel
// could not choose: packets of some processes, and with a classic filter those of some
// addresses. It is for one goroutine.
type picker struct {
	tables    *tables
	keeper    *keeper
	diag      *diag
	tree      *tree
	addresses []netip.Prefix

	picked  map[uint64]bool  // by cookie
	parts   map[flowKey]bool // by the key of the datagram
	flows   map[flowKey]bool // of this block
	sockets map[uint32]bool  // of the tree, in this block; nil: not looked yet
}

func newPicker(c *Capture, cfg *Config) *picker {
	p := &picker{
		tables: c.keeper.tables, keeper: c.keeper, diag: c.diag, tree: c.keeper.tree,
		flows: map[flowKey]bool{}, picked: map[uint64]bool{},
		parts: map[flowKey]bool{},
	}
	if c.info.Method != ByKernel {
		p.addresses = cfg.Addresses
	}
	return p
}

func (p *picker) begin() {
	clear(p.flows)
	p.sockets = nil
	if len(p.picked) > pickedMax {
		clear(p.picked)
	}
	if len(p.parts) > pickedMax {
		clear(p.parts)
	}
}

func (p *picker) admit(_ int, s *sight, packet *Packet) verdict {
	wanted := false
	switch {
	case s.transport:
		if wanted = p.wants(s); s.part {
			p.parts[s.datagram()] = wanted
		}
	case s.part:
		wanted = p.parts[s.datagram()]
	default:
		wanted = p.wantsQuoted(s, packet)
	}
	if wanted {
		return shown
	}
	return unwanted
}

// wantsQuoted reports whether a packet is an ICMP error about one that was asked for,
// whichever end has sent that.
func (p *picker) wantsQuoted(s *sight, packet *Packet) bool {
	quote := sight{direction: Both, index: s.index, time: s.time}
	if quote.transport = quote.parseQuote(packet.Data[s.network:]); !quote.transport {
		return false
	}
	if quote.key.Family == 6 {
		quote.key.scoped(s.index)
	}
	return p.wants(&quote)
}

// wants reports whether a packet was asked for. One without ports is of no process and
// no address.
func (p *picker) wants(s *sight) bool {
	if !s.transport || !p.address(s) {
		return false
	}
	if p.tree == nil {
		return true
	}
	for _, key := range s.ends() {
		wanted, known := p.flows[key]
		if !known {
			wanted = p.process(s, &key)
			p.flows[key] = wanted
		}
		if wanted {
			return true
		}
	}
	return false
}

func (p *picker) address(s *sight) bool {
	for _, prefix := range p.addresses {
		if prefix.Contains(s.key.source().Addr()) || prefix.Contains(s.key.destination().Addr()) {
			return true
		}
	}
	return len(p.addresses) == 0
}

// process reports whether the socket that sends what is in key belongs to the tree.
func (p *picker) process(s *sight, key *flowKey) bool {
	var cookie uint64
	if p.tables != nil {
		if v, ok := p.tables.own(key); ok {
			cookie = v.Cookie
		}
		if pid, ok := p.tables.maker(cookie); ok {
			return p.tree.has(pid)
		}
	}
	if wanted, known := p.picked[cookie]; known && cookie != 0 {
		return wanted
	}
	wanted, certain := p.holder(s, key)
	if certain && cookie != 0 {
		p.picked[cookie] = wanted
	}
	return wanted
}

// holder looks for the socket among the tree's descriptors, and, where it has none or no
// longer, for the one that listens.
func (p *picker) holder(s *sight, key *flowKey) (wanted, certain bool) {
	if p.sockets == nil {
		p.sockets = p.tree.sockets()
	}
	e, there, err := p.diag.one(key.Proto, key.source(), key.destination(), s.index)
	if err == nil && there && e.Inode != 0 {
		return p.sockets[e.Inode], true
	}
	return p.sockets[p.keeper.listener(key)], false
}

// listener returns the inode of the owner's socket that waits at the source of key, or
// 0.
func (k *keeper) listener(key *flowKey) uint32 {
	at := portKey{Addr: key.Src, Proto: key.Proto, Family: key.Family}
	binary.BigEndian.PutUint16(at.Port[:], key.source().Port())
	k.mu.Lock()
	defer k.mu.Unlock()
	if inode, ok := k.inode[at]; ok {
		return inode
	}
	at.Addr = [16]byte{}
	return k.inode[at]
}
