package capture

import (
	"cmp"
	"errors"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A Table lists a user's connections, as the kernel knows them: no packet is looked at,
// and no privilege is needed. It is for one goroutine, and shows the network namespace in
// which it was made.
type Table struct {
	cfg   Config
	uid   uint32
	diag  *diag
	tree  *tree // nil: all processes
	known map[uint64]sighting
	old   bool // Refresh has run
}

// A sighting is what a table knows of a socket from before.
type sighting struct {
	first time.Time
	whole bool
	ours  bool // it was held by one of the processes asked for
}

// NewTable returns a table of the connections that a capture with this Config would show;
// its UID, AllUsers, Ports, Addresses and Processes count. Nil is all of this process's
// user. Close it after use.
func NewTable(cfg *Config) (*Table, error) {
	if cfg == nil {
		cfg = &Config{}
	}
	if err := cfg.check(); err != nil {
		return nil, err
	}
	uid, err := owner(cfg)
	if err != nil {
		return nil, err
	}
	d, err := newDiag()
	if err != nil {
		return nil, err
	}
	return &Table{cfg: *cfg, uid: uid, diag: d, tree: newTree(cfg.Processes), known: map[uint64]sighting{}}, nil
}

// Close gives back the table's socket.
func (t *Table) Close() error {
	t.diag.close()
	return nil
}

// Refresh asks the kernel anew. Own is sorted: by network, state, and addresses.
func (t *Table) Refresh() (Connections, error) {
	now := time.Now()
	all := Connections{Time: now, UID: t.uid}
	known := map[uint64]sighting{}
	inodes := map[uint64]uint32{}
	take := func(e *socketEntry) {
		switch {
		case !e.hasOwner() || e.Local.Port() == 0:
		case e.UID != t.uid && !t.cfg.AllUsers && e.Remote.Port() == 0:
			all.HiddenPorts++
		case e.UID != t.uid && !t.cfg.AllUsers:
			all.Hidden++
		case t.cfg.wants(e):
			seen, ok := t.known[e.Cookie]
			if !ok {
				seen = sighting{first: now, whole: t.old}
			}
			known[e.Cookie], inodes[e.Cookie] = seen, e.Inode
			all.Own = append(all.Own, connection(e, seen, now))
		}
	}
	err := errors.Join(t.diag.all(unix.IPPROTO_TCP, allStates, true, take), t.diag.all(unix.IPPROTO_UDP, allStates, false, take))
	if err != nil {
		return Connections{}, err
	}
	t.known, t.old = known, true
	t.addProcesses(&all, inodes)
	slices.SortFunc(all.Own, byPlace)
	return all, nil
}

// wants reports whether a socket has one of the ports and one of the addresses.
func (c *Config) wants(e *socketEntry) bool {
	ports := len(c.Ports) == 0 || slices.Contains(c.Ports, e.Local.Port()) || slices.Contains(c.Ports, e.Remote.Port())
	return ports && (len(c.Addresses) == 0 || slices.ContainsFunc(c.Addresses, func(p netip.Prefix) bool {
		return p.Contains(e.Local.Addr().Unmap()) || e.Remote.IsValid() && p.Contains(e.Remote.Addr().Unmap())
	}))
}

// addProcesses notes who has the sockets open, and leaves out those that nobody had who
// was asked for.
func (t *Table) addProcesses(all *Connections, inodes map[uint64]uint32) {
	holders := holders(t.uid)
	kept := all.Own[:0]
	for _, c := range all.Own {
		c.Processes = holders[inodes[c.Cookie]]
		if t.isAskedFor(&c) {
			kept = append(kept, c)
		}
	}
	all.Own = kept
}

func (t *Table) isAskedFor(c *Connection) bool {
	seen := t.known[c.Cookie]
	if t.tree == nil || seen.ours {
		return true
	}
	seen.ours = slices.ContainsFunc(c.Processes, func(p Process) bool { return t.tree.has(p.PID) })
	t.known[c.Cookie] = seen
	return seen.ours
}

func byPlace(a, b Connection) int {
	return cmp.Or(
		strings.Compare(a.Network, b.Network), strings.Compare(a.State, b.State),
		a.Local.Compare(b.Local), a.Remote.Compare(b.Remote), cmp.Compare(a.Cookie, b.Cookie),
	)
}

// states are TCP's, by the kernel's numbers (linux/tcp_states.h), under their names of
// RFC 9293.
var states = [...]string{
	1: "ESTABLISHED", "SYN-SENT", "SYN-RECEIVED", "FIN-WAIT-1", "FIN-WAIT-2", "TIME-WAIT",
	"CLOSED", "CLOSE-WAIT", "LAST-ACK", "LISTEN", "CLOSING", "SYN-RECEIVED", "BOUND",
}

func stateName(state uint8) string {
	if int(state) < len(states) && state > 0 {
		return states[state]
	}
	return strconv.Itoa(int(state))
}

func connection(e *socketEntry, seen sighting, now time.Time) Connection {
	c := Connection{
		Network: "tcp", State: stateName(e.State), Local: e.Local, Remote: e.Remote, Cookie: e.Cookie, UID: e.UID,
		Age: now.Sub(seen.first), Whole: seen.whole, Unread: int(e.RQueue), Unsent: int(e.WQueue),
		TCP: parseTCPInfo(e.TCPInfo),
	}
	if e.Proto == unix.IPPROTO_UDP {
		c.Network = "udp"
	}
	return c
}

// parseTCPInfo reads a struct tcp_info of any length: older kernels have fewer fields.
func parseTCPInfo(b []byte) TCPInfo {
	var i unix.TCPInfo
	copy(unsafe.Slice((*byte)(unsafe.Pointer(&i)), unsafe.Sizeof(i)), b)
	us := func(v uint32) time.Duration { return time.Duration(v) * time.Microsecond }
	ms := func(v uint32) time.Duration { return time.Duration(v) * time.Millisecond }
	info := TCPInfo{
		RTT: us(i.Rtt), RTTVar: us(i.Rttvar), MinRTT: us(i.Min_rtt),
		Retransmits: uint64(i.Total_retrans), Sent: i.Bytes_sent, Acked: i.Bytes_acked, Received: i.Bytes_received,
		SegmentsOut: uint64(i.Segs_out), SegmentsIn: uint64(i.Segs_in),
		Window: i.Snd_cwnd, MSS: i.Snd_mss, PeerWindow: i.Snd_wnd,
		IdleIn: ms(i.Last_data_recv), IdleOut: ms(i.Last_data_sent),
	}
	if i.Min_rtt == 1<<32-1 { // not measured yet
		info.MinRTT = 0
	}
	return info
}

// holders returns which processes have which sockets open, of those that this process
// may look into.
func holders(uid uint32) map[uint32][]Process {
	all := map[uint32][]Process{}
	entries, _ := os.ReadDir("/proc") // in order
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil || !ownProcess(entry, uid) {
			continue
		}
		p := Process{PID: pid}
		inodes, _ := socketsOf(pid)
		slices.Sort(inodes)
		for _, inode := range slices.Compact(inodes) {
			if p.Name == "" {
				p.Name = programName(pid)
			}
			all[inode] = append(all[inode], p)
		}
	}
	return all
}

// ownProcess reports whether a folder of /proc is that of the user's process.
func ownProcess(entry os.DirEntry, uid uint32) bool {
	info, err := entry.Info()
	if err != nil {
		return false
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && st.Uid == uid
}

func programName(pid int) string {
	name, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/comm")
	return strings.TrimSuffix(string(name), "\n")
}
