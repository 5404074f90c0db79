package engine

import (
	"runtime/debug"
	"time"

	"yodel"
	"yodel/trace"
)

// Finish is called once, when the socket is closed: it counts what was left over
// and returns the connection's last event, to which the engine adds the socket
// pair and descriptor.
func (c *Core) Finish(now time.Time) trace.Event {
	c.tellClosed()
	n := c.sh.count
	n.active.Add(-1)
	n.ended[c.reason].Add(1)
	n.unread.Add(int64(len(c.unused())))
	n.unsent.Add(int64(c.pending()))
	e := trace.Event{
		Conn: c.id, Op: trace.Close, Side: trace.Server, Time: now, Service: c.sh.name,
		Took: c.sh.since(now) - c.began, In: c.bytesIn, Out: c.bytesOut,
		Text: c.reason.String(), Err: c.Err(),
	}
	c.sess = nil
	if c.work != nil {
		c.work.clear()
		c.sh.giveBack(c.work)
		c.work = nil
	}
	return e
}

// tellClosed tells the session, if it wants to know, that its connection is gone. If
// it panics, that is how the connection ended.
func (c *Core) tellClosed() {
	s, ok := c.sess.(yodel.Closer)
	if !ok {
		return
	}
	defer func() {
		if v := recover(); v != nil {
			c.reason = Panic
			c.err = new(error)
			*c.err = &PanicError{Value: v, Stack: debug.Stack()}
		}
	}()
	s.Closed()
}

// Reason returns how the connection ended, None while it has not.
func (c *Core) Reason() Reason { return c.reason }

// Err returns what made the connection end, nil for an end without an error.
func (c *Core) Err() error {
	if c.err == nil {
		return nil
	}
	return *c.err
}

// ID returns the connection's name.
func (c *Core) ID() trace.ConnID { return c.id }
