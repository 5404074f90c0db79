package story

import (
	"fmt"
	"time"

	"yodel/internal/escape"
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
	if a := t.c.calls[server].find(trace.Accept); a != nil && a.Queued > 0 && a.Queued <= maxTook && a.Time.Add(-a.Queued).Before(first) {
		first = a.Time.Add(-a.Queued) // it was there before the program had it
		t.s.Start, t.zero = first.UTC(), first.UnixNano()
	}
	total := max(last.Sub(first), 0)
	name := min(t.nameTook(), total)
	t.s.Parts = Parts{Client: name, NotSeen: max(total-name, 0)}
	if name > 0 {
		t.s.Intervals = append(t.s.Intervals, Interval{0, name, HeldByClient, "looked up the name"})
	}
	if a := t.c.calls[server].find(trace.Accept); a != nil && a.Queued > 0 {
		t.queueByCalls(a, name, total)
	} else {
		t.s.Intervals = append(t.s.Intervals, Interval{name, max(total, name), HeldUnseen, ""})
	}
	t.decideCalls(name, total)
}

// queueByCalls gives the accept queue what the kernel says that it had.
func (t *teller) queueByCalls(a *trace.Event, name, total time.Duration) {
	to := min(max(time.Duration(a.Time.UnixNano()-t.zero), name), total)
	from := max(to-a.Queued, name)
	t.s.Parts.AcceptQueue = to - from
	t.s.Parts.NotSeen -= to - from
	for _, i := range []Interval{{name, from, HeldUnseen, ""}, {from, to, HeldInQueue, "as the kernel says"}, {to, total, HeldUnseen, ""}} {
		if i.From < i.To {
			t.s.Intervals = append(t.s.Intervals, i)
		}
	}
}

// serverByCalls returns how long the connection waited to be accepted, as the server's
// kernel says, and for how long its program had the first words and nothing more before it
// answered.
func (t *teller) serverByCalls() (queued, handled time.Duration) {
	p := t.c.calls[server]
	if a := p.find(trace.Accept); a != nil {
		queued = a.Queued
	}
	r, w := p.find(trace.Read), p.find(trace.Write)
	if r != nil && w != nil && w.In == int64(r.Bytes) {
		handled = max(w.Time.Add(-w.Took).Sub(r.Time), 0)
	}
	return queued, handled
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
	queued, handled := t.serverByCalls()
	switch {
	case queued >= remarkable && queued > total/2:
		t.say(AcceptQueue, fmt.Sprintf("the server's kernel says that it waited in the accept queue for %s of %s", watch.Duration(queued), watch.Duration(total)))
	case handled >= remarkable && handled > total/2:
		t.say(Handler, fmt.Sprintf("the server's program read, and wrote %s of %s later, and read nothing more until then", watch.Duration(handled), watch.Duration(total)))
	case name >= remarkable && name > total-name:
		t.say(Client, fmt.Sprintf("its name took %s of %s", watch.Duration(name), watch.Duration(total)))
	case total < remarkable && how != "":
		t.say(how, why)
	default:
		t.say(CannotTell, t.callsOnly(total),
			"the wire at both ends: tcpdump -w FILE, or yodel watch --write FILE")
		t.s.Notes = append(t.s.Notes, "no capture has it: only what the programs did is known")
	}
}

// callsOnly says what calls alone show, if that is no verdict.
func (t *teller) callsOnly(total time.Duration) string {
	if c := t.c.calls[client]; c != nil {
		for i := range c.calls {
			if e := &c.calls[i]; e.Op == trace.Connect && e.Err != nil && c.find(trace.Connect) == nil {
				return fmt.Sprintf("connect() has failed (%s), and calls do not show by whom", escape.StringN(e.Err.Error(), 80))
			}
		}
	}
	if total < time.Duration(t.ev.opt.remarkable()) {
		return "nobody kept the other waiting for " + watch.Duration(time.Duration(t.ev.opt.remarkable())) + ", and calls do not show who closed first"
	}
	return "calls show that a program waited, but not for whom"
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
