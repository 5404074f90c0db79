package engine

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"syscall"
	"time"

	"yodel"
	"yodel/internal/escape"
	"yodel/internal/lograte"
	"yodel/trace"
)

// A Visitor is a connection that was accepted by an event engine.
type Visitor struct {
	FD    int
	ID    trace.ConnID
	Peer  yodel.Peer
	Queue *Queue // from which it was accepted

	Queued time.Duration // see trace.Event, if events are wanted
}

// admission decides who is served by an event engine, and says what becomes of
// connections: in sums, events and logs. It is safe for concurrent use.
type admission struct {
	svc   yodel.Service
	cfg   Config
	gate  *Gate
	count Counters // of what is no loop's

	refusals, acceptFailures lograte.Lines
}

// newAdmission returns the admission for svc, or an error that wraps ErrUnfit and says
// who can run it instead.
func newAdmission(name string, svc any, cfg *Config) (*admission, error) {
	if cfg == nil {
		cfg = &Config{}
	}
	if err := CheckService(svc); err != nil {
		return nil, err
	}
	s, ok := svc.(yodel.Service)
	switch {
	case !ok:
		return nil, &UnfitError{name, "sessions only"}
	case cfg.TLS != nil:
		return nil, &UnfitError{name, "no TLS"}
	case cfg.ProxyFrom != nil:
		return nil, &UnfitError{name, "no PROXY headers"}
	}
	a := &admission{svc: s, cfg: *cfg, gate: cfg.Gate}
	if a.gate == nil {
		a.gate = NewGate(nil)
	}
	return a, nil
}

// enter admits v, which has a place, or refuses it, which is then said and counted; its
// socket is the caller's to close, and the place is free again.
func (a *admission) enter(v *Visitor, place Pass, cutting bool, now time.Time) bool {
	a.count.accepted.Add(1)
	why := Cut
	if !cutting {
		why = a.knock(place, v.Peer.Remote)
	}
	if why == None {
		if a.cfg.Sink != nil {
			a.emit(v, &trace.Event{Op: trace.Accept, Time: now, Queued: v.Queued})
		}
		return true
	}
	place.giveBack()
	a.count.ended[why].Add(1)
	if a.cfg.Sink != nil {
		a.emit(v, &trace.Event{Op: trace.Refuse, Time: now, Text: why.String()})
	}
	if n, ok := a.refusals.Take(now); ok {
		a.log().Warn("connection refused", "service", a.cfg.Service, "peer", v.Peer.String(), "why", why.String(), "times", n)
	}
	return false
}

func (a *admission) knock(place Pass, client netip.AddrPort) Reason {
	if client.IsValid() && slices.Contains(a.cfg.RefuseFrom, client.Port()) {
		return BouncePort
	}
	_, why := place.enter(client)
	return why
}

// leave is the end of an admitted connection, whose socket is closed: last is its last
// event.
func (a *admission) leave(v *Visitor, last trace.Event, reason Reason, err error) {
	a.logFault(v.ID, reason, err)
	if a.cfg.Sink != nil {
		e := last // in memory only where there is a sink
		a.emit(v, &e)
	}
	a.gate.passOf(v.Peer.Remote).Leave()
}

// acceptFailed counts and says that accept has failed, and returns what to do.
func (a *admission) acceptFailed(where fmt.Stringer, err error) afterFailure {
	switch {
	case isFatal(err):
		return giveUp
	case errors.Is(err, syscall.ECONNABORTED), errors.Is(err, syscall.EPROTO):
		return tryAgain // that peer has left again
	}
	a.count.acceptErrors.Add(1)
	if n, ok := a.acceptFailures.Take(time.Now()); ok {
		a.log().Warn("accept failed; waiting clients stay in the accept queue", "listener", where, "error", err, "times", n)
	}
	return waitAWhile
}

// afterFailure is what to do after accept has failed.
type afterFailure uint8

const (
	tryAgain afterFailure = iota
	waitAWhile
	giveUp
)

// emit completes e with what is known of v. It is called only when there is a sink.
func (a *admission) emit(v *Visitor, e *trace.Event) {
	e.Conn, e.Side, e.FD, e.Service = v.ID, trace.Server, v.FD, a.cfg.Service
	e.Network, e.Local, e.Remote, e.Path = v.Peer.Network, v.Peer.Local, v.Peer.Remote, v.Peer.Path
	a.cfg.Sink.Emit(e)
}

func (a *admission) log() *slog.Logger { return a.cfg.log() }

// logFault logs what an operator should know of how a connection ended.
func (a *admission) logFault(id trace.ConnID, reason Reason, err error) {
	var p *PanicError
	switch {
	case errors.As(err, &p):
		a.log().Error("handler panicked", "conn", id, "service", a.cfg.Service,
			"panic", escape.String(fmt.Sprint(p.Value)), "stack", string(p.Stack))
	case reason == Fault:
		a.log().Warn("connection failed", "conn", id, "service", a.cfg.Service,
			"error", escape.String(err.Error()))
	}
}
