package engine

import (
	"fmt"
	"net/netip"
	"runtime/debug"
	"time"

	"yodel/trace"
)

const (
	// longestDatagram is the most payload, in bytes, of a UDP datagram over IPv4.
	longestDatagram = 65507

	// leastAllowed is how long an answer may be whatever its request: the least
	// payload of an Ethernet frame, 46 bytes, less the headers of IPv4 and UDP.
	// What is shorter is padded to that on the wire.
	leastAllowed = 18

	// patience is how many failures to read in a row are taken at once; after
	// that the loop pauses, so that a broken socket costs no processor. Errors
	// that the network brings come one at a time, each for an answer sent.
	patience = 8
)

// shownRate is of how many datagrams a second a sink that does not want each call
// gets the events.
var shownRate = perSecond(10)

// datagramLoop serves one socket. Its fields are owned by the goroutine in run.
type datagramLoop struct {
	d    *Datagrams
	sock *udpSocket

	each  bool // the sink wants each call
	show  bool // the present datagram has events
	shown bucket

	id            trace.ConnID
	fd            int
	began         time.Time
	asked, said   int64 // datagrams read, answers sent
	read, written int64 // their bytes
	out           []byte
}

func newDatagramLoop(d *Datagrams, sock *udpSocket) *datagramLoop {
	l := &datagramLoop{
		d: d, sock: sock, each: trace.WantsEach(d.cfg.Sink), id: trace.NewID(),
		began: time.Now(), out: make([]byte, 1<<16),
	}
	if named, ok := sock.pc.(interface{ ID() trace.ConnID }); ok {
		l.id = named.ID()
	}
	if d.cfg.Sink != nil {
		l.fd = trace.Descriptor(sock.pc)
	}
	return l
}

// run reads and answers until the loop is stopped or the socket is of no use.
func (l *datagramLoop) run() error {
	failures := 0
	for {
		err := l.sock.read()
		switch {
		case err == nil:
			failures = 0
			l.serve(time.Now())
		case l.d.stopping.Load():
			return ErrClosed
		case isFatal(err):
			return fatalRead(l.sock.pc.LocalAddr(), err)
		default:
			failures++
			l.d.readFailed(l.sock.pc.LocalAddr(), err)
			if failures > patience {
				l.d.pause(min(time.Duration(failures-patience)*5*time.Millisecond, 80*time.Millisecond))
			}
		}
	}
}

// serve answers the datagram that was read, or says why not.
func (l *datagramLoop) serve(now time.Time) {
	s := l.sock
	l.heard(now)
	if why := l.admit(now); why != None {
		l.d.count.unread.Add(int64(len(s.request)))
		l.drop(why, nil, now)
		return
	}
	allowed := l.allowed(len(s.request))
	answer, err := l.reply(now, l.out[:0:allowed])
	l.poison(s.request)
	switch {
	case err != nil:
		l.drop(Panic, err, now)
	case answer == nil:
		l.d.guard.giveBack(s.peer.Remote)
		l.drop(Silent, nil, now)
	case len(answer) > allowed:
		l.d.count.unsent.Add(int64(len(answer)))
		l.drop(Amplified, fmt.Errorf("the answer has %d bytes and may have %d", len(answer), allowed), now)
	default:
		l.send(answer, now)
	}
	l.poison(l.out[:allowed])
}

// heard counts the datagram that was read.
func (l *datagramLoop) heard(now time.Time) {
	n := int64(len(l.sock.request))
	l.asked++
	l.read += n
	count := &l.d.count
	count.datagramsIn.Add(1)
	count.bytesIn.Add(n)
	if missed := l.sock.newlyMissed(); missed > 0 {
		count.datagramsMissed.Add(missed)
	}
	if l.d.cfg.Sink == nil {
		return
	}
	t := now.Sub(l.began)
	if l.show = l.each || shownRate.has(&l.shown, t); l.show {
		shownRate.take(&l.shown, t)
		l.emit(trace.Event{Op: trace.Read, Time: now, Bytes: int(n)})
	}
}

// admit returns why the datagram may not be answered, or None.
func (l *datagramLoop) admit(now time.Time) Reason {
	s := l.sock
	gate := l.d.cfg.Gate
	switch remote := s.peer.Remote; {
	case s.info.group:
		return ToGroup
	case gate != nil && remote.IsValid() && !gate.allowed(remote.Addr()):
		return Denied
	}
	return l.d.guard.admit(s.peer.Remote, s.peer.Local.Addr(), now)
}

// allowed returns how many bytes the answer to a request of n bytes may have.
func (l *datagramLoop) allowed(n int) int {
	if l.d.cfg.Amplify || l.sock.peer.Remote.Addr().IsLoopback() {
		return max(n, longestDatagram)
	}
	return max(n, leastAllowed)
}

// reply asks the service. The error is its panic.
func (l *datagramLoop) reply(now time.Time, buf []byte) (answer []byte, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &PanicError{Value: v, Stack: debug.Stack()}
		}
	}()
	return l.d.svc.Reply(l.sock.peer, now, l.sock.request, buf), nil
}

func (l *datagramLoop) poison(lent []byte) {
	if !l.d.cfg.PoisonLent {
		return
	}
	for i := range lent {
		lent[i] = 0xDB
	}
}

func (l *datagramLoop) send(answer []byte, now time.Time) {
	if err := l.sock.send(answer, now); err != nil {
		l.d.count.unsent.Add(int64(len(answer)))
		l.drop(SendFailed, err, now)
		return
	}
	l.said++
	l.written += int64(len(answer))
	l.d.count.datagramsOut.Add(1)
	l.d.count.bytesOut.Add(int64(len(answer)))
	if l.show {
		l.emit(trace.Event{Op: trace.Write, Time: time.Now(), Bytes: len(answer)})
	}
}

// drop counts the datagram as one without an answer.
func (l *datagramLoop) drop(why Reason, err error, now time.Time) {
	l.d.dropped(l.sock.peer, why, err, now)
	if l.show && why != Silent {
		l.emit(trace.Event{Op: trace.Refuse, Time: now, Text: why.String(), Err: err})
	}
}

// finish is called once, when run has returned.
func (l *datagramLoop) finish() {
	if l.d.cfg.Sink == nil {
		return
	}
	l.sock.peer.Remote = netip.AddrPort{}
	l.sock.peer.Local = l.sock.bound
	now := time.Now()
	l.emit(trace.Event{
		Op: trace.Note, Time: now, Took: now.Sub(l.began),
		Text: fmt.Sprintf("served no more: %d datagrams read, %d answered", l.asked, l.said),
	})
}

// emit completes e with what is known of the socket and the peer. It is called only
// when there is a sink.
func (l *datagramLoop) emit(e trace.Event) {
	peer := &l.sock.peer
	e.Conn, e.Side, e.FD, e.Service = l.id, trace.Server, l.fd, l.d.cfg.Service
	e.Network, e.Local, e.Remote = "udp", peer.Local, peer.Remote
	e.In, e.Out = l.read, l.written
	l.d.cfg.Sink.Emit(&e)
}
