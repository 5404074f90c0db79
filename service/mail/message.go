package mail

import (
	"time"

	"yodel/service/mail/spool"
)

// overlong is how many bytes of a message that is refused are read and thrown away to
// find its end, beyond what a whole one may have.
const overlong = 1 << 20

// An incoming is a message that is being received.
type incoming struct {
	body
	draft *spool.Draft
	began time.Time // when it was asked for
	got   int64     // bytes that came
	half  time.Time // when the first byte of a line came that has not ended; zero: there is none
}

// message reads a message and stores it. The reply comes when it is durable, or when it is
// known why it is not taken, and its end has come.
func (c *conn) message() (reply, action) {
	now := time.Now()
	d := c.srv.spool.Begin(spool.Envelope{From: c.sess.from.String(), Boxes: unique(c.sess.boxes), Time: now})
	defer d.Discard()
	m := &incoming{draft: d, began: now, body: body{lineMax: c.srv.cfg.lineMax(), maxSize: c.sess.maxSize}}
	d.Write([]byte(c.sess.trace(c.peer, d.ID(), now)))
	if no, err := c.receive(m); no.code != 0 || err != nil {
		return no, hangUp
	}
	c.shrink()
	r, err := m.store()
	c.srv.count(d.Size(), len(c.sess.boxes), err, m.wrong)
	if r.failed() {
		c.sess.forget()
		return c.sess.count(r, goOn)
	}
	c.sess.taken()
	return r, goOn
}

// store stores a message whose end has come, unless something is wrong with it.
func (m *incoming) store() (reply, error) {
	if m.wrong.code != 0 {
		return m.wrong, nil
	}
	err := m.draft.Commit()
	switch {
	case err == nil:
		return reply{code: 250, class: "2.0.0", text: "stored as " + m.draft.ID()}, nil
	case spool.IsFull(err):
		return replyFull, err
	}
	return replyBroken, err
}

// unique returns boxes, each once, in their order.
func unique(boxes []string) []string {
	seen := make(map[string]bool, len(boxes))
	var all []string
	for _, b := range boxes {
		if !seen[b] {
			seen[b] = true
			all = append(all, b)
		}
	}
	return all
}

// receive reads up to the end of the message. Otherwise it returns a reply, or an error if
// there is nobody left to tell; then the conversation is over.
func (c *conn) receive(m *incoming) (reply, error) {
	for !c.use(m) {
		if m.tooMuch() {
			return m.wrong, nil
		}
		if err := c.flush(); err != nil {
			return reply{}, err
		}
		err := c.fill(m.due(&c.srv.cfg, c.w-c.r))
		if isTimeout(err) {
			return replySlow, nil
		}
		if err != nil {
			return reply{}, err
		}
	}
	return reply{}, nil
}

// use takes what has come, and reports whether that was the end of the message.
func (c *conn) use(m *incoming) bool {
	for {
		line, used, end := m.next(c.buf[c.r:c.w])
		c.r += used
		m.got += int64(used)
		if line != nil && m.wrong.code == 0 {
			m.draft.Write(line) // its error is Commit's too
		}
		if end || used == 0 {
			return end
		}
		m.half = time.Time{}
	}
}

// tooMuch reports whether the end of a message that is refused is too far away.
func (m *incoming) tooMuch() bool {
	return m.wrong.code != 0 && m.maxSize > 0 && m.got > 2*m.maxSize+overlong
}

// lineGrace is how long a line may take that came at no rate at all.
const lineGrace = 5 * time.Second

// due returns until when more must come, of which part bytes are there as the beginning of
// a line: soon within a line, and late enough between lines for a person who types.
func (m *incoming) due(cfg *Config, part int) time.Time {
	now, idle, rate := time.Now(), cfg.idle(), cfg.minRate()
	due := deadline(now, idle)
	if rate == 0 {
		return due
	}
	if idle > 0 {
		due = earlier(due, m.began.Add(idle+atRate(m.got, rate)))
	}
	if part == 0 && !m.mid {
		return due
	}
	if m.half.IsZero() {
		m.half = now
	}
	return earlier(due, m.half.Add(lineGrace+atRate(int64(part), rate)))
}

// earlier returns the earlier of two times, of which a may be zero: there is none.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || b.Before(a) {
		return b
	}
	return a
}

// atRate returns how long n bytes take.
func atRate(n int64, rate int) time.Duration {
	return time.Duration(float64(n) / float64(rate) * float64(time.Second))
}
