package story

import (
	"fmt"
	"time"

	"yodel/trace"
	"yodel/watch"
)

// measureCalls tells what traces alone can: how long a name took, how the connection
// ended, and what each program waited for, but not for whom.
func (t *teller) measureCalls() {
	var first, last time.Time
	for _, p := range t.c.calls {
		if p == nil {
			continue
		}
		if first.IsZero() || p.first().Before(first) {
			first = p.first()
		}
		if p.last().After(last) {
			last = p.last()
		}
	}
	t.s.Start, t.zero = first.UTC(), first.UnixNano()
	if first.IsZero() {
		t.s.Start = time.Unix(0, t.c.began()).UTC()
		t.zero = t.c.began()
		return
	}
	total := max(last.Sub(first), 0)
	name := min(t.nameTook(), total)
	t.s.Parts = Parts{Client: name, NotSeen: max(total-name, 0)}
	if name > 0 {
		t.s.Intervals = append(t.s.Intervals, Interval{0, name, HeldByClient, "looked up the name"})
	}
	t.s.Intervals = append(t.s.Intervals, Interval{name, max(total, name), HeldUnseen, ""})
	t.decideCalls(name, total)
}

func (t *teller) nameTook() time.Duration {
	if r := t.c.calls[client].find(trace.Resolve); r != nil {
		return r.Took
	}
	return 0
}

func (t *teller) decideCalls(name, total time.Duration) {
	remarkable := time.Duration(t.ev.opt.remarkable())
	how, why := t.closedByCalls()
	switch {
	case name >= remarkable && name > total-name:
		t.say(Client, fmt.Sprintf("its name took %s of %s", watch.Duration(name), watch.Duration(total)))
	case total < remarkable && how != "":
		t.say(how, why)
	default:
		t.say(CannotTell, "calls show that a program waited, but not for whom",
			"the wire at both ends: tcpdump -w FILE, or yodel watch --write FILE")
		t.s.Notes = append(t.s.Notes, "no capture has it: only what the programs did is known")
	}
}

// closedByCalls says who has closed first, by what the programs saw of each other's end.
func (t *teller) closedByCalls() (Verdict, string) {
	end := func(e end) string {
		if c := t.c.calls[e]; c != nil {
			if x := c.find(trace.Close); x != nil {
				return x.Text
			}
		}
		return ""
	}
	c, s := end(client), end(server)
	switch {
	case c == trace.EndReset || s == trace.EndReset:
		return "", ""
	case s == trace.EndPeer && c != trace.EndPeer:
		return ClosedByClient, "the server's program has seen the client's end"
	case c == trace.EndPeer && s != trace.EndPeer:
		return ClosedByServer, "the client's program has seen the server's end"
	}
	return "", ""
}
