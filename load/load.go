// Package load pushes verified traffic, and says only what it can stand for: every byte
// that comes back is compared with what must come back; latency counts from when a
// message was due; the tool's own limits are told apart from the server's.
//
// A [Plan] says what to push. In a closed loop each connection has a number of messages
// under way, and sends the next when one has come back: it slows down with its server,
// so it says what a server costs and not how it bears a given rate. In an open loop
// messages are due by a schedule (a [Pacer]) whatever the server does; one that must wait
// for a connection is late, and its latency says so. The time from the actual sending is
// kept beside it, as service time.
//
// [Run] returns a [Report]. What it holds of errors is by [Class], and nothing is tried
// again in silence.
package load

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"yodel/sock"
	"yodel/trace"
)

// A Target is one server, and its share of the traffic.
type Target struct {
	Address sock.Address

	// Weight is its share, of the sum of all weights. If zero, 1.
	Weight int
}

// IsPage reports whether what comes back is a page, over HTTP, and not what was sent.
func (t Target) IsPage() bool { return t.Address.Network == "http" || t.Address.Network == "https" }

// A Plan is what to push.
type Plan struct {
	// Target is whom to call: tcp, tls, udp, unix, http or https. Targets is for several,
	// and Target is then not looked at.
	Target  sock.Address
	Targets []Target

	// Conns is how many connections are held at once. If zero, 1.
	Conns int

	// Pipeline is how many messages a connection has under way at most. If zero, 1.
	Pipeline int

	// Size is the length of a message in bytes. If zero, 64. A datagram has at least 8.
	Size int

	// Count is how many messages are sent in all, and Duration for how long; the
	// first that is reached ends the run. One of them must be set.
	Count    int64
	Duration time.Duration

	// Pace makes it an open loop: it says when messages are due. If nil, it is a closed
	// loop. Pacers of this package are pure; each part of a run reads its own copy.
	Pace Pacer

	// Ramp spreads the beginning over so long a time: of a closed loop's connections.
	// (A Pacer has a ramp of its own.)
	Ramp time.Duration

	// NewConns makes a connection for each message, which is connect, echo and close.
	// Latency includes connecting.
	NewConns bool

	// Upper says that the server answers lines in upper case: each message is then
	// a line, whose letters must come back as capitals.
	Upper bool

	// NoVerify counts what comes back without comparing it.
	NoVerify bool

	// Reconnect is how often a connection that has broken is made anew. If zero, never;
	// if negative, always. The message that it had under way is lost all the same.
	Reconnect int

	// Timeout bounds connecting, and each answer. If zero, 10 s; for datagrams, after
	// which one is lost, 1 s.
	Timeout time.Duration

	// Drain is for how long after Duration messages that were due before are still sent,
	// and waited for. If zero, Timeout.
	Drain time.Duration

	// Threads is how many event loops there are. If zero, one for each processor, and
	// at most one for every 32 connections. In an open loop a processor is left for others:
	// then loops need not sleep right before a message is due, and are not late with it
	// because they must be woken.
	Threads int

	// Awake has event loops never sleep, but offer their processors to others while they have
	// nothing to do: an answer is seen as soon as it is there, and its latency has not in it
	// what it takes to wake this program. Each takes a whole processor.
	Awake bool

	// Driver is what moves the bytes of the networks tcp, udp and unix on Linux: Uring, which
	// needs Linux 6.12 and does not do datagrams and connections for each message; or Epoll.
	// If empty, Uring where that is possible, and else Epoll. The others move by goroutines.
	Driver string

	// Seed makes the payload, and the arrivals of a random Pacer, another one.
	Seed uint64

	// From spreads the source addresses: connection n comes from address n of the
	// network. If not valid (zero), routing chooses.
	From netip.Prefix

	// TLS is for the networks tls and https; nil trusts what the system trusts.
	TLS *tls.Config

	// Sink takes the connections' trace events; nil for none.
	Sink trace.Sink

	// Progress is told, every second, how far the run has come. It must not keep the
	// Progress. If nil, nobody is.
	Progress func(*Progress)

	// Part says which part of the plan a run is. The zero Part is all of it.
	Part Part

	// Opened is called when all connections are made, or can't be; sending begins when it
	// returns. If nil, sending begins at once.
	Opened func()

	// slow is called for each message that has come back, in tests of what is said of a
	// tool that is slow.
	slow func()
}

// The drivers, as a Report names them.
const (
	Uring      = "uring"
	Epoll      = "epoll"
	Goroutines = "goroutine"
)

const (
	maxSize     = 16 << 20 // bounds a message
	maxConns    = 1 << connBits
	maxPipeline = 1 << 16
	maxDatagram = 65507 // IPv4's
	maxTargets  = 64
	maxThreads  = 256
)

// complete fills in the defaults, and refuses nonsense.
func (p *Plan) complete() error {
	if len(p.Targets) == 0 {
		p.Targets = []Target{{Address: p.Target}}
	}
	p.Targets = append([]Target(nil), p.Targets...)
	setDefault(&p.Conns, 1)
	setDefault(&p.Pipeline, 1)
	setDefault(&p.Size, 64)
	if err := errors.Join(p.checkTargets(), checkPace(p.Pace)); err != nil {
		return err
	}
	setDefault(&p.Timeout, 10*time.Second)
	setDefault(&p.Drain, p.Timeout)
	if err := p.check(); err != nil {
		return err
	}
	return p.take()
}

func (p *Plan) checkTargets() error {
	if len(p.Targets) > maxTargets {
		return fmt.Errorf("%d targets: at most %d are possible", len(p.Targets), maxTargets)
	}
	for i := range p.Targets {
		t := &p.Targets[i]
		setDefault(&t.Weight, 1)
		if t.Weight < 0 || t.Weight > 1000 {
			return fmt.Errorf("the weight %d: from 1 to 1000 are possible", t.Weight)
		}
		switch n := t.Address.Network; n {
		case "tcp", "tls", "unix", "http", "https":
		case "udp":
			if p.Size < 8 || p.Upper && p.Size < 16 || p.Size > maxDatagram {
				return fmt.Errorf("datagrams of %d bytes: from 8, which name them (16 with capitals), to %d are possible", p.Size, maxDatagram)
			}
			setDefault(&p.Timeout, time.Second)
		default:
			return fmt.Errorf("the network %q: tcp, tls, udp, unix, http and https are possible", n)
		}
	}
	return nil
}

func (p *Plan) check() error {
	switch {
	case p.Conns < 0 || p.Conns > maxConns:
		return fmt.Errorf("%d connections: from 1 to %d are possible", p.Conns, maxConns)
	case p.Conns < len(p.Targets):
		return fmt.Errorf("%d connections to %d targets: each needs at least one", p.Conns, len(p.Targets))
	case p.Pipeline < 0 || p.Pipeline > maxPipeline:
		return fmt.Errorf("%d messages under way: from 1 to %d are possible", p.Pipeline, maxPipeline)
	case p.Size < 0 || p.Size > maxSize:
		return fmt.Errorf("messages of %d bytes: from 1 to %d are possible", p.Size, maxSize)
	case p.Threads < 0 || p.Threads > maxThreads:
		return fmt.Errorf("%d threads: from 1 to %d are possible", p.Threads, maxThreads)
	case p.Count < 0 || p.Duration < 0 || p.Timeout < 0 || p.Ramp < 0 || p.Drain < 0:
		return errors.New("a count, a duration, a ramp and a time-out can't be negative")
	case p.Count == 0 && p.Duration == 0:
		return errors.New("neither a count nor a duration is set: the run would not end")
	case p.Ramp > 0 && p.Pace != nil:
		return errors.New("a ramp of an open loop is its pacer's: use Ramp there")
	case p.Pipeline > 1 && slices.ContainsFunc(p.Targets, Target.IsPage):
		return errors.New("HTTP has one message under way on a connection: leave the pipeline out")
	case p.Driver != "" && p.Driver != Uring && p.Driver != Epoll:
		return fmt.Errorf("the driver %q: %s and %s can be chosen", p.Driver, Uring, Epoll)
	case p.Driver == Uring && (p.NewConns || p.has("udp")):
		return fmt.Errorf("the driver %s does no datagrams, and no connection for each message: choose %s", Uring, Epoll)
	case p.Awake && (!haveLoops || !p.has("tcp", "unix", "udp")):
		return errors.New("to stay awake is for event loops, which there are on Linux, for tcp, unix and udp")
	case (p.NewConns || p.Reconnect != 0) && p.has("udp"):
		return errors.New("datagrams have no connections: they can't be made anew")
	case p.Upper && slices.ContainsFunc(p.Targets, Target.IsPage):
		return errors.New("what HTTP returns is not what was sent: there is nothing to be in capitals")
	case p.NewConns && p.Pipeline > 1:
		return errors.New("a connection for each message has no room for a pipeline")
	}
	return nil
}

// OnlyPages reports whether all of Targets are pages: then nothing has the plan's size.
func (p *Plan) OnlyPages() bool {
	return !slices.ContainsFunc(p.Targets, func(t Target) bool { return !t.IsPage() })
}

// has reports whether there is a target on one of the networks.
func (p *Plan) has(networks ...string) bool {
	return slices.ContainsFunc(p.Targets, func(t Target) bool { return slices.Contains(networks, t.Address.Network) })
}

func (p *Plan) weights() []int {
	var weights []int
	for _, t := range p.Targets {
		weights = append(weights, t.Weight)
	}
	return weights
}

func setDefault[T comparable](v *T, byDefault T) {
	var zero T
	if *v == zero {
		*v = byDefault
	}
}
