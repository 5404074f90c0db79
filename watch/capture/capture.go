package capture

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"yodel/internal/escape"
)

// A Config says what to capture. The zero value, and nil, is all connections of the
// process's own user, on all interfaces. Ports, Addresses and Processes narrow that:
// what is captured has one of each kind that is given.
type Config struct {
	// Interface is the name of the only interface to watch. If empty, all that exist
	// when the capture is opened are watched, but for those that only carry the packets
	// of another one: ports of a bridge or a bond, and, of an interface with VLANs, what
	// is tagged; and loopback alone, if all of Addresses are its own. Loopback alone costs
	// its programs less to be watched, but then what it drops is not seen at all.
	Interface string

	// UID is the user whose connections are captured. If zero, it is the real user of
	// this process, which may be root. Only root may name another one, for example the
	// user who has called sudo.
	UID uint32

	// AllUsers captures the connections of all users. Only root may ask for it, and
	// Info.AllUsers tells everyone that it was so.
	AllUsers bool

	// Ports are those of either end. At most 64.
	Ports []uint16

	// Addresses are those of either end. At most 64.
	Addresses []netip.Prefix

	// Processes are those whose sockets are meant, with all processes that they have
	// started or will start. A capture that is opened with os.Getpid() before a command
	// is run has the command's connections from the first SYN on.
	Processes []int

	// Snap is how many bytes of a packet are kept at most. If zero, 131,072, which is more
	// than the longest that kernels make unless they are told to. At most 196,608.
	Snap int

	// Ring is how much memory the kernel fills with packets, in bytes. If zero, 16 MiB;
	// it is rounded up to whole blocks, two at least, of 256 KiB; of 1 MiB if Delay is
	// 50 ms or more, and of 4 MiB if it is 200 ms or more.
	Ring int

	// Delay is for how long the kernel may gather packets before it hands them over. If
	// zero, 10 ms; at least 1 ms. Where nobody looks on, 100 ms or more costs less.
	Delay time.Duration

	// Method is the way in which the owner's packets are told from others'. If zero, the
	// best that this kernel and this process's privileges allow.
	Method Method
}

func (c *Config) snap() int { return def(c.Snap, 1<<17) }

// block returns the size of one of the ring's blocks. Who can wait gets large ones, which
// cost less; who can't needs many, because each is handed over though it is nearly empty.
func (c *Config) block() int {
	switch {
	case c.delay() < 50*time.Millisecond:
		return 1 << 18
	case c.delay() < 200*time.Millisecond:
		return 1 << 20
	}
	return 1 << 22
}

func (c *Config) blocks() int { return max(2, (def(c.Ring, 16<<20)+c.block()-1)/c.block()) }

func (c *Config) delay() time.Duration {
	return max(time.Millisecond, def(c.Delay, 10*time.Millisecond))
}

func def[T int | time.Duration](v, zero T) T {
	if v <= 0 {
		return zero
	}
	return v
}

const (
	selectionMax = 64
	snapMax      = 3 << 16 // so that the longest packet fits into a block
)

// check refuses a Config that can't be carried out on any system.
func (c *Config) check() error {
	switch {
	case len(c.Ports) > selectionMax:
		return fmt.Errorf("watch: %d ports: name at most %d", len(c.Ports), selectionMax)
	case len(c.Addresses) > selectionMax:
		return fmt.Errorf("watch: %d addresses: name at most %d", len(c.Addresses), selectionMax)
	case c.snap() > snapMax:
		return fmt.Errorf("watch: keep %d bytes of a packet: at most %d can be kept", c.snap(), snapMax)
	}
	return nil
}

// A Method is a way to tell the owner's packets from those of others.
type Method uint8

const (
	// Best is the best method that works here. No capture reports it.
	Best Method = iota

	// ByKernel: programs inside the kernel note the owner of each socket that sends,
	// and let pass no packet of anyone else's. It needs Linux 6.6, CAP_NET_RAW,
	// CAP_NET_ADMIN and CAP_BPF.
	ByKernel

	// ByPort: the kernel lets pass the packets of fixed ports, those that are asked for
	// or else those that the owner has in use when the capture is opened. Of these it
	// keeps the ones that the kernel's list of sockets proves to be the owner's; others
	// are wiped and counted. New connections to ports that nobody has named are missed.
	// It needs CAP_NET_RAW.
	ByPort

	// Everyone: nobody is asked whose packets they are. Config.AllUsers.
	Everyone
)

// String returns "kernel", "port" or "everyone".
func (m Method) String() string {
	switch m {
	case ByKernel:
		return "kernel"
	case ByPort:
		return "port"
	case Everyone:
		return "everyone"
	}
	return "best"
}

// A Direction is how a packet passes an interface. The numbers are those of pcapng's
// packet flags.
type Direction uint8

const (
	// Both: on loopback a packet leaves and arrives at once, and is seen once.
	Both Direction = iota
	In
	Out
)

// String returns "both", "in" or "out".
func (d Direction) String() string {
	switch d {
	case In:
		return "in"
	case Out:
		return "out"
	}
	return "both"
}

// A Proof says how a packet is known to be the owner's.
type Proof uint8

const (
	// NotAsked: all users are watched.
	NotAsked Proof = iota

	// Kernel: the kernel's filter let it pass because it left from, or belongs to the
	// connection of, a socket of the owner's.
	Kernel

	// Socket: the kernel's list of sockets has shown the owner's socket, of the same
	// cookie, where the packet was to arrive.
	Socket
)

// String returns "not asked", "kernel" or "socket".
func (p Proof) String() string {
	switch p {
	case Kernel:
		return "kernel"
	case Socket:
		return "socket"
	}
	return "not asked"
}

// A LinkType is what a packet begins with, as a capture file numbers it
// (https://www.tcpdump.org/linktypes.html).
type LinkType uint16

const (
	Ethernet LinkType = 1
	RawIP    LinkType = 101
)

// A Packet is one packet as the kernel showed it. Data is lent, see [Capture.Next].
type Packet struct {
	Time      int64 // wall clock, nanoseconds since 1970, by the kernel
	Interface int   // its number; Info.Interfaces has them all
	Name      string
	LinkType  LinkType
	Direction Direction
	Proof     Proof

	// Unsummed tells that checksums are not filled in yet: the network card will do it,
	// or nobody where the packet stays on this host.
	Unsummed bool

	Length int    // of the packet on the wire
	Data   []byte // its first bytes
}

// Clone returns the packet with bytes of its own.
func (p Packet) Clone() Packet {
	p.Data = bytes.Clone(p.Data)
	return p
}

// An Interface is one that a capture watches.
type Interface struct {
	Index    int
	Name     string
	LinkType LinkType
}

// Info says what a capture is. All who show or write its packets say so too.
type Info struct {
	Method     Method
	AllUsers   bool
	UID        uint32 // whose connections; meaningless with AllUsers
	Snap       int
	Interfaces []Interface

	// Narrowed tells that Config named ports, addresses or processes.
	Narrowed bool

	// Ports are the ports of ByPort, sorted.
	Ports []uint16

	// Exact tells that the kernel says when a socket is closed, so that a datagram needs
	// no further proof. ByKernel only.
	Exact bool

	// Reason is why not a better method was taken; "" if there is none.
	Reason string
}

// Stats counts packets since the capture was opened. What was not shown is in one of
// the sums.
type Stats struct {
	Received  uint64 // passed the filter of the kernel
	Delivered uint64 // were returned by Next

	Dropped uint64 // the ring was full
	Frozen  uint64 // how often it was

	Unproved      uint64 // could not be shown to be the owner's, and were wiped
	UnprovedBytes uint64

	OtherProcess uint64 // the owner's, but not of the processes asked for
}

// ErrPrivilege is what an error of [Open] is where the process lacks a capability.
var ErrPrivilege = errors.New("not permitted")

// A PrivilegeError says which capabilities a capture lacks. It is [ErrPrivilege].
type PrivilegeError struct {
	Doing   string   // what was tried
	Missing []string // as capabilities(7) names them; empty if root is needed
	Program string   // the path of this program, "" if it is not known
	Err     error    // what the kernel said, or nil
}

// Error returns one line which ends with the line to type.
func (e *PrivilegeError) Error() string {
	if len(e.Missing) == 0 {
		return fmt.Sprintf("watch: %s: only root may do that", e.Doing)
	}
	program := "FILE"
	if e.Program != "" {
		program = escape.String(e.Program)
	}
	s := fmt.Sprintf("watch: %s: %v needs %s", e.Doing, ErrPrivilege, strings.Join(e.Missing, ", "))
	if e.Err != nil {
		s = fmt.Sprintf("watch: %s: %v: it needs %s", e.Doing, e.Err, strings.Join(e.Missing, ", "))
	}
	return s + ": run it as root, or, as root, setcap " + setcapWord + " " + program
}

// A Capability is one of capabilities(7), by its number.
type Capability uint8

// setcapWord is what makes a program capable of the best method.
const setcapWord = "cap_net_raw,cap_net_admin,cap_bpf=ep"

// Unwrap returns ErrPrivilege and the cause.
func (e *PrivilegeError) Unwrap() []error {
	if e.Err == nil {
		return []error{ErrPrivilege}
	}
	return []error{ErrPrivilege, e.Err}
}
