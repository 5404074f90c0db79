package enginetest

import (
	"net"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"yodel/engine"
	"yodel/trace"
)

// tryEvents: a connection's events, where each call is wanted and where the first ones
// are.
func tryEvents(k *kit, t *testing.T) {
	for network, listen := range k.places() {
		s := k.serveAt(t, listen(t), "upper", engine.Config{})
		list := s.twoLines()
		wantOps(t, list, trace.Accept, trace.Read, trace.Message, trace.Write,
			trace.Read, trace.Message, trace.Write, trace.EOF, trace.Close)
		for i, e := range list[1:8] {
			if e.Side != trace.Server || e.Service != "upper" || e.Bytes != []int{4, 4, 4, 6, 6, 6, 0}[i] {
				t.Errorf("over %s, event %d: %+v", network, i+1, e)
			}
		}

		few := &events{fewer: true}
		s = k.serveAt(t, listen(t), "upper", engine.Config{Sink: few})
		s.events = few
		wantOps(t, s.twoLines(), trace.Accept, trace.Read, trace.Message, trace.Write, trace.Message, trace.EOF, trace.Close)
	}
}

// twoLines holds a conversation with upper and returns its events.
func (s *server) twoLines() []trace.Event {
	c := s.dial()
	c.ask("a line", "one\n", "ONE\n")
	c.ask("another", "three\n", "THREE\n")
	c.Close()
	s.awaitEnds("the peer has ended", 1, engine.Peer)
	list, _ := s.events.look()
	last := list[len(list)-1]
	if last.In != 10 || last.Out != 10 || last.Err != nil {
		s.t.Errorf("the last event is %+v", last)
	}
	return list
}

// tryQueued: the first event says how long the client has waited for it.
func tryQueued(k *kit, t *testing.T) {
	if runtime.GOOS != "linux" {
		return // nobody knows it there
	}
	const waits, tick = 60 * time.Millisecond, 20 * time.Millisecond
	at := onTCP(t)
	nc, err := net.Dial("tcp", at.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	<-time.After(waits) // there is nothing else to wait for: time is what is measured
	s := k.serveAt(t, at, k.line(), engine.Config{})
	s.events.await(t, "it is accepted", func(list []trace.Event) bool { return len(list) > 0 })
	list, _ := s.events.look()
	if e := list[0]; e.Op != trace.Accept || e.Queued < waits-tick {
		t.Errorf("%s after %v, at least %v are wanted", e.Op, e.Queued, waits-tick)
	}
}

// tryPair: the first and the last event say who spoke with whom.
func tryPair(k *kit, t *testing.T) {
	s := k.serve(t, k.line(), engine.Config{})
	c := s.dial()
	local, remote := addrPort(c.LocalAddr()), addrPort(c.RemoteAddr())
	c.ask("it is served", "hi\n", k.says("hi\n"))
	c.Close()
	s.awaitEnds("the peer has ended", 1, engine.Peer)
	list, _ := s.events.look()
	for _, e := range []trace.Event{list[0], list[len(list)-1]} {
		if e.Network != "tcp" || e.Local != remote || e.Remote != local || e.FD <= 0 && runtime.GOOS != "windows" {
			t.Errorf("%s: %+v", e.Op, e)
		}
	}
	if k.traits.NoUnix {
		return
	}
	s = k.serveAt(t, onUnix(t), k.line(), engine.Config{})
	s.dial().ask("it is served", "hi\n", k.says("hi\n"))
	list, _ = s.events.look()
	if e := list[0]; e.Network != "unix" || e.Path != s.at.Addr().String() || e.Local.IsValid() {
		t.Errorf("%+v", e)
	}
}

func addrPort(a net.Addr) netip.AddrPort { return a.(*net.TCPAddr).AddrPort() }

// tryAccounts: every byte that came was used by the session or is counted as unread,
// however the connection ends.
func tryAccounts(k *kit, t *testing.T) {
	for end, stop := range map[string]func(*server, *client){
		"reset": func(_ *server, c *client) { c.reset() },
		"close": func(s *server, _ *client) { s.Close() },
	} {
		s := k.serve(t, "upper", engine.Config{})
		c := s.dial()
		c.ask("two lines and a half", "one\nthree\nhal", "ONE\nTHREE\n")
		s.events.await(t, "all is read", func(list []trace.Event) bool { return list[len(list)-1].In == 13 })
		stop(s, c)
		s.events.await(t, end, func(list []trace.Event) bool { return count(list, trace.Close, "") == 1 })
		if st := s.Stats(); st.BytesIn != 13 || st.Messages != 2 || st.Unread != 3 || st.Unsent != 0 {
			t.Errorf("%s: %+v", end, st)
		}
	}
}
