package yodeltest

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"yodel"
)

// A Talk is a scripted conversation with a service, without an engine and without
// a socket: the test is the peer. It calls Step in the order that package yodel
// documents and no other, and fails the test where the session breaks a rule: used
// bytes that were not there, changed bytes it did not use, left more unused than an
// engine keeps, or asked for one tick after the other at the same instant. It
// overwrites all memory that it lent after each Step, so that a session which kept
// some of it says nonsense.
//
// The peer reads only when the script asks for output ([Talk.Want], [Talk.WantEnd],
// [Talk.Drain]). Until then output stays pending in the [yodel.Out]; once it has
// reached the mark nothing that was sent reaches the session, ticks excepted. The
// clock stands still except in [Talk.Advance].
//
// The connection opens with the first call that is not one of the Set methods. A
// Talk is for one goroutine, the test's own.
type Talk struct {
	t        testing.TB
	sess     yodel.Session
	out      yodel.Out
	spare    []byte // the Out's next memory, full of junk
	now      time.Time
	mark     int
	maxInput int

	opened   bool
	sent     [][]byte // by the peer, and not read yet
	in       []byte   // read, and not used
	untold   bool     // in holds what must be offered at once
	full     bool     // the output has been at its mark
	hangup   hangup
	heard    []int
	sameTime int   // ticks since the clock last moved
	end      error // what Step returned
}

// hangup is how far the end of the peer's direction has come.
type hangup uint8

const (
	talking hangup = iota
	hungUp         // the peer has ended, the session does not know yet
	told           // the session has had its yodel.EOF
)

const (
	readSize = 16 << 10 // no Step gets more new bytes than this
	maxTicks = 1000     // at one instant
	junk     = 0xdb
)

// NewTalk opens a session of svc for peer. The clock starts at 2026-01-02 03:04:05
// UTC and the mark is [yodel.DefaultMark].
func NewTalk(t testing.TB, svc yodel.Service, peer yodel.Peer) *Talk {
	return &Talk{
		t:        t,
		sess:     svc.Open(peer),
		now:      time.Date(2026, time.January, 2, 3, 4, 5, 0, time.UTC),
		mark:     yodel.DefaultMark,
		maxInput: 64 << 10,
	}
}

// SetMark sets the high-water mark of the output, in bytes; 0 means
// [yodel.DefaultMark].
func (k *Talk) SetMark(n int) {
	k.out.SetMark(n)
	k.mark = n
	if n == 0 {
		k.mark = yodel.DefaultMark
	}
}

// SetTime sets the clock without a tick: it is for the start of a conversation.
func (k *Talk) SetTime(now time.Time) { k.now = now }

// SetMaxInput sets how many bytes the session may leave unused; 65,536 where it is
// not called.
func (k *Talk) SetMaxInput(n int) { k.maxInput = n }

// Now returns what the clock of the conversation shows.
func (k *Talk) Now() time.Time { return k.now }

// Send sends s to the session, which gets it as one piece, or as several where it
// is longer than 16,384 bytes. After the end it is thrown away, as engines do.
func (k *Talk) Send(s string) {
	k.t.Helper()
	if k.hangup != talking {
		k.t.Fatalf("the script sends %q after its EOF", s)
	}
	for chunk := range slices.Chunk([]byte(s), readSize) {
		k.sent = append(k.sent, chunk)
	}
	k.run()
}

// EOF ends the peer's direction: the script may not Send after it.
func (k *Talk) EOF() {
	k.t.Helper()
	if k.hangup == talking {
		k.hangup = hungUp
	}
	k.run()
}

// Advance moves the clock by d, and stops on the way for each tick that the session
// asks for.
func (k *Talk) Advance(d time.Duration) {
	k.t.Helper()
	k.run()
	end := k.now.Add(d)
	for wake := k.out.Wake(); !wake.IsZero() && !wake.After(end); wake = k.out.Wake() {
		k.now, k.sameTime = wake, 0
		k.run()
	}
	k.now, k.sameTime = end, 0
}

// Want reads what the session has to say, and fails the test if that is not want.
// An empty want says that there must be nothing.
func (k *Talk) Want(why, want string) {
	k.t.Helper()
	k.run()
	var got strings.Builder
	for got.Len() <= len(want) && k.out.Len() > 0 {
		got.Write(k.take(k.out.Len()))
	}
	if got.String() != want {
		k.t.Fatalf("%s:\n%s%s", why, difference(got.String(), want), k.endText())
	}
}

// WantEnd fails the test if there is output left, or if the session has not ended
// with io.EOF.
func (k *Talk) WantEnd(why string) {
	k.t.Helper()
	k.Want(why, "")
	if k.end != io.EOF { // the contract says io.EOF itself, not one that wraps it
		k.t.Fatalf("%s: the session has not ended with io.EOF%s", why, k.endText())
	}
}

// WantPeerError fails the test if there is output left, or if the session has not
// ended with a [*yodel.PeerError] of that code.
func (k *Talk) WantPeerError(why string, code int) {
	k.t.Helper()
	k.Want(why, "")
	var mistake *yodel.PeerError
	if !errors.As(k.end, &mistake) || mistake.Code != code {
		k.t.Fatalf("%s: the session has not ended with the peer's mistake %d%s", why, code, k.endText())
	}
}

// WantHeard fails the test if the messages heard since the last call are not of
// these lengths, in this order.
func (k *Talk) WantHeard(why string, want ...int) {
	k.t.Helper()
	k.run()
	if !slices.Equal(k.heard, want) {
		k.t.Fatalf("%s:\nheard  %v\nwanted %v", why, k.heard, want)
	}
	k.heard = nil
}

// WantReceiving checks whether the session has said that it takes a message piece by
// piece ([yodel.Out.Receiving]).
func (k *Talk) WantReceiving(why string, want bool) {
	k.t.Helper()
	k.run()
	if got := k.out.IsReceiving(); got != want {
		k.t.Errorf("%s: receiving is %v, want %v", why, got, want)
	}
}

// Close ends the connection as an engine does that cuts it: the session is told, if it
// is a [yodel.Closer], and no more than that. Nothing else may be done with k then.
func (k *Talk) Close() {
	if c, ok := k.sess.(yodel.Closer); ok {
		c.Closed()
	}
	k.sess = nil
}

// Drain reads n bytes as a slow peer does, and returns them; fewer if the session
// has no more to say for now. Output that has not been drained stays pending.
func (k *Talk) Drain(n int) string {
	k.t.Helper()
	k.run()
	var got strings.Builder
	for got.Len() < n && k.out.Len() > 0 {
		got.Write(k.take(min(n-got.Len(), k.out.Len())))
	}
	return got.String()
}

// Pending returns how many bytes of output the peer has not read.
func (k *Talk) Pending() int { return k.out.Len() }

// Unread returns how many bytes were sent that no Step has used.
func (k *Talk) Unread() int {
	n := len(k.in)
	for _, chunk := range k.sent {
		n += len(chunk)
	}
	return n
}

// Err returns what the session ended with; nil while it goes on.
func (k *Talk) Err() error { return k.end }

func (k *Talk) endText() string {
	if k.end == nil {
		return "\n(the session goes on)"
	}
	return "\n(the session ended: " + k.end.Error() + ")"
}

// take is the peer reading n bytes, and what follows from it.
func (k *Talk) take(n int) []byte {
	k.t.Helper()
	got := bytes.Clone(k.out.Pending()[:n])
	k.out.Sent(n)
	k.run()
	return got
}

// run calls Step until nothing is left to tell.
func (k *Talk) run() {
	k.t.Helper()
	if !k.opened {
		k.opened = true
		k.step(yodel.Open)
	}
	for k.end == nil && k.next() {
	}
}

// next calls Step once if there is a reason to, and says whether there was.
func (k *Talk) next() bool {
	k.t.Helper()
	k.full = k.full || k.out.Len() >= k.mark
	switch {
	case k.tickDue():
		k.tick()
	case k.out.Len() >= k.mark:
		return false
	case k.full:
		k.full = false
		k.step(yodel.Room)
	case k.untold:
		k.step(yodel.Data)
	case len(k.sent) > 0:
		k.in = append(k.in, k.sent[0]...)
		k.sent = k.sent[1:]
		k.step(yodel.Data)
	case k.hangup == hungUp:
		k.hangup = told
		k.step(yodel.EOF)
	default:
		return false
	}
	return true
}

func (k *Talk) tickDue() bool {
	wake := k.out.Wake()
	return !wake.IsZero() && !wake.After(k.now)
}

func (k *Talk) tick() {
	k.t.Helper()
	k.sameTime++
	if k.sameTime > maxTicks {
		k.t.Fatalf("the session has asked for %d ticks and the clock stood still; WakeAt must name a later time", maxTicks)
	}
	k.out.WakeAt(time.Time{})
	k.step(yodel.Tick)
}

// step lends the session a copy of the unused input and takes back what it must.
func (k *Talk) step(kind yodel.Kind) {
	k.t.Helper()
	if k.hangup == told && (kind == yodel.Data || kind == yodel.Room) {
		kind = yodel.EOF
	}
	lent := slices.Clip(bytes.Clone(k.in))
	used, err := k.sess.Step(yodel.Input{Kind: kind, Now: k.now, Data: lent}, &k.out)
	k.check(kind, used, lent)
	fill(lent)
	k.in = k.in[used:]
	k.untold = used > 0 && len(k.in) > 0
	k.heard = append(k.heard, k.out.TakeHeard()...)
	k.swapMemory()
	k.finish(err)
	k.checkLeft()
}

func (k *Talk) check(kind yodel.Kind, used int, lent []byte) {
	k.t.Helper()
	if used < 0 || used > len(lent) {
		k.t.Fatalf("Step(%v) used %d of %d bytes", kind, used, len(lent))
	}
	if !bytes.Equal(lent[used:], k.in[used:]) {
		k.t.Fatalf("Step(%v) changed input that it did not use", kind)
	}
}

// checkLeft does what an engine does whose buffer for input is full.
func (k *Talk) checkLeft() {
	k.t.Helper()
	if k.end == nil && len(k.in) > k.maxInput {
		k.t.Fatalf("the session has left %d bytes unused; an engine keeps %d and then ends it", len(k.in), k.maxInput)
	}
}

// swapMemory gives the Out other memory, with junk where nothing was written, and
// overwrites what it had: a slice that Extend returned is the session's no more.
func (k *Talk) swapMemory() {
	pending := k.out.Pending()
	old := k.out.Reset(k.spare)
	k.out.Write(pending)
	fill(old[:cap(old)])
	k.spare = old
}

// finish notes how the session ended, if it did. An error of the session's own cuts
// the connection: what was pending is lost.
func (k *Talk) finish(err error) {
	k.end = err
	if err == nil {
		return
	}
	k.sent, k.in = nil, nil
	k.out.WakeAt(time.Time{})
	if !orderly(err) {
		k.out.Reset(nil)
	}
}

// orderly reports whether err is an end at which pending output is still sent.
func orderly(err error) bool {
	var mistake *yodel.PeerError
	return err == io.EOF || errors.As(err, &mistake)
}

func fill(b []byte) {
	for n := copy(b, []byte{junk}); n > 0 && n < len(b); n *= 2 {
		copy(b[n:], b[:n])
	}
}
