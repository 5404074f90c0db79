package load

import (
	"time"

	"yodel/internal/loop"
)

// A mover is an event loop that moves the bytes of a looper's connections. But for Post, its
// methods are called on the goroutine that is in run.
type mover interface {
	Post(f func())
	Stop()
	Now() time.Time
	Start(t *loop.Timer, at time.Time)
	StartBy(t *loop.Timer, at time.Time)
	StopTimer(t *loop.Timer)
	WakeAt(at time.Time, ahead time.Duration)
	Spun() time.Duration

	// begin makes the loop the calling thread's; after an error it is closed. run runs it.
	begin() error
	run()

	// dialed has c told when it is connected; opened has it told what is received from
	// then on.
	dialed(c *conn) error
	opened(c *conn)

	// push sends what is to be sent, as far as the socket takes it; now is what time it is.
	push(c *conn, now int64)

	// close closes c's socket.
	close(c *conn)
}

// newMover returns the loop that the plan asks for; refusal is why it is not the one that
// would be better.
func newMover(d *looper, plan *Plan) (m mover, driver string, refusal error, err error) {
	if plan.Driver != Epoll && ringServes(plan) {
		if m, refusal = newOverRing(d); refusal == nil {
			return m, Uring, nil, nil
		}
		if plan.Driver == Uring {
			return nil, "", nil, refusal
		}
	}
	m, err = newOverEpoll(d)
	return m, Epoll, refusal, err
}

// ringServes reports whether io_uring is the better way: it costs less a message, and more
// a connection. Datagrams would have to share its buffers, which cut what does not fit.
func ringServes(plan *Plan) bool { return !plan.NewConns && !plan.has("udp") }
