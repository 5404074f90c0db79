// Package load pushes verified traffic: every byte that comes back is compared with
// what must come back, and a wrong one is named by connection and offset.
//
// What is here is the closed loop: each connection has one message under way, sends
// it, waits for its answer, compares, and goes on. Its latency is the time of one
// such round trip. A closed loop slows down with its server, so it says what a
// server costs and not how it bears a given rate.
package load

import (
	"errors"
	"fmt"
	"time"

	"yodel/sock"
)

// A Plan is what to push.
type Plan struct {
	// Target is whom to call: tcp, tls or unix.
	Target sock.Address

	// Conns is how many connections are held at once. If zero, 1.
	Conns int

	// Size is the length of a message in bytes. If zero, 64.
	Size int

	// Count is how many messages are sent in all, and Duration for how long; the
	// first that is reached ends the run. One of them must be set.
	Count    int64
	Duration time.Duration

	// Upper says that the server answers lines in upper case: each message is then
	// a line, whose letters must come back as capitals.
	Upper bool

	// Timeout bounds connecting, and each answer. If zero, 10 s.
	Timeout time.Duration

	// Seed makes the payload another one.
	Seed uint64

	// Options are for the sockets; nil for the defaults.
	Options *sock.Options
}

// maxSize bounds a message: both ends hold one.
const maxSize = 16 << 20

// complete fills in the defaults, and refuses nonsense.
func (p *Plan) complete() error {
	setDefault(&p.Conns, 1)
	setDefault(&p.Size, 64)
	setDefault(&p.Timeout, 10*time.Second)
	switch {
	case p.Conns < 0:
		return fmt.Errorf("%d connections: there must be at least one", p.Conns)
	case p.Size < 0 || p.Size > maxSize:
		return fmt.Errorf("messages of %d bytes: from 1 to %d are possible", p.Size, maxSize)
	case p.Count < 0 || p.Duration < 0 || p.Timeout < 0:
		return errors.New("a count, a duration and a time-out can't be negative")
	case p.Count == 0 && p.Duration == 0:
		return errors.New("neither a count nor a duration is set: the run would not end")
	}
	return nil
}

func setDefault[T comparable](v *T, byDefault T) {
	var zero T
	if *v == zero {
		*v = byDefault
	}
}
