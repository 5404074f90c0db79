package engine

import "time"

// Relayed tells that n bytes went back to the peer unchanged, the last of them at at, by a
// way that does not lead through here: the kernel's, for a session that would have
// done the same. They are counted as received and as sent, and put off idleness. What was
// told before is older than that, whatever at says.
func (c *Core) Relayed(n int, at time.Time) {
	if n == 0 {
		return
	}
	t := max(c.sh.since(at), c.moved)
	at = c.sh.base.Add(t)
	c.countIn(n, t, at)
	c.countOut(n, at)
}
