package watch

import (
	"fmt"
	"net/netip"
	"strings"
	"time"
	"unicode/utf8"

	"yodel/internal/escape"
	"yodel/watch/capture"
	"yodel/watch/flow"
)

// A Row is what there is to know of a connection at a time: of one socket of the user's,
// so that a connection between two of them has two rows.
type Row struct {
	Network       string
	Local, Remote netip.AddrPort
	Who           []capture.Process // who has the socket open, as far as that may be seen: hostile text
	UID           uint32            // whose it is
	State         string            // as RFC 9293 §3.3.2 names it; "" of datagrams
	Sent          int64             // bytes of payload, those sent again included; -1: not known
	Received      int64             // bytes of payload; -1: not known
	RTT           time.Duration     // 0: not known
	Again         int64             // segments that this end has sent again
	Age           time.Duration     // at least, if Older is set
	Older         bool              // it was there when the watch began
	Unread        int               // bytes that the program has not read
	Unsent        int               // bytes that the peer has not acknowledged
	Packets       int64             // that were captured of it; -1: nothing is captured
	Gone          bool              // the kernel does not have it any more: the figures are the last ones

	cookie uint64
}

// An Overview keeps rows: of the kernel's list of connections, and, as it is a View, of
// what is captured of them. It is for one goroutine.
type Overview struct {
	// Captured tells that packets are captured, so that a row may have none.
	Captured bool

	// Hidden, HiddenPorts and Waiting are how many connections of others there were when
	// Update was called last, how many sockets of others wait for someone, and how many of
	// the user's own.
	Hidden, HiddenPorts, Waiting int

	flows map[[2]netip.AddrPort]*flow.Flow // TCP, then UDP, by their sockets
	udp   map[[2]netip.AddrPort]*flow.Flow
	rows  map[uint64]Row // by the socket's cookie
}

// Show takes note of a packet's flow.
func (o *Overview) Show(e *Event) error {
	switch e.Type {
	case Segment, Datagram:
		if o.flows == nil {
			o.flows, o.udp = map[[2]netip.AddrPort]*flow.Flow{}, map[[2]netip.AddrPort]*flow.Flow{}
		}
		o.of(e.Flow)[socketsOf(e.Flow)] = e.Flow
	case FlowEnded:
		delete(o.of(e.Flow), socketsOf(e.Flow))
	}
	return nil
}

func (o *Overview) of(f *flow.Flow) map[[2]netip.AddrPort]*flow.Flow {
	if f.Network == "udp" {
		return o.udp
	}
	return o.flows
}

func socketsOf(f *flow.Flow) [2]netip.AddrPort {
	return [2]netip.AddrPort{f.Pair.Client, f.Pair.Server}
}

// Update takes what the kernel's list says now. It returns a row for each connection, in
// the list's order, and which of them are new, are in another state, or are gone: the
// latter are only there.
func (o *Overview) Update(list *capture.Connections) (all, changed []Row) {
	o.Hidden, o.HiddenPorts, o.Waiting = list.Hidden, list.HiddenPorts, 0
	rows := map[uint64]Row{}
	for i := range list.Own {
		c := &list.Own[i]
		if c.Remote.Port() == 0 {
			o.Waiting++
			continue
		}
		row := o.row(c)
		if before, known := o.rows[c.Cookie]; !known || before.State != row.State {
			changed = append(changed, row)
		}
		rows[c.Cookie] = row
		all = append(all, row)
	}
	for cookie, row := range o.rows {
		if _, there := rows[cookie]; !there {
			row.Gone = true
			changed = append(changed, row)
		}
	}
	o.rows = rows
	return all, changed
}

func (o *Overview) row(c *capture.Connection) Row {
	r := Row{
		Network: c.Network, Local: plain(c.Local), Remote: plain(c.Remote), Who: c.Processes, UID: c.UID,
		Age: c.Age, Older: !c.Whole, Unread: c.Unread, Unsent: c.Unsent, Packets: -1, cookie: c.Cookie,
		Sent: -1, Received: -1,
	}
	flows := o.udp
	if c.Network == "tcp" {
		flows = o.flows
		r.State, r.RTT, r.Again = c.State, c.TCP.RTT, int64(c.TCP.Retransmits)
		r.Sent, r.Received = int64(c.TCP.Sent), int64(c.TCP.Received)
	}
	if o.Captured {
		r.Packets = 0
	}
	f, mine := flows[[2]netip.AddrPort{r.Local, r.Remote}], true
	if f == nil {
		f, mine = flows[[2]netip.AddrPort{r.Remote, r.Local}], false
	}
	if f == nil {
		return r
	}
	r.Packets = f.Packets()
	if c.Network == "udp" {
		r.Sent, r.Received = f.Client.Bytes, f.Server.Bytes
		if !mine {
			r.Sent, r.Received = r.Received, r.Sent
		}
	}
	return r
}

// WideRow is how many characters a line has that names both ends of a connection; in less
// only the other end is named.
const WideRow = 128

// RowHeading returns what stands above the lines of Text.
func RowHeading(width int) string {
	if width < WideRow {
		return fmt.Sprintf(narrowRow, "who", "where", "state", "sent", "recvd", "RTT", "again", "age")
	}
	return fmt.Sprintf(wideRow, "who", "net", "local", "remote", "state", "sent", "received", "RTT", "again", "age", "packets")
}

const (
	narrowRow = "%-10s %-21s %-11s %6s %6s %7s %5s %6s"
	wideRow   = "%-18s %-3s %-21s %-21s %-12s %6s %8s %7s %5s %6s %8s"
)

// Text returns the row as a line that fits into so many characters, or more if they are
// fewer than 80. What is not known is "-".
func (r *Row) Text(width int) string {
	state := r.State
	if r.Gone {
		state = "gone"
	}
	age := shortTime(r.Age)
	if r.Older {
		age = ">" + age
	}
	rtt, again := "-", "-"
	if r.Network == "tcp" {
		again = fmt.Sprint(r.Again)
	}
	if r.RTT > 0 {
		rtt = Duration(r.RTT)
	}
	if width < WideRow {
		return fmt.Sprintf(narrowRow, cutTo(r.who(), 10), r.Remote, cutTo(state, 11), shortSize(r.Sent), shortSize(r.Received), rtt, again, age)
	}
	packets := "-"
	if r.Packets >= 0 {
		packets = fmt.Sprint(r.Packets)
	}
	return fmt.Sprintf(wideRow, cutTo(r.who(), 18), r.Network, r.Local, r.Remote, state, shortSize(r.Sent), shortSize(r.Received), rtt, again, age, packets)
}

// who names the processes: the first one, and how many more there are.
func (r *Row) who() string {
	switch len(r.Who) {
	case 0:
		return "-"
	case 1:
		return ProcessName(r.Who[0])
	}
	return fmt.Sprintf("%s +%d", ProcessName(r.Who[0]), len(r.Who)-1)
}

// ProcessName returns a process's number and name, escaped.
func ProcessName(p capture.Process) string {
	return fmt.Sprintf("%d %s", p.PID, escape.StringN(p.Name, 40))
}

// OthersText says how many connections are not shown.
func (o *Overview) OthersText() string {
	parts := []string{"hidden: " + plural(int64(o.Hidden), "connection") + " of others"}
	if o.HiddenPorts > 0 {
		parts = append(parts, plural(int64(o.HiddenPorts), "socket")+" of theirs that wait")
	}
	if o.Waiting > 0 {
		parts = append(parts, plural(int64(o.Waiting), "socket")+" of yours that wait")
	}
	return strings.Join(parts, ", ")
}

func cutTo(s string, n int) string {
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	return string([]rune(s)[:n-1]) + "…"
}

// shortSize prints bytes in six characters at most.
func shortSize(n int64) string {
	if n < 0 {
		return "-"
	}
	if n < 10_000 {
		return fmt.Sprint(n)
	}
	f := float64(n)
	for _, unit := range []string{"kB", "MB", "GB", "TB"} {
		if f /= 1000; f < 999.5 {
			return fmt.Sprintf("%.3g%s", f, unit)
		}
	}
	return fmt.Sprintf("%.3gPB", f/1000)
}

// shortTime prints a time in six characters at most, if it is no longer than 99 days.
func shortTime(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%.1fs", d.Truncate(100*time.Millisecond).Seconds())
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	case d < 24*time.Hour:
		return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%dd%02dh", int(d.Hours())/24, int(d.Hours())%24)
}
