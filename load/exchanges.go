package load

import (
	"context"
	"fmt"
	"net"
	"time"
)

// exchanges makes one exchange after the other.
func (t *talker) exchanges() error {
	for t.ctx.Err() == nil {
		t.mu.Lock()
		flying := t.lane.flying()
		var s slot
		if flying > 0 {
			s = *t.lane.slot(t.lane.first)
		}
		t.mu.Unlock()
		if flying == 0 {
			select {
			case <-t.wake:
				continue
			case <-t.ctx.Done():
				return errOver
			}
		}
		if t.exchange(s) != nil {
			select {
			case <-time.After(time.Millisecond): // so that refusals do not fill the machine
			case <-t.ctx.Done():
			}
		}
	}
	return errOver
}

// exchange makes one exchange and counts it.
func (t *talker) exchange(s slot) (err error) {
	if f := t.http[t.group]; f != nil {
		err = f.fetch(t, &s)
	} else {
		err = t.alone()
	}
	if t.ctx.Err() != nil {
		return nil // unfinished counts it
	}
	now := t.run.now()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.freeAt = now
	switch {
	case err != nil:
		t.count(err)
		t.lane.suspect = nil // the next message has a connection of its own
	case t.http[t.group] != nil:
		t.present = now
		t.lane.first++
		t.answered(s)
	}
	t.refill(now)
	return err
}

// alone connects, sends a message, takes its answer, and closes.
func (t *talker) alone() error {
	conn, err := t.dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	stop := context.AfterFunc(t.ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	t.mu.Lock()
	s := *t.lane.slot(t.lane.first)
	t.lane.restart(t.number)
	t.lane.begin(s.intended, s.sent)
	t.conn, t.opened, t.spoke = conn, t.run.now(), false
	if t.buf == nil {
		t.buf = make([]byte, t.lane.size)
	}
	t.mu.Unlock()
	return t.roundTrip(conn)
}

// roundTrip sends the one message of a connection while it reads the answer, until that
// is whole.
func (t *talker) roundTrip(conn net.Conn) error {
	conn.SetDeadline(time.Now().Add(t.run.plan.Timeout))
	sent := make(chan error, 1)
	go func() { sent <- t.sendAll(conn) }()
	buf := make([]byte, min(t.lane.size+enough, 64<<10)) // with room for what nobody has sent
	for patient := false; ; {
		n, err := conn.Read(buf)
		if fault := t.take(buf[:n]); fault != nil {
			return fault
		}
		t.mu.Lock()
		whole, right := t.lane.flying() == 0, t.lane.suspect == nil
		t.mu.Unlock()
		switch {
		case whole && right:
			return <-sent
		case err != nil:
			conn.Close()
			<-sent
			return t.cut(err)
		case !right && !patient: // what follows tells more, but is not waited for long
			patient = true
			conn.SetReadDeadline(time.Now().Add(patience))
		}
	}
}

func (t *talker) sendAll(conn net.Conn) error {
	t.mu.Lock()
	p := t.lane.output(t.buf)
	t.lane.wrote(len(p), t.run.now())
	t.mu.Unlock()
	n, err := conn.Write(p)
	t.mu.Lock()
	t.group.tally.BytesOut += int64(n)
	t.mu.Unlock()
	if err != nil {
		return fmt.Errorf("send: %w", err)
	}
	return nil
}
