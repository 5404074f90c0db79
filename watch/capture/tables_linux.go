package capture

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"
)

// How many entries the tables hold at most. Where the oldest gives way to a new one,
// its packets are not shown until its socket sends again.
const (
	flowsMax   = 1 << 15
	portsMax   = 1 << 13
	deadMax    = 1 << 13
	partsMax   = 1 << 10
	othersMax  = 1 << 15
	claimsMax  = 1 << 13
	eventsSize = 1 << 16 // bytes
	localMax   = 1 << 12
	linksMax   = 1 << 10
)

const (
	// queueTime is longer than packets wait in a queueing discipline, on a machine that
	// has no time for them either.
	queueTime = time.Minute

	// partTime is for how long fragments of one datagram may follow its first one:
	// shorter than a sender takes to use its number again.
	partTime = 2 * time.Second
)

// A flowKey names one direction of a flow. Ports and addresses are as on the wire.
type flowKey struct {
	Src, Dst [16]byte // of an IPv4 address the first four
	Ports    [4]byte  // source and destination
	Proto    uint8
	Family   uint8 // 4 or 6
	_        [2]byte
	Scope    uint32 // the interface, of link-local addresses only
}

// A flowValue says which socket of the owner's sends in a direction.
type flowValue struct {
	Cookie uint64 // names the socket; no other one has had it or will have it
	Start  uint32 // TCP: the oldest sequence number of the connection that may still turn up
	Next   uint32 // TCP: the one after the newest
	Bound  uint32 // the interface that the socket is bound to; 0: none
	Known  uint32 // 1 if the socket has been seen to send; TCP: if Start and Next are known
	After  uint64 // UDP: not shown before this time, in nanoseconds of the monotonic clock
	Hash   uint32 // UDP: by which the kernel tells a connected socket's packets; 0: it does not
	_      uint32
}

// A portKey is a port of this host; the address may be all zero, for any.
type portKey struct {
	Addr   [16]byte
	Port   [2]byte
	Proto  uint8
	Family uint8
	_      [4]byte
}

type portValue struct {
	Cookie uint64
	Bound  uint32
	_      uint32
}

type localKey struct {
	Addr   [16]byte
	Family uint32
}

// What linkValue.Flags may hold.
const (
	linkLoopback = 1 << iota
	linkQueued   // packets wait here between being marked and being seen
)

type linkValue struct {
	Flags uint32
	MAC   uint32 // the length of the link's header
}

// tables are the maps that the programs share. They vanish with their last
// descriptor: nothing is pinned.
type tables struct {
	exact   bool   // release runs: live tells which sockets are open
	network uint64 // the kernel's name of the network namespace

	flows  *ebpf.Map // flowKey → flowValue: the owner's, and nobody else's
	live   *ebpf.Map // cookie → anything: open sockets of the owner's that exchange datagrams
	dead   *ebpf.Map // cookie → anything: those of everyone's that have been closed of late
	ports  *ebpf.Map // portKey → portValue: ports that the owner has bound
	local  *ebpf.Map // localKey → anything: addresses of this host
	links  *ebpf.Map // interface → linkValue: where packets are marked
	parts  *ebpf.Map // flowKey with a number for ports → time: datagrams of which more is to come
	others *ebpf.Map // flowKey → time: when someone else sent
	claims *ebpf.Map // flowKey → interface: was let pass only for the port that it goes to
	makers *ebpf.Map // cookie → process that made the socket
	events *ebpf.Map // a ring: what has to be looked at soon
}

func newTables(network uint64) (*tables, error) {
	t := &tables{network: network}
	for _, m := range []struct {
		to               **ebpf.Map
		name             string
		kind             ebpf.MapType
		key, value, size uint32
	}{
		{&t.flows, "yodel_flows", ebpf.LRUHash, 44, 40, flowsMax},
		{&t.live, "yodel_live", ebpf.LRUHash, 8, 8, flowsMax},
		{&t.dead, "yodel_dead", ebpf.LRUHash, 8, 8, deadMax},
		{&t.ports, "yodel_ports", ebpf.Hash, 24, 16, portsMax},
		{&t.local, "yodel_local", ebpf.Hash, 20, 4, localMax},
		{&t.links, "yodel_links", ebpf.Hash, 4, 8, linksMax},
		{&t.parts, "yodel_parts", ebpf.LRUHash, 44, 8, partsMax},
		{&t.others, "yodel_others", ebpf.LRUHash, 44, 8, othersMax},
		{&t.claims, "yodel_claims", ebpf.LRUHash, 44, 4, claimsMax},
		{&t.makers, "yodel_makers", ebpf.LRUHash, 8, 4, flowsMax},
		{&t.events, "yodel_events", ebpf.RingBuf, 0, 0, eventsSize},
	} {
		made, err := ebpf.NewMap(&ebpf.MapSpec{
			Name: m.name, Type: m.kind, KeySize: m.key, ValueSize: m.value, MaxEntries: m.size,
		})
		if err != nil {
			return nil, errors.Join(fmt.Errorf("make the BPF map %s: %w", m.name, err), t.close())
		}
		*m.to = made
	}
	return t, nil
}

// close is safe on tables that were made in part.
func (t *tables) close() error {
	var errs []error
	for _, m := range []*ebpf.Map{t.flows, t.live, t.dead, t.ports, t.local, t.links, t.parts, t.others, t.claims, t.makers, t.events} {
		if m != nil {
			errs = append(errs, m.Close())
		}
	}
	return errors.Join(errs...)
}

// own reports whether the flow's sender is a socket of the owner's, and which.
func (t *tables) own(key *flowKey) (flowValue, bool) {
	var v flowValue
	err := t.flows.Lookup(key, &v)
	return v, err == nil
}

// claimed reports whether a packet may have been let pass only because of the port that
// it goes to.
func (t *tables) claimed(key *flowKey) bool {
	var index uint32
	return t.claims.Lookup(key, &index) == nil
}

// maker returns the process that made a socket.
func (t *tables) maker(cookie uint64) (pid int, ok bool) {
	var v uint32
	err := t.makers.Lookup(cookie, &v)
	return int(v), err == nil
}

func loadProgram(kind ebpf.ProgramType, attach ebpf.AttachType, name string, ins asm.Instructions) (*ebpf.Program, error) {
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: name, Type: kind, AttachType: attach, Instructions: ins, License: "Apache-2.0",
	})
	if err != nil {
		return nil, fmt.Errorf("load the BPF program %s: %w", name, err)
	}
	return p, nil
}

// A pidNamespace is the one in which process numbers are meant.
type pidNamespace struct{ device, inode uint64 }

func ownPIDNamespace() (pidNamespace, error) {
	var st unix.Stat_t
	err := unix.Stat("/proc/self/ns/pid", &st)
	return pidNamespace{st.Dev, st.Ino}, os.NewSyscallError("stat /proc/self/ns/pid", err)
}

// A selection narrows a capture.
type selection struct {
	ports      []uint16
	addresses  []netip.Prefix
	everywhere bool // on all interfaces
	loopback   int  // that interface, if it is watched; 0: it is not
	arriving   bool // it is the only one, and what leaves is not seen
}

// raw returns an address as a flowKey has it, and its family.
func raw(a netip.Addr) (addr [16]byte, family uint8) {
	if a = a.Unmap(); a.Is4() {
		b := a.As4()
		copy(addr[:], b[:])
		return addr, 4
	}
	return a.As16(), 6
}

func htons(v uint16) uint16 {
	b := [2]byte{byte(v >> 8), byte(v)}
	return binary.NativeEndian.Uint16(b[:])
}
