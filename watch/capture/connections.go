package capture

import (
	"net/netip"
	"time"
)

// Connections is what a [Table] shows.
type Connections struct {
	Time time.Time
	UID  uint32 // whose connections they are
	Own  []Connection

	// Hidden is how many connections of others there are, whatever was asked for: TCP
	// connections, and sockets for datagrams that are connected. Not all of TCP's last
	// states have an owner: one in TIME-WAIT is not counted and not shown.
	Hidden int

	// HiddenPorts is how many sockets of others wait for someone.
	HiddenPorts int
}

// A Connection is a socket of TCP or UDP.
type Connection struct {
	Network string // "tcp" or "udp"
	State   string // as RFC 9293 §3.3.2 names it: "ESTABLISHED"; UDP: "ESTABLISHED" if it is connected, else "CLOSED"
	Local   netip.AddrPort
	Remote  netip.AddrPort // the zero port: none
	Cookie  uint64         // the kernel's name of the socket; no other one has had it
	UID     uint32         // whose it is

	// Processes are those that have the socket open, as far as this process may look
	// into them: its own user's.
	Processes []Process

	// Age is for how long the table has known the socket; it is at least that old.
	// Whole tells that the socket is no older than the table.
	Age   time.Duration
	Whole bool

	Unread int // bytes that the program has not read; of a listening socket, connections not accepted
	Unsent int // bytes that the peer has not acknowledged; of a listening socket, the backlog

	TCP TCPInfo // zero for UDP
}

// A Process has a socket open.
type Process struct {
	PID  int
	Name string // the program's, as it calls itself: hostile text
}

// TCPInfo is what the kernel tells of a connection: tcp(7), TCP_INFO. Where a kernel
// does not tell a number it is 0.
type TCPInfo struct {
	RTT, RTTVar, MinRTT time.Duration
	Retransmits         uint64 // segments that were sent again
	Sent, Acked         uint64 // payload bytes, those sent again included; those that have arrived
	Received            uint64 // payload bytes
	SegmentsOut         uint64
	SegmentsIn          uint64
	Window              uint32 // segments that may be under way (congestion window)
	MSS                 uint32 // the longest segment's payload
	PeerWindow          uint32 // bytes that the peer has room for

	// IdleIn is for how long no data has come, IdleOut for how long none was sent.
	IdleIn, IdleOut time.Duration
}
