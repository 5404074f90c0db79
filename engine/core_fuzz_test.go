package engine

import (
	"errors"
	"io"
	"syscall"
	"testing"
	"time"

	"yodel"
	"yodel/trace"
)

// boundedEcho answers what it hears as far as there is room, and wakes itself now and
// then.
func boundedEcho(in yodel.Input, out *yodel.Out) (int, error) {
	if in.Kind == yodel.Open || in.Kind == yodel.Tick {
		out.WakeAt(in.Now.Add(7 * time.Second))
	}
	n := min(len(in.Data), out.Room())
	out.Write(in.Data[:n])
	if in.Kind == yodel.EOF && n == len(in.Data) {
		return n, io.EOF
	}
	return n, nil
}

// FuzzCore drives a connection through any course of events that an engine may tell it
// of: two bytes are an event and its size.
func FuzzCore(f *testing.F) {
	for _, course := range []string{"r\x05s\x05e\x00s\x09", "r\xffr\xfft\x05s\x10t\xfft\xff", "r\x10d\x00t\x01s\xfft\x01t\xff", "r\x10c\x00s\x05r\x05", "e\x00s\x00t\x01", "r\x20f\x00t\x01", "r\xffe\x00s\x80s\x80t\x02"} {
		for _, rate := range []int{-1, 0} {
			f.Add([]byte(course), rate, 100, 64)
		}
	}
	f.Fuzz(func(t *testing.T, course []byte, minRate, mark, maxInput int) {
		if mark < 0 || mark > 1<<16 || maxInput < 0 || maxInput > 1<<16 {
			return
		}
		for _, svc := range []stepFunc{boundedEcho, unwoken} {
			for _, owned := range []bool{false, true} {
				c := &fuzzed{T: t, now: time.Now()}
				sh := NewShared(svc, &Config{
					MinRate: minRate, Mark: mark, MaxInput: maxInput, PoisonLent: true, Linger: time.Duration(minRate),
				}, &c.count)
				if owned {
					sh.Own()
				}
				c.play(sh, course)
			}
		}
	})
}

// unwoken is boundedEcho that does not ask to be woken, and so is at rest at times.
func unwoken(in yodel.Input, out *yodel.Out) (int, error) {
	n, err := boundedEcho(in, out)
	out.WakeAt(time.Time{})
	return n, err
}

func (c *fuzzed) play(sh *Shared, course []byte) {
	c.core.Start(sh, yodel.Peer{}, trace.NewID(), c.now)
	for ; len(course) >= 2 && c.core.Next()&Close == 0; course = course[2:] {
		c.happen(course[0], int(course[1]))
		c.check()
	}
	c.settleBooks()
	for _, w := range sh.spare {
		if !w.atRest() || !w.out.Wake().IsZero() || w.asked != 0 || w.held != 0 || w.rated != 0 || w.body {
			c.Fatalf("what was given back is not empty: %+v", w)
		}
	}
}

// fuzzed is a Core and what it was told.
type fuzzed struct {
	*testing.T
	core  Core
	count Counters
	now   time.Time
	heard int // bytes received
	said  int // bytes sent
}

// happen tells the Core of an event, if an engine could: only what Next asks for, time,
// and the end.
func (c *fuzzed) happen(what byte, size int) {
	do := c.core.Next()
	switch {
	case what == 'r' && do&Read != 0:
		p := make([]byte, size)
		for i := range p {
			p[i] = byte(c.heard + i)
		}
		c.heard += size
		c.core.Received(p, c.now)
	case what == 'e' && do&Read != 0:
		c.core.Ended(c.now)
	case what == 's' && do&Write != 0:
		c.send(min(size, len(c.core.Pending())))
	case what == 'h' && do&Shut != 0:
		c.core.ShutDone(c.now)
	case what == 'f' && do != 0:
		c.core.Failed([]error{syscall.ECONNRESET, errors.New("odd"), syscall.EPIPE}[size%3], c.now)
	case what == 't':
		c.now = c.now.Add(time.Duration(size) * time.Second / 2)
		c.core.Tick(c.now)
	case what == 'd':
		c.core.Drain(c.now)
	case what == 'c':
		c.core.Cut(Cut)
	}
}

// send takes n bytes, which must be the next of what was received.
func (c *fuzzed) send(n int) {
	for i, b := range c.core.Pending()[:n] {
		if b != byte(c.said+i) {
			c.Fatalf("byte %d is %d", c.said+i, b)
		}
	}
	c.said += n
	c.core.Sent(n, c.now)
}

// check checks that the connection is not stuck: it wants something, or has a time at
// which it will; and Tick at that time changes that time, so that no engine spins.
func (c *fuzzed) check() {
	dl := c.core.Deadline()
	if c.core.Next() == 0 && dl.IsZero() {
		c.Fatal("it wants nothing and waits for nothing")
	}
	if c.core.Resting() && (c.core.Next() != Read || dl != c.core.PendingDeadline()) {
		c.Fatalf("it rests, wants %b, and waits for %v", c.core.Next(), dl)
	}
	if dl.IsZero() || dl.After(c.now) || c.core.Next()&Close != 0 {
		return
	}
	for range 3 {
		c.core.Tick(c.now)
		if dl = c.core.Deadline(); dl.IsZero() || dl.After(c.now) {
			return
		}
	}
	c.Fatalf("its deadline is %v ago, and Tick does not change that", c.now.Sub(dl))
}

// settleBooks ends the connection and checks that all bytes are accounted for.
func (c *fuzzed) settleBooks() {
	if c.core.Next()&Close == 0 {
		c.core.Cut(Cut)
	}
	c.core.Finish(c.now)
	s := c.count.Read()
	if s.Active != 0 || s.BytesIn != int64(c.heard) || s.BytesOut != int64(c.said) ||
		s.BytesIn != s.BytesOut+s.Unsent+s.Unread || len(s.Ended) != 1 {
		c.Fatalf("received %d, sent %d: %+v", c.heard, c.said, s)
	}
}
