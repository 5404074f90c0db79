package story

import (
	"fmt"
	"time"

	"yodel/watch"
)

// judged is what speaks for a verdict.
type judged struct {
	verdict Verdict
	why     string
	toTell  []string
}

// sums is how long each had the connection.
type sums struct {
	by      [holders]int64
	refused [2]int64 // by end: of what is in by
	delayed [2]int64
	owed    [2]int64 // may have been the other's
	blind   [2]int64 // may have been for want of the other's window
	slowed  [2]int64 // may have been its kernel, for losses
	parted  int64    // of the server's: the client may not have waited
	late    [2]int64 // may have been its host, which answers even a SYN late
	holed   int64    // of what is not seen: for want of a whole capture
	hidden  int64    // of that: for want of a capture that shows every SYN
}

func (w *walk) sums() sums {
	var s sums
	for i := range w.held {
		h := &w.held[i]
		n := h.length()
		s.by[h.by] += n
		e := client
		if h.by == HeldByServer || h.by == HeldByHandler || h.by == HeldInQueue {
			e = server
		}
		s.late[e] += w.late(h)
		switch h.why {
		case refused:
			if h.by != HeldInQueue {
				s.refused[e] += n
			}
		case delayed:
			s.delayed[e] += n
		case owed, gaveUp:
			s.owed[e] += n
		case parted:
			s.parted += n
		case windowless:
			s.blind[e] += n
		case slowed:
			s.slowed[e] += n
		case notCaptured:
			s.holed += n
		case notShown:
			s.holed += n
			s.hidden += n
		}
	}
	return s
}

func (s *sums) server() int64 { return s.by[HeldInQueue] + s.by[HeldByHandler] + s.by[HeldByServer] }

// judge finds the one who kept the other waiting. ok is false if nobody did for long.
func judge(s sums, wrong, remarkable int64) (j judged, ok bool) {
	j, ok = s.largest(wrong, remarkable)
	if !ok {
		return j, false
	}
	if s.owed[client] > 0 || s.owed[server] > 0 {
		moved := s.moved()
		if other, stillOK := moved.largest(wrong, remarkable); !stillOK || other.verdict != j.verdict {
			return s.owing(), true
		}
	}
	if s.parted > 0 {
		alone := s.without()
		if other, stillOK := judge(alone, wrong, remarkable); !stillOK || other.verdict != j.verdict {
			return s.parting(), true
		}
	}
	return j, true
}

// without leaves out the server's time after the client had closed.
func (s *sums) without() sums {
	m := *s
	m.take(m.parted)
	m.parted = 0
	return m
}

// take takes time from the server's program.
func (s *sums) take(left int64) {
	for _, h := range []Holder{HeldByHandler, HeldByServer, HeldInQueue} {
		n := min(s.by[h], left)
		s.by[h] -= n
		left -= n
	}
}

func (s *sums) parting() judged {
	return judged{
		CannotTell,
		fmt.Sprintf("the server closed %s after the client had: whether the client still waited for it then, the packets do not show", watch.Duration(time.Duration(s.parted))),
		[]string{"what the client's program did: its trace (--trace), with --each-call"},
	}
}

// moved gives what may have been the other's to the other.
func (s *sums) moved() sums {
	m := *s
	m.by[HeldByClient] += s.owed[server] - s.owed[client]
	m.by[HeldByServer] += s.owed[client]
	m.take(s.owed[server])
	m.owed = [2]int64{}
	return m
}

func (s *sums) owing() judged {
	waited := time.Duration(max(s.owed[client], s.owed[server]))
	return judged{
		CannotTell,
		fmt.Sprintf("for %s neither end said anything, until one said more or closed: the packets do not show whose turn it was", watch.Duration(waited)),
		[]string{"what the programs did: traces of both (--trace), with --each-call"},
	}
}

// largest names the largest part, if it is certain that it is.
func (s *sums) largest(wrong, remarkable int64) (j judged, ok bool) {
	net := s.by[HeldThere] + s.by[HeldBack]
	apart := [...]struct {
		n int64
		j judged
	}{
		{s.by[HeldUnseen] - s.holed, judged{CannotTell, "it happened beyond the only capture", nil}},
		{s.holed, s.incomplete()},
		{s.blind[client], judged{CannotTell, windowsUnknown, []string{wholePackets}}},
		{s.blind[server], judged{CannotTell, windowsUnknown, []string{wholePackets}}},
		{s.refused[server], judged{
			CannotTell, "packets came to the server's host, and its kernel did not take them: its accept queue was full, or a filter of that host dropped them",
			[]string{"the server's host: nstat -az TcpExtListenOverflows TcpExtListenDrops; nft list ruleset; or the trace of the server"},
		}},
		{s.refused[client], judged{
			CannotTell, "packets came to the client's host, and its kernel did not take them: a filter of that host perhaps",
			[]string{"the client's host: nft list ruleset"},
		}},
		{s.delayed[server], judged{
			CannotTell, "the server's kernel put off an acknowledgement that the client's kernel waited for before it sent more (Nagle's algorithm and delayed acknowledgement)",
			[]string{"the client's program: TCP_NODELAY, or one write in place of several"},
		}},
		{s.delayed[client], judged{
			CannotTell, "the client's kernel put off an acknowledgement that the server's kernel waited for before it sent more (Nagle's algorithm and delayed acknowledgement)",
			[]string{"the server's program: TCP_NODELAY, or one write in place of several"},
		}},
		{s.slowed[client], judged{CannotTell, slowedDown, []string{"what the client's program did: its trace, with --each-call"}}},
		{s.slowed[server], judged{CannotTell, slowedDown, []string{"what the server's program did: its trace, with --each-call"}}},
		{s.late[client], lateHost(client)},
		{s.late[server], lateHost(server)},
		{s.by[HeldByClient] - s.late[client] - s.slowed[client] - s.refused[client] - s.delayed[client] - s.blind[client], judged{verdict: Client}},
		{s.server() - s.late[server] - s.slowed[server] - s.refused[server] - s.delayed[server] - s.blind[server], judged{verdict: Server}},
		{net, judged{verdict: NetworkThere}},
	}
	best := 0
	for i := range apart {
		if apart[i].n > apart[best].n {
			best = i
		}
	}
	if apart[best].n < remarkable {
		return j, false
	}
	for i := range apart { // the holes may be anybody's
		if i != best && apart[i].n+s.holed > apart[best].n && apart[best].j.verdict != CannotTell && s.holed > 0 {
			return judged{CannotTell, "a capture has holes: it has lost packets, or was not running, and they may be of any part", []string{wholeCaptures}}, true
		}
	}
	j = apart[best].j
	switch j.verdict {
	case Server:
		j.verdict = s.ofServer()
	case NetworkThere:
		return s.ofNetwork(wrong, remarkable), true
	}
	return j, true
}

// lateHost says what a host can be that answers late in the handshake.
func lateHost(e end) judged {
	return judged{
		CannotTell,
		"the " + e.String() + "'s host was late in the handshake already, which its kernel answers at once: it was stopped or starved, or keeps packets back before they are captured",
		[]string{"the " + e.String() + "'s host: tc -s qdisc, ip neigh, and how busy it is"},
	}
}

// incomplete says what most of what is not captured is for want of.
func (s *sums) incomplete() judged {
	if 2*s.hidden > s.holed {
		return judged{
			CannotTell, "a SYN may have come to the server's host and not be shown: a capture by yodel shows one if it can prove that it was for a socket of its user's",
			[]string{"the wire at the server's host, with every SYN: tcpdump -w FILE"},
		}
	}
	return judged{CannotTell, "a capture has holes then: it has lost packets, or was not running", []string{wholeCaptures}}
}

// most is the largest part.
func (s *sums) most() int64 {
	return max(s.by[HeldByClient], s.server(), s.by[HeldThere]+s.by[HeldBack], s.by[HeldUnseen]-s.holed)
}

const (
	slowedDown     = "one end paused between what it sent, after losses or while more was under way: its kernel may have slowed down (congestion control, pacing), or its program had no more"
	windowsUnknown = "one end sent no more for a while, and it is not known whether the other could have taken it: the scale of the windows was not captured"
	wholePackets   = "captures that have the SYNs, and at least 96 bytes of each packet: tcpdump -s 96"
)

// ofServer tells accept queue from handler, where that is known.
func (s *sums) ofServer() Verdict {
	queue, handler, either := s.by[HeldInQueue], s.by[HeldByHandler], s.by[HeldByServer]-s.refused[server]
	switch {
	case queue > handler+either:
		return AcceptQueue
	case handler > queue+either:
		return Handler
	}
	return Server
}

// ofNetwork tells there from back, as far as the clocks allow.
func (s *sums) ofNetwork(wrong, remarkable int64) judged {
	there, back := s.by[HeldThere], s.by[HeldBack]
	others := max(s.by[HeldByClient], s.server(), s.by[HeldUnseen])
	switch {
	case there-wrong > back+wrong && there-wrong > others && there-wrong >= remarkable/2:
		return judged{verdict: NetworkThere}
	case back-wrong > there+wrong && back-wrong > others && back-wrong >= remarkable/2:
		return judged{verdict: NetworkBack}
	}
	return judged{
		CannotTell,
		fmt.Sprintf("the network took longest, %s there and back together, but the clocks of the two captures are not known well enough to tell which way",
			watch.Duration(time.Duration(there+back))),
		[]string{"captures whose clocks agree, by PTP or NTP, or more packets in both directions"},
	}
}
